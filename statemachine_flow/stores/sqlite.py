"""The SQLite store: runs and journals as rows of one file, every commit synced before anyone is told of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.journal import Record
from statemachine_flow.stores.backup import back_up, make_independent
from statemachine_flow.stores.base import Beat, NewRun, Owner, Rejected, Request, RunFilter, RunRow, Seen, Write
from statemachine_flow.stores.blobs import BlobFolder, FolderSpill
from statemachine_flow.stores.check import damages
from statemachine_flow.stores.database import Database, Durability
from statemachine_flow.stores.health import health
from statemachine_flow.stores.mark import Mark
from statemachine_flow.stores.queries import SQL
from statemachine_flow.stores.rows import owner_text, read_owner, read_row, read_rows
from statemachine_flow.stores.schema import is_store_id

_NO_RUN: Final = -1
#: How long the last sign of life of an owner that did not leave is remembered: a day, in microseconds.
_REMEMBERED: Final = 86_400_000_000
#: How often a sign of life is tried while others write, and for how long the connection is left to others in between,
#: in seconds: about as long as any other write waits.
_TRIES: Final = 300
_PAUSE: Final = 0.05


@final
class SqliteStore:
    """The `Store` contract on one SQLite file.

    Args:
        path: the file; it and its folder are made, private to their owner, if absent.
        readonly: read only; the file must exist.
        accept_loss: go on with what is left of a store that is behind its high-water mark, see `mark`.
        durability: `"power"` syncs every commit to disk, `"process"` leaves that to the system and may lose the
            last commits, never more and never half of one, when the machine loses power.

    Raises:
        StoreError: see `Database`; `store.lost_tail`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = SqliteStore(f"{folder}/runs.db")
        ...     print(store.rows(RunFilter()))
        ...     store.close()
        []
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        accept_loss: bool = False,
        durability: Durability = "power",
    ) -> None:
        try:
            absolute = Path(path).absolute()
        except FileNotFoundError:
            raise UsageError("the current directory is gone", hint="name the store by its whole path") from None
        self._database = Database(absolute, readonly=readonly, durability=durability)
        self.name = self._database.name
        self._numbers: dict[str, int] = {}
        self._blobs = BlobFolder(absolute.with_name(absolute.name + ".blobs"))
        #: What the last transaction made true, for the mark: number, epoch and sequence of a run.
        self._reached: tuple[int, int, int] | None = None
        try:
            self._mark = Mark(absolute.with_name(absolute.name + "-mark"), self._store_id())
            if not accept_loss:
                self._require_tail()
            elif not readonly:
                self._mark.clear()
        except BaseException:
            self._database.close()
            raise

    def _store_id(self) -> str:
        found = [row[0] for row in self._database.read(SQL["store_id"], ())]
        if len(found) != 1 or not is_store_id(found[0]):
            raise StoreError(f"{self.name}: the store does not know its own name", kind="store.corrupt")
        return str(found[0])

    def _require_tail(self) -> None:
        """Refuse a store that is behind its mark; a row that is damaged is told of when it is read."""
        for reached in self._mark.read():
            (((request,),)) = self._database.read(SQL["last_request"], ()) or ((0,),)
            row = self._database.read(SQL["reached"], (reached.run,))
            epoch, seq, is_whole = row[0] if row else (-1, -1, reached.run != 0)
            is_behind = is_whole and (epoch < reached.epoch or seq < reached.seq)
            if reached.store != self._mark.store or request < reached.request or is_behind:
                raise StoreError(
                    f"what was committed last to {self._database.path} is no longer in it: its log was removed or cut "
                    "off, or another file was put in its place",
                    kind="store.lost_tail",
                    hint="put back the missing file, or a backup without the files named after the lost one; "
                    "`smf verify --accept-loss` goes on with what is left",
                )

    # --- writing

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """See `Store.claim`."""
        with self._database:
            self._database.run(SQL["claim"], (owner_text(owner), run_id, epoch))
            is_won = self._database.changes() == 1
            number = self._number(run_id)
            if is_won:
                self._database.run(SQL["seal"], (number,))
        if is_won:
            self._mark.put(number, epoch + 1, 0)
        return is_won

    def release(self, run_id: str, epoch: int) -> None:
        """See `Store.release`."""
        with self._database:
            self._database.run(SQL["release"], (run_id, epoch))
            if self._database.changes() == 1:
                self._database.run(SQL["seal"], (self._number(run_id),))

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        """See `Store.beat`.

        While another process holds the file, the connection is left time and again to the other threads of this one.
        """
        for _ in range(_TRIES):
            try:
                return self._beat(beat, runs)
            except StoreError as error:
                if error.kind != "store.busy":
                    raise
            time.sleep(_PAUSE)
        return self._beat(beat, runs)

    def _beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        with self._database.hurried(), self._database.kept(synced=False), self._database:
            self._database.run(SQL["forget_beats"], (beat.at - _REMEMBERED, beat.nonce))
            self._database.run(SQL["beat"], (beat.nonce, beat.count, beat.at, beat.monotonic))
            asked = msgspec.json.encode(list(runs.items())).decode()
            return [run_id for (run_id,) in self._database.run(SQL["lost_runs"], (asked,))]

    def last_beat(self, nonce: str) -> Beat | None:
        """See `Store.last_beat`."""
        found = self._database.read(SQL["last_beat"], (nonce,))
        return Beat(*found[0]) if found else None

    def leave(self, nonce: str) -> None:
        """See `Store.leave`."""
        with self._database.kept(synced=False), self._database:
            self._database.run(SQL["leave"], (nonce,))

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        """See `Store.reject`."""
        said = (write.run_id, write.epoch, owner_text(owner), at)
        with self._database:
            rows = [(*said, record.kind, record.step, record.data) for record in write.records]
            self._database.run_many(SQL["reject"], rows)

    def rejected(self, run_id: str) -> list[Rejected]:
        """See `Store.rejected`."""
        self._require_intact("rejected")
        rejected = []
        for *values, is_whole in self._database.read(SQL["rejected"], {"run": run_id}):
            if is_whole != 1:
                raise StoreError("what came too late fails its checksum", kind="store.corrupt", run=run_id)
            run, epoch, owner, *rest = values
            rejected.append(Rejected(run, epoch, read_owner(owner), *rest))
        return rejected

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """See `Store.commit`."""
        is_synced = any(write.synced for _, write in map(_parts, batch))
        try:
            with self._database.kept(synced=is_synced), self._database:
                refused = [write.run_id for new, write in map(_parts, batch) if not self._keep_all(new, write)]
        except BaseException:
            self._forget()
            raise
        self._note(is_synced=is_synced)
        return refused

    def _note(self, *, is_synced: bool) -> None:
        """Move the mark on to what was just committed."""
        reached, self._reached = self._reached, None
        if reached is not None and is_synced:
            self._mark.put(*reached)

    def _forget(self) -> None:
        """A number that was given out inside a transaction that failed will be given to another run."""
        self._numbers.clear()
        self._reached = None

    def _keep_all(self, new: NewRun | None, write: Write) -> bool:
        return (new is None or self._insert(new)) and self._keep(write)

    def _insert(self, new: NewRun) -> bool:
        row = new.row
        owner = None if row.owner is None else owner_text(row.owner)
        values = (row.id, row.workflow, row.version, row.definition, row.state, row.epoch, owner)
        self._database.run(SQL["insert_run"], (*values, row.created_at, row.created_at, row.steps_total))
        if self._database.changes() != 1:
            return False
        self._database.run(SQL["insert_definition"], (row.definition, new.definition))
        for content_hash, body in new.children.items():
            self._database.run(SQL["insert_definition"], (content_hash, body))
        return True

    def _keep(self, write: Write) -> bool:
        """One run's part of a transaction; False, and nothing written, if its owner or sequence moved on."""
        database, number = self._database, self._number(write.run_id)
        seq = write.seq + len(write.records)
        database.run(SQL["advance_run"], (seq, write.updated_at, write.steps_done, number, write.epoch, write.seq))
        if self._database.changes() != 1:
            return False
        rows = [(number, r.seq, r.kind, r.at, r.step, r.data, r.digest) for r in write.records]
        self._database.run_many(SQL["insert_record"], rows)
        for change in write.steps:
            if change.first:
                database.run(SQL["insert_step"], (number, change.step, change.state, change.attempt))
            else:
                database.run(SQL["change_step"], (change.state, change.attempt, number, change.step))
        for state in write.states:
            database.run(SQL["change_run"], (state, write.started_at, write.ended_at, write.message, number))
        for request in write.answered:
            database.run(SQL["delete_request"], (request,))
        if write.ends:
            database.run(SQL["delete_requests"], (number,))
        if write.release:
            database.run(SQL["release"], (write.run_id, write.epoch))
        if write.states or write.release:
            database.run(SQL["seal"], (number,))
        self._reached = number, write.epoch, seq
        return True

    def transact(self, work: Callable[[Any], object], write: Callable[[], NewRun | Write | None]) -> bool:
        """See `Store.transact`."""
        try:
            with self._database:
                with self._database.lent() as connection:
                    work(connection)
                item = write()
                if item is None or not self._keep_all(*_parts(item)):
                    raise _NothingKept  # noqa: TRY301 - it rolls this very transaction back
        except _NothingKept:
            return False
        except BaseException:
            self._forget()
            raise
        self._note(is_synced=True)
        return True

    def request(  # noqa: PLR0917 - as in the contract
        self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"", *, seen: Seen | None = None
    ) -> int:
        """See `Store.request`."""
        with self._database:
            number = self._number(run_id)
            if seen is not None and number != _NO_RUN and not self._is_as(number, seen):
                return 0
            bound = {"run": number, "action": action, "by": by, "reason": reason, "at": at, "data": data}
            self._database.run(SQL["insert_request"], bound)
            request = self._database.last_id()
            self._database.run(SQL["seal_request"], (request,))
        self._mark.put(0, 0, 0, request)
        return request

    def _is_as(self, number: int, seen: Seen) -> bool:
        ((epoch, seq, request),) = list(self._database.run(SQL["seen"], {"run": number}))
        return Seen(epoch, seq, request) == seen

    # --- reading

    def row(self, run_id: str) -> RunRow | None:
        """See `Store.row`."""
        found = self._database.read(SQL["row"], (run_id,))
        return read_row(found[0], run_id) if found else None

    def rows(self, which: RunFilter) -> list[RunRow]:
        """See `Store.rows`."""
        return read_rows(self._database, which)

    def match(self, prefix: str, limit: int) -> list[str]:
        """See `Store.match`."""
        return [run_id for (run_id,) in self._database.read(SQL["match"], {"prefix": prefix, "limit": limit})]

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """See `Store.records`."""
        found = [Record(*values) for values in self._database.read(SQL["records"], (run_id, after))]
        if any(type(record.seq) is not int for record in found):  # in a damaged file a column may have any type
            raise StoreError("the journal is damaged: a record has no number", kind="store.corrupt", run=run_id)
        return found

    def definition(self, content_hash: str) -> bytes | None:
        """See `Store.definition`."""
        for body, is_whole in self._database.read(SQL["definition"], (content_hash,)):
            if is_whole != 1 or not isinstance(body, bytes):
                raise StoreError(f"the definition {content_hash[:12]} fails its checksum", kind="store.corrupt")
            return body
        return None

    def requests(self, run_id: str | None = None) -> list[Request]:
        """See `Store.requests`."""
        self._require_intact("requests")
        requests = []
        for *values, is_whole in self._database.read(SQL["requests"], {"run": run_id}):
            if is_whole != 1:
                raise StoreError(
                    f"request {values[0]} fails its checksum",
                    kind="store.corrupt",
                    run=str(values[1])[:100],
                    hint="`smf fork` begins a new run of what it has done, without what was asked of it",
                )
            requests.append(Request(*values))
        return requests

    def _require_intact(self, table: str) -> None:
        """Refuse a table of which a flipped bit in SQLite's own data hides rows: nothing tells how many there were."""
        found = self._database.read(f"PRAGMA integrity_check({table})", ())
        if found[0][0] != "ok":
            raise StoreError(f"the table {table} is damaged: {found[0][0]}", kind="store.corrupt")

    def steps(self, run_id: str) -> list[tuple[str, str, int]]:
        """See `Store.steps`."""
        return [tuple(values) for values in self._database.read(SQL["steps"], (run_id,))]

    def confirm_absent(self, run_id: str) -> None:
        """See `Store.confirm_absent`."""
        found = self._database.read("PRAGMA integrity_check(runs)", ())
        if found[0][0] != "ok":
            raise StoreError(
                f"whether there is a run {run_id[:100]!r} cannot be told: the list of runs is damaged: {found[0][0]}",
                kind="store.corrupt",
                hint="`smf verify` says more",
            )

    def damages(self) -> list[str]:
        """See `Store.damages`."""
        return damages(self._database, self._blobs)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `Store.backup`."""
        back_up(self._database.path, Path(path).absolute(), make_independent)

    def health(self) -> dict[str, Any]:
        """See `Store.health`."""
        return health(self._database)

    def version(self) -> int:
        """See `Store.version`."""
        return int(self._database.read("PRAGMA data_version", ())[0][0])

    def open_blob(self) -> FolderSpill:
        """See `Store.open_blob`."""
        return self._blobs.open()

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`."""
        return self._blobs.read(digest)

    def close(self) -> None:
        """See `Store.close`."""
        self._mark.close()
        self._database.close()

    # --- inside

    def _number(self, run_id: str) -> int:
        """The run's short number, looked up once per run and process; `_NO_RUN` if there is none."""
        number = self._numbers.get(run_id)
        if number is None:
            found = list(self._database.run(SQL["number"], (run_id,)))
            if not found:
                return _NO_RUN
            number = self._numbers[run_id] = found[0][0]
        return number


class _NothingKept(Exception):  # noqa: N818 - it rolls a transaction back, and goes no further
    """A transaction is given up."""


def _parts(item: NewRun | Write) -> tuple[NewRun | None, Write]:
    return (item, item.write) if isinstance(item, NewRun) else (None, item)
