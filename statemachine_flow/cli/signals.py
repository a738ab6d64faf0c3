"""What Ctrl-C and its relatives do to a run: the first one pauses it, a second one ends the process at once.

Handlers raise nothing: the command goes on waiting for its run, which comes to rest because it was paused. Pausing
is asked for again until the command is done, so a signal is not lost that comes before the run exists or between
two of its commits. A signal that was ignored when the process began (`nohup`) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final, final

from statemachine_flow.cli.output import say
from statemachine_flow.cli.progress import restore_terminal
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import SmfError

#: SIGHUP does not exist on Windows.
_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AGAIN_SECONDS: Final = 0.1


@final
class Interruption:
    """Whether the run of a command was interrupted, and by which signal.

    Args:
        engine: works on the run.
        run_id: the run; it need not exist yet.
    """

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine = engine
        self._run_id = run_id
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        #: The first signal that came.
        self.signal: signal.Signals | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Handle signals inside; outside they do what they did before. For the main thread only."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        try:
            for number in before:
                signal.signal(number, self._handle)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._done.set()
            if self._thread is not None:
                self._thread.join()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
            name = self.signal.name
            self._thread = threading.Thread(target=self._pause, args=(name,), name="smf-pause", daemon=True)
            self._thread.start()
        elif self.signal.name != "SIGHUP" or self.signal != number:
            # A terminal that goes away may say so twice: the kernel and the shell each send a SIGHUP.
            restore_terminal()
            os._exit(128 + number)

    def _pause(self, name: str) -> None:
        say(f"{name}: pausing run {self._run_id}; once more to leave at once")
        while not self._done.is_set():
            with contextlib.suppress(SmfError):  # it does not exist yet, or is at rest by now
                self._engine.pause(self._run_id, interrupt=True, reason=f"stopped by {name}")
            self._done.wait(_AGAIN_SECONDS)
