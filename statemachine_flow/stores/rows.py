"""Rows of runs as SQLite has them: read with their checksum, and written with their owner as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import COLUMNS, Owner, RunFilter, RunRow, damaged_row
from statemachine_flow.stores.database import Database
from statemachine_flow.stores.queries import SQL

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Owner)


def owner_text(owner: Owner) -> str:
    """An owner as its column holds it."""
    return _encoder.encode(owner).decode()


def read_owner(text: str) -> Owner:
    """An owner from its column.

    Raises:
        StoreError: `store.corrupt`.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, TypeError) as error:
        raise StoreError(f"the owner of a run cannot be read: {error}", kind="store.corrupt") from error


def read_row(values: Sequence[Any], run_id: str | None) -> RunRow:
    """A row as it was read, with whether its seal holds behind it.

    Raises:
        StoreError: `store.corrupt`: it is not as it was written.
    """
    *stored, is_whole = values
    fields = dict(zip(COLUMNS, stored, strict=True))
    name = run_id or str(fields["id"])
    if is_whole != 1:
        raise _damaged(name, "it fails its checksum")
    try:
        fields["owner"] = None if fields["owner"] is None else _decoder.decode(fields["owner"])
        return msgspec.convert(fields, RunRow)
    except (msgspec.MsgspecError, TypeError) as error:
        # In a damaged file a column may even have another type than its table declares.
        raise _damaged(name, str(error)) from error


def read_rows(database: Database, which: RunFilter) -> list[RunRow]:
    """The rows that a list shows, damaged ones among them.

    Raises:
        StoreError: `store.corrupt`: not even which rows there are can be told.
    """
    states = msgspec.json.encode(which.states).decode() if which.states else None
    bound = {"states": states, "workflow": which.workflow, "since": which.since, "limit": which.limit}
    try:
        found = database.read(SQL["owned"], ()) if which.owned else database.read(SQL["rows"], bound)
        _require_order(number for number, *_ in found)
        rows = (read_row(values, None) for _, *values in found)
        return list(itertools.islice((row for row in rows if which.passes(row)), which.limit))
    except StoreError as error:
        if error.kind != "store.corrupt":
            raise
    # Slowly, so that the damage of one row hides no other.
    numbers = [number for (number,) in database.read(SQL["numbers"], ())]
    _require_order(numbers)
    every = (row for number in numbers for row in _row_of_number(database, number))
    return list(itertools.islice((row for row in every if row.damage or which.passes(row)), which.limit))


def _require_order(numbers: Iterable[int]) -> None:
    """That no row stands in the place of another, which a flipped bit in SQLite's own data can bring about."""
    if any(above <= below for above, below in itertools.pairwise(numbers)):
        raise StoreError("the list of runs is damaged", kind="store.corrupt", hint="`smf verify` says more")


def _row_of_number(database: Database, number: int) -> Iterator[RunRow]:
    try:
        yield from (read_row(values, None) for values in database.read(SQL["row_of_number"], (number,)))
    except StoreError as error:
        if error.kind != "store.corrupt":
            raise
        yield damaged_row(error.run or f"number {number}", error.message)


def _damaged(name: str, why: str) -> StoreError:
    return StoreError(
        f"the row of a run is damaged: {why}", kind="store.corrupt", run=name[:100], hint="`smf verify` says more"
    )
