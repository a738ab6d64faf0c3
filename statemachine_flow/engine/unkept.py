"""What becomes of an output that the store cannot take: it is held in memory, or given up; its step did not fail.

While an output is held, its run goes nowhere: the committer has it kept before the record that names it. What nothing
will name is taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import sha256
from typing import final

from statemachine_flow.engine.patience import PASSING
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import BlobSpill, Spill, Store


@final
class UnkeptError(Exception):
    """The store could not take a part of what an attempt gave.

    Args:
        error: why.
    """

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


@final
class Blobs:
    """The blobs of one attempt, until the record that names them is on its way.

    Args:
        store: where they belong.
        is_holding: whether what the store cannot take for the moment is held in memory. It is not where the store
            waits for it: inside a transaction, or for somebody who can be told.
    """

    def __init__(self, store: Store, *, is_holding: bool = True) -> None:
        self._store = store
        self._is_holding = is_holding
        self._finished: list[BlobSpill] = []
        #: Digest -> content of what is held.
        self.held: dict[str, bytes] = {}

    def open(self) -> Spill:
        """Begin a blob. For a command, this and what it gives are used in threads of the command's own.

        Raises:
            UnkeptError: the store cannot take one, and it is not held; from here and from what is begun.
        """
        try:
            return _Guarded(self, self._store.open_blob())
        except StoreError as error:
            self.require_held(error)
            return _Guarded(self, None)

    def require_held(self, error: StoreError) -> None:
        """Give up what the store could not take, unless it is to be held."""
        if not self._is_holding or error.kind not in PASSING:
            raise UnkeptError(error) from error

    def finished(self, spill: BlobSpill) -> None:
        """The store has one of them."""
        self._finished.append(spill)

    def keep(self) -> None:
        """Have the store take what is held.

        Raises:
            StoreError: it cannot, and what it could not take is still held.
        """
        for digest, data in list(self.held.items()):
            spill = self._store.open_blob()
            try:
                spill.write(data)
                spill.finish()
            finally:
                spill.discard()
            self._finished.append(spill)
            del self.held[digest]

    def take_back(self) -> None:
        """Nothing will name them."""
        finished, self._finished = self._finished, []
        self.held.clear()
        for spill in finished:
            spill.take_back()


@final
class _Guarded:
    """A blob of an attempt: in the store, or in memory once that failed."""

    def __init__(self, blobs: Blobs, spill: BlobSpill | None) -> None:
        self._blobs = blobs
        self._spill = spill
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        if self._spill is None:
            self._data += data
            return
        with self._holding(self._spill):
            self._spill.write(data)

    def finish(self) -> str:
        if self._spill is not None:
            with self._holding(self._spill):
                digest = self._spill.finish()
                self._blobs.finished(self._spill)
                return digest
        digest = sha256(self._data).hexdigest()
        self._blobs.held[digest] = bytes(self._data)
        self._data.clear()
        return digest

    def discard(self) -> None:
        self._data.clear()
        if self._spill is not None:
            self._spill.discard()

    @contextlib.contextmanager
    def _holding(self, spill: BlobSpill) -> Iterator[None]:
        """Take over what a spill was given if it fails."""
        try:
            yield
        except StoreError as error:
            self._blobs.require_held(error)
            try:
                self._data += spill.taken()
            except StoreError as lost:
                raise UnkeptError(lost) from error
            spill.discard()
            self._spill = None


@final
class Unkept:
    """What is held for runs whose next record names it.

    Args:
        store: where it belongs, and where everything else is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: dict[str, list[Blobs]] = {}

    def hold(self, run_id: str, blobs: Blobs) -> None:
        """A record that names them is about to be made."""
        if blobs.held:
            self._of.setdefault(run_id, []).append(blobs)

    def is_holding(self, run_id: str) -> bool:
        """Whether something of a run has to be kept before its next record."""
        return run_id in self._of

    def keep(self, run_id: str) -> None:
        """Have the store take what is held of a run.

        Raises:
            StoreError: it cannot yet.
        """
        for blobs in self._of.get(run_id, ()):
            blobs.keep()
        self._of.pop(run_id, None)

    def drop(self, run_id: str) -> None:
        """The work on a run ended; what was still held of it, no record will name."""
        for blobs in self._of.pop(run_id, ()):
            blobs.take_back()

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`; what is held is there as well."""
        for held in self._of.values():
            for blobs in held:
                if digest in blobs.held:
                    return blobs.held[digest]
        return self._store.blob(digest)
