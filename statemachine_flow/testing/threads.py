"""Threads for bodies on a virtual loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, final

from statemachine_flow.executors.child import THREAD_NAME
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.testing.loop import running_loop
from statemachine_flow.testing.turns import Turns

_NAME: Final = "smf-body"
#: For how many real seconds what is cut off may go on beside what comes next.
_LAST_SECONDS: Final = 1.0


@final
class BodyThreads(ThreadExecutor):
    """Runs each function in a thread of its own, as real work of a `VirtualLoop`; it outlives any number of loops.

    Example:
        >>> from statemachine_flow.testing.virtual import VirtualClock
        >>> VirtualClock().run(BodyThreads().run(lambda: 6 * 7))
        42
    """

    async def run(
        self,
        function: Callable[[], Any],
        *,
        patience: Callable[[], float] = float,
        waits_on: Callable[[], bool] = bool,
    ) -> Any:
        """See `ThreadExecutor.run`."""
        with running_loop().turns.working():
            return await super().run(function, patience=patience, waits_on=waits_on)

    def _submit(self, job: Callable[[], None]) -> None:
        threading.Thread(target=job, name=_NAME, daemon=True).start()


def cut_off(turns: Turns) -> None:
    """Let go of what the process of a dead loop worked on, and give it a moment to end.

    Commands are killed. A function in a thread can only be waited for, so that it does little beside what comes next.
    """
    if not turns.cut_off():
        return
    deadline = time.monotonic() + _LAST_SECONDS
    for thread in threading.enumerate():
        if thread.name in {_NAME, THREAD_NAME}:
            thread.join(max(0.0, deadline - time.monotonic()))
