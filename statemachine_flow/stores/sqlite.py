"""The SQLite store: one file, WAL, every commit synced before anyone is told of it.

Every setting that durability rests on is read back after it was set. Writing transactions begin IMMEDIATE, so a
busy neighbour is met before anything is computed, and end before any code of the user runs. The connection never
checkpoints on close: a second process that closes the file must not remove the log another one still writes to.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, final

import apsw
import msgspec

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.journal import Record
from statemachine_flow.stores.base import NewRun, Owner, Request, RunFilter, RunRow, Write
from statemachine_flow.stores.blobs import BlobFolder, FolderSpill
from statemachine_flow.stores.files import prepare_file
from statemachine_flow.stores.schema import schema_sql

#: Marks the file as ours, in SQLite's header: "smf1".
APPLICATION_ID: Final = 0x736D6631
#: Version of the tables.
SCHEMA_VERSION: Final = 1
#: How long a write waits for another process's lock.
BUSY_SECONDS: Final = 30

#: What a commit survives: the loss of power, or only the death of the process.
Durability = Literal["power", "process"]
_SYNCHRONOUS: Final = {"power": ("FULL", 2), "process": ("NORMAL", 1)}


def _load_queries() -> dict[str, str]:
    text = files("statemachine_flow.stores").joinpath("sql/queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.sub(r"^--.*$", "", body, flags=re.MULTILINE).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


_SQL: Final = _load_queries()
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
        self._path = Path(path).absolute()
        self.name = f"sqlite:///{self._path}"
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._numbers: dict[str, int] = {}
        self._blobs = BlobFolder(self._path.with_name(self._path.name + ".blobs"))
        is_new = prepare_file(self._path, create=not readonly)
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
        with _translated(self.name):
            self._connection: apsw.Connection | None = apsw.Connection(str(self._path), flags=flags)
            self._run = self._connection.execute
        try:
            with _translated(self.name):
                self._set_up(durability, is_new=is_new and not readonly, readonly=readonly)
        except BaseException:
            self.close()
            raise

    def _set_up(self, durability: Durability, *, is_new: bool, readonly: bool) -> None:
        connection = self._db()
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if not is_new:
            self._identify()  # before any setting that would write into somebody else's file
        level, number = _SYNCHRONOUS[durability]
        wanted: dict[str, tuple[str, object]] = {
            "foreign_keys": ("ON", 1),
            "trusted_schema": ("OFF", 0),
            "cell_size_check": ("ON", 1),
            "synchronous": (level, number),
            "fullfsync": ("ON", 1),
        }
        if not readonly:
            wanted = {"journal_mode": ("WAL", "wal"), **wanted}
        for pragma, (value, expected) in wanted.items():
            self._run(f"PRAGMA {pragma} = {value}")
            if (found := self._pragma(pragma)) != expected:
                raise StoreError(f"{self.name}: {pragma} is {found!r} where {expected!r} is needed")
        if is_new:
            self._create_tables()
            self._identify()

    def _create_tables(self) -> None:
        with self._transaction():
            # Asked again under the lock: another process may have made the tables meanwhile.
            if self._pragma("schema_version") == 0:
                self._run(schema_sql())
                self._run(f"PRAGMA application_id = {APPLICATION_ID}")
                self._run(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _identify(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self._path} is not a store of this library", kind="store.not_ours", hint="name another file with --db"
            )
        version = self._pragma("user_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})",
                kind="store.newer",
                hint="upgrade statemachine_flow",
            )

    def _pragma(self, name: str) -> object:
        return next(iter(self._run(f"PRAGMA {name}")))[0]

    # --- writing

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        """See `Store.claim`."""
        with self._transaction():
            self._run(_SQL["claim"], (_owner_encoder.encode(owner).decode(), run_id, epoch))
            return self._db().changes() == 1

    def release(self, run_id: str, epoch: int) -> None:
        """See `Store.release`."""
        with self._transaction():
            self._run(_SQL["release"], (run_id, epoch))

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        """See `Store.commit`."""
        refused: list[str] = []
        with self._transaction():
            for item in batch:
                write = item.write if isinstance(item, NewRun) else item
                if not ((item is write or self._insert(item)) and self._keep(write)):
                    refused.append(write.run_id)
        return refused

    def _insert(self, new: NewRun) -> bool:
        row = new.row
        self._run(_SQL["insert_definition"], (row.definition, new.definition))
        owner = None if row.owner is None else _owner_encoder.encode(row.owner).decode()
        values = (row.id, row.workflow, row.version, row.definition, row.state, row.epoch, owner)
        self._run(_SQL["insert_run"], (*values, row.created_at, row.created_at, row.steps_total))
        return self._db().changes() == 1

    def _keep(self, write: Write) -> bool:
        """One run's part of a transaction; False, and nothing written, if its owner or sequence moved on."""
        run, number = self._run, self._number(write.run_id)
        seq = write.seq + len(write.records)
        run(_SQL["advance_run"], (seq, write.updated_at, write.steps_done, number, write.epoch, write.seq))
        if self._db().changes() != 1:
            return False
        insert = _SQL["insert_record"]
        for record in write.records:
            fields = (number, record.seq, record.kind, record.at, record.step, record.data, record.digest)
            run(insert, fields)
        for change in write.steps:
            if change.first:
                run(_SQL["insert_step"], (number, change.step, change.state, change.attempt))
            else:
                run(_SQL["change_step"], (change.state, change.attempt, number, change.step))
        for state in write.states:
            run(_SQL["change_run"], (state, write.started_at, write.ended_at, write.message, number))
        for request in write.answered:
            run(_SQL["delete_request"], (request,))
        if write.release:
            run(_SQL["release"], (write.run_id, write.epoch))
        return True

    def request(self, run_id: str, action: str, by: str, reason: str, at: int) -> int:
        """See `Store.request`."""
        with self._transaction():
            self._run(_SQL["insert_request"], (run_id, action, by, reason, at))
            return self._db().last_insert_rowid()

    # --- reading

    def row(self, run_id: str) -> RunRow | None:
        """See `Store.row`."""
        found = self._read("row", (run_id,))
        return _row(found[0]) if found else None

    def rows(self, which: RunFilter) -> list[RunRow]:
        """See `Store.rows`."""
        states = msgspec.json.encode(which.states).decode() if which.states else None
        bound = {"states": states, "workflow": which.workflow, "since": which.since, "limit": which.limit}
        return [_row(values) for values in self._read("rows", bound)]

    def match(self, prefix: str, limit: int) -> list[str]:
        """See `Store.match`."""
        return [run_id for (run_id,) in self._read("match", {"prefix": prefix, "limit": limit})]

    def records(self, run_id: str, after: int = 0) -> list[Record]:
        """See `Store.records`."""
        return [Record(*values) for values in self._read("records", (run_id, after))]

    def definition(self, content_hash: str) -> bytes | None:
        """See `Store.definition`."""
        found = self._read("definition", (content_hash,))
        return found[0][0] if found else None

    def requests(self, run_id: str | None = None) -> list[Request]:
        """See `Store.requests`."""
        return [Request(*values) for values in self._read("requests", {"run": run_id})]

    def version(self) -> int:
        """See `Store.version`."""
        with self._lock, _translated(self.name):
            self._db()
            return int(str(self._pragma("data_version")))

    def open_blob(self) -> FolderSpill:
        """See `Store.open_blob`."""
        return self._blobs.open()

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`."""
        return self._blobs.read(digest)

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            connection, self._connection = self._connection, None
            # A child of fork must not touch the parent's locks, not even to close.
            if connection is not None and os.getpid() == self._pid:
                connection.close()

    # --- plumbing

    def _read(self, name: str, values: Any) -> list[Any]:
        with self._lock, _translated(self.name):
            self._db()
            return list(self._run(_SQL[name], values))

    def _number(self, run_id: str) -> int:
        """The run's short number, looked up once per run and process; -1 if there is no such run."""
        number = self._numbers.get(run_id)
        if number is None:
            found = list(self._run(_SQL["number"], (run_id,)))
            if not found:
                return -1
            number = self._numbers[run_id] = found[0][0]
        return number

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE ... COMMIT; anything raised inside leaves the store as it was."""
        with self._lock, _translated(self.name):
            self._db()
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                self._numbers.clear()
                if not self._db().get_autocommit():
                    self._run("ROLLBACK")
                raise

    def _db(self) -> apsw.Connection:
        if self._connection is None:
            raise UsageError("the store is closed", kind="usage.closed")
        if os.getpid() != self._pid:
            raise UsageError(
                "the store was opened before a fork", kind="usage.forked", hint="open a new engine in the child process"
            )
        return self._connection


def _row(values: Sequence[Any]) -> RunRow:
    fields = dict(zip(RunRow.__struct_fields__, values, strict=True))
    fields["owner"] = None if fields["owner"] is None else _owner_decoder.decode(fields["owner"])
    return RunRow(**fields)


_KINDS: Final[tuple[tuple[type[apsw.Error], str, str | None], ...]] = (
    (apsw.BusyError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.LockedError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.FullError, "store.full", "free some space and resume the run"),
    (apsw.NotADBError, "store.not_ours", "name another file with --db"),
    (apsw.CorruptError, "store.corrupt", "restore a backup; the file was left as it is"),
)


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        for kind_of, kind, hint in _KINDS:
            if isinstance(error, kind_of):
                raise StoreError(f"{name}: {error}", kind=kind, hint=hint) from error
        raise StoreError(f"{name}: {error}", kind="store.io") from error
