"""Large outputs, beside the journal and named by their SHA-256: a folder for SQLite, a dict for memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.private import FOLDER, make_folder, make_private

if sys.platform != "win32":
    import fcntl

#: What the system says where there is no room left for this user or this file.
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: How much is collected before it is written.
_BUFFER: Final = 1 << 16
#: How often the folder's lock is tried, which is held for the time of a rename, and seconds between.
_TRIES, _MOMENT = 100, 0.005

#: Device and number of a file.
_Identity = tuple[int, int]


@final
class FolderSpill:
    """A blob being written to a temporary file of the folder; see `BlobSpill`. A call that fails leaves no file.

    Args:
        folder: made if absent, private to its owner.

    Raises:
        StoreError: `store.full`, `store.io`, from here and from `write` and `finish`; `store.unsafe_path` for a link, a
            file, or a folder of somebody else; `store.busy` from `finish`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _errors_of(folder):
            _make_own(folder)
            handle, path = tempfile.mkstemp(dir=folder, prefix=".new-")  # 0600 by contract
            make_private(handle)
        self._path = Path(path)
        self._file = os.fdopen(handle, "r+b", buffering=0)
        self._hash = hashlib.sha256()
        #: What is not in the file yet. A buffer of Python's would not give back what it could not write.
        self._rest = bytearray()
        #: What the blob is called, and which file it is, if there was none of that name.
        self._new: tuple[Path, _Identity] | None = None

    def write(self, data: bytes) -> None:
        """See `Spill.write`."""
        self._hash.update(data)
        self._rest += data
        if len(self._rest) >= _BUFFER:
            with self._kept_or_discarded():
                self._flush()

    def _flush(self) -> None:
        written, size = 0, len(self._rest)
        try:
            with memoryview(self._rest) as view:
                while written < size:
                    written += self._file.write(view[written:]) or 0
        finally:
            del self._rest[:written]

    def finish(self) -> str:
        """See `Spill.finish`: the name appears only when the content is on disk."""
        digest = self._hash.hexdigest()
        place = self._folder / digest
        with self._kept_or_discarded():
            self._flush()
            os.fsync(self._file.fileno())
            with _locked(self._folder) as is_locked:
                is_new = is_locked and not os.path.lexists(place)
                if os.name == "nt":  # which renames no open file
                    self._file.close()
                self._path.replace(place)
                if is_new:
                    self._new = place, _identity(place)
        self._file.close()
        _sync_folder(self._folder)
        return digest

    def discard(self) -> None:
        """See `Spill.discard`; calling it again, or after `finish`, does nothing."""
        with contextlib.suppress(OSError):
            self._file.close()
        # A file that cannot be removed is litter; raising here would hide why it is not wanted.
        with contextlib.suppress(OSError):
            self._path.unlink()

    def taken(self) -> bytes:
        """See `BlobSpill.taken`: read back from the file, which is there without its name until it is closed."""
        data = b""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._file.seek(0)
            data = self._file.readall() + bytes(self._rest)
        if hashlib.sha256(data).digest() != self._hash.digest():
            raise StoreError(f"{self._folder}: what was written of a blob cannot be read back", kind="store.io")
        return data

    def take_back(self) -> None:
        """See `BlobSpill.take_back`."""
        if self._new is None:
            return
        place, identity = self._new
        # Whoever came to the same content has put a file of their own in its place, under this lock.
        with contextlib.suppress(OSError, StoreError), _locked(self._folder) as is_locked:
            if is_locked and _identity(place) == identity:
                place.unlink()

    @contextlib.contextmanager
    def _kept_or_discarded(self) -> Iterator[None]:
        try:
            with _errors_of(self._folder):
                yield
        except StoreError:
            # Open, so that `taken` may read it; its room is free as soon as it is closed.
            try:
                self._path.unlink()
            except OSError:
                self.discard()
            raise
        except BaseException:
            self.discard()
            raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Names appear in a folder, and blobs are taken back, one at a time; whether that is so on this system.

    Raises:
        StoreError: `store.busy`: another process does so all the time, or was stopped while it did.
    """
    if sys.platform == "win32":
        yield False
    else:
        handle = os.open(folder, os.O_RDONLY)
        try:
            yield _lock(handle, folder)
        finally:
            os.close(handle)


def _lock(handle: int, folder: Path) -> bool:
    if sys.platform != "win32":
        for _ in range(_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_MOMENT)
            except OSError:
                return False  # a file system without locks
            else:
                return True
    raise StoreError(f"{folder} is locked by another process", kind="store.busy")


def _identity(path: Path) -> _Identity:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _make_own(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        make_folder(folder)
    found = folder.lstat()
    if os.name != "posix":
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        hint = "move it away; the blobs that are in it are needed in a folder of that name"
        raise StoreError(f"{folder} is no folder of your own", kind="store.unsafe_path", hint=hint)
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~FOLDER:
        folder.chmod(mode & FOLDER)


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

    def has(self, digest: str) -> bool:
        """Whether there is something of that name; a blob that nobody needs may be taken back at any time."""
        return os.path.lexists(self._folder / digest)

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
    """A blob being written to memory; see `BlobSpill`."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs
        self._data = bytearray()
        #: Its name and content, if there was none of that name.
        self._new: tuple[str, bytes] | None = None

    def write(self, data: bytes) -> None:
        """See `Spill.write`."""
        self._data += data

    def finish(self) -> str:
        """See `Spill.finish`."""
        digest = hashlib.sha256(self._data).hexdigest()
        is_new = digest not in self._blobs
        data = self._blobs[digest] = bytes(self._data)
        if is_new:
            self._new = digest, data
        return digest

    def discard(self) -> None:
        """See `Spill.discard`."""
        self._data.clear()

    def taken(self) -> bytes:
        """See `BlobSpill.taken`."""
        return bytes(self._data)

    def take_back(self) -> None:
        """See `BlobSpill.take_back`."""
        if self._new is not None and self._blobs.get(self._new[0]) is self._new[1]:
            del self._blobs[self._new[0]]


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
