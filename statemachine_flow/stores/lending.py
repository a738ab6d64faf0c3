"""What a step with `transaction` may do on the store's own connection: change tables of its own, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import apsw

from statemachine_flow.errors import StepError
from statemachine_flow.stores.queries import SQL
from statemachine_flow.stores.schema import foreign_to, own_names

#: What somebody with a lent connection may not do at all.
_NEVER: Final = frozenset({apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA})
#: Settings that SQLite's own modules for full text and rectangles read while they work.
_READ: Final = frozenset({"data_version", "page_size"})
#: What is refused for a table, index or trigger of the store; something temporary would hide what has its name.
_CHANGES: Final = frozenset(
    {
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_ALTER_TABLE,
    }
)


@contextmanager
def lent(connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """The connection inside a transaction, for somebody who may use it for tables of their own.

    What belongs to the store, and the transaction itself, are out of their reach. What only shows behind what they did
    is looked at when they give the connection back, as long as it can still be undone: committed, it would keep
    everybody out of the store.

    Raises:
        StepError: what they did cannot be kept.
    """
    before = _state(connection)
    connection.authorizer = partial(_authorize, own_names())
    try:
        yield connection
    finally:
        connection.authorizer = None
    if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
        raise _refused("a foreign key names a row that is not there")
    schema, requests = _state(connection)
    if requests != before[1]:  # they are counted where all tables that count are; none must come twice
        raise _refused("sqlite_sequence was changed for a table of the store")
    if schema != before[0] and (why := foreign_to(connection)) is not None:
        raise _refused(why)


def _state(connection: apsw.Connection) -> tuple[object, list[object]]:
    """What changes with every change of the schema, and the count of requests."""
    return connection.pragma("schema_version"), list(connection.execute(SQL["last_request"]))


def _refused(why: str) -> StepError:
    return StepError(f"what the step did cannot be kept in the store: {why}")


def _authorize(
    ours: frozenset[str],
    action: int,
    first: str | None,
    second: str | None,
    _database: str | None,
    _trigger: str | None,
) -> int:
    if action == apsw.SQLITE_PRAGMA and first in _READ and second is None:
        return int(apsw.SQLITE_OK)
    if action in _NEVER or (
        action in _CHANGES and not ours.isdisjoint(name.lower() for name in (first, second) if name)
    ):
        return int(apsw.SQLITE_DENY)
    return int(apsw.SQLITE_OK)
