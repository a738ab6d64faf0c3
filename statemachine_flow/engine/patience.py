"""What becomes of a write that the store could not take: it is held in memory and tried again, for a while.

A disk that is full for a moment, or a lock that somebody holds for too long, must not cost the result of an hour's
work. Until the write is kept nothing that follows from it begins, so however it ends, no step begins on a result that
could still get lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, final

from statemachine_flow.clock import Clock, Timer
from statemachine_flow.errors import SmfError
from statemachine_flow.stores.base import Store

#: Seconds that a write which fails is tried again by default.
WRITE_TIMEOUT: Final = 10.0

_LOGGER: Final = logging.getLogger("statemachine_flow.engine")
#: Kinds of errors that may be over in a moment.
PASSING: Final = frozenset({"store.full", "store.io", "store.busy"})
#: True of a result, and of a mere decision as well.
_HELD: Final = "%s; what could not be written is held, and tried again for %g s; nothing begins that follows from it"
#: Seconds until the first retry, and between later ones at most; each is twice as long as the one before.
_FIRST, _LONGEST = 0.05, 1.0


@final
class Patience:
    """Decides how long one write is tried again.

    Args:
        store: where it is to be kept.
        clock: time.
        seconds: after that long, it is given up.
    """

    def __init__(self, store: Store, clock: Clock, seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._seconds = seconds
        #: When the write that is held failed first.
        self._since: float | None = None
        self._delay = _FIRST
        self._timer: Timer | None = None
        self._again: Callable[[], None] | None = None

    def hold(self, error: SmfError, again: Callable[[], None]) -> bool:
        """Have a write that failed tried again later, or not.

        Args:
            error: how it failed.
            again: tries it; `hold` or `over` must follow.

        Returns:
            False if it is to be given up.
        """
        now = self._clock.monotonic()
        if self._since is None:
            if self._seconds <= 0 or not self._may_pass(error):
                return False
            self._since = now
            _LOGGER.warning(_HELD, error.message, self._seconds)
        elif now - self._since >= self._seconds or not self._may_pass(error):
            self.over()
            return False
        self._again = again
        self._timer = self._clock.call_later(self._delay, self._try)
        self._delay = min(2 * self._delay, _LONGEST)
        return True

    def over(self) -> None:
        """The write was kept, or given up."""
        self._since, self._delay = None, _FIRST

    def another(self) -> Patience:
        """The same for another write."""
        return Patience(self._store, self._clock, self._seconds)

    def hurry(self) -> None:
        """The engine closes: what is held gets one more chance, at once, and nothing waits any more."""
        self._seconds = 0
        if self._timer is not None:
            self._timer.cancel()
            self._try()

    def _try(self) -> None:
        again, self._again, self._timer = self._again, None, None
        if again is not None:
            again()

    def _may_pass(self, error: SmfError) -> bool:
        """Whether waiting can help: not if the store has let go of a file that cannot be trusted any more."""
        if error.kind not in PASSING:
            return False
        try:
            self._store.version()
        except SmfError:
            return False
        return True
