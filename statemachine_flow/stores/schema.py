"""The SQL schema with its checks and triggers filled in from the lifecycle, and whether a file's schema is that one."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
import zlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import apsw

from statemachine_flow.errors import StoreError
from statemachine_flow.journal import KINDS
from statemachine_flow.lifecycle import RUN, STEP, Lifecycle
from statemachine_flow.stores.base import COLUMNS

#: Digits of a store's name that say nothing of each other.
_NAME_LENGTH: Final = 24

#: Kind, name, the table it is about, and text of what SQLite's own table of the schema lists.
Listed = tuple[str, str, str, str | None]


@functools.cache
def schema_sql() -> str:
    """The statements that make an empty store.

    Example:
        >>> "WHEN 'paused' THEN (NEW.state = 'running' OR NEW.state = 'cancelling'" in schema_sql()
        True
    """
    names = {
        "kind_known": _any("kind", KINDS),
        "run_state_known": _any("state", RUN.states),
        "run_initial": RUN.states[0],
        "run_edge": _edge(RUN),
        "step_state_known": _any("state", STEP.states),
        "step_initial": STEP.states[0],
        "step_first": _any("NEW.state", _dests(STEP, STEP.states[0])),
        "step_edge": _edge(STEP),
        "new_columns": ", ".join(f"NEW.{column}" for column in ("no", *COLUMNS)),
    }
    text = files("statemachine_flow.stores").joinpath("sql/schema.sql").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: names[match[1]], text)


@functools.cache
def own_statements() -> Mapping[str, str]:
    """Name -> the statement that makes that table, index or trigger, in the order they are made in.

    Example:
        >>> own_statements()["runs_by_state"]
        'CREATE INDEX runs_by_state ON runs (state, no)'
    """
    without_comments = re.sub(r"^--.*\n", "", schema_sql(), flags=re.MULTILINE)
    statements = re.findall(r"^(CREATE (?:TABLE|INDEX|TRIGGER) (\w+).*?);\n*(?=^CREATE|\Z)", without_comments, _WHOLE)
    return {name: statement for statement, name in statements}


_WHOLE = re.MULTILINE | re.DOTALL


@functools.cache
def own_names() -> frozenset[str]:
    """The tables, indexes and triggers that belong to the store; whatever else a file holds belongs to its users.

    Example:
        >>> {"journal", "runs_by_state", "runs_edge"} <= own_names()
        True
    """
    return frozenset(own_statements())


def make_tables(connection: apsw.Connection) -> None:
    """Make an empty file a store, inside a transaction."""
    connection.execute(schema_sql())
    name_store(connection)


def name_store(connection: apsw.Connection) -> None:
    """Make the file a store of its own, which no other is mistaken for."""
    name = uuid.uuid4().hex[:_NAME_LENGTH]
    connection.execute("INSERT OR REPLACE INTO smf_store (one, id) VALUES (1, ?)", (name + _check_digits(name),))


def is_store_id(text: object) -> bool:
    """Whether it can be the `id` of a store, undamaged: its last eight digits are a checksum of the others.

    Example:
        >>> is_store_id("9d1d3f0b6d3e4b0f9a7c5e21" + "00000000")
        False
    """
    name = text[:_NAME_LENGTH] if isinstance(text, str) else ""
    return text == name + _check_digits(name) and len(name) == _NAME_LENGTH


def _check_digits(name: str) -> str:
    return f"{zlib.crc32(name.encode()):08x}"


def listed(connection: apsw.Connection) -> list[Listed]:
    """What the file's schema holds, SQLite's own things left out."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return [entry for entry in found if not str(entry[1]).startswith("sqlite_")]


def require_own_schema(connection: apsw.Connection, path: Path) -> None:
    """Refuse a file whose tables, indexes and triggers of ours are not exactly ours, or have company.

    Tables of users, which steps with `transaction` write to, and what belongs to those, are no concern of ours.

    Raises:
        StoreError: `store.schema_mismatch`.
    """
    if (why := foreign_to(connection)) is not None:
        raise _mismatch(path, why)


def foreign_to(connection: apsw.Connection) -> str | None:
    """What in a file's schema keeps it from being a store of ours; None if nothing does."""
    expected, found = own_statements(), listed(connection)
    # A trigger's table is listed as somebody typed it, and fires whatever the case is.
    ours = {name: sql for _, name, table, sql in found if name in expected or table.lower() in _own_tables()}
    for name in expected.keys() | ours.keys():
        if expected.get(name) != ours.get(name):
            what = "is missing" if name not in ours else "is none of ours" if name not in expected else "was changed"
            return f"{name[:100]!r} {what}"
    for kind, name, _, _ in found:
        if kind == "view" and (table := _table_read(connection, name)) is not None:
            return f"the view {name[:100]!r} reads {table!r}"
    return None


def require_free_names(connection: apsw.Connection, path: Path, taken: Iterable[str]) -> None:
    """Refuse a file that already uses a name which this version needs for itself.

    Raises:
        StoreError: `store.schema_mismatch`.
    """
    for _, name, _, _ in listed(connection):
        if name.lower() in taken:
            raise _mismatch(path, f"the name {name[:100]!r} is needed by this version, and taken")


def digest_of(entries: Iterable[Listed]) -> str:
    """A digest of tables, indexes and triggers, whatever their order."""
    lines = sorted(f"{kind}\0{name}\0{table}\0{sql}" for kind, name, table, sql in entries)
    return hashlib.sha256("\1".join(lines).encode()).hexdigest()


def _mismatch(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the schema of {path} is not the one this version writes: {why}",
        kind="store.schema_mismatch",
        hint="remove what somebody added to it, or restore a backup",
    )


@functools.cache
def _own_tables() -> frozenset[str]:
    return frozenset(name for name, sql in own_statements().items() if sql.startswith("CREATE TABLE"))


def _table_read(connection: apsw.Connection, view: str) -> str | None:
    """The first table of ours that a view reads, found by preparing and never running a statement."""
    read: list[str] = []

    def note(action: int, first: str | None, *_rest: str | None) -> int:
        if action == apsw.SQLITE_READ and first in _own_tables():
            read.append(str(first))
        return apsw.SQLITE_OK

    quoted = view.replace('"', '""')
    before, connection.authorizer = connection.authorizer, note
    try:
        connection.execute(f'EXPLAIN SELECT * FROM "{quoted}"')  # noqa: S608 - a quoted name, and nothing is run
    except apsw.SQLError:
        return None  # it cannot be read at all
    finally:
        connection.authorizer = before
    return read[0] if read else None


def _edge(lifecycle: Lifecycle) -> str:
    """True when a change of state is in the table."""
    sources = dict.fromkeys(edge.source for edge in lifecycle.edges)
    cases = (f"WHEN '{source}' THEN {_any('NEW.state', _dests(lifecycle, source))}" for source in sources)
    return f"CASE OLD.state {' '.join(cases)} ELSE 0 END"


def _dests(lifecycle: Lifecycle, source: str) -> list[str]:
    return [edge.dest for edge in lifecycle.edges if edge.source == source]


def _any(column: str, words: Iterable[str]) -> str:
    """True when the column holds one of the words.

    Written with OR: for IN with a list SQLite builds a temporary index each time a statement runs.
    """
    return f"({' OR '.join(f'{column} = {word!r}' for word in dict.fromkeys(words))})"
