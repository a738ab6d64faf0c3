"""The SQLite store: runs and journals as rows of one file, every commit synced before anyone is told of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.journal import Record
from statemachine_flow.stores.base import Beat, NewRun, Owner, Rejected, Request, RunFilter, RunRow, Write
from statemachine_flow.stores.blobs import BlobFolder, FolderSpill
from statemachine_flow.stores.database import Database, Durability


def _load_queries() -> dict[str, str]:
    text = files("statemachine_flow.stores").joinpath("sql/queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.sub(r"^--.*$", "", body, flags=re.MULTILINE).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


_SQL: Final = _load_queries()
_NO_RUN: Final = -1
#: How long the last sign of life of an owner that did not leave is remembered: a day, in microseconds.
_REMEMBERED: Final = 86_400_000_000
_owner_encoder: Final = msgspec.json.Encoder()
_owner_decoder: Final = msgspec.json.Decoder(Owner)


@final
class SqliteStore:
    """The `Store` contract on one SQLite file.

    Args:
        path: the file; it and its folder are made, private to their owner, if absent.
        readonly: read only; the file must exist.
        durability: `"power"` syncs every commit to disk, `"process"` leaves that to the system and may lose the
            last commits, never more and never half of one, when the machine loses power.

    Raises:
        StoreError: `store.not_ours`, `store.newer`, `store.unsafe_path`, `store.corrupt`, `store.io`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = SqliteStore(f"{folder}/runs.db")
        ...     print(store.rows(RunFilter()))
        ...     store.close()
        []
    """

    def __init__(
        self, path: str | os.PathLike[str], *, readonly: bool = False, durability: Durability = "power"
    ) -> None:
        try:
            absolute = Path(path).absolute()
        except FileNotFoundError:
            raise UsageError("the current directory is gone", hint="name the store by its whole path") from None
        self._database = Database(absolute, readonly=readonly, durability=durability)
        self.name = self._database.name
        self._numbers: dict[str, int] = {}
        self._blobs = BlobFolder(absolute.with_name(absolute.name + ".blobs"))

    # --- writing

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """See `Store.claim`."""
        with self._database:
            self._database.run(_SQL["claim"], (_owner_encoder.encode(owner).decode(), run_id, epoch))
            return self._database.changes() == 1

    def release(self, run_id: str, epoch: int) -> None:
        """See `Store.release`."""
        with self._database:
            self._database.run(_SQL["release"], (run_id, epoch))

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        """See `Store.beat`."""
        with self._database.kept(synced=False), self._database:
            self._database.run(_SQL["forget_beats"], (beat.at - _REMEMBERED, beat.nonce))
            self._database.run(_SQL["beat"], (beat.nonce, beat.count, beat.at, beat.monotonic))
            asked = msgspec.json.encode(list(runs.items())).decode()
            return [run_id for (run_id,) in self._database.run(_SQL["lost_runs"], (asked,))]

    def last_beat(self, nonce: str) -> Beat | None:
        """See `Store.last_beat`."""
        found = self._database.read(_SQL["last_beat"], (nonce,))
        return Beat(*found[0]) if found else None

    def leave(self, nonce: str) -> None:
        """See `Store.leave`."""
        with self._database.kept(synced=False), self._database:
            self._database.run(_SQL["leave"], (nonce,))

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        """See `Store.reject`."""
        said = (write.run_id, write.epoch, _owner_encoder.encode(owner).decode(), at)
        with self._database:
            rows = [(*said, record.kind, record.step, record.data) for record in write.records]
            self._database.run_many(_SQL["reject"], rows)

    def rejected(self, run_id: str) -> list[Rejected]:
        """See `Store.rejected`."""
        found = self._database.read(_SQL["rejected"], (run_id,))
        return [Rejected(run, epoch, _owner_decoder.decode(owner), *rest) for run, epoch, owner, *rest in found]

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """See `Store.commit`."""
        try:
            with self._database.kept(synced=any(write.synced for _, write in map(_parts, batch))), self._database:
                return [write.run_id for new, write in map(_parts, batch) if not self._keep_all(new, write)]
        except BaseException:
            # A number that was given out inside a transaction that failed will be given to another run.
            self._numbers.clear()
            raise

    def _keep_all(self, new: NewRun | None, write: Write) -> bool:
        return (new is None or self._insert(new)) and self._keep(write)

    def _insert(self, new: NewRun) -> bool:
        row = new.row
        owner = None if row.owner is None else _owner_encoder.encode(row.owner).decode()
        values = (row.id, row.workflow, row.version, row.definition, row.state, row.epoch, owner)
        self._database.run(_SQL["insert_run"], (*values, row.created_at, row.created_at, row.steps_total))
        if self._database.changes() != 1:
            return False
        self._database.run(_SQL["insert_definition"], (row.definition, new.definition))
        for content_hash, body in new.children.items():
            self._database.run(_SQL["insert_definition"], (content_hash, body))
        return True

    def _keep(self, write: Write) -> bool:
        """One run's part of a transaction; False, and nothing written, if its owner or sequence moved on."""
        database, number = self._database, self._number(write.run_id)
        seq = write.seq + len(write.records)
        database.run(_SQL["advance_run"], (seq, write.updated_at, write.steps_done, number, write.epoch, write.seq))
        if self._database.changes() != 1:
            return False
        rows = [(number, r.seq, r.kind, r.at, r.step, r.data, r.digest) for r in write.records]
        self._database.run_many(_SQL["insert_record"], rows)
        for change in write.steps:
            if change.first:
                database.run(_SQL["insert_step"], (number, change.step, change.state, change.attempt))
            else:
                database.run(_SQL["change_step"], (change.state, change.attempt, number, change.step))
        for state in write.states:
            database.run(_SQL["change_run"], (state, write.started_at, write.ended_at, write.message, number))
        for request in write.answered:
            database.run(_SQL["delete_request"], (request,))
        if write.ends:
            database.run(_SQL["delete_requests"], (number,))
        if write.release:
            database.run(_SQL["release"], (write.run_id, write.epoch))
        return True

    def transact(self, work: Callable[[Any], NewRun | Write | None]) -> bool:
        """See `Store.transact`."""
        try:
            with self._database:
                with self._database.lent() as connection:
                    item = work(connection)
                if item is None or not self._keep_all(*_parts(item)):
                    raise _NothingKept  # noqa: TRY301 - it rolls this very transaction back
        except _NothingKept:
            return False
        except BaseException:
            self._numbers.clear()  # as in `commit`
            raise
        return True

    def request(self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"") -> int:  # noqa: PLR0917 - as in the contract
        """See `Store.request`."""
        with self._database:
            self._database.run(_SQL["insert_request"], (run_id, action, by, reason, at, data))
            return self._database.last_id()

    # --- reading

    def row(self, run_id: str) -> RunRow | None:
        """See `Store.row`."""
        found = self._database.read(_SQL["row"], (run_id,))
        return _row(found[0]) if found else None

    def rows(self, which: RunFilter) -> list[RunRow]:
        """See `Store.rows`."""
        states = msgspec.json.encode(which.states).decode() if which.states else None
        bound = {"states": states, "workflow": which.workflow, "since": which.since}
        bound |= {"owned": which.owned, "limit": which.limit}
        return [_row(values) for values in self._database.read(_SQL["rows"], bound)]

    def match(self, prefix: str, limit: int) -> list[str]:
        """See `Store.match`."""
        return [run_id for (run_id,) in self._database.read(_SQL["match"], {"prefix": prefix, "limit": limit})]

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """See `Store.records`."""
        return [Record(*values) for values in self._database.read(_SQL["records"], (run_id, after))]

    def definition(self, content_hash: str) -> bytes | None:
        """See `Store.definition`."""
        found = self._database.read(_SQL["definition"], (content_hash,))
        return found[0][0] if found else None

    def requests(self, run_id: str | None = None) -> list[Request]:
        """See `Store.requests`."""
        return [Request(*values) for values in self._database.read(_SQL["requests"], {"run": run_id})]

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
        self._database.close()

    # --- inside

    def _number(self, run_id: str) -> int:
        """The run's short number, looked up once per run and process; `_NO_RUN` if there is none."""
        number = self._numbers.get(run_id)
        if number is None:
            found = list(self._database.run(_SQL["number"], (run_id,)))
            if not found:
                return _NO_RUN
            number = self._numbers[run_id] = found[0][0]
        return number


class _NothingKept(Exception):  # noqa: N818 - it rolls a transaction back, and goes no further
    """A transaction is given up."""


def _parts(item: NewRun | Write) -> tuple[NewRun | None, Write]:
    return (item, item.write) if isinstance(item, NewRun) else (None, item)


def _row(values: Sequence[Any]) -> RunRow:
    fields = dict(zip(RunRow.__struct_fields__, values, strict=True))
    try:
        fields["owner"] = None if fields["owner"] is None else _owner_decoder.decode(fields["owner"])
        return msgspec.convert(fields, RunRow)
    except (msgspec.MsgspecError, TypeError) as error:
        # In a damaged file a column may even have another type than its table declares.
        raise StoreError(f"the row of a run cannot be read: {error}", kind="store.corrupt") from error
