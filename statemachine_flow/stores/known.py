"""Whether a file is a store of this library, of a version that this one knows, and SQLite one that keeps it whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.files import read_header

#: Marks the file as ours, in SQLite's header: "smf1".
APPLICATION_ID: Final = 0x736D6631
#: Version of the tables.
SCHEMA_VERSION: Final = 2
#: Set to 1, it allows a version of SQLite that can damage a log.
ALLOW_OLD: Final = "SMF_ALLOW_OLD_SQLITE"
#: Before it, two connections that write in an unlucky moment can bring about a log that SQLite takes for another one.
_SAFE: Final = (3, 51, 3)


def require_safe_log() -> None:
    """Refuse a SQLite that may damage a log which several connections write.

    The binding brings a newer one; one that was built against the system's own may not.

    Raises:
        StoreError: `store.old_sqlite`.

    Example:
        >>> require_safe_log()
    """
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < _SAFE and os.environ.get(ALLOW_OLD) != "1":
        raise StoreError(
            f"SQLite {version} can damage the log of a store that several processes write to",
            kind="store.old_sqlite",
            hint=f"install apsw from the package index, which brings a SQLite of its own, or set {ALLOW_OLD}=1 and let "
            "one process at a time use the store",
        )


def refuse_by_header(path: Path) -> None:
    """Refuse what the main file alone shows to be none of ours, before there is a log beside it.

    Raises:
        StoreError: `store.not_ours`, `store.newer`.
    """
    header = read_header(path)
    if header is None:
        return
    application, version, has_tables = header
    if application == APPLICATION_ID or (has_tables and not Path(f"{path}-wal").exists()):
        require_known(path, application, version)


def require_known(path: Path, application: object, version: object) -> None:
    """Refuse a file by the two numbers in its header.

    Raises:
        StoreError: `store.not_ours`, `store.newer`.
    """
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is not a store of this library", kind="store.not_ours", hint="name another file with --db"
        )
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})",
            kind="store.newer",
            hint="upgrade statemachine_flow",
        )
