"""Hosts that share one thread: each has an event loop, clocks and a process that may stop, die or begin anew.

Nothing here waits: when no loop has anything left to do, time moves on to whatever comes next on any host. Who goes
first where several could is drawn from the seed, so that one seed is one history.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from statemachine_flow.clock import LoopAlarm

#: Where all wall clocks begin, microseconds UTC.
EPOCH: Final = 1_800_000_000_000_000
#: So many turns of loops in one moment are no work, but a circle.
_CIRCLE: Final = 50_000
#: Nearer than this two moments are one; the sums of floats differ by less.
_SAME: Final = 1e-7


class Violation(AssertionError):  # noqa: N818 - what it is
    """Something that must never happen did."""


class HostLoop(asyncio.AbstractEventLoop):
    """The event loop of one process; the world calls what is ready on it, one at a time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ready: deque[asyncio.Handle] = deque()
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.is_dead = False
        self._order = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []

    def time(self) -> float:
        return self.machine.monotonic()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]  # typeshed has its own TypeVarTuple
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there is one thread

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self.timers, (when, next(self._order), handle))
        return handle

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + max(0.0, delay), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks = [each for each in self._tasks if not each.done()] if len(self._tasks) > 64 else self._tasks
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """The one use of it is to end the processes of the dead: there are none here."""
        future = self.create_future()
        future.set_result(0)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self.machine.world.violate(f"{context.get('message')}: {context.get('exception')!r}")

    # --- the world's

    def turn(self) -> None:
        """Call what is first in line."""
        handle = self.ready.popleft()
        if not handle.cancelled():
            with self.running():
                handle._run()

    @contextlib.contextmanager
    def running(self) -> Any:
        """What is done inside is done on this loop."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def next_due(self) -> float | None:
        """When the first timer is due, by the machine's monotonic clock."""
        while self.timers and self.timers[0][2].cancelled():
            heapq.heappop(self.timers)
        return self.timers[0][0] if self.timers else None

    def ring(self) -> None:
        """Put in line what is due."""
        while self.timers and self.timers[0][0] <= self.time() + _SAME:
            self.ready.append(heapq.heappop(self.timers)[2])

    def die(self) -> None:
        """Nothing of it is called any more."""
        self.is_dead = True
        self.ready.clear()
        self.timers.clear()

    def bury(self) -> None:
        """Let go of what was under way; only now Python runs the `finally` of coroutines that were cut off."""
        self.die()
        with self.running():
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio itself does
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
        self._tasks.clear()
        self.ready.clear()


class Disk:
    """Stands for the threads in which an engine commits while bodies are under way: that takes some time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def run(self, function: Callable[[], Any], *, patience: Callable[[], float] = float) -> Any:
        for _ in range(2):  # on the way there, and on the way back
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.05, 0.5)))
        return function()

    def close(self) -> None:
        """Nothing is left."""


class Machine:
    """Clocks and a loop; the loop is another one after each death.

    Args:
        world: where it stands.
        name: for people.
        offset: what its monotonic clock shows when the world begins.
    """

    def __init__(self, world: Time, name: str, offset: float) -> None:
        self.world = world
        self.name = name
        self.offset = offset
        #: How far its wall clock is wrong, microseconds.
        self.wrong = 0
        #: Whether its process gets time at all.
        self.awake = True
        self.loop = HostLoop(self)  # type: ignore[abstract]  # it has what the engine uses

    def now(self) -> int:
        """See `Clock.now`."""
        return EPOCH + round(self.world.now * 1e6) + self.wrong

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.world.now + self.offset

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def alarm(self, callback: Callable[[], None]) -> LoopAlarm:
        """See `Clock.alarm`."""
        return LoopAlarm(self, callback)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin something on its loop."""
        with self.loop.running():
            return self.loop.create_task(coroutine)


class Time:
    """True time, which no host knows, and what happens when.

    Args:
        rng: what is drawn from.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.machines: list[Machine] = []
        self.violations: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def violate(self, message: str) -> None:
        """Something that must never happen did; the world ends, wherever that was found out."""
        self.violations.append(f"at {self.now:.3f} s: {message}")

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._events, (when, next(self._order), event))

    def pass_until(self, end: float) -> None:
        """Let time pass.

        Raises:
            Violation: something that must never happen did.
        """
        turns = 0
        while True:
            ready = [machine for machine in self.machines if machine.awake and machine.loop.ready]
            if ready:
                turns += 1
                (ready[0] if len(ready) == 1 else self.rng.choice(ready)).loop.turn()
                if self.violations or turns > _CIRCLE:
                    raise Violation("; ".join(self.violations) or "the hosts go round in a circle")
                continue
            due = self._next()
            if due > end:
                self.now = max(self.now, end)
                return
            turns = turns if due <= self.now else 0
            self.now = max(self.now, due)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for machine in self.machines:
                if machine.awake:
                    machine.loop.ring()

    def _next(self) -> float:
        due = [
            first - machine.offset
            for machine in self.machines
            if machine.awake and (first := machine.loop.next_due()) is not None
        ]
        return min([*due, self._events[0][0] if self._events else float("inf")])
