"""Whose turn it is: real work begins one after the other, and what has ended is told one by one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, final

#: For how many seconds real work keeps other real work waiting.
_PATIENCE: Final = 1.0


@final
class Turns:
    """Brings what happens in threads and other processes into the same order in every execution of a loop.

    Real work takes no time of the loop's clock, unless something falls due while it lasts: then as much time passes for
    all as it has really taken. So that nothing falls due for work that has not begun, whatever waits for its turn
    begins before time passes; and after a second it begins in any case, for it may be what the others wait for.

    Example:
        >>> turns = Turns()
        >>> async def main() -> None:
        ...     first = asyncio.ensure_future(turns.begin())
        ...     told = asyncio.ensure_future(turns.settled())
        ...     await asyncio.sleep(0)
        ...     while turns.give():
        ...         await asyncio.sleep(0.001)
        ...         print(told.done(), first.done())
        >>> asyncio.run(main())
        True False
        True True
    """

    def __init__(self) -> None:
        self._begins: deque[asyncio.Future[None]] = deque()
        self._settling: list[tuple[int, asyncio.Future[None]]] = []
        #: Since when it has had real time of which none passed on the clock.
        self._working: dict[asyncio.Task[object], float] = {}
        self._impatient_at = 0.0

    # --- for what is carried out

    async def begin(self) -> None:
        """Wait until real work may begin: all that happened before has had its effects, and no other is under way."""
        if self.patience() is None:
            self._impatient_at = time.monotonic() + _PATIENCE
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begins.append(future)
        await future

    async def settled(self, rank: int = -1) -> None:
        """Wait until the loop has nothing left to do but to let time pass, and nobody else does anything now.

        Args:
            rank: of several that wait, the one with the lowest comes first.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling.append((rank, future))
        await future

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The task waits for real work meanwhile."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - bodies are tasks
        self._working[task] = time.monotonic()
        try:
            yield
        finally:
            del self._working[task]

    # --- for the loop

    @property
    def is_working(self) -> bool:
        """Whether real work is under way."""
        return bool(self._working)

    def give(self) -> bool:
        """Let the next go on, where nothing else is left to do; whether there was one."""
        # Timers of asyncio that are due at once ring in no order, so those who wait are put into theirs.
        self._settling.sort(key=lambda entry: entry[0], reverse=True)
        while self._settling:
            if _let_go(self._settling.pop()[1]):
                return True
        return not self._working and self._give_begin()

    def give_all(self) -> bool:
        """Let all real work begin that waits for its turn; whether there was any."""
        given = 0
        while self._give_begin():
            given += 1
        return given > 0

    def _give_begin(self) -> bool:
        self._impatient_at = time.monotonic() + _PATIENCE
        while self._begins:
            if _let_go(self._begins.popleft()):
                return True
        return False

    def patience(self) -> float | None:
        """For how many seconds what waits for its turn is to wait on; None if nothing does."""
        while self._begins and self._begins[0].done():
            self._begins.popleft()
        return max(0.0, self._impatient_at - time.monotonic()) if self._begins else None

    def had(self) -> float:
        """Seconds that all real work under way has had of which none passed on the clock."""
        return max(0.0, time.monotonic() - max(self._working.values()))

    def passed(self, seconds: float) -> None:
        """So much time passed on the clock."""
        for task in self._working:
            self._working[task] += seconds

    def cut_off(self) -> bool:
        """Let go of the real work of a loop that is dead: commands are ended, functions have nobody left to tell.

        Returns:
            Whether there was any.
        """
        working = list(self._working)
        for task in working:
            if (coroutine := task.get_coro()) is not None:
                with contextlib.suppress(BaseException):  # what the dead raise is nothing to anybody
                    coroutine.close()
        return bool(working)


def _let_go(future: asyncio.Future[None]) -> bool:
    """Let somebody go on, unless they gave up waiting."""
    if future.done():
        return False
    future.set_result(None)
    return True
