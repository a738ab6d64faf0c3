"""A copy of a store under a name that was free: whole, checked and on disk before the name appears.

The copy is made by SQLite while others go on writing, and holds all that was committed before it began. It is one file
without a log; blobs, which are immutable, are copied beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Set as AbstractSet
from pathlib import Path
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.journal import Record, RunFold, StepCompleted, stream_blobs
from statemachine_flow.stores.blobs import BlobFolder, FolderSpill
from statemachine_flow.stores.failures import store_error
from statemachine_flow.stores.files import COMPANIONS, sync_file, sync_folder
from statemachine_flow.stores.private import make_private
from statemachine_flow.stores.queries import SQL
from statemachine_flow.stores.schema import listed, name_store
from statemachine_flow.stores.seal import add_seal, damaged_rows, seal_runs

#: Of Linux's `renameat2`: names are relative to the current directory, and none is replaced.
_HERE: Final = -100
_NO_REPLACE: Final = 1


def back_up(
    path: Path, target: Path, prepare: Callable[[apsw.Connection], AbstractSet[str]] = lambda _: frozenset()
) -> None:
    """Copy the store at `path` to `target`.

    Args:
        path: absolute.
        target: absolute; nothing may be there.
        prepare: may change the copy before it is checked, and raises if it is not as it should be; gives the blobs that
            the copy needs.

    Raises:
        StoreError: `store.exists`; `store.corrupt` if the copy fails a check; `store.full`, `store.io`. There is no
            file under that name then.
    """
    _require_free(path, target)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.new-")  # 0600 by contract
        make_private(handle)
        os.close(handle)
        new = Path(name)
        try:
            needed = _copy(path, new, target, prepare)
            with _copied_blobs(path, target, needed):
                sync_file(new)
                _give_name(new, target)
                sync_folder(target.parent)
        finally:
            for suffix in ("", *COMPANIONS):
                with contextlib.suppress(OSError):
                    Path(f"{new}{suffix}").unlink()
    except (apsw.Error, OSError, UnicodeDecodeError) as error:
        raise _without_run(store_error(error, f"backup of {path} to {target}")) from error
    except StoreError as error:
        raise _without_run(error) from error


def _without_run(error: StoreError) -> StoreError:
    """The error with a hint that fits a backup: there is no run to be resumed."""
    if error.kind != "store.full":
        return error
    return StoreError(error.message, kind=error.kind, hint="free some space, or copy it to another disk")


def make_independent(copy: apsw.Connection) -> set[str]:
    """Make a copy a store of its own: nobody owns its runs, and whoever owned them may not write to it.

    Returns:
        The blobs that its journals name.

    Raises:
        StoreError: `store.corrupt`: something in it is not as it was written.
    """
    add_seal(copy)
    copy.execute("BEGIN IMMEDIATE")
    blobs = set[str]()
    for number, run_id, seq, is_whole in copy.execute(SQL["extents"]).fetchall():
        records = [Record(*values) for values in copy.execute(SQL["journal"], (number,))]
        fold = RunFold(str(run_id))
        fold.replay(records)
        if not is_whole or fold.seq != seq:
            raise StoreError("its row and its journal differ", kind="store.corrupt", run=str(run_id))
        folded = {(step.id, step.state, step.attempt) for step in fold.steps.values()}
        if folded != {(step, state, attempt) for step, state, attempt in copy.execute(SQL["steps_of"], (number,))}:
            raise StoreError("the rows of its steps are not what its journal gives", kind="store.corrupt", run=fold.id)
        for data in (record.decode() for record in records if b"blob" in record.data):
            if isinstance(data, StepCompleted):
                blobs.update((data.blob,) if data.blob is not None else stream_blobs(data.output))
    for text in damaged_rows(copy.execute):
        raise StoreError(text, kind="store.corrupt")
    copy.execute("UPDATE runs SET owner = NULL, epoch = epoch + 1, seal = 0")
    copy.execute("DELETE FROM beats")
    seal_runs(copy)
    name_store(copy)
    copy.execute("COMMIT")
    return blobs


def _require_free(path: Path, target: Path) -> None:
    own = {path, *(Path(f"{path}{suffix}") for suffix in COMPANIONS)}
    if target in own or path.with_name(f"{path.name}.blobs") in (target, *target.parents) or os.path.lexists(target):
        raise StoreError(
            f"{target} is there already, or belongs to the store", kind="store.exists", hint="name another file"
        )


def _copy(
    path: Path, new: Path, target: Path, prepare: Callable[[apsw.Connection], AbstractSet[str]]
) -> AbstractSet[str]:
    with (
        contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as source,
        contextlib.closing(apsw.Connection(str(new))) as copy,
    ):
        source.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        source.set_busy_timeout(10_000)
        try:
            with copy.backup("main", source, "main") as backup:
                backup.step(-1)  # all of it under one read lock: a single moment, which no writer waits for
            for setting in ("trusted_schema = OFF", "journal_mode = DELETE", "synchronous = FULL"):
                copy.execute(f"PRAGMA {setting}")
            needed = prepare(copy)
            require_whole(copy, path)
        except apsw.Error as error:
            raise store_error(error, f"backup of {path} to {target}", copy.system_errno) from error
    return needed


def require_whole(connection: apsw.Connection, path: Path) -> None:
    """Refuse a file that SQLite itself finds damaged.

    Raises:
        StoreError: `store.corrupt`.
    """
    found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check(1)") if text != "ok"]
    tables = {name for kind, name, _, _ in listed(connection) if kind == "table"}
    for table in sorted(tables & {"runs", "journal", "steps", "requests", "rejected"}):
        found += [
            f"a row of {table} belongs to no row" for _ in connection.execute(f"PRAGMA foreign_key_check({table})")
        ]
    if found:
        raise StoreError(f"{path} is damaged: {found[0]}", kind="store.corrupt", hint="`smf verify` says more")


@contextlib.contextmanager
def _copied_blobs(path: Path, target: Path, needed: AbstractSet[str]) -> Iterator[None]:
    """Every blob that the copy names is there, for it was durable before the commit that names it; or none stays."""
    source = BlobFolder(path.with_name(f"{path.name}.blobs"))
    folder = target.with_name(f"{target.name}.blobs")
    is_new, blobs, copied = not folder.exists(), BlobFolder(folder), list[FolderSpill]()
    streams = set[str]()
    try:
        for digest in sorted(source.digests() - blobs.digests()):
            try:
                data = source.read(digest)
            except StoreError:
                if source.has(digest):
                    raise
                continue  # taken back meanwhile; what the copy needs is looked for below
            if digest in needed:
                streams.update(stream_blobs(data))
            spill = blobs.open()
            copied.append(spill)
            spill.write(data)
            spill.finish()
        for digest in sorted(needed | streams):
            blobs.require(digest)
        yield
    except BaseException:
        for spill in copied:
            spill.discard()
            spill.take_back()
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _give_name(new: Path, target: Path) -> None:
    """Rename to a name that nobody took meanwhile.

    A link and the removal of the old name would do the same everywhere; but death between the two would leave a file
    with two names, which nobody may use as a store. Linux and Windows know a rename that replaces nothing; elsewhere
    there is a moment between the look and the rename.
    """
    is_taken = os.path.lexists(target)
    if not is_taken and sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if rename is not None:
            if rename(_HERE, os.fsencode(new), _HERE, os.fsencode(target), _NO_REPLACE) == 0:
                return
            is_taken = ctypes.get_errno() == errno.EEXIST
    if is_taken:
        raise StoreError(f"{target} is there already", kind="store.exists", hint="name another file")
    new.rename(target)
