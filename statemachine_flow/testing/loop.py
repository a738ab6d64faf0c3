"""An event loop that moves time on as soon as nothing else can happen, and that can be killed as a process can.

When all callbacks are done and only timers are left, the clock jumps to the next of them. A timer that sets itself
again, as an engine's look for requests does, is not waited for: it is called late, once, and time does not stop at each
of its turns. Where something outside of the loop is under way (`run_in_executor` and `asyncio.to_thread`, a process
that asyncio started, a file descriptor that is watched), time passes as it does on the wall, for only the world knows
when that ends. Of a thread that a coroutine starts itself the loop knows nothing: time jumps to what is due next, such
as a timeout, while the coroutine waits for its thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar, final

from statemachine_flow.testing.idle import Idle
from statemachine_flow.testing.timers import Stuck, Time, Timers, VirtualTimer
from statemachine_flow.testing.turns import Turns

T = TypeVar("T")

#: How often what was cut off may await something while it is let go of.
_MOST_AWAITS: Final = 1000
#: For how many real seconds processes that are ended are waited for.
_LAST_SECONDS: Final = 1.0
#: Seconds between two turns of a loop that is buried: what one of them puts in line is no news.
_A_MOMENT: Final = 0.005


class Killed(BaseException):
    """What ran on a loop was ended as by SIGKILL: no more of its code is called."""


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
        #: Whether Ctrl-C killed it.
        self.is_interrupted = False
        #: The order of what is carried out in threads and other processes.
        self.turns = Turns()
        self._outside = 0
        self._processes: weakref.WeakSet[asyncio.SubprocessTransport] = weakref.WeakSet()
        self._is_burying = False
        self._own_files = 0
        #: What was under way when the loop was killed.
        self._buried: list[Coroutine[Any, Any, Any]] = []
        self._timers = Timers(clock, self.call_soon)
        self._idle = Idle(clock, self._timers, self.turns, self.is_busy_outside)
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
        return self._timers.set(seconds, callback)

    # --- the world outside

    def is_busy_outside(self) -> bool:
        """Whether something is under way that no timer of this loop ends."""
        return self._outside > 0 or self._has_process() or len(self._idle.get_map()) > self._own_files

    def _has_process(self) -> bool:
        return any(process.get_returncode() is None for process in self._processes)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # typeshed has its own TypeVarTuple
        """See `asyncio.AbstractEventLoop.run_in_executor`; time does not jump meanwhile."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        """See `asyncio.AbstractEventLoop.subprocess_exec`; time does not jump until its end is known."""
        return await self._started(super().subprocess_exec(*args, **options))

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        """See `asyncio.AbstractEventLoop.subprocess_shell`; time does not jump until its end is known."""
        return await self._started(super().subprocess_shell(*args, **options))

    async def _started(self, starting: Coroutine[Any, Any, tuple[asyncio.SubprocessTransport, T]]) -> Any:
        self._outside += 1
        try:
            transport, protocol = await starting
        finally:
            self._outside -= 1
        # Pipes may be closed before a thread of asyncio tells of the end.
        self._processes.add(transport)
        return transport, protocol

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

    def live(self, main: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        """Run a coroutine to its end, or to the death of this loop.

        Raises:
            Killed: `kill` was called meanwhile. What was under way is kept as it was until `bury`.
            KeyboardInterrupt: Ctrl-C killed it, whatever was under way then.
        """
        task = asyncio.ensure_future(main, loop=self)
        try:
            with self._interruptible():
                return self.run_until_complete(task)
        except BaseException:
            if self.is_interrupted:
                raise KeyboardInterrupt from None
            if self.is_dead:
                raise Killed from None
            raise
        finally:
            if self.is_dead:
                self._lay_out()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C kills the loop: raised as an error only, it would be the outcome of whatever runs at that moment."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def interrupt(*_args: object) -> None:
            self.is_interrupted = True
            self.kill()
            raise KeyboardInterrupt  # for what never comes back to the loop

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _lay_out(self) -> None:
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does for its own
            if (coroutine := task.get_coro()) is not None:
                self._buried.append(coroutine)  # type: ignore[arg-type]  # tasks are made of coroutines

    def bury(self) -> None:
        """Let go of what was under way; only now Python runs the `finally` of coroutines that were cut off."""
        self.is_dead, was_interrupted = True, self.is_interrupted
        self._lay_out()
        for coroutine in self._buried:
            for _ in range(_MOST_AWAITS):  # each time it gets as far as its next `await`
                try:
                    coroutine.close()
                except RuntimeError:
                    continue
                except KeyboardInterrupt:
                    self.is_interrupted = True
                except BaseException:  # noqa: BLE001, S110 - what the dead raise is nothing to anybody
                    pass
                break
        self._buried.clear()
        if not self.is_closed():
            self._end_processes()
            self.close()
        if was_interrupted < self.is_interrupted:  # meanwhile
            raise KeyboardInterrupt

    def _end_processes(self) -> None:
        """End what asyncio started, and let it close the pipes: on a closed loop it would complain of them."""
        self._is_burying = True
        for process in self._processes:
            process.close()
        deadline = time.monotonic() + _LAST_SECONDS
        while self._processes:
            self.stop()
            self.run_forever()  # for one turn
            left = deadline - time.monotonic()
            if left <= 0 or not self._has_process():
                return
            self._idle.await_news(min(left, _A_MOMENT))

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
        elif self._is_own(callback):  # for `_end_processes`
            if self._is_burying:
                callback(*args)
            else:
                self.call_soon(callback, *args)

    def _is_own(self, callback: Callable[..., object]) -> bool:
        """Whether a callback is asyncio's own, and of processes."""
        owner = getattr(callback, "__self__", None)
        return owner is self or isinstance(owner, asyncio.BaseTransport)


def running_loop() -> VirtualLoop:
    """The running loop.

    Raises:
        Stuck: it is one of the system's, where virtual time would never come.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        hint = "use `clock.run` or `clock.loop()`, and an engine with `stand_in=Player(...)` whose bodies need threads"
        raise Stuck("a virtual clock is used on a loop of another clock", hint=hint)
    return loop
