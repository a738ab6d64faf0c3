"""The store's file before SQLite sees it: made private at birth, and never through a link or into something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from statemachine_flow.errors import StoreError


def prepare_file(path: Path, *, create: bool) -> bool:
    """Make sure `path` is a regular file of ours, or make it.

    Modes are given when folder and file are created, so they hold whatever the umask is; SQLite gives its log and
    shared-memory files the mode of the database.

    Args:
        path: absolute.
        create: make the file, and its folder, if absent.

    Returns:
        Whether the file is empty, so that tables have to be made.

    Raises:
        StoreError: `store.unsafe_path` for a link, a folder or a special file; `store.io` for the rest.
    """
    try:
        return _prepare(path, create=create)
    except OSError as error:
        hint = "name an existing store with --db" if isinstance(error, FileNotFoundError) else None
        raise StoreError(f"{path}: {error.strerror or error}", kind="store.io", hint=hint) from error


def _prepare(path: Path, *, create: bool) -> bool:
    if create:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        try:
            os.close(os.open(path, flags, 0o600))
        except FileExistsError:
            pass  # the usual case: the checks below look at what is there
        else:
            return True
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
        raise StoreError(f"{path} is {what}", kind="store.unsafe_path", hint="name the file itself")
    return found.st_size == 0
