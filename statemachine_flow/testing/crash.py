"""A store that counts the writes of one engine, and dies at a chosen one: what is left is what was committed.

It stands between an engine and a store that outlives it. Commits, transactions, claims, releases and requests are
writes; a write that is kept and a write that is not are the two sides of each point where a process can die.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from statemachine_flow.engine.owner import retire
from statemachine_flow.journal import Record
from statemachine_flow.stores.base import (
    Beat,
    BlobSpill,
    NewRun,
    Owner,
    Rejected,
    Request,
    RunFilter,
    RunRow,
    Seen,
    Store,
    Write,
)

T = TypeVar("T")

#: On which side of a write the process dies.
When = Literal["before", "after"]


class Died(BaseException):
    """Stands for the death of the process: nothing after it reaches the store."""


class CrashStore:
    """Dies before or after its n-th write is kept; 0 means never.

    Args:
        inner: the store behind; it stays open when an engine closes this one, for the next engine.
        at: which write, counted from 1: commits, transactions, claims, releases and requests.
        when: whether that write is kept.
        die: called at that moment; by default the engine is cut off, which ends it for this store. Give it the `kill`
            of a `VirtualLoop`, and nothing of the engine runs on; or what kills the process.

    Example:
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> store = CrashStore(MemoryStore(), at=1, when="before")
        >>> try:
        ...     store.request("r", "cancel", "", "", 0)
        ... except Died:
        ...     print(store.dead, store.inner.requests())
        True []
    """

    def __init__(
        self, inner: Store, at: int = 0, when: When = "before", die: Callable[[], object] = lambda: None
    ) -> None:
        self.inner = inner
        self.name = inner.name
        #: Whether the engine is cut off.
        self.dead = False
        #: How many writes there were.
        self.writes = 0
        #: What each write was, such as `step.complete a, step.start b`, `claim` or `request signal`.
        self.written: list[str] = []
        self._at = at
        self._when = when
        self._die = die
        self._owners: set[Owner] = set()

    def alive(self) -> Store:
        """The store behind, as long as the engine before it lives."""
        if self.dead:
            raise Died
        return self.inner

    def cut_off(self) -> None:
        """The process dies now: others may take over what its engines owned at once."""
        self._die()
        self.dead = True
        for owner in self._owners:
            retire(owner)

    def _write(self, what: str, write: Callable[[], T]) -> T:
        self.alive()
        self.writes += 1
        self.written.append(what)
        if self.writes != self._at:
            return write()
        if self._when == "after":
            write()
        self.cut_off()
        raise Died

    # --- writing

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """See `Store.claim`."""
        self._owners.add(owner)
        return self._write("claim", lambda: self.inner.claim(run_id, epoch, owner))

    def release(self, run_id: str, epoch: int) -> None:
        """See `Store.release`."""
        self._write("release", lambda: self.inner.release(run_id, epoch))

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        """See `Store.beat`; signs of life come by the clock, so they are no points to die at."""
        return self.alive().beat(beat, runs)

    def last_beat(self, nonce: str) -> Beat | None:
        """See `Store.last_beat`."""
        return self.alive().last_beat(nonce)

    def leave(self, nonce: str) -> None:
        """See `Store.leave`; an engine that is dead may close all the same, in a test."""
        if not self.dead:
            self.inner.leave(nonce)

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        """See `Store.reject`."""
        self.alive().reject(write, owner, at)

    def rejected(self, run_id: str) -> list[Rejected]:
        """See `Store.rejected`."""
        return self.alive().rejected(run_id)

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """See `Store.commit`."""
        self._owners.update(item.row.owner for item in batch if isinstance(item, NewRun) and item.row.owner)
        return self._write(", ".join(records_of(batch)) or "commit", lambda: self.inner.commit(batch))

    def transact(self, work: Callable[[Any], object], write: Callable[[], NewRun | Write | None]) -> bool:
        """See `Store.transact`; before the write all of it is done, and nothing is kept."""
        self.alive()
        self.writes += 1
        self.written.append("transaction")
        if self.writes != self._at:
            return self.inner.transact(work, write)
        if self._when == "after":
            self.inner.transact(work, write)
        else:
            with contextlib.suppress(Died):
                self.inner.transact(work, functools.partial(self._write_and_die, write))
        if not self.dead:
            self.cut_off()
        raise Died

    def _write_and_die(self, write: Callable[[], NewRun | Write | None]) -> NewRun | Write | None:
        write()
        self.cut_off()
        raise Died

    def request(  # noqa: PLR0917 - as in the contract
        self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"", *, seen: Seen | None = None
    ) -> int:
        """See `Store.request`."""
        ask = functools.partial(self.inner.request, run_id, action, by, reason, at, data, seen=seen)
        return self._write(f"request {action}", ask)

    def open_blob(self) -> BlobSpill:
        """See `Store.open_blob`; a blob without a record that names it is nothing, so it is no point to die at."""
        return self.alive().open_blob()

    # --- reading

    def row(self, run_id: str) -> RunRow | None:
        """See `Store.row`."""
        return self.alive().row(run_id)

    def rows(self, which: RunFilter) -> list[RunRow]:
        """See `Store.rows`."""
        return self.alive().rows(which)

    def match(self, prefix: str, limit: int) -> list[str]:
        """See `Store.match`."""
        return self.alive().match(prefix, limit)

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """See `Store.records`."""
        return self.alive().records(run_id, after)

    def definition(self, content_hash: str) -> bytes | None:
        """See `Store.definition`."""
        return self.alive().definition(content_hash)

    def requests(self, run_id: str | None = None) -> list[Request]:
        """See `Store.requests`."""
        return self.alive().requests(run_id)

    def version(self) -> int:
        """See `Store.version`."""
        return self.alive().version()

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`; what a view of a run reads late, it reads of a dead engine too."""
        return self.inner.blob(digest)

    def steps(self, run_id: str) -> list[tuple[str, str, int]]:
        """See `Store.steps`."""
        return self.alive().steps(run_id)

    def confirm_absent(self, run_id: str) -> None:
        """See `Store.confirm_absent`."""
        self.alive().confirm_absent(run_id)

    def damages(self) -> list[str]:
        """See `Store.damages`."""
        return self.alive().damages()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `Store.backup`."""
        self.alive().backup(path)

    def health(self) -> dict[str, Any]:
        """See `Store.health`."""
        return self.alive().health()

    def close(self) -> None:
        """The store behind stays open for the next engine."""


def records_of(batch: Sequence[NewRun | Write]) -> list[str]:
    """The records of one commit, as `kind step`, and `kind` alone where they are about the run."""
    writes = [item.write if isinstance(item, NewRun) else item for item in batch]
    return [f"{record.kind} {record.step or ''}".rstrip() for write in writes for record in write.records]
