"""The high-water mark: a small file beside the store that says how far it had come, so that a lost tail is noticed.

SQLite opens a store whose log was deleted or cut off without a word: what only the log held is gone, and what is left
is whole. After each synced commit the mark is written over with one thing that the commit made true: a run's epoch and
sequence number, or the number of a request. A store that is behind its mark has lost something that was acknowledged.

It is written after the commit and never synced, so it may be behind the store and is never before it. That costs a
write of 64 bytes to memory, and tells: a log that was deleted or cut off, after the death of every process that used
the store; an older copy of the file put back. It does not tell: a log that is lost together with the machine's power,
if the mark's last writes went with it; the file and its mark put back together; a loss of unsynced commits, which are
allowed to get lost. It is a guard against accidents, not against somebody who rewrites the mark.

There are two slots, written in turn, each with a checksum: one that was torn is not believed, and the other is older.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final, final

import attrs

from statemachine_flow.stores.failures import store_error
from statemachine_flow.stores.private import FILE, make_private

#: A slot: these words, the store's id, these numbers, and a checksum of it all.
_MAGIC: Final = b"smfmark1"
_NUMBERS: Final = struct.Struct("<qqqq")
_SIZE: Final = len(_MAGIC) + 16 + _NUMBERS.size
_CHECKSUM: Final = struct.Struct("<I")
#: Far enough from each other for no sector to hold both.
_DISTANCE: Final = 4096


@attrs.frozen(kw_only=True)
class Reached:
    """What the store had come to, at least."""

    #: `id` of the store.
    store: str
    #: The run's number, its epoch and its sequence number; 0 where there is none.
    run: int = 0
    epoch: int = 0
    seq: int = 0
    #: Number of a request.
    request: int = 0


@final
class Mark:
    """The mark of one store.

    Args:
        path: of the mark; made, private to its owner, by the first `put`.
        store: `id` of the store.
    """

    def __init__(self, path: Path, store: str) -> None:
        self.store = store
        self._path = path
        self._head = _MAGIC + bytes.fromhex(store)
        self._file: int | None = None
        self._turn = 0

    def put(self, run: int, epoch: int, seq: int, request: int = 0) -> None:
        """The store has come to this. A mark that cannot be written costs the guard, not the work."""
        slot = self._head + _NUMBERS.pack(run, epoch, seq, request)
        self._turn ^= _DISTANCE
        try:  # after every commit, and `suppress` costs as much as the write
            if self._file is None:
                self._file = _open(self._path)
            _write_at(self._file, slot + _CHECKSUM.pack(zlib.crc32(slot)), self._turn)
        except OSError:
            pass

    def read(self) -> list[Reached]:
        """What the slots say that can be believed; nothing if there is no mark."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return []
        found = []
        for start in (0, _DISTANCE):
            slot, checksum = data[start : start + _SIZE], data[start + _SIZE : start + _SIZE + _CHECKSUM.size]
            if len(slot) == _SIZE and slot.startswith(_MAGIC) and _CHECKSUM.pack(zlib.crc32(slot)) == checksum:
                store = slot[len(_MAGIC) : len(self._head)].hex()
                run, epoch, seq, request = _NUMBERS.unpack(slot[len(self._head) :])
                found.append(Reached(store=store, run=run, epoch=epoch, seq=seq, request=request))
        return found

    def clear(self) -> None:
        """What was lost is accepted.

        Raises:
            StoreError: `store.io`: the mark cannot be removed.
        """
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, str(self._path)) from error

    def close(self) -> None:
        """Let go of the file; calling it again does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), FILE)
    make_private(file)
    return file


def _seek_and_write(file: int, data: bytes, place: int) -> int:
    os.lseek(file, place, os.SEEK_SET)
    return os.write(file, data)


_write_at: Final = getattr(os, "pwrite", _seek_and_write)
