"""The n-th call of SQLite to the file system fails: once, or from then on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal

import apsw
import attrs

from tests.crash.disk import Change
from tests.crash.recorder import Recorder, ShortWrite

#: What fails, and how: the disk is full, a call fails, half of a write is done, a sync fails, a read fails.
Fault = Literal["full", "io", "short", "sync", "read"]
FAULTS: tuple[Fault, ...] = ("full", "io", "short", "sync", "read")
#: The kinds of error that people are told.
KINDS: dict[Fault, frozenset[str]] = {
    "full": frozenset({"store.full"}),
    "io": frozenset({"store.io"}),
    "short": frozenset({"store.full"}),
    "sync": frozenset({"store.io"}),
    "read": frozenset({"store.io"}),
}

#: Text of an error of which a test knows that it is none.
_ON_PURPOSE: Final = "on purpose"


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Errors on purpose for which SQLite has no caller to tell, such as in a rollback, are nobody's."""
    before = sys.unraisablehook

    def drop(unraisable: Any) -> None:
        if _ON_PURPOSE not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = drop
    try:
        yield
    finally:
        sys.unraisablehook = before


def _error(fault: Fault, action: str) -> apsw.Error:
    if fault in ("full", "short"):
        return apsw.FullError(f"database or disk is full {_ON_PURPOSE}")
    extended = {
        "write": apsw.SQLITE_IOERR_WRITE,
        "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        "sync": apsw.SQLITE_IOERR_FSYNC,
        "delete": apsw.SQLITE_IOERR_DELETE,
        "read": apsw.SQLITE_IOERR_READ,
    }
    error = apsw.IOError(f"disk I/O error {_ON_PURPOSE}")
    error.extendedresult = extended[action]  # type: ignore[attr-defined]  # apsw takes it, its types do not say so
    return error


@attrs.define
class Faulty:
    """A file system of which one call fails.

    Args:
        fault: what fails.
        at: which call of that sort, counted from 1.
        is_sticky: whether those after it fail as well.
    """

    fault: Fault
    at: int
    is_sticky: bool
    #: Calls of that sort so far.
    calls: int = 0
    #: How many of them failed.
    failed: int = 0
    is_lifted: bool = False

    def recorder(self) -> Recorder:
        """The file system."""
        return Recorder(self._on_change, self._on_read)

    def lift(self) -> None:
        """From now on nothing fails."""
        self.is_lifted = True

    def _on_change(self, change: Change) -> None:
        concerned = {
            "full": change.action == "write",
            "short": change.action == "write",
            "io": change.action in ("write", "truncate", "delete"),
            "sync": change.action == "sync",
            "read": False,
        }
        if concerned[self.fault]:
            self._count(change.action)

    def _on_read(self, _file: str) -> None:
        if self.fault == "read":
            self._count("read")

    def _count(self, action: str) -> None:
        if self.is_lifted:
            return
        self.calls += 1
        if self.calls == self.at or (self.is_sticky and self.calls > self.at):
            self.failed += 1
            error = _error(self.fault, action)
            raise ShortWrite(error) if self.fault == "short" else error
