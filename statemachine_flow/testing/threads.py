"""Threads that the loop waits for: what they do takes none of its time, and comes in the same order every time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, final

from statemachine_flow.executors.thread import ThreadExecutor


@final
class JoinedThreads(ThreadExecutor):
    """Does everything in a thread, one after the other, and keeps the loop waiting meanwhile.

    Example:
        >>> asyncio.run(JoinedThreads().run(lambda: 6 * 7))
        42
    """

    async def run(
        self,
        function: Callable[[], Any],
        *,
        patience: Callable[[], float] = float,  # noqa: ARG002 - nobody can lose patience
        waits_on: Callable[[], bool] = bool,  # noqa: ARG002 - as above
    ) -> Any:
        """See `ThreadExecutor.run`."""
        return self.do(function)

    @staticmethod
    def do(function: Callable[[], Any]) -> Any:
        """What the function returns, or raises."""
        ended: list[tuple[Any, BaseException | None]] = []
        context = contextvars.copy_context()

        def job() -> None:
            try:
                ended.append((context.run(function), None))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome of this attempt
                ended.append((None, error))

        thread = threading.Thread(target=job, name="smf-joined", daemon=True)
        thread.start()
        thread.join()
        result, error = ended[0]
        if error is not None:
            raise error if isinstance(error, Exception) else ThreadEnded(type(error).__name__) from error
        return result


class ThreadEnded(Exception):  # noqa: N818 - it says what happened
    """A function raised something that must not travel through the event loop, such as SystemExit."""


def apart(make: Callable[[], Any]) -> Any:
    """Run a coroutine to its end on a loop of the system's, in a thread that is waited for."""
    return JoinedThreads.do(lambda: asyncio.run(make()))
