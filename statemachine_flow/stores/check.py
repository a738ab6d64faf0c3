"""What is wrong with a SQLite store apart from what its runs hold: pages, references, rows that runs share, blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.blobs import BlobFolder
from statemachine_flow.stores.database import Database
from statemachine_flow.stores.seal import damaged_rows

_TABLES: Final = ("runs", "journal", "steps", "requests", "rejected")


def damages(database: Database, blobs: BlobFolder) -> list[str]:
    """What is wrong, as texts for people; every part is looked at, whatever is wrong with another."""
    return [
        *_texts_of(lambda: _pages(database)),
        *_texts_of(lambda: _references(database)),
        *_texts_of(lambda: _rows(database)),
        *_texts_of(lambda: _blobs(blobs)),
    ]


def _pages(database: Database) -> Iterator[str]:
    yield from (str(text) for (text,) in database.read("PRAGMA integrity_check", ()) if text != "ok")


def _references(database: Database) -> Iterator[str]:
    for table in _TABLES:
        for _, _, parent, _ in database.read(f"PRAGMA foreign_key_check({table})", ()):
            yield f"a row of {table} belongs to no row of {parent}"


def _rows(database: Database) -> Iterator[str]:
    yield from damaged_rows(lambda sql: database.read(sql, ()))


def _blobs(blobs: BlobFolder) -> Iterator[str]:
    for digest in sorted(blobs.digests()):
        try:
            blobs.read(digest)
        except StoreError as error:
            if blobs.has(digest):
                yield error.message


def _texts_of(look: Callable[[], Iterator[str]]) -> list[str]:
    found: list[str] = []
    try:
        found.extend(look())
    except StoreError as error:
        found.append(error.message)
    return found
