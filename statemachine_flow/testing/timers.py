"""Timers on a clock of its own: what is due, and what comes next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final, Protocol, final

from statemachine_flow.errors import SmfError

#: How often timers that set themselves again are called while nothing else is left, before the loop is stuck.
_PATIENCE: Final = 1000


class Time(Protocol):
    """What a loop asks of its clock."""

    #: Whether timers that set themselves again are waited for, too.
    is_exact: bool

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        ...

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        ...


class Stuck(SmfError):  # noqa: N818 - what the loop is
    """Something is awaited that nothing will ever bring."""

    default_kind = "usage"
    exit_code = 2


@final
class VirtualTimer:
    """A timer of a `VirtualLoop`."""

    def __init__(self, callback: Callable[[], None], seconds: float, *, is_watch: bool) -> None:
        self.callback = callback
        self.seconds = seconds
        #: Whether it set itself again, so that nothing waits for it.
        self.is_watch = is_watch
        self.cancelled = False

    def cancel(self) -> None:
        """See `Timer.cancel`."""
        self.cancelled = True


@final
class Timers:
    """The timers of one loop that are not asyncio's own.

    Args:
        clock: time.
        call_soon: puts a callback in line.

    Example:
        >>> from statemachine_flow.testing.virtual import VirtualClock
        >>> clock, called = VirtualClock(), []
        >>> timers = Timers(clock, lambda call, timer: call(timer))
        >>> timer = timers.set(3, lambda: called.append("rang"))
        >>> timers.next()
        3.0
        >>> clock.advance(3)
        >>> timers.fire(), called
        (True, ['rang'])
    """

    def __init__(self, clock: Time, call_soon: Callable[..., object]) -> None:
        self._clock = clock
        self._call_soon = call_soon
        self._order = itertools.count()
        self._set: list[tuple[float, int, VirtualTimer]] = []
        self._firing: VirtualTimer | None = None
        self._turns = 0

    def set(self, seconds: float, callback: Callable[[], None]) -> VirtualTimer:
        """Call back when so much time has passed."""
        firing = self._firing
        is_again = firing is not None and (firing.callback, firing.seconds) == (callback, seconds)
        timer = VirtualTimer(callback, seconds, is_watch=is_again and not self._clock.is_exact)
        heapq.heappush(self._set, (self._clock.monotonic() + max(0.0, seconds), next(self._order), timer))
        return timer

    def next(self) -> float | None:
        """Seconds until the next timer that is waited for; 0 if any is due, None if none is left."""
        self._set = [entry for entry in self._set if not entry[2].cancelled]
        heapq.heapify(self._set)
        now = self._clock.monotonic()
        if self._set and self._set[0][0] <= now:
            return 0.0
        waited = min((due for due, _, timer in self._set if not timer.is_watch), default=None)
        return None if waited is None else waited - now

    def next_watch(self) -> float:
        """Seconds until the next timer that sets itself again, where nothing else is left.

        Raises:
            Stuck: there is none, or they bring nothing, as often as they are asked.
        """
        self._turns += 1
        if not self._set or self._turns > _PATIENCE:
            hint = (
                "a body that never ends needs a `timeout`, a wait for the world somebody who answers, a body in a "
                "thread or process of its own an engine with `stand_in=Player(...)`"
            )
            raise Stuck("something is awaited that nothing will bring", hint=hint)
        return max(0.0, self._set[0][0] - self._clock.monotonic())

    def heard(self) -> None:
        """Something else than a timer that sets itself again brought the loop on."""
        self._turns = 0

    def fire(self) -> bool:
        """Put what is due in line; whether there was anything."""
        due: list[VirtualTimer] = []
        while self._set and self._set[0][0] <= self._clock.monotonic():
            due.append(heapq.heappop(self._set)[2])
        for timer in due:
            self._call_soon(self._call, timer)
        return bool(due)

    def _call(self, timer: VirtualTimer) -> None:
        if timer.cancelled:
            return
        self._firing = timer
        try:
            timer.callback()
        finally:
            self._firing = None
