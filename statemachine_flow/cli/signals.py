"""What Ctrl-C and its relatives do to a run: the first one pauses it, a second one ends the process at once.

Handlers raise nothing: the command goes on waiting for its run, which comes to rest because it was paused. Pausing
is asked for again until the command is done, so a signal is not lost that comes before the run exists or between
two of its commits. A signal that was ignored when the process began (`nohup`) stays ignored.

A thread acts on the signals, told by the interpreter through `signal.set_wakeup_fd`. Python's own handlers would run
in the main thread, which is asleep on a lock: a signal that comes just before it falls asleep would wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
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
    """Whether the runs of a command were interrupted, and by which signal.

    Args:
        engine: works on the runs.
        run_ids: the runs, which need not exist yet; the list may grow.
        doing: what happens to them, for people.
    """

    def __init__(self, engine: Engine, run_ids: Sequence[str], doing: str = "pausing") -> None:
        self._engine = engine
        self._run_ids = run_ids
        self._doing = doing
        self._done = threading.Event()
        #: The first signal that came.
        self.signal: signal.Signals | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Act on signals inside; outside they do what they did before. For the main thread only."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        handlers = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        ours, interpreters = socket.socketpair()
        interpreters.setblocking(False)
        watcher = threading.Thread(target=self._watch, args=(ours, frozenset(handlers)), daemon=True)
        watcher.start()
        told_before = signal.set_wakeup_fd(interpreters.fileno(), warn_on_full_buffer=False)
        try:
            for number in handlers:
                signal.signal(number, _do_nothing)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(told_before)
            self._done.set()
            interpreters.close()  # which ends the watcher
            watcher.join()
            ours.close()

    def _watch(self, told: socket.socket, numbers: frozenset[int]) -> None:
        """Act on each signal; ends when the other side is closed."""
        pausing = threading.Thread(target=self._pause, daemon=True)
        while data := told.recv(1):
            number = data[0]
            if number not in numbers or self._done.is_set():
                continue
            if self.signal is None:
                self.signal = signal.Signals(number)
                pausing.start()
            elif self.signal.name != "SIGHUP" or self.signal != number:
                # A terminal that goes away may say so twice: the kernel and the shell each send a SIGHUP.
                restore_terminal()
                with contextlib.suppress(Exception):  # they are ended when the run is taken up, if not here
                    self._engine.kill_processes()
                os._exit(128 + number)
        if self.signal is not None:
            pausing.join()

    def _pause(self) -> None:
        name = "" if self.signal is None else self.signal.name
        what = "the runs" if len(self._run_ids) != 1 else f"run {self._run_ids[0]}"
        say(f"{name}: {self._doing} {what}; once more to leave at once")
        while not self._done.is_set():
            for run_id in tuple(self._run_ids):
                with contextlib.suppress(SmfError):  # it was lost
                    self._engine.leave(run_id, reason=f"stopped by {name}")
            self._done.wait(_AGAIN_SECONDS)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Take a signal: without a handler the interpreter tells nobody of it."""
