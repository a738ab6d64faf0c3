"""What a virtual loop does when it has nothing to do: looks for news from outside, and else lets time pass."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from statemachine_flow.testing.timers import Stuck, Time, Timers
from statemachine_flow.testing.turns import Turns

#: For how many real seconds a loop that is stuck waits for somebody of whom it does not know.
_LAST_HOPE: Final = 1.0

_Events = list[tuple[selectors.SelectorKey, int]]


@final
class Idle(selectors.BaseSelector):
    """A selector that moves a clock.

    Args:
        clock: moved on.
        timers: called when their time has come.
        turns: who goes on before time passes.
        is_busy_outside: whether something is under way of which only the world knows when it ends.
    """

    def __init__(self, clock: Time, timers: Timers, turns: Turns, is_busy_outside: Callable[[], bool]) -> None:
        self._clock = clock
        self._timers = timers
        self._turns = turns
        self._is_busy_outside = is_busy_outside
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> _Events:
        """See `selectors.BaseSelector.select`."""
        events = self._inner.select(0)
        if self._timers.fire() or events or (timeout is not None and timeout <= 0) or self._turns.give():
            return events
        left = min((each for each in (timeout, self._timers.next()) if each is not None), default=None)
        if self._is_busy_outside():
            return self._follow_world(left)
        if self._turns.is_working:
            return self._follow_bodies(left)
        return self._jump(left)

    def await_news(self, seconds: float) -> None:
        """Wait in real time until something comes from outside; so long at most."""
        self._inner.select(seconds)

    def _follow_world(self, left: float | None) -> _Events:
        """Time passes as it does on the wall."""
        self._timers.heard()
        patience, limit = self._turns.patience(), left
        if patience is not None:  # nothing may fall due before that has begun, too
            limit = patience if left is None else min(patience, left / 2)
        before = time.monotonic()
        events = self._inner.select(limit)
        self._pass(time.monotonic() - before)
        if patience is not None and not events:
            self._turns.give_all()
        return events

    def _follow_bodies(self, left: float | None) -> _Events:
        """Time stands still, until bodies have taken as long as it is to what falls due next."""
        self._timers.heard()
        had, patience = self._turns.had(), self._turns.patience()
        if patience == 0.0 or (left is not None and had >= left):
            if not self._turns.give_all():
                self._pass(left or 0.0)
            return []
        limits = (None if left is None else left - had, patience)
        return self._inner.select(min((each for each in limits if each is not None), default=None))

    def _jump(self, left: float | None) -> _Events:
        """Go straight to what comes next.

        Raises:
            Stuck: nothing does.
        """
        if left is not None:
            self._timers.heard()
            self._pass(left)
            return []
        try:
            self._pass(self._timers.next_watch())
        except Stuck:
            events = self._inner.select(_LAST_HOPE)
            if not events:
                raise
            self._timers.heard()
            return events
        return []

    def _pass(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._turns.passed(seconds)
        self._timers.fire()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.register`."""
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.unregister`."""
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.modify`."""
        return self._inner.modify(fileobj, events, data)

    def close(self) -> None:
        """See `selectors.BaseSelector.close`."""
        self._inner.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See `selectors.BaseSelector.get_map`."""
        return self._inner.get_map() or {}
