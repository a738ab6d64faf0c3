"""Stores where nothing can be written: even to read a store with a log, SQLite needs a file of its own beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.files import read_header
from statemachine_flow.stores.known import APPLICATION_ID, SCHEMA_VERSION

_COPY: Final = "copy it, with the files named after it, into a folder that can be written to"


def needs_migration(path: Path, version: int) -> StoreError:
    """A store of an older version that was opened to be read."""
    return StoreError(
        f"{path} was written by an older version (schema {version}, this one reads {SCHEMA_VERSION})",
        kind="store.needs_migration",
        hint="`smf doctor --migrate` brings it up to date, and keeps a backup"
        if _is_writable(path)
        else f"{_COPY}; `smf doctor --migrate` brings the copy up to date",
    )


def unwritable(path: Path, error: apsw.Error, *, readonly: bool) -> StoreError | None:
    """What an error of SQLite means where nothing can be written.

    Args:
        path: the store.
        error: SQLite's, when it was opened.
        readonly: whether it was to be read only.

    Returns:
        None if the error has another cause.
    """
    if not isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError) or _is_writable(path):
        return None
    header = read_header(path)
    # The file alone tells how old the store is, unless a newer version may still be in the log.
    if readonly and header is not None and header[0] == APPLICATION_ID and not _has_log(path):
        version = header[1]
        if version < SCHEMA_VERSION:
            return needs_migration(path, version)
    what = "read where nothing can be written: SQLite keeps a file beside it" if readonly else "written to"
    return StoreError(f"{path} cannot be {what}", kind="store.io", hint=f"{_COPY}, or make its own one so")


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _has_log(path: Path) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        return False
