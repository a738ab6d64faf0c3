"""What a store owes the engine, in prose and types; `tests/stores` holds every store to it.

A store keeps runs (one row each, with owner and epoch), their journals, the definitions they began with, requests
made by other processes, and blobs. It decides nothing: the rows it writes are folds the engine computed, and its
only judgement is the condition on every write, `(epoch, seq)` as the writer last knew them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from statemachine_flow.executors.capture import Spill
from statemachine_flow.journal import Record

__all__ = [
    "Beat",
    "BlobSpill",
    "NewRun",
    "Owner",
    "Rejected",
    "Request",
    "RunFilter",
    "RunRow",
    "Seen",
    "Spill",
    "StepChange",
    "Store",
    "Write",
]


class Owner(msgspec.Struct, frozen=True):
    """The process that works on a run, named so that nobody mistakes another for it."""

    host: str
    #: Changes with every boot of the host.
    boot: str
    pid: int
    #: When that process started, in the system's own unit; a reused pid has another.
    started: str
    #: One engine of that process.
    nonce: str
    #: Where pids are counted, on systems that count them in several places; "" where it is not known.
    namespace: str = ""
    #: When the engine was made, by the system's monotonic clock, in seconds: its first sign of life.
    since: float = 0.0
    #: For how many seconds a sign of life of it holds.
    lease: float = 30.0


class Beat(msgspec.Struct, frozen=True):
    """A sign of life of an owner: it renews the lease of all its runs."""

    #: The owner's.
    nonce: str
    #: Which one, counted from 1: who watches from elsewhere trusts no clock but its own, and this number.
    count: int
    #: By the owner's clocks: microseconds UTC, and seconds of its system's monotonic clock.
    at: int
    monotonic: float


class Rejected(msgspec.Struct, frozen=True):
    """A record that an owner wanted to keep after another had taken its run: kept for people, never believed."""

    run_id: str
    #: The epoch it was written under.
    epoch: int
    owner: Owner
    #: When it was refused, microseconds UTC.
    at: int
    kind: str
    step: str | None
    data: bytes


class RunRow(msgspec.Struct, kw_only=True):
    """A run in one row: what lists show without reading a journal."""

    id: str
    workflow: str
    version: str
    #: Content hash of the definition.
    definition: str
    state: str
    #: Of the last record.
    seq: int
    #: Grows with every change of owner.
    epoch: int
    owner: Owner | None
    created_at: int
    updated_at: int
    started_at: int | None
    ended_at: int | None
    steps_total: int
    #: Steps at rest.
    steps_done: int
    #: Why it failed, paused or was cancelled; "" otherwise.
    message: str
    #: What is wrong with the row itself, of which only the id is to be believed then; "" for nothing.
    damage: str = ""


#: The fields of a row that are stored.
COLUMNS: Final = RunRow.__struct_fields__[:-1]


class StepChange(msgspec.Struct, frozen=True, gc=False):
    """One step entered a state."""

    step: str
    state: str
    attempt: int
    #: Whether this is the first change the store hears of for that step.
    first: bool


class Write(msgspec.Struct, kw_only=True):
    """What one run adds in one commit."""

    run_id: str
    #: The writer's own; the write is refused if another owner came.
    epoch: int
    #: The sequence number before `records`.
    seq: int
    records: Sequence[Record]
    #: Run states passed through, in order; empty when the state did not change.
    states: Sequence[str] = ()
    steps: Sequence[StepChange] = ()
    steps_done: int = 0
    updated_at: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    message: str = ""
    #: Requests that this write answers.
    answered: Sequence[int] = ()
    #: Give up ownership with this write.
    release: bool = False
    #: The run comes to rest for good: whatever is still asked of it is dropped.
    ends: bool = False
    #: Whether it has to outlive the machine, not only the process, once the commit returned.
    synced: bool = True


class NewRun(msgspec.Struct, kw_only=True):
    """A run to be created: its row as it stands before the first write, its definition, and that write."""

    row: RunRow
    #: From `snapshot.encode_definition`.
    definition: bytes
    write: Write
    #: Content hash -> definition of each workflow that steps of the run may start.
    children: Mapping[str, bytes] = {}


class Request(msgspec.Struct, frozen=True):
    """Something another process asked of a run's owner."""

    id: int
    run_id: str
    #: `cancel`, `pause`, `interrupt` (pause, and stop what is under way), `resume`, `signal`, `decide`, `resolve`,
    #: `quarantine` or `checkpoint`.
    action: str
    by: str
    reason: str
    at: int
    #: What belongs to the action, encoded by `values`.
    data: bytes = b""


