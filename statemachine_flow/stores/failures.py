"""Errors of SQLite and of the system as errors of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.blobs import FULL

_FULL_HINT: Final = "free some space and resume the run"
#: SQLite's text for a connection that had no error yet.
_NO_TEXT: Final = "not an error"
_NO_SPACE: Final = "no space is left on the disk"
#: The sync of a file failed: what it should have made durable may be gone, and a second sync would not say so.
SYNC_FAILED: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})

_KINDS: Final[Sequence[tuple[type[apsw.Error], str, str | None]]] = (
    (apsw.BusyError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.LockedError, "store.busy", "another process holds the store's lock; try again"),
    (apsw.FullError, "store.full", _FULL_HINT),
    (apsw.NotADBError, "store.not_ours", "name another file with --db"),
    (apsw.CorruptError, "store.corrupt", "`smf verify` says more; restore a backup, the file was left as it is"),
)


def store_error(error: apsw.Error | OSError | UnicodeDecodeError, what: str, system_errno: int = 0) -> StoreError:
    """An error of SQLite or of the system as ours.

    Args:
        error: it.
        what: which store, or what was being done.
        system_errno: what the system told SQLite last, which SQLite does not always pass on.

    Example:
        >>> import errno
        >>> store_error(OSError(errno.ENOSPC, "No space left on device"), "runs.db").kind
        'store.full'
    """
    if isinstance(error, UnicodeDecodeError):
        return StoreError(f"{what}: damaged text: {error}", kind="store.corrupt")
    if isinstance(error, OSError):
        is_full = error.errno in FULL
        message = f"{what}: {error.strerror or error}"
        return StoreError(message, kind="store.full" if is_full else "store.io", hint=_FULL_HINT if is_full else None)
    if isinstance(error, apsw.IOError) and system_errno in FULL:  # a limit of this user or this process
        return StoreError(f"{what}: {_text(error, _NO_SPACE)}", kind="store.full", hint=_FULL_HINT)
    for kind_of, kind, hint in _KINDS:
        if isinstance(error, kind_of):
            return StoreError(f"{what}: {_text(error)}", kind=kind, hint=hint)
    return StoreError(f"{what}: {_text(error)}", kind="store.io")


def _text(error: apsw.Error, otherwise: str = "it failed") -> str:
    """What SQLite says; the end of a copy that failed has no text of its own."""
    text = str(error)
    if text != _NO_TEXT:
        return text
    return _NO_SPACE if isinstance(error, apsw.FullError) else otherwise
