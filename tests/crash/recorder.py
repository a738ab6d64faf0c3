"""A file system below SQLite that notes every change of a store's files, or fails one of them on purpose.

The store's own connection is opened on it, so it is the path that ships which is seen: `apsw.Connection` takes the
process's default file system, and `Recorder.open` makes the recorder that for the moment of the opening.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import apsw

from statemachine_flow.stores.database import Durability
from statemachine_flow.stores.sqlite import SqliteStore
from tests.crash.disk import Change


class Recorder(apsw.VFS):
    """Tells of every write, truncate, sync and delete right before it happens.

    Args:
        on_change: told; what it raises is what SQLite gets to hear instead.
        on_read: called before every read.

    Syncs are noted and not done: the disk they are for is `disk.Disk`.
    """

    #: Of recorders that are open in this process at once.
    _numbers: ClassVar[list[int]] = [0]

    def __init__(self, on_change: Callable[[Change], None], on_read: Callable[[str], None] | None = None) -> None:
        self._numbers[0] += 1
        self.name = f"recorder-{self._numbers[0]}"
        self.below = apsw.vfs_names()[0]
        self.on_change = on_change
        self.on_read = on_read
        #: One change at a time, whichever thread commits.
        self.lock = threading.RLock()
        super().__init__(self.name, self.below)

    def open(self, path: Path, durability: Durability = "power") -> SqliteStore:
        """Open a store whose file is on this file system."""
        apsw.set_default_vfs(self.name)
        try:
            return SqliteStore(path, durability=durability)
        finally:
            apsw.set_default_vfs(self.below)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """See `apsw.VFS`."""
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """See `apsw.VFS`."""
        with self.lock:
            self.on_change(Change(Path(filename).name, "delete"))
            super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: Any, flags: list[int]) -> None:
        self._recorder = recorder
        full = name.filename() if isinstance(name, apsw.URIFilename) else name
        #: None for a file of SQLite's own that nobody finds again.
        self._file = Path(full).name if full else None
        super().__init__(recorder.below, name, flags)

    def _note(self, action: Any, offset: int = 0, data: bytes = b"") -> None:
        if self._file is not None:
            self._recorder.on_change(Change(self._file, action, offset, data))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        """See `apsw.VFSFile`."""
        if self._recorder.on_read is not None and self._file is not None:
            self._recorder.on_read(self._file)
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's name
        """See `apsw.VFSFile`."""
        with self._recorder.lock:
            try:
                self._note("write", offset, bytes(data))
            except ShortWrite as short:
                super().xWrite(bytes(data)[: len(data) // 2], offset)
                raise short.error from None
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """See `apsw.VFSFile`."""
        with self._recorder.lock:
            self._note("truncate", newsize)
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """See `apsw.VFSFile`."""
        with self._recorder.lock:
            self._note("sync")


class ShortWrite(Exception):  # noqa: N818 - what is to happen, not what is wrong with this code
    """Half of a write is to happen, and then an error."""

    def __init__(self, error: apsw.Error) -> None:
        super().__init__()
        self.error = error
