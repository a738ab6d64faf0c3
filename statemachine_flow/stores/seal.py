"""Checksums of rows: what makes a flipped bit in a row that is shown without its journal known for what it is.

They are against damage, not against somebody who writes into the file: `verify` compares rows with their journals.
"""

from __future__ import annotations

import zlib
from typing import Final

import apsw
import msgspec

from statemachine_flow.stores.base import COLUMNS

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


def seal_all(connection: apsw.Connection) -> None:
    """Seal every row that has a seal, as it is."""
    connection.execute(f"UPDATE runs SET seal = smf_seal(no, {', '.join(COLUMNS)})")  # noqa: S608 - names of columns
    connection.execute("UPDATE requests SET seal = smf_seal(run, action, by, reason, at, data)")
