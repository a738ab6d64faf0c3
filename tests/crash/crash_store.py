"""A store whose engine dies at a chosen write: in this process by an exception, in a process of its own for good."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from statemachine_flow.stores.base import NewRun, Owner, Store, Write
from tests.engine.harness import Died, Undying

When = Literal["before", "after"]


class CrashStore(Undying):
    """Dies before or after its n-th write is kept; 0 means never.

    Args:
        inner: the store behind.
        at: which write, counted from 1: commits, transactions, claims, releases and requests.
        when: whether that write is kept.
        die: called at that moment; by default the engine is cut off, which ends it for this store.
    """

    def __init__(self, inner: Store, at: int, when: When, die: Callable[[], None] = lambda: None) -> None:
        super().__init__(inner)
        #: How many writes there were.
        self.writes = 0
        self._at = at
        self._when = when
        self._die = die

    def _write(self, write: Callable[[], Any]) -> Any:
        self.alive()
        self.writes += 1
        if self.writes != self._at:
            return write()
        if self._when == "after":
            write()
        self._die()
        self.dead = True
        raise Died

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        return self._write(lambda: self.inner.commit(batch))  # type: ignore[no-any-return]

    def transact(self, work: Callable[[Any], NewRun | Write | None]) -> bool:
        self.alive()
        self.writes += 1
        if self.writes != self._at:
            return self.inner.transact(work)
        if self._when == "after":
            self.inner.transact(work)
        else:  # all of it is done, and nothing is kept
            with contextlib.suppress(Died):
                self.inner.transact(functools.partial(self._work_and_die, work))
        self._die()
        self.dead = True
        raise Died

    def _work_and_die(self, work: Callable[[Any], NewRun | Write | None], connection: Any) -> NewRun | Write | None:
        work(connection)
        self._die()
        raise Died

    def request(self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"") -> int:  # noqa: PLR0917 - as in the contract
        return self._write(lambda: self.inner.request(run_id, action, by, reason, at, data))  # type: ignore[no-any-return]

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        return self._write(lambda: self.inner.claim(run_id, epoch, owner))  # type: ignore[no-any-return]

    def release(self, run_id: str, epoch: int) -> None:
        self._write(lambda: self.inner.release(run_id, epoch))


def records_of(batch: Sequence[NewRun | Write]) -> list[str]:
    """The records of one commit, as `kind step`."""
    writes = [item.write if isinstance(item, NewRun) else item for item in batch]
    return [f"{record.kind} {record.step}" for write in writes for record in write.records]
