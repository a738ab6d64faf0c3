"""The lease: an engine's signs of life, and what may be concluded from those of others.

Every write is conditional on the epoch of its owner, so two owners can never both write; the lease only decides when
another may become the owner. An owner whose process is dead loses its runs at once. One that gives no sign of life for
as long as its lease (a stopped process, a host that is gone) loses them as well, and finds out when it wakes.

No two wall clocks are compared for that. Where the owner's monotonic clock is this host's own, it tells how long the
last sign is past. An owner of another host is watched: only if its count of signs has stood still for a whole lease
by this process's own clock is it gone. (The scheme is that of Burrows, "The Chubby lock service", 2006, section 2.4:
sequencers for writes, leases judged by the clock of who waits.)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from statemachine_flow.clock import Clock
from statemachine_flow.engine.owner import is_alive, is_own, shares_clock
from statemachine_flow.errors import SmfError
from statemachine_flow.stores.base import Beat, Owner, Store

#: How many signs of life an owner gives within one lease, so that one or two may be late.
_BEATS: Final = 3


@final
class Heart:
    """Gives signs of life while its engine works on runs.

    One sign is one small write for all runs of the engine, and an engine that lives for less than a third of its lease
    gives none: its making is its first.

    They come from a thread, where the clock has one (`Clock.alarm`): a loop that is held up, such as by a step with
    `isolation = "inline"`, is that of a living process, and whoever took its runs would do that step once more. A
    process that is stopped stops with all of its threads. Of a loop that no longer runs nothing is to be expected.

    Args:
        store: where signs are left.
        clock: time.
        owner: the engine.
        runs: id -> epoch of the runs it works on; called in any thread.
        lost: told, on the loop, the id and the epoch of a run that another owner has taken.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: Owner,
        runs: Callable[[], Mapping[str, int]],
        lost: Callable[[str, int], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._runs = runs
        self._lost = lost
        self._interval = owner.lease / _BEATS
        self._last = owner.since
        self._count = 0
        self._alarm = clock.alarm(self._ring)
        #: Guards what follows, and that the alarm is set exactly while it beats.
        self._lock = threading.Lock()
        self._is_beating = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Beat from now on, before the engine takes hold of a run; calling it again does nothing."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._is_beating:
                return
            self._is_beating = True
            left = self._last + self._interval - self._clock.monotonic()
            self._alarm.set(left if left > 0 else self._interval)
        if left <= 0:
            self._beat({})

    def stop(self) -> None:
        """The engine works on nothing."""
        with self._lock:
            self._is_beating = False
            self._alarm.cancel()

    def leave(self) -> None:
        """The engine closes."""
        self.stop()
        self._alarm.close()
        if self._count:
            self._store.leave(self._owner.nonce)

    def _ring(self) -> None:
        with self._lock:
            loop = self._loop
            if loop is None or not self._is_beating:
                return
            if loop.is_closed():  # and the engine never was: nobody works on its runs any more
                self._is_beating = False
                return
            self._alarm.set(self._interval)
        runs = self._runs()
        if runs and loop.is_running():
            for run_id in self._beat(runs):
                self._tell(loop, run_id, runs[run_id])

    def _beat(self, runs: Mapping[str, int]) -> Sequence[str]:
        """Give a sign, and learn which runs were taken."""
        self._count += 1
        beat = Beat(self._owner.nonce, self._count, self._clock.now(), self._clock.monotonic())
        try:
            lost = self._store.beat(beat, runs)
        except SmfError:
            return ()  # a busy or full store: the lease holds a while longer, and every write asks for the epoch anyway
        self._last = beat.monotonic
        return lost

    def _tell(self, loop: asyncio.AbstractEventLoop, run_id: str, epoch: int) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # in the thread of the alarm
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile, and there is nobody left to tell
                loop.call_soon_threadsafe(self._lost, run_id, epoch)
        else:
            self._lost(run_id, epoch)


@final
class Observer:
    """Tells whether owners of runs are gone, by what this process has seen of them.

    Args:
        store: where signs of life are left.
        clock: time.

    Example:
        >>> from statemachine_flow.clock import SystemClock
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> elsewhere = Owner("another-host", "boot", 1, "then", "nonce", lease=0.0)
        >>> observer = Observer(MemoryStore(), SystemClock())
        >>> observer.is_gone(elsewhere), observer.is_gone(elsewhere)  # nothing was heard of it in between
        (False, True)
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: Nonce -> the last count that was seen, and when it was seen first.
        self._seen: dict[str, tuple[int, float]] = {}

    def is_gone(self, owner: Owner) -> bool:
        """Whether an owner's runs may be taken over; to be asked again of one that is watched."""
        if not is_alive(owner):
            return True
        if is_own(owner):
            return False
        beat, now = self._store.last_beat(owner.nonce), self._clock.monotonic()
        if shares_clock(owner):
            last = owner.since if beat is None else beat.monotonic
            return now - last > owner.lease
        count = 0 if beat is None else beat.count
        seen = self._seen.get(owner.nonce)
        if seen is None or seen[0] != count:
            self._seen[owner.nonce] = count, now
            return False
        return now - seen[1] >= owner.lease

    def is_doubtful(self, owner: Owner) -> bool:
        """Whether a wait may tell more: the owner is of another host, and not known to have been alive lately.

        Its clock may be wrong, so this decides about nothing but the wait.
        """
        if is_own(owner) or shares_clock(owner):
            return False
        beat = self._store.last_beat(owner.nonce)
        past = None if beat is None else (self._clock.now() - beat.at) / 1e6
        return past is None or not -owner.lease <= past <= owner.lease
