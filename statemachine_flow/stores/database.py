"""One SQLite file, opened safely: settings that durability rests on, transactions, and errors as ours.

Every setting is read back after it was set. Writing transactions begin IMMEDIATE, so a busy neighbour is met before
anything is computed. The connection never checkpoints on close: a second process that closes the file must not
remove the log another one still writes to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, final

import apsw

from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.stores.failures import SYNC_FAILED, store_error
from statemachine_flow.stores.files import keep_private, prepare_file, require_log_of_its_own
from statemachine_flow.stores.filesystem import is_shared
from statemachine_flow.stores.known import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    refuse_by_header,
    require_known,
    require_safe_log,
)
from statemachine_flow.stores.lending import lent
from statemachine_flow.stores.migrations import migrate, require_old
from statemachine_flow.stores.presence import Presence, identity_of
from statemachine_flow.stores.schema import make_tables, require_own_schema
from statemachine_flow.stores.seal import add_seal
from statemachine_flow.stores.unwritable import needs_migration, unwritable

#: How often the log of a new file is tried to be switched on while others do the same.
_ATTEMPTS: Final = 100
#: How long a write waits for another process's lock.
BUSY_SECONDS: Final = 30
#: The same for a write that others of this process must not wait for.
_HURRIED_SECONDS: Final = 0.05

#: What a commit survives: the loss of power, or only the death of the process.
Durability = Literal["power", "process"]
_SYNCHRONOUS: Final = {"power": ("FULL", 2), "process": ("NORMAL", 1)}
#: Without a log, the folder has to be synced as well.
_EXTRA: Final = ("EXTRA", 3)
_AS_OPENED: Final = nullcontext()


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
        StoreError: `store.not_ours`, `store.newer`, `store.needs_migration`, `store.schema_mismatch`,
            `store.unsafe_path`, `store.filesystem`, `store.old_sqlite`, `store.corrupt`, `store.io`.
    """

    def __init__(self, path: Path, *, readonly: bool, durability: Durability) -> None:
        self.path = path
        self.name = f"sqlite:///{path}"
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._connection: apsw.Connection | None = None
        self._durability = durability
        #: Why nothing can be done with the file any more.
        self._lost: StoreError | None = None
        #: The files that have to stay where they are.
        self._presence: Presence | None = None
        is_new = prepare_file(path, create=not readonly)
        is_shared_ = is_shared(path.parent)
        self._journal_mode, self._level = ("delete", _EXTRA) if is_shared_ else ("wal", _SYNCHRONOUS[durability])
        if not is_new:
            require_log_of_its_own(path)
            refuse_by_header(path)
        if self._journal_mode == "wal" and not readonly:
            require_safe_log()
        found = identity_of(str(path))
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
        try:
            self._connection = apsw.Connection(str(path), flags=flags)
            #: Run one statement inside a transaction.
            self.run = self._connection.execute
            #: Run one statement for each of several rows, inside a transaction.
            self.run_many = self._connection.executemany
            add_seal(self._connection)
            self._set_up(self._connection, readonly=readonly)
            if not readonly and os.name == "posix":  # elsewhere a file that is open cannot be moved
                beside = [(place, identity_of(place)) for place in (f"{path}-wal", f"{path}-shm")]
                self._presence = Presence(str(path.parent), [(str(path), found), *beside])
                self._require_in_place()
        except (apsw.Error, UnicodeDecodeError) as error:
            translated = self._translated(error)
            self.close()
            if isinstance(error, apsw.Error):
                translated = unwritable(path, error, readonly=readonly) or translated
            raise translated from error
        except BaseException:
            self.close()
            raise

    def _set_up(self, connection: apsw.Connection, *, readonly: bool) -> None:
        connection.set_busy_timeout(BUSY_SECONDS * 1000)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # The mark first: it is made when the tables are there.
        has_mark, is_empty = Path(f"{self.path}-mark").exists(), self._is_empty()
        if is_empty and has_mark:
            raise StoreError(
                f"all that was committed to {self.path} was in its log, and that was removed or cut off",
                kind="store.lost_tail",
                hint=f"put back {self.path.name}-wal, or a backup; or remove {self.path.name}-mark to begin anew",
            )
        is_empty = is_empty and not readonly
        if not is_empty:  # all that can be refused is, before any setting that would write
            self._require_ours(connection)
        if not readonly:
            keep_private(self.path)
        self._settle(readonly=readonly)
        if is_empty:
            self._create_tables()
        version = self._identify()  # which makes the log, where its use has just begun
        if version < SCHEMA_VERSION:
            self._bring_up(version, readonly=readonly)
        if is_empty or version < SCHEMA_VERSION:
            require_own_schema(connection, self.path)

    def _require_ours(self, connection: apsw.Connection) -> None:
        """Refuse what is not exactly a store of this version, or of an older one."""
        self.run("BEGIN")  # another process may bring it up to this version in between
        try:
            version = self._identify()
            if version < SCHEMA_VERSION:
                require_old(connection, self.path, version)
            else:
                require_own_schema(connection, self.path)
        finally:
            self.run("ROLLBACK")

    def _settle(self, *, readonly: bool) -> None:
        level, number = self._level
        wanted: dict[str, tuple[str, object]] = {
            "foreign_keys": ("ON", 1),
            "trusted_schema": ("OFF", 0),
            "cell_size_check": ("ON", 1),
            "secure_delete": ("ON", 1),  # a request may hold what only its run's owner knows to be a secret
            "synchronous": (level, number),
            "fullfsync": ("ON", 1),
        }
        if not readonly:
            self._switch_log()
            wanted = {"journal_mode": (self._journal_mode, self._journal_mode), **wanted}
        for pragma, (value, expected) in wanted.items():
            self.run(f"PRAGMA {pragma} = {value}")
            if (found := self.pragma(pragma)) != expected:
                raise StoreError(f"{self.name}: {pragma} is {found!r} where {expected!r} is needed")

    def _switch_log(self) -> None:
        """Openers of a new file that do this in the same moment refuse each other at once, so each tries again."""
        for _ in range(_ATTEMPTS):
            try:
                self.run(f"PRAGMA journal_mode = {self._journal_mode}")
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
                make_tables(self._usable())
                self.run(f"PRAGMA application_id = {APPLICATION_ID}")
                self.run(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _bring_up(self, version: int, *, readonly: bool) -> None:
        """Bring an older store to this version; whoever comes second waits, and finds it done."""
        connection = self._usable()
        if readonly:
            require_old(connection, self.path, version)
            raise needs_migration(self.path, version)
        # Neither can be set inside a transaction. References to a table that steps aside are to mean the new one.
        self.run("PRAGMA foreign_keys = OFF")
        self.run("PRAGMA legacy_alter_table = ON")
        with self:
            found = self._identify()
            if found < SCHEMA_VERSION:
                migrate(connection, self.path, found)
                self.run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.run("PRAGMA legacy_alter_table = OFF")
        self.run("PRAGMA foreign_keys = ON")

    def _identify(self) -> int:
        version = self.pragma("user_version")
        require_known(self.path, self.pragma("application_id"), version)
        return int(str(version))

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
                # Before: without the memory it shares with others, it would write over what they committed.
                self._require_in_place()
                self.run("COMMIT")
            else:
                self._roll_back()
        except apsw.Error as failure:
            translated = self._translated(failure)
            self._roll_back()
            if getattr(failure, "extendedresult", 0) in SYNC_FAILED:
                self._lose(translated)
            raise translated from failure
        finally:
            self._lock.release()
        if isinstance(error, apsw.Error | UnicodeDecodeError):
            raise self._translated(error) from error

    def kept(self, *, synced: bool) -> AbstractContextManager[None]:
        """How well the transactions inside are kept: if `synced` is false, they outlive the process alone.

        The log is synced as a whole, so the next synced transaction makes those before it last as well.
        """
        return _AS_OPENED if synced or self._durability == "process" else self._unsynced()

    @contextmanager
    def _unsynced(self) -> Iterator[None]:
        with self._lock:
            self._usable()
            self.run("PRAGMA synchronous = NORMAL")
            try:
                yield
            finally:
                if self._connection is not None:  # else the file was lost inside
                    self.run(f"PRAGMA synchronous = {self._level[0]}")

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Transactions inside hardly wait for another process: `store.busy` comes soon, and is to be expected."""
        with self._lock:
            connection = self._usable()
            connection.set_busy_timeout(int(_HURRIED_SECONDS * 1000))
            try:
                yield
            finally:
                if self._connection is not None:  # as above
                    connection.set_busy_timeout(BUSY_SECONDS * 1000)

    @contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """The connection inside a transaction, for somebody who may use it for tables of their own, not close it."""
        try:
            with lent(self._usable()) as connection:
                yield connection
        except apsw.ConnectionClosedError:
            self._lose(
                StoreError(
                    f"{self.name}: a step closed the connection it was lent",
                    hint="leave it open, and open the store again",
                )
            )

    def read(self, sql: str, values: Any) -> list[Any]:
        """All rows of one reading statement."""
        with self._lock:
            self._usable()
            try:
                return list(self.run(sql, values))
            except UnicodeEncodeError:
                return []  # asked about text that cannot be stored, such as a lone surrogate
            except (apsw.Error, UnicodeDecodeError) as error:
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
        if os.getpid() != self._pid:
            # A child of fork must not touch the parent's locks, not even to close; and a thread may have held ours.
            self._connection = None
            return
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    # --- inside

    def _usable(self) -> apsw.Connection:
        if self._lost is not None:
            raise StoreError(self._lost.message, kind=self._lost.kind, hint=self._lost.hint)
        if self._connection is None:
            raise UsageError("the store is closed", kind="usage.closed")
        if os.getpid() != self._pid:
            raise UsageError(
                "the store was opened before a fork", kind="usage.forked", hint="open a new engine in the child process"
            )
        return self._connection

    def _require_in_place(self) -> None:
        """Refuse to go on with files that others no longer find: what is committed to them, nobody will see.

        Somebody replaced or removed the file, or opened and closed it by other means in this very process. That drops
        the locks of SQLite, and then another process may take the log away.
        """
        if self._presence is not None and (missing := self._presence.missing()) is not None:
            self._lose(
                StoreError(
                    f"{missing} was moved, removed or replaced while it was in use",
                    kind="store.moved",
                    hint="what was told before is kept, this commit was not made; "
                    "nothing but this library may open the files of a store",
                )
            )

    def _lose(self, why: StoreError) -> NoReturn:
        """Let go of a file that cannot be trusted to keep anything: it has to be opened again."""
        self.close()
        self._lost = why
        raise why

    def _roll_back(self) -> None:
        # SQLite ends the transaction by itself after some errors, such as a full disk.
        if self._connection is not None and not self._connection.get_autocommit():
            self.run("ROLLBACK")

    def _translated(self, error: apsw.Error | UnicodeDecodeError) -> StoreError:
        return store_error(error, self.name, 0 if self._connection is None else self._connection.system_errno)
