"""One SQLite file, opened safely: settings that durability rests on, transactions, and errors as ours.

Every setting is read back after it was set. Writing transactions begin IMMEDIATE, so a busy neighbour is met before
anything is computed. The connection never checkpoints on close: a second process that closes the file must not
remove the log another one still writes to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, final

import apsw

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.stores.files import prepare_file
from statemachine_flow.stores.schema import own_names, schema_sql

#: Marks the file as ours, in SQLite's header: "smf1".
APPLICATION_ID: Final = 0x736D6631
#: Version of the tables.
SCHEMA_VERSION: Final = 1
#: How often the log of a new file is tried to be switched on while others do the same.
_ATTEMPTS: Final = 100
#: How long a write waits for another process's lock.
BUSY_SECONDS: Final = 30

#: What a commit survives: the loss of power, or only the death of the process.
Durability = Literal["power", "process"]
_SYNCHRONOUS: Final = {"power": ("FULL", 2), "process": ("NORMAL", 1)}


@final
class Database:
    """A connection to one file, used by one thread at a time.

    It is also the context manager of its transactions: what is run inside `with database:` is kept whole, or, when
    something is raised inside, not at all.

    Args:
        path: absolute; the file and its folder are made, private to their owner, if absent.
        readonly: read only; the file must exist.
        durability: what a commit survives.

    Raises:
        StoreError: `store.not_ours`, `store.newer`, `store.unsafe_path`, `store.corrupt`, `store.io`.
    """

    def __init__(self, path: Path, *, readonly: bool, durability: Durability) -> None:
        self.path = path
        self.name = f"sqlite:///{path}"
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._connection: apsw.Connection | None = None
        self._durability = durability
        prepare_file(path, create=not readonly)
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
        try:
            self._connection = apsw.Connection(str(path), flags=flags)
            #: Run one statement inside a transaction.
            self.run = self._connection.execute
            #: Run one statement for each of several rows, inside a transaction.
            self.run_many = self._connection.executemany
            self._set_up(self._connection, durability, readonly=readonly)
        except apsw.Error as error:
            self.close()
            raise self._translated(error) from error
        except BaseException:
            self.close()
            raise

    def _set_up(self, connection: apsw.Connection, durability: Durability, *, readonly: bool) -> None:
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        is_new = not readonly and self._is_empty()
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
            self._switch_log_on()
            wanted = {"journal_mode": ("WAL", "wal"), **wanted}
        for pragma, (value, expected) in wanted.items():
            self.run(f"PRAGMA {pragma} = {value}")
            if (found := self.pragma(pragma)) != expected:
                raise StoreError(f"{self.name}: {pragma} is {found!r} where {expected!r} is needed")
        if is_new:
            self._create_tables()
            self._identify()

    def _switch_log_on(self) -> None:
        """Openers of a new file that do this in the same moment refuse each other at once, so each tries again."""
        for _ in range(_ATTEMPTS):
            try:
                self.run("PRAGMA journal_mode = WAL")
            except apsw.BusyError:
                with self:
                    pass  # unlike the switch, a transaction waits for its turn
            else:
                return

    def _is_empty(self) -> bool:
        """Whether nothing was ever written: a file of no bytes, or one whose making was cut short."""
        return all(self.pragma(name) == 0 for name in ("schema_version", "application_id", "user_version"))

    def _create_tables(self) -> None:
        with self:
            # Asked again under the lock: another process may have made the tables meanwhile.
            if self.pragma("schema_version") == 0:
                self.run(schema_sql())
                self.run(f"PRAGMA application_id = {APPLICATION_ID}")
                self.run(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _identify(self) -> None:
        if self.pragma("application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is not a store of this library", kind="store.not_ours", hint="name another file with --db"
            )
        version = self.pragma("user_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})",
                kind="store.newer",
                hint="upgrade statemachine_flow",
            )

    # --- using

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._usable()
            self.run("BEGIN IMMEDIATE")
        except apsw.Error as error:
            self._lock.release()
            raise self._translated(error) from error
        except BaseException:
            self._lock.release()
            raise

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.run("COMMIT")
            else:
                self._roll_back()
        except apsw.Error as failure:
            self._roll_back()
            raise self._translated(failure) from failure
        finally:
            self._lock.release()
        if isinstance(error, apsw.Error):
            raise self._translated(error) from error

    @contextmanager
    def kept(self, *, synced: bool) -> Iterator[None]:
        """How well the transactions inside are kept: if `synced` is false, they outlive the process alone.

        The log is synced as a whole, so the next synced transaction makes those before it last as well.
        """
        if synced or self._durability == "process":
            yield
            return
        with self._lock:
            self._usable()
            self.run("PRAGMA synchronous = NORMAL")
            try:
                yield
            finally:
                self.run("PRAGMA synchronous = FULL")

    @contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """The connection inside a transaction, for somebody who may use it for tables of their own.

        What belongs to the store, and the transaction itself, are out of their reach.
        """
        connection = self._usable()
        # Numbers of requests are counted there; they must not come twice.
        connection.authorizer = partial(_authorize, own_names() | {"sqlite_sequence"})
        try:
            yield connection
        finally:
            connection.authorizer = None

    def read(self, sql: str, values: Any) -> list[Any]:
        """All rows of one reading statement."""
        with self._lock:
            self._usable()
            try:
                return list(self.run(sql, values))
            except UnicodeDecodeError as error:
                raise StoreError(f"{self.name}: damaged text: {error}", kind="store.corrupt") from error
            except UnicodeEncodeError:
                return []  # asked about text that cannot be stored, such as a lone surrogate
            except apsw.Error as error:
                raise self._translated(error) from error

    def pragma(self, name: str) -> object:
        """The value of a setting."""
        with self._lock:
            self._usable()
            return next(iter(self.run(f"PRAGMA {name}")))[0]

    def changes(self) -> int:
        """How many rows the last statement changed."""
        return self._usable().changes()

    def last_id(self) -> int:
        """The id of the row inserted last."""
        return self._usable().last_insert_rowid()

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        with self._lock:
            connection, self._connection = self._connection, None
            # A child of fork must not touch the parent's locks, not even to close.
            if connection is not None and os.getpid() == self._pid:
                connection.close()

    # --- inside

    def _usable(self) -> apsw.Connection:
        if self._connection is None:
            raise UsageError("the store is closed", kind="usage.closed")
        if os.getpid() != self._pid:
            raise UsageError(
                "the store was opened before a fork", kind="usage.forked", hint="open a new engine in the child process"
            )
        return self._connection

    def _roll_back(self) -> None:
        # SQLite ends the transaction by itself after some errors, such as a full disk.
        if self._connection is not None and not self._connection.get_autocommit():
            self.run("ROLLBACK")

    def _translated(self, error: apsw.Error) -> StoreError:
        for kind_of, kind, hint in _KINDS:
            if isinstance(error, kind_of):
                return StoreError(f"{self.name}: {error}", kind=kind, hint=hint)
        return StoreError(f"{self.name}: {error}", kind="store.io")


#: What somebody with a lent connection may not do at all.
_NEVER: Final = frozenset({apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA})
#: What is refused for a table, index or trigger of the store; something temporary would hide what has its name.
_CHANGES: Final = frozenset(
    {
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_ALTER_TABLE,
    }
)


def _authorize(
    ours: frozenset[str],
    action: int,
    first: str | None,
    second: str | None,
    _database: str | None,
    _trigger: str | None,
) -> int:
    if action in _NEVER or (
        action in _CHANGES and not ours.isdisjoint(name.lower() for name in (first, second) if name)
    ):
        return int(apsw.SQLITE_DENY)
    return int(apsw.SQLITE_OK)


_KINDS: Final[Sequence[tuple[type[apsw.Error], str, str | None]]] = (
    (apsw.BusyError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.LockedError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.FullError, "store.full", "free some space and resume the run"),
    (apsw.NotADBError, "store.not_ours", "name another file with --db"),
    (apsw.CorruptError, "store.corrupt", "restore a backup; the file was left as it is"),
)