class Seen(msgspec.Struct, frozen=True):
    """What somebody knew of a run when they decided to ask something of it."""

    epoch: int
    seq: int
    #: The highest id of the requests that nobody had answered; 0 if there were none.
    request: int


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs a list shows; newest first."""

    states: tuple[str, ...] = ()
    workflow: str | None = None
    #: Created at or after, microseconds UTC.
    since: int | None = None
    #: Only runs that somebody owns.
    owned: bool = False
    limit: int = 100

    def passes(self, row: RunRow) -> bool:
        """Whether the list shows a row, as far as its limit allows."""
        return (
            (not self.states or row.state in self.states)
            and self.workflow in (None, row.workflow)
            and (self.since is None or row.created_at >= self.since)
            and (not self.owned or row.owner is not None)
        )


def damaged_row(run_id: str, damage: str) -> RunRow:
    """What a list has of a run whose row cannot be believed: where it stood, and what is wrong with it."""
    return RunRow(
        id=run_id,
        workflow="",
        version="",
        definition="",
        state="",
        seq=0,
        epoch=0,
        owner=None,
        created_at=0,
        updated_at=0,
        started_at=None,
        ended_at=None,
        steps_total=0,
        steps_done=0,
        message="",
        damage=damage,
    )


class BlobSpill(Spill, Protocol):
    """A blob of a store being written."""

    def taken(self) -> bytes:
        """What it was given, after a call of it failed and before it is discarded.

        Raises:
            StoreError: `store.io`: that is not known any more.
        """
        ...

    def take_back(self) -> None:
        """Remove the blob again, after `finish` and before anything names it, unless somebody else has it as well."""
        ...


class Store(Protocol):
    """The contract. Methods may be called from any thread, one at a time; every error is a `StoreError`.

    A store keeps its promises against the death of its process at any moment: what a method returned from is kept,
    what it did not return from is kept whole or not at all.
    """

    #: How an engine would open it again.
    name: str

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """Make `owner` the owner and add 1 to the epoch, if the epoch still is `epoch`; False otherwise."""
        ...

    def release(self, run_id: str, epoch: int) -> None:
        """Clear the owner if the epoch still is `epoch`."""
        ...

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        """Keep a sign of life in place of the owner's last one; it need not outlive the machine.

        Args:
            beat: the sign.
            runs: id -> epoch of the runs that the owner works on.

        Returns:
            Those of them that it does not own any more.
        """
        ...

    def last_beat(self, nonce: str) -> Beat | None:
        """The last sign of life of an owner; None if there was none, or it has left."""
        ...

    def leave(self, nonce: str) -> None:
        """Forget an owner that gives no more signs of life."""
        ...

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        """Keep the records of a write that was refused, for people to see; they are no part of the journal."""
        ...

    def rejected(self, run_id: str) -> list[Rejected]:
        """Records that were refused, oldest first."""
        ...

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """Keep new runs and writes in one durable transaction; it is synced if one of them asks for that.

        Returns:
            Ids of the runs that were refused, with nothing kept of them: a new run because its id is taken, a write
            because epoch or sequence are not what the writer believed. The others are kept.
        """
        ...

    def transact(self, work: Callable[[Any], object], write: Callable[[], NewRun | Write | None]) -> bool:
        """Keep a write together with what else is done in its transaction.

        Args:
            work: given the store's connection, on which it may change tables of its own, and begin or end no
                transaction.
            write: called when that is done and can be kept; what it returns is kept as by `commit`. If it returns
                None, or one of the two raises, nothing is kept.

        Returns:
            Whether the write was kept: False as for the runs that `commit` refuses, or if there was none.

        Raises:
            StoreError: the store has no connection that others could use.
            StepError: what was done would keep everybody out of the store.
        """
        ...

    def row(self, run_id: str) -> RunRow | None:
        """The run's row; None if there is no such run.

        Raises:
            StoreError: `store.corrupt`: it is not as it was written.
        """
        ...

    def rows(self, which: RunFilter) -> list[RunRow]:
        """Rows that pass the filter, newest first; a damaged one passes every filter, see `RunRow.damage`."""
        ...

    def confirm_absent(self, run_id: str) -> None:
        """Asked before somebody is told that there is no such run.

        Raises:
            StoreError: `store.corrupt`: there may be one that damage hides.
        """
        ...

    def match(self, prefix: str, limit: int) -> list[str]:
        """Ids of runs that begin with `prefix`, newest first; an empty prefix matches all."""
        ...

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """The run's records with a sequence number above `after`, in order, as stored; the reader verifies."""
        ...

    def steps(self, run_id: str) -> list[tuple[str, str, int]]:
        """Id, state and number of attempts of each step that something happened to, as the writes said."""
        ...

    def definition(self, content_hash: str) -> bytes | None:
        """A definition's snapshot."""
        ...

    def request(  # noqa: PLR0917 - a request's own fields
        self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"", *, seen: Seen | None = None
    ) -> int:
        """Keep a request for the run's owner.

        Args:
            run_id: the run.
            action: see `Request`.
            by: who asks.
            reason: why.
            at: when.
            data: what belongs to the action.
            seen: keep it only if the run, and what is asked of it, still are as they were seen.

        Returns:
            The request's id, which is gone once it is answered; 0 if it was not kept.

        Raises:
            StoreError: there is no such run.
        """
        ...

    def requests(self, run_id: str | None = None) -> list[Request]:
        """Requests nobody has answered yet, oldest first."""
        ...

    def version(self) -> int:
        """A number that changes when another process wrote; cheap enough to ask twice a second."""
        ...

    def open_blob(self) -> BlobSpill:
        """Begin a blob; what its `finish` returns is its digest, and then it is durable."""
        ...

    def blob(self, digest: str) -> bytes:
        """A blob's bytes, checked against its digest."""
        ...

    def damages(self) -> list[str]:
        """What is wrong with the store apart from what its runs hold, which the reader checks: texts for people."""
        ...

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Keep a copy of everything committed so far as a store of its own, whose runs nobody owns.

        Args:
            path: nothing may be there.

        Raises:
            StoreError: `store.exists`; `store.corrupt`; there is nothing at the path then.
        """
        ...

    def health(self) -> dict[str, Any]:
        """Facts about the store for people, by name; plain values."""
        ...

    def close(self) -> None:
        """Let go of files and memory; calling it again does nothing."""
        ...
