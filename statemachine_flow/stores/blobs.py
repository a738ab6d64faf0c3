"""Large outputs, beside the journal and named by their SHA-256: a folder for SQLite, a dict for memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

from statemachine_flow.errors import StoreError

#: What the system says where there is no room left for this user or this file.
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PRIVATE: Final = 0o700


@final
class FolderSpill:
    """A blob being written to a temporary file of the folder; see `Spill`. A call that fails discards it.

    Args:
        folder: made if absent, private to its owner.

    Raises:
        StoreError: `store.full`, `store.io`, from here and from `write` and `finish`; `store.unsafe_path` for a link, a
            file, or a folder of somebody else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _errors_of(folder):
            _make_private(folder)
            handle, path = tempfile.mkstemp(dir=folder, prefix=".new-")  # 0600 by contract, whatever the umask
        self._path = Path(path)
        self._file = os.fdopen(handle, "wb")
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """See `Spill.write`."""
        self._hash.update(data)
        with self._kept_or_discarded():
            self._file.write(data)

    def finish(self) -> str:
        """See `Spill.finish`: the name appears only when the content is on disk."""
        digest = self._hash.hexdigest()
        with self._kept_or_discarded():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(self._folder / digest)
        _sync_folder(self._folder)
        return digest

    def discard(self) -> None:
        """See `Spill.discard`; calling it again, or after `finish`, does nothing."""
        # Closing writes what is still in the buffer, which fails again where a write failed; it closes all the same.
        with contextlib.suppress(OSError):
            self._file.close()
        # A file that cannot be removed is litter; raising here would hide why it is not wanted.
        with contextlib.suppress(OSError):
            self._path.unlink()

    @contextlib.contextmanager
    def _kept_or_discarded(self) -> Iterator[None]:
        try:
            with _errors_of(self._folder):
                yield
        except BaseException:
            self.discard()
            raise


def _make_private(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=_PRIVATE)
    found = folder.lstat()
    if os.name != "posix":
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        hint = "move it away; the blobs that are in it are needed in a folder of that name"
        raise StoreError(f"{folder} is no folder of your own", kind="store.unsafe_path", hint=hint)
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~_PRIVATE:
        folder.chmod(mode & _PRIVATE)


@final
class BlobFolder:
    """Blobs as files, each under its digest.

    Args:
        folder: made on first use, private to its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> FolderSpill:
        """Begin a blob; see `FolderSpill` for what it raises."""
        return FolderSpill(self._folder)

    def read(self, digest: str) -> bytes:
        """A blob's bytes.

        Raises:
            StoreError: `store.corrupt`, the blob is missing or is not what its name says.
        """
        if len(digest) == hashlib.sha256().digest_size * 2 and digest.isalnum():
            with contextlib.suppress(OSError):
                data = _read_regular(self._folder / digest)
                if hashlib.sha256(data).hexdigest() == digest:
                    return data
        raise _damaged(digest)

    def require(self, digest: str) -> None:
        """Refuse to do without a blob.

        Raises:
            StoreError: `store.corrupt`, there is no file of that name.
        """
        if not (self._folder / digest).is_file():
            raise _damaged(digest)

    def digests(self) -> set[str]:
        """The names of all blobs; there are none without a folder.

        Raises:
            StoreError: `store.io`, the folder cannot be read.
        """
        try:
            return {entry.name for entry in self._folder.iterdir() if not entry.name.startswith(".")}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror or error}", kind="store.io") from error


def _read_regular(path: Path) -> bytes:
    """The bytes of a plain file; a pipe that has its name is not waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _damaged(digest: str) -> StoreError:
    return StoreError(f"blob {digest[:80]} is missing or damaged", kind="store.corrupt")


@final
class MemorySpill:
    """A blob being written to memory; see `Spill`."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        """See `Spill.write`."""
        self._data += data

    def finish(self) -> str:
        """See `Spill.finish`."""
        digest = hashlib.sha256(self._data).hexdigest()
        self._blobs[digest] = bytes(self._data)
        return digest

    def discard(self) -> None:
        """See `Spill.discard`."""
        self._data.clear()


@contextlib.contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    """Raise what the system refuses inside as errors of the store, which name the folder."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in FULL
        raise StoreError(
            f"{folder}: {error.strerror or error}",
            kind="store.full" if is_full else "store.io",
            hint="free some space and resume the run" if is_full else None,
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; systems that cannot open a folder keep renames in order by themselves."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
