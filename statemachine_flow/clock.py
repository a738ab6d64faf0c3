"""Time enters the library here and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, final


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """Make it never happen."""
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
