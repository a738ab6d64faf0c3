"""An event loop that moves time on as soon as nothing else can happen, and that can be killed as a process can.

When all callbacks are done and only timers are left, the clock jumps to the next of them. A timer that sets itself
again, as an engine's look for requests does, is not waited for: it is called late, once, and time does not stop at each
of its turns. Where something outside of the loop is under way (`run_in_executor`, a file descriptor that is watched),
time passes as it does on the wall, for only the world knows when that ends.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar, final

from statemachine_flow.errors import SmfError

T = TypeVar("T")

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


class Killed(BaseException):
    """What ran on a loop was ended as by SIGKILL: no more of its code is called."""


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
class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that moves its clock, a `VirtualClock`, as soon as nothing else can happen.

    Args:
        clock: moved on by the loop when only timers are left.

    Example:
        >>> from statemachine_flow.testing.virtual import VirtualClock
        >>> loop = VirtualLoop(VirtualClock())
        >>> loop.run_until_complete(asyncio.sleep(3600, "an hour later"))
        'an hour later'
        >>> loop.close()
    """

    def __init__(self, clock: Time) -> None:
        self.clock = clock
        self.is_dead = False
        self._outside = 0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._firing: VirtualTimer | None = None
        self._own_files = 0
        self._turns = 0
        #: What was under way when the loop was killed.
        self._buried: list[Coroutine[Any, Any, Any]] = []
        self._idle = _Idle(self)
        super().__init__(self._idle)
        # A nanosecond, as asyncio has it, is lost beside the seconds of some months, and timers would never be due.
        self._clock_resolution = 1e-6
        self._own_files = len(self._idle.get_map())

    # --- time

    def time(self) -> float:
        """See `asyncio.AbstractEventLoop.time`."""
        return self.clock.monotonic()

    def set_timer(self, seconds: float, callback: Callable[[], None]) -> VirtualTimer:
        """Call back when so much time has passed."""
        firing = self._firing
        is_again = firing is not None and (firing.callback, firing.seconds) == (callback, seconds)
        timer = VirtualTimer(callback, seconds, is_watch=is_again and not self.clock.is_exact)
        heapq.heappush(self._timers, (self.time() + max(0.0, seconds), next(self._order), timer))
        return timer

    def next_timer(self) -> float | None:
        """Seconds until the next timer that is waited for; 0 if any is due, None if none is left."""
        self._timers = [entry for entry in self._timers if not entry[2].cancelled]
        heapq.heapify(self._timers)
        if self._timers and self._timers[0][0] <= self.time():
            return 0.0
        waited = min((due for due, _, timer in self._timers if not timer.is_watch), default=None)
        return None if waited is None else waited - self.time()

    def next_watch(self) -> float:
        """Seconds until the next timer that sets itself again, where nothing else is left.

        Raises:
            Stuck: there is none, or they bring nothing.
        """
        if not self._timers or self._turns > _PATIENCE:
            hint = "a body that never ends needs a `timeout`; a wait for the world somebody who answers"
            raise Stuck("something is awaited that nothing will bring", hint=hint)
        return max(0.0, self._timers[0][0] - self.time())

    def waits(self, *, is_for_long: bool) -> None:
        """Count how often nothing was left but timers that set themselves again."""
        self._turns = self._turns + 1 if is_for_long else 0

    def fire(self) -> bool:
        """Put what is due in line; whether there was anything."""
        due: list[VirtualTimer] = []
        while self._timers and self._timers[0][0] <= self.time():
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            self.call_soon(self._call, timer)
        return bool(due)

    def _call(self, timer: VirtualTimer) -> None:
        if timer.cancelled:
            return
        self._firing = timer
        try:
            timer.callback()
        finally:
            self._firing = None

    # --- the world outside

    def is_busy_outside(self) -> bool:
        """Whether something is under way that no timer of this loop ends."""
        return self._outside > 0 or len(self._idle.get_map()) > self._own_files

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # typeshed has its own TypeVarTuple
        """See `asyncio.AbstractEventLoop.run_in_executor`; time does not jump meanwhile."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """See `asyncio.AbstractEventLoop.shutdown_default_executor`; a thread of its own waits for the others."""
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self._outside -= 1

    def _came_back(self, _future: asyncio.Future[Any]) -> None:
        self._outside -= 1

    # --- death

    def kill(self) -> None:
        """End all that runs here as SIGKILL would: nothing more of it is called, no handler, no `finally`."""
        self.is_dead = True
        self.stop()

    def live(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, or to the death of this loop.

        Raises:
            Killed: `kill` was called meanwhile. What was under way is kept as it was until `bury`.
        """
        task = self.create_task(main)
        try:
            return self.run_until_complete(task)
        except BaseException as error:
            if self.is_dead:
                raise Killed from error
            raise
        finally:
            if self.is_dead:
                self._lay_out()

    def _lay_out(self) -> None:
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does for its own
            if (coroutine := task.get_coro()) is not None:
                self._buried.append(coroutine)  # type: ignore[arg-type]  # tasks are made of coroutines

    def bury(self) -> None:
        """Let go of what was under way; only now Python runs the `finally` of coroutines that were cut off."""
        self.is_dead = True
        self._lay_out()
        for coroutine in self._buried:
            for _ in range(_PATIENCE):  # each time it gets as far as its next `await`
                try:
                    coroutine.close()
                except RuntimeError:
                    continue
                except BaseException:  # noqa: BLE001, S110 - what the dead raise is nothing to anybody
                    pass
                break
        self._buried.clear()
        if not self.is_closed():
            self.close()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """See `asyncio.AbstractEventLoop.call_exception_handler`; the dead have nothing to say."""
        if not self.is_dead:
            super().call_exception_handler(context)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]  # as above
        """See `asyncio.AbstractEventLoop.call_soon`."""
        return super().call_soon(self._unless_dead, callback, args, context=context)

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]  # as above
        """See `asyncio.AbstractEventLoop.call_soon_threadsafe`."""
        return super().call_soon_threadsafe(self._unless_dead, callback, args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop.call_at`."""
        return super().call_at(when, self._unless_dead, callback, args, context=context)

    def _unless_dead(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if not self.is_dead:
            callback(*args)


class _Idle(selectors.BaseSelector):
    """What a loop asks when it has nothing to do: looks for news from outside, and else lets time jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._inner = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        events = self._inner.select(0)
        if loop.fire() or events or (timeout is not None and timeout <= 0):
            return events
        own = loop.next_timer()
        waits = [seconds for seconds in (timeout, own) if seconds is not None]
        loop.waits(is_for_long=not waits)
        if loop.is_busy_outside():
            before = time.monotonic()
            events = self._inner.select(min(waits, default=None))
            loop.clock.advance(time.monotonic() - before)
        else:
            loop.clock.advance(min(waits) if waits else loop.next_watch())
        loop.fire()
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def close(self) -> None:
        self._inner.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map() or {}
