"""Which store a command works on, and how it is opened: to be read, or to be changed."""

from __future__ import annotations

import shlex
from typing import Any, Final

from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import StoreError
from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Store

#: Where runs are kept when nobody says otherwise.
DEFAULT_STORE: Final = ".smf/runs.db"


def reading_store(db: str | None, *, accept_loss: bool = False) -> Store:
    """The store, opened without the means to write; `accept_loss` as in `open_store`.

    Raises:
        StoreError: there is no such store.
    """
    return open_store(db or DEFAULT_STORE, readonly=True, accept_loss=accept_loss)


def working_engine(db: str | None, **options: Any) -> Engine:
    """An engine on a store that exists: a command about a run must not leave an empty store behind.

    Raises:
        StoreError: there is no such store.
    """
    try:
        reading_store(db).close()
    except StoreError as error:
        if error.kind != "store.needs_migration":  # it exists; opening it to write brings it up to date
            raise
    return Engine(db or DEFAULT_STORE, **options)


def command_line(command: str, run_id: str, db: str | None, *options: str) -> str:
    """A command about a run, for people to copy.

    Example:
        >>> command_line("resume", "r1", "my runs.db")
        "smf resume r1 --db 'my runs.db'"
    """
    return shlex.join(["smf", command, run_id, *options, *(["--db", db] if db else [])])
