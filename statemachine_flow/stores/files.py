"""The store's file before SQLite sees it: made private at birth, and never through a link or into something else."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.private import FILE, make_folder, make_private

#: What stands behind the name of a store in the names of the files beside it: SQLite's log and shared memory, the mark.
COMPANIONS: Final = ("-wal", "-shm", "-mark", "-journal")

_HEADER_SIZE: Final = 100
_MAGIC: Final = b"SQLite format 3\0"


def prepare_file(path: Path, *, create: bool) -> bool:
    """Make sure `path` is a regular file of ours, or make it.

    Modes are given when folder and file are created, so they hold whatever the umask is; SQLite gives its log and
    shared-memory files the mode of the database. One that is there is left as it is, see `keep_private`.

    Args:
        path: absolute.
        create: make the file, and its folder, if absent.

    Returns:
        Whether the file was made.

    Raises:
        StoreError: `store.unsafe_path` for a link, a folder, a special file, a file of somebody else, a folder that
            everybody may write to, or a name that is no text; `store.not_ours`; `store.io` for the rest.
    """
    try:
        str(path).encode()  # SQLite takes no other names
        return _prepare(path, create=create)
    except ValueError as error:
        raise StoreError(f"{str(path)!r} cannot name a file", kind="store.unsafe_path") from error
    except OSError as error:
        hint = "name an existing store with --db" if isinstance(error, FileNotFoundError) else None
        raise StoreError(f"{path}: {error.strerror or error}", kind="store.io", hint=hint) from error


def keep_private(path: Path) -> None:
    """Take away what others may do with a store, and with the files beside it; to be called once it is known for one.

    Raises:
        OSError: it cannot be done.
    """
    if os.name != "posix":
        return
    for suffix in ("", *COMPANIONS):
        file = Path(f"{path}{suffix}")
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(file.lstat().st_mode) & 0o077:
                file.chmod(FILE)


def require_log_of_its_own(path: Path) -> None:
    """Refuse a file that is empty beside a log that is not: SQLite would delete that, and with it all there is.

    Raises:
        StoreError: `store.lost_tail`.
    """
    log = Path(f"{path}-wal")
    if path.stat().st_size == 0 and log.exists() and log.stat().st_size > 0:
        raise StoreError(
            f"{path} is empty, and its log is not: the file itself was cut off or taken away",
            kind="store.lost_tail",
            hint=f"put back {path.name} or a backup; to begin anew, move {log.name} and {path.name}-mark away",
        )


def read_header(path: Path) -> tuple[int, int, bool] | None:
    """What the main file alone says, with no log made and no lock of ours lost: SQLite itself reads it.

    Returns:
        Application id, version of the schema, and whether it holds tables; None for what is no SQLite file.
    """
    try:
        file = apsw.VFSFile("", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    except apsw.Error:
        return None
    try:
        header = file.xRead(_HEADER_SIZE, 0)
    except apsw.Error:
        return None
    finally:
        file.xClose()
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        return None
    number = [int.from_bytes(header[at : at + 4], "big") for at in (68, 60, 40)]
    return number[0], number[1], number[2] != 0


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with _descriptor(path, os.O_RDWR) as handle:
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Make names durable; systems that cannot open a folder keep changes of names in order by themselves."""
    with contextlib.suppress(OSError), _descriptor(folder, os.O_RDONLY) as handle:
        os.fsync(handle)


@contextlib.contextmanager
def _descriptor(path: Path, flags: int) -> Iterator[int]:
    handle = os.open(path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def _prepare(path: Path, *, create: bool) -> bool:
    if create:
        _make_folder(path.parent)
    _require_private_folder(path.parent)
    for suffix in COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            _require_regular(Path(f"{path}{suffix}"))
    if create:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        try:
            handle = os.open(path, flags, FILE)
        except FileExistsError:
            pass  # the usual case: the check below looks at what is there
        else:
            make_private(handle)
            os.close(handle)
            Path(f"{path}-mark").unlink(missing_ok=True)  # of a store that somebody removed
            return True
    if _require_regular(path).st_size == 1:  # SQLite takes that for an empty file
        raise StoreError(f"{path} is not a store of this library", kind="store.not_ours")
    return False


def _require_private_folder(folder: Path) -> None:
    """Where everybody may write, anybody may put another file in the place of the store, unless names are sticky."""
    mode = folder.stat().st_mode
    if os.name == "posix" and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreError(
            f"{folder} can be written to by everybody",
            kind="store.unsafe_path",
            hint=f"chmod o-w {folder}, or keep the store elsewhere",
        )


def _require_regular(path: Path) -> os.stat_result:
    """Refuse what is no plain file of this user."""
    found = path.lstat()
    what = None
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
    elif found.st_nlink > 1:
        what = "a file with several names"
    elif os.name == "posix" and found.st_uid != os.geteuid():
        what = "a file of another user"
    if what is not None:
        raise StoreError(f"{path} is {what}", kind="store.unsafe_path", hint="name a file of your own, by its own name")
    return found


def _make_folder(folder: Path) -> None:
    """`Path.mkdir` would make the folders above it with the mode the umask leaves."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        make_folder(folder, exist_ok=True)
