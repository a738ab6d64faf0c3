"""The store's file before SQLite sees it: made private at birth, and never through a link or into something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from statemachine_flow.errors import StoreError


def prepare_file(path: Path, *, create: bool) -> None:
    """Make sure `path` is a regular file of ours, or make it.

    Modes are given when folder and file are created, so they hold whatever the umask is; SQLite gives its log and
    shared-memory files the mode of the database.

    Args:
        path: absolute.
        create: make the file, and its folder, if absent.

    Raises:
        StoreError: `store.unsafe_path` for a link, a folder, a special file or a name that is no text;
            `store.not_ours`; `store.io` for the rest.
    """
    try:
        str(path).encode()  # SQLite takes no other names
        _prepare(path, create=create)
    except ValueError as error:
        raise StoreError(f"{str(path)!r} cannot name a file", kind="store.unsafe_path") from error
    except OSError as error:
        hint = "name an existing store with --db" if isinstance(error, FileNotFoundError) else None
        raise StoreError(f"{path}: {error.strerror or error}", kind="store.io", hint=hint) from error


def _prepare(path: Path, *, create: bool) -> None:
    if create:
        _make_folder(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        try:
            os.close(os.open(path, flags, 0o600))
        except FileExistsError:
            pass  # the usual case: the checks below look at what is there
        else:
            return
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise StoreError(f"{path} is {what}", kind="store.unsafe_path", hint="name the file itself")
    if found.st_size == 1:  # SQLite takes that for an empty file
        raise StoreError(f"{path} is not a store of this library", kind="store.not_ours")


def _make_folder(folder: Path) -> None:
    """`Path.mkdir` would make the folders above it with the mode the umask leaves."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
