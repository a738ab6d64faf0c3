"""Where journals are kept: `base` says what a store owes, `memory` and `sqlite` keep it.

`open_store` turns what an engine was given into a store.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from statemachine_flow.errors import UsageError

if TYPE_CHECKING:
    from statemachine_flow.stores.base import Store

SQLITE_PREFIX = "sqlite:///"


def open_store(where: str | os.PathLike[str] | Store, *, readonly: bool = False, accept_loss: bool = False) -> Store:
    """Open the store that `where` names.

    Args:
        where: a path or `sqlite:///PATH` for SQLite, `memory://` for a store that ends with the process, or a store.
        readonly: open without the means to write; a SQLite file must exist then.
        accept_loss: open a SQLite file that lost what was committed last, and go on with what is left.

    Raises:
        UsageError: an unknown kind of address.
        StoreError: the store cannot be opened.

    Example:
        >>> open_store("memory://").name
        'memory://'
    """
    if not isinstance(where, str | os.PathLike):
        return where
    text = os.fspath(where)
    if text == "memory://":
        from statemachine_flow.stores.memory import MemoryStore  # noqa: PLC0415 - only what is used is imported

        return MemoryStore()
    if "://" in text and not text.startswith(SQLITE_PREFIX):
        raise UsageError(f"unknown store {text!r}", hint="use a path, sqlite:///PATH or memory://")
    from statemachine_flow.stores.sqlite import SqliteStore  # noqa: PLC0415 - apsw is loaded only where it is used

    return SqliteStore(text.removeprefix(SQLITE_PREFIX), readonly=readonly, accept_loss=accept_loss)
