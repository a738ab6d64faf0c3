"""Where plain functions run: a pool of daemon threads, awaited from the engine's loop.

Python cannot stop a thread. When its attempt is given up, the thread is left to itself and counted as abandoned
until its function returns. The standard library's pool joins its threads when the interpreter exits, so one
abandoned thread would keep the process from ending; daemon threads do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

from statemachine_flow.errors import StepError

#: How many functions that were given up may go on, unless somebody says otherwise.
MAX_ABANDONED: Final = 32

_Job = Callable[[], None]


class ThreadExecutor:
    """Runs functions in threads that are started when none is idle.

    Args:
        max_abandoned: how many abandoned functions may run before `require_room` refuses more; None for any number.

    Example:
        >>> executor = ThreadExecutor()
        >>> asyncio.run(executor.run(lambda: 6 * 7))
        42
        >>> executor.close()
    """

    def __init__(self, max_abandoned: int | None = None) -> None:
        self._max_abandoned = max_abandoned
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        #: Functions still running whose attempt was given up.
        self.abandoned = 0
        #: What is waited for after it was abandoned.
        self._late: set[asyncio.Future[Any]] = set()

    def require_room(self) -> None:
        """Refuse to begin what may have to be abandoned as well.

        Raises:
            StepError: `step.abandoned`: too many functions go on that could not be stopped.
        """
        if self._max_abandoned is not None and self.abandoned >= self._max_abandoned:
            message = f"{self.abandoned} functions that were given up still run in threads, which cannot be stopped"
            hint = 'have functions look at context.cancelled, or isolate them with isolation = "process"'
            raise StepError(message, kind="step.abandoned", name="AbandonedError", hint=hint)

    async def run(
        self,
        function: Callable[[], Any],
        *,
        patience: Callable[[], float] = float,
        waits_on: Callable[[], bool] = bool,
    ) -> Any:
        """Await `function()` in a thread, with a copy of the caller's context variables.

        Args:
            function: takes nothing.
            patience: seconds to wait on for the function after the caller was cancelled; asked at that moment.
            waits_on: whether somebody wants to know what the function gives after that, until the caller is cancelled
                again or this is closed; asked at the same moment.

        Returns:
            What the function returned, even if that was after the caller was cancelled.

        Raises:
            Abandoned: the function did not end in time. It goes on, counted in `abandoned`, and its result is
                dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            try:
                result, error = context.run(function), None
            except BaseException as caught:  # noqa: BLE001 - whatever it is, it is the outcome of this attempt
                result, error = None, caught
            with contextlib.suppress(RuntimeError):  # the loop ended first; nobody is left to tell
                loop.call_soon_threadsafe(self._resolve, future, result, error)

        self._submit(job)
        try:
            # Unlike awaiting the future itself, this leaves it alone when the caller is cancelled.
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await self._linger(future, patience(), waits_on=waits_on())
            if not future.done():
                self.abandoned += 1
                future.cancel()
            if future.cancelled():
                raise Abandoned from None
        return future.result()

    async def _linger(self, future: asyncio.Future[Any], seconds: float, *, waits_on: bool) -> None:
        """Wait on for a function whose caller was cancelled; it is counted as abandoned when patience is over."""
        if seconds > 0:
            await asyncio.wait((future,), timeout=seconds)
        if not waits_on or future.done():
            return
        self.abandoned += 1
        self._late.add(future)
        try:
            await asyncio.wait((future,))
        finally:
            self._late.discard(future)
            self.abandoned -= not future.cancelled()  # else it is counted until the function returns

    def _resolve(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        if future.cancelled():
            self.abandoned -= 1
        elif error is None:
            future.set_result(result)
        else:
            future.set_exception(awaitable(error))

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                # Started first: when the system has no thread left, no job may stay in line with nobody waiting for it.
                threading.Thread(target=self._work, name=f"smf-step-{self._threads + 1}", daemon=True).start()
                self._threads += 1
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # or the thread would keep the last step's arguments alive while idle
            with self._lock:
                self._idle += 1

    def close(self) -> None:
        """Let idle threads end; busy ones end when their function returns, and nobody waits for them any more."""
        for future in self._late:
            with contextlib.suppress(RuntimeError):  # its loop is gone, and whoever waited there
                future.cancel()
        for _ in range(self._threads):
            self._jobs.put(None)


class Abandoned(asyncio.CancelledError):
    """The attempt was given up, and its function goes on."""


class ThreadExit(Exception):  # noqa: N818 - it says what happened
    """A function raised something that must not travel through the event loop, such as SystemExit."""


def awaitable(error: BaseException) -> BaseException:
    """An equal error that a future takes: StopIteration and exit requests would tear the loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = ThreadExit(type(error).__name__)
    wrapped.__cause__ = error
    return wrapped
