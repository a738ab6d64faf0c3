"""Checksums of rows: what makes a flipped bit in a row that is shown without its journal known for what it is.

They are against damage, not against somebody who writes into the file: `verify` compares rows with their journals.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import apsw
import msgspec

from statemachine_flow.stores.base import COLUMNS
from statemachine_flow.stores.queries import SQL

_encode: Final = msgspec.msgpack.Encoder().encode


def seal(*values: apsw.SQLiteValue) -> int:
    """A checksum of values and their types; never 0, which stands for a row that is being changed.

    Example:
        >>> seal(1, "a") == seal(1, "a"), seal(1, "a") == seal("1", "a"), seal() > 0
        (True, False, True)
    """
    return zlib.crc32(_encode(values)) | 1 << 32


def add_seal(connection: apsw.Connection) -> None:
    """Let statements call `smf_seal`."""
    connection.create_scalar_function("smf_seal", seal, -1, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


#: Rows that are sealed once, and never change.
_LASTING: Final = {
    "the definition": SQL["damaged_definitions"],
    "request": SQL["damaged_requests"],
    "what came too late": SQL["damaged_rejected"],
}


def damaged_rows(read: Callable[[str], Iterable[tuple[Any, ...]]]) -> Iterator[str]:
    """What fails its checksum, apart from the rows of runs, which are looked at with their journals.

    Args:
        read: gives the rows of a statement.
    """
    for what, sql in _LASTING.items():
        for (name,) in read(sql):
            yield f"{what} {name} fails its checksum"


def seal_runs(connection: apsw.Connection) -> None:
    """Seal the rows of all runs, as they are."""
    connection.execute(f"UPDATE runs SET seal = smf_seal(no, {', '.join(COLUMNS)})")  # noqa: S608 - names of columns


def seal_all(connection: apsw.Connection) -> None:
    """Seal every row that has a seal, as it is."""
    seal_runs(connection)
    connection.execute("UPDATE definitions SET seal = smf_seal(hash, body)")
    connection.execute("UPDATE requests SET seal = smf_seal(id, run, action, by, reason, at, data)")
    connection.execute("UPDATE rejected SET seal = smf_seal(run, epoch, owner, at, kind, step, data)")
