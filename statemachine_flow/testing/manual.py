"""A clock that is moved by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import final

from statemachine_flow.clock import LoopAlarm


@final
class ManualClock:
    """A clock that stands still until it is told to move.

    Args:
        now: where the wall clock begins, microseconds since 1970-01-01 UTC.

    Example:
        >>> clock = ManualClock()
        >>> before = clock.now()
        >>> clock.advance(1.5)
        >>> clock.now() - before
        1500000
    """

    def __init__(self, now: int = 1_800_000_000_000_000) -> None:
        self._wall = now
        self._seconds = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> int:
        """See `Clock.now`."""
        return self._wall

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._seconds

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _ManualTimer:
        """See `Clock.call_later`; a timer that is due at once is called on the loop's next turn."""
        timer = _ManualTimer(callback, asyncio.get_running_loop())
        if seconds <= 0:
            timer.fire()
        else:
            heapq.heappush(self._timers, (self._seconds + seconds, next(self._order), timer))
        return timer

    def alarm(self, callback: Callable[[], None]) -> LoopAlarm:
        """See `Clock.alarm`; a loop that is held up holds up its alarms."""
        return LoopAlarm(self, callback)

    def advance(self, seconds: float) -> None:
        """Let time pass; timers that fall due are called on their loops. Callable from any thread."""
        self._wall += round(seconds * 1e6)
        self._seconds += seconds
        while self._timers and self._timers[0][0] <= self._seconds:
            heapq.heappop(self._timers)[2].fire()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server does; nothing falls due."""
        self._wall += round(seconds * 1e6)

    @property
    def waiting(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


@final
class _ManualTimer:
    def __init__(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._callback = callback
        self._loop = loop
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        if not self.cancelled:
            self._callback()
