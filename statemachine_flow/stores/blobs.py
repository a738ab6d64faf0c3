"""Large outputs, beside the journal and named by their SHA-256: a folder for SQLite, a dict for memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import final

from statemachine_flow.errors import StoreError


@final
class FolderSpill:
    """A blob being written to a temporary file of the folder; see `base.Spill`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        handle, self._path = tempfile.mkstemp(dir=folder, prefix=".new-")  # 0600 by contract, whatever the umask
        self._file = os.fdopen(handle, "wb")
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """See `base.Spill.write`."""
        self._hash.update(data)
        self._file.write(data)

    def finish(self) -> str:
        """See `base.Spill.finish`: the name appears only when the content is on disk."""
        digest = self._hash.hexdigest()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        Path(self._path).replace(self._folder / digest)
        _sync_folder(self._folder)
        return digest

    def discard(self) -> None:
        """See `base.Spill.discard`."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            Path(self._path).unlink()


@final
class BlobFolder:
    """Blobs as files, each under its digest.

    Args:
        folder: made on first use, private to its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> FolderSpill:
        """Begin a blob."""
        return FolderSpill(self._folder)

    def read(self, digest: str) -> bytes:
        """A blob's bytes.

        Raises:
            StoreError: `store.corrupt`, the blob is missing or is not what its name says.
        """
        if len(digest) == hashlib.sha256().digest_size * 2 and digest.isalnum():
            with contextlib.suppress(OSError):
                data = (self._folder / digest).read_bytes()
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        raise StoreError(f"blob {digest[:80]} is missing or damaged", kind="store.corrupt")


@final
class MemorySpill:
    """A blob being written to memory; see `base.Spill`."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        """See `base.Spill.write`."""
        self._data += data

    def finish(self) -> str:
        """See `base.Spill.finish`."""
        digest = hashlib.sha256(self._data).hexdigest()
        self._blobs[digest] = bytes(self._data)
        return digest

    def discard(self) -> None:
        """See `base.Spill.discard`."""
        self._data.clear()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; systems that cannot open a folder keep renames in order by themselves."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
