"""Bringing a store of an older version to the newest one: a verified backup, then one transaction; forward only.

For each older version N there is `from_N.sql`, which says how its rows become rows of the newest version, and an entry
of `OLD`. What the newest version looks like stands in `sql/schema.sql` and nowhere else: the old tables step aside,
the new ones are made as in an empty file, the rows are copied, and the old tables go. A new table therefore needs
nothing here; a new column needs its value in every `from_N.sql`. What a released version looked like stays in `OLD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import apsw
import attrs

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.backup import back_up
from statemachine_flow.stores.schema import Listed, digest_of, listed, name_store, own_statements, require_free_names
from statemachine_flow.stores.seal import seal_all

_ASIDE: Final = "smf_old_"


@attrs.frozen(kw_only=True)
class Old:
    """What a store of an older version has to look like."""

    tables: frozenset[str]
    #: Of its tables, indexes and triggers, from `schema.digest_of`.
    digest: str


#: Version of the schema -> what it was.
OLD: Final[Mapping[int, Old]] = {
    1: Old(
        tables=frozenset({"definitions", "runs", "journal", "steps", "requests"}),
        digest="5d4cca45de60584b1a853630a134edf11d0b5da2ffb070dd77d09d26198161a7",
    )
}


def require_old(connection: apsw.Connection, path: Path, version: int) -> list[Listed]:
    """What a store of an older version has of ours, which must be exactly what that version wrote.

    Raises:
        StoreError: `store.schema_mismatch`, also for a version that never was.
    """
    old = OLD.get(version)
    ours = [] if old is None else [entry for entry in listed(connection) if entry[2].lower() in old.tables]
    if old is None or digest_of(ours) != old.digest:
        raise StoreError(
            f"{path} says it has schema {version}, and does not look like it",
            kind="store.schema_mismatch",
            hint="restore a backup; the file was left as it is",
        )
    return ours


def migrate(connection: apsw.Connection, path: Path, version: int) -> Path:
    """Bring a store to the newest version, inside a writing transaction that the caller began and will commit.

    Args:
        connection: enforces no foreign keys, and leaves references alone when tables are renamed.
        path: of the store.
        version: of its schema.

    Returns:
        Where the backup is.

    Raises:
        StoreError: `store.schema_mismatch`, `store.corrupt`, or the backup cannot be made; nothing was changed.
    """
    ours = require_old(connection, path, version)
    require_free_names(connection, path, own_statements().keys() - {name for _, name, _, _ in ours})
    backup = _free_name(path, version)
    back_up(path, backup)  # on a connection of its own, which sees what was there before this transaction
    for kind, name, _, _ in ours:
        if kind != "table":
            connection.execute(f"DROP {kind} {name}")
    for table in OLD[version].tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO {_ASIDE}{table}")
    for statement in _statements("CREATE TABLE"):
        connection.execute(statement)
    connection.execute(
        files("statemachine_flow.stores").joinpath(f"migrations/from_{version}.sql").read_text(encoding="utf-8")
    )
    for table in OLD[version].tables:
        connection.execute(f"DROP TABLE {_ASIDE}{table}")
    name_store(connection)
    seal_all(connection)
    for statement in _statements("CREATE INDEX", "CREATE TRIGGER"):
        connection.execute(statement)
    return backup


def _statements(*beginnings: str) -> list[str]:
    return [statement for statement in own_statements().values() if statement.startswith(beginnings)]


def _free_name(path: Path, version: int) -> Path:
    """`runs.db.v1.bak`, or with a number where an earlier try was cut off behind its backup."""
    name, number = path.with_name(f"{path.name}.v{version}.bak"), 1
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}.v{version}.{number}.bak")
    return name
