"""A clock for engines in tests, where waiting takes no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, final

from statemachine_flow.clock import LoopAlarm
from statemachine_flow.testing.loop import VirtualLoop, running_loop
from statemachine_flow.testing.timers import VirtualTimer

T = TypeVar("T")


@final
class VirtualClock:
    """A clock for `AsyncEngine` on a loop of its own, where waiting takes no time.

    Args:
        now: where the wall clock begins, microseconds since 1970-01-01 UTC.
        is_exact: stop at every turn of timers that set themselves again, such as an engine's signs of life: for several
            engines that watch each other. By default a long wait does not, which is what makes it short.

    Example:
        >>> clock = VirtualClock()
        >>> async def a_day() -> str:
        ...     await asyncio.sleep(86_400)
        ...     return "the next day"
        >>> clock.run(a_day()), clock.monotonic()
        ('the next day', 86400.0)
    """

    def __init__(self, now: int = 1_800_000_000_000_000, *, is_exact: bool = False) -> None:
        self.is_exact = is_exact
        self._start = now
        self._seconds = 0.0

    def now(self) -> int:
        """See `Clock.now`."""
        return self._start + round(self._seconds * 1e6)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._seconds

    def call_later(self, seconds: float, callback: Callable[[], None]) -> VirtualTimer:
        """See `Clock.call_later`; the running loop is one of this clock's.

        Raises:
            Stuck: it is another loop, where the time of this clock would never come.
        """
        return running_loop().set_timer(seconds, callback)

    def alarm(self, callback: Callable[[], None]) -> LoopAlarm:
        """See `Clock.alarm`; time passes on the loop alone, so nothing is called while that is held up."""
        return LoopAlarm(self, callback)

    def advance(self, seconds: float) -> None:
        """Let time pass; what falls due is called when a loop of this clock runs next."""
        self._seconds += max(0.0, seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server does; nothing falls due."""
        self._start += round(seconds * 1e6)

    def loop(self) -> VirtualLoop:
        """A new event loop that lives by this clock; several may, one after the other."""
        return VirtualLoop(self)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on a loop of this clock, as `asyncio.run` does on one of the system's.

        Raises:
            Stuck: it waits for something that nothing will bring.
        """
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(main)
