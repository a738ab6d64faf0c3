"""Time enters the library here and nowhere else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol, final


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """Make it never happen."""
        ...


class Alarm(Protocol):
    """A call of one and the same function, each time it is set anew."""

    def set(self, seconds: float) -> None:
        """Call once `seconds` have passed, and not when it was set to before."""
        ...

    def cancel(self) -> None:
        """Do not call, until it is set again."""
        ...

    def close(self) -> None:
        """Never call again; a call that is under way has ended."""
        ...


class Clock(Protocol):
    """What the engine asks of time. Tests hand in one they move by hand."""

    def now(self) -> int:
        """The wall clock: microseconds since 1970-01-01 UTC. It may jump; deadlines that outlive a process use it."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running event loop once `seconds` have passed on the monotonic clock."""
        ...

    def alarm(self, callback: Callable[[], None]) -> Alarm:
        """What calls back on time though the running event loop is held up, and so maybe in another thread.

        A clock that is moved by hand moves on with its loop, and gives a `LoopAlarm`.
        """
        ...


@final
class SystemClock:
    """The clock of this machine.

    Example:
        >>> clock = SystemClock()
        >>> clock.now() > 1_600_000_000_000_000
        True
    """

    def now(self) -> int:
        """See `Clock.now`."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def alarm(self, callback: Callable[[], None]) -> ThreadAlarm:
        """See `Clock.alarm`: there is a thread while it is set."""
        return ThreadAlarm(callback)


@final
class LoopAlarm:
    """An `Alarm` on the running event loop.

    Args:
        clock: time.
        callback: what is called.

    Example:
        >>> async def main() -> None:
        ...     rang = asyncio.Event()
        ...     LoopAlarm(SystemClock(), rang.set).set(0)
        ...     await rang.wait()
        >>> asyncio.run(main())
    """

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._timer: Timer | None = None

    def set(self, seconds: float) -> None:
        """See `Alarm.set`."""
        self.cancel()
        self._timer = self._clock.call_later(seconds, self._callback)

    def cancel(self) -> None:
        """See `Alarm.cancel`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """See `Alarm.close`."""
        self.cancel()


@final
class ThreadAlarm:
    """An `Alarm` that calls in a thread of its own, whatever event loops do. Usable from every thread.

    Args:
        callback: what is called.

    Example:
        >>> rang = threading.Event()
        >>> alarm = ThreadAlarm(rang.set)
        >>> alarm.set(0)
        >>> rang.wait()
        True
        >>> alarm.close()
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._changed = threading.Condition()
        self._due: float | None = None
        #: When the thread will look at what it was set to, whatever that is by then.
        self._looks = 0.0
        #: There is one while a call is to come.
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def set(self, seconds: float) -> None:
        """See `Alarm.set`."""
        with self._changed:
            if self._is_closed:
                return
            self._due = time.monotonic() + seconds
            if self._thread is None:
                # A daemon: an engine that nobody closes must not keep the interpreter from its end.
                thread = threading.Thread(target=self._run, name="smf-alarm", daemon=True)
                thread.start()
                self._thread = thread
            elif self._due < self._looks:
                self._changed.notify()

    def cancel(self) -> None:
        """See `Alarm.cancel`."""
        with self._changed:
            self._due = None  # the thread is not woken for that: it is likely to be set again before it looks

    def close(self) -> None:
        """See `Alarm.close`; from the call itself, this returns at once."""
        with self._changed:
            self._is_closed, self._due = True, None
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while self._is_due():
            self._callback()

    def _is_due(self) -> bool:
        """Wait until a call is due; False if none is to come any more, and then the thread ends."""
        with self._changed:
            while self._due is not None:
                left = self._due - time.monotonic()
                if left <= 0:
                    self._due = None
                    return True
                self._looks = self._due
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            self._thread = None
            return False
