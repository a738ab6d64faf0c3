"""A document's file: read with its mark and its line ends, and replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final, final

import attrs

from statemachine_flow.compiler import read_file
from statemachine_flow.compiler.source import Source, quoted
from statemachine_flow.errors import ConflictError, UsageError

_MARK: Final = "\ufeff"


@final
@attrs.frozen
class Form:
    """What a text has around its characters."""

    has_mark: bool = False
    has_crlf: bool = False

    @classmethod
    def of(cls, data: bytes) -> Form:
        """The form of a file; line ends that are not all alike stay in the text."""
        lines = data.count(b"\n")
        return cls(data.startswith(_MARK.encode()), has_crlf=lines > 0 and data.count(b"\r\n") == lines)

    def encode(self, text: str) -> bytes:
        """The bytes of a text whose lines end in line feeds."""
        return ((_MARK if self.has_mark else "") + self.ended(text)).encode()

    def ended(self, text: str) -> str:
        """The text with the line ends of the file."""
        return text.replace("\n", "\r\n") if self.has_crlf else text


@final
@attrs.frozen(eq=False)
class File:
    """A file as it was when it was read."""

    #: As it was named.
    name: str
    #: The file itself, behind all links.
    path: Path
    source: Source
    form: Form

    @classmethod
    def read(cls, name: str | os.PathLike[str]) -> File:
        """Read a document.

        Raises:
            DefinitionError: it cannot be read, or its text is not valid TOML, YAML or JSON.
        """
        _, source = read_file(name)
        path = Path(os.path.realpath(name))
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != source.digest:
            raise _changed(os.fspath(name))
        return cls(os.fspath(name), path, source, Form.of(data))

    @property
    def text(self) -> str:
        """The text, in which lines end in line feeds."""
        return self.source.text.replace("\r\n", "\n") if self.form.has_crlf else self.source.text

    def replace(self, text: str) -> File:
        """Put a text in the place of the one that was read.

        The new file is whole on disk before it takes the name of the old one, so that whoever reads meanwhile, or
        after a crash, finds one or the other. It has the old one's mode. A link still leads to it.

        Returns:
            The file as it is now.

        Raises:
            ConflictError: the file is another one than when it was read; nothing was written.
            UsageError: it cannot be written.
        """
        try:
            if Path(os.path.realpath(self.name)) != self.path or _digest(self.path) != self.source.digest:
                raise _changed(self.name)
            write_file(self.path, self.form.encode(text), mode=stat.S_IMODE(self.path.stat().st_mode))
        except OSError as error:
            raise UsageError(f"cannot write {quoted(self.name)}: {error.strerror or error}") from error
        return File.read(self.name)


def write_file(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a file as a whole or not at all, in its own folder.

    Args:
        path: no link.
        data: what it is to hold.
        mode: its permissions; by default those of a new file.
    """
    folder = path.parent
    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _new_mode() if mode is None else mode)
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - Path.replace does the same, and says it less clearly
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - as above
        raise
    with contextlib.suppress(OSError):  # some file systems sync no folders
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _new_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _changed(name: str) -> ConflictError:
    message = f"the file {quoted(name)} was changed by somebody else since it was read"
    return ConflictError(message, kind="usage", hint="read it again, and make the change once more")
