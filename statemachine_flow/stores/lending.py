"""What a step with `transaction` may do on the store's own connection: change tables of its own, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import apsw

from statemachine_flow.stores.schema import own_names

#: What somebody with a lent connection may not do at all.
_NEVER: Final = frozenset({apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA})
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

    What belongs to the store, and the transaction itself, are out of their reach.
    """
    # Numbers of requests are counted there; they must not come twice.
    connection.authorizer = partial(_authorize, own_names() | {"sqlite_sequence"})
    try:
        yield connection
    finally:
        connection.authorizer = None


def _authorize(
    ours: frozenset[str],
    action: int,
    first: str | None,
    second: str | None,
    _database: str | None,
    _trigger: str | None,
) -> int:
    if action in _NEVER or (
        action in _CHANGES and not ours.isdisjoint(name.lower() for name in (first, second) if name)
    ):
        return int(apsw.SQLITE_DENY)
    return int(apsw.SQLITE_OK)
