"""Whether a file is a store of this library, and of a version that this one knows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.files import read_header

#: Marks the file as ours, in SQLite's header: "smf1".
APPLICATION_ID: Final = 0x736D6631
#: Version of the tables.
SCHEMA_VERSION: Final = 2


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
