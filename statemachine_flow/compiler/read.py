"""From bytes to plain data: checks size and encoding, and hands the text to the reader of its format."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import stat
from pathlib import Path
from typing import Any, Final, Protocol, cast, get_args

from statemachine_flow.compiler.plain import Limits, root_of
from statemachine_flow.compiler.source import Format, Place, Source, quoted
from statemachine_flow.errors import DefinitionError, Position, Problem, UsageError

_FORMATS: Final[dict[str, Format]] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_DEFAULT_LIMITS: Final = Limits()

#: A byte order mark says what the bytes are; UTF-32's begins like UTF-16's, so it comes first.
_FOREIGN_MARKS: Final = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_LONE_RETURN: Final = re.compile(rb"\r(?!\n)")

_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_NAMES: Final = rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*[ \t]*"
_FIRST_LINE: Final = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*+[ \t]*(.*)")
_TOML_LINE: Final = re.compile(rf"{_NAMES}=|\[\[?[ \t]*{_NAMES}\]")


class _Reader(Protocol):
    """What the module of each format offers."""

    def load(self, source: Source, limits: Limits) -> Any: ...

    def locate(self, text: str) -> Place: ...


def read_file(path: str | os.PathLike[str], *, limits: Limits = _DEFAULT_LIMITS) -> tuple[dict[str, Any], Source]:
    """Read a document from a file, once; its format follows from its suffix.

    Args:
        path: a regular file, or a link to one, that ends in `.toml`, `.yaml`, `.yml` or `.json`.
        limits: how large it may be.

    Returns:
        Plain data, and the source for positions in it.

    Raises:
        DefinitionError: with every problem that can be told at once.
    """
    name = os.fspath(path)
    data, directory = _read_bytes(name, limits.max_bytes + 1)
    suffix = Path(name).suffix
    if suffix.lower() not in _FORMATS:
        message = f"the name {quoted(name)} does not say the format of the document"
        raise _refused("definition.format", message, hint=f"end it in one of {', '.join(_FORMATS)}")
    return _read(data, _FORMATS[suffix.lower()], name, directory, limits)


def read_text(
    text: str | bytes,
    *,
    format: Format | None = None,  # noqa: A002 - the word every caller expects; the builtin is not used here
    name: str = "<text>",
    limits: Limits = _DEFAULT_LIMITS,
) -> tuple[dict[str, Any], Source]:
    """Read a document from text.

    Args:
        text: the document; bytes are UTF-8.
        format: None to tell it from the first line that is neither blank nor a comment: `{` begins JSON,
            `key =` or `[table]` TOML, anything else YAML.
        name: what messages call it.
        limits: how large it may be.

    Returns:
        Plain data, and the source for positions in it.

    Raises:
        DefinitionError: with every problem that can be told at once.
        UsageError: `format` is none of the three.

    Example:
        >>> read_text("steps: {a: {run: 'true'}}")[0]
        {'steps': {'a': {'run': 'true'}}}
    """
    if format not in (None, *get_args(Format)):
        raise UsageError(f"{quoted(str(format))} is no format: it is one of {', '.join(get_args(Format))}")
    if len(text) > limits.max_bytes:
        raise _too_large(name, limits)
    return _read(text if isinstance(text, bytes) else _encode(text, name), format, name, None, limits)


def _read(
    data: bytes, given: Format | None, name: str, directory: str | None, limits: Limits
) -> tuple[dict[str, Any], Source]:
    if len(data) > limits.max_bytes:
        raise _too_large(name, limits)
    text = _decode(data, name)
    syntax = given or _detect(text)
    # By name, and only now: PyYAML is not worth its import time to those who write TOML.
    reader = cast(_Reader, importlib.import_module(f"{__package__}.read_{syntax}"))
    source = Source(
        name=name,
        format=syntax,
        text=text,
        directory=directory,
        digest=hashlib.sha256(data).hexdigest(),
        locate=reader.locate,
    )
    return root_of(reader.load(source, limits) if text.strip() else None, source), source


def _read_bytes(name: str, limit: int) -> tuple[bytes, str]:
    """The first `limit` bytes of a regular file, and the directory it lies in."""
    try:
        with open(name, "rb", opener=_open_at_once) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(limit), str(Path(name).absolute().parent)
            reason = "it is no regular file"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # a NUL character in the name
        reason = str(error)
    raise _refused("definition.not_a_file", f"cannot read {quoted(name)}: {reason}")


def _open_at_once(name: str, flags: int) -> int:
    # Without the flag, opening a FIFO waits for somebody to write into it.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _detect(text: str) -> Format:
    first = _FIRST_LINE.match(text)
    line = first[1] if first else ""
    if _TOML_LINE.match(line) or not line:
        return "toml"
    return "json" if line[0] in "{[" else "yaml"


def _encode(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        before = text[: error.start].encode()
        raise _bad_encoding("half of a surrogate pair, which is no character,", before, name) from error


def _decode(data: bytes, name: str) -> str:
    """The text of UTF-8 bytes, without the mark that may stand before it."""
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise _bad_encoding(f"the mark of {encoding}", b"", name)
    nul = data.find(b"\0")
    if nul >= 0:
        raise _bad_encoding("a NUL byte", data[:nul], name)
    if lone_return := _LONE_RETURN.search(data):
        raise _bad_encoding("a carriage return without a line feed", data[: lone_return.start()], name)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _bad_encoding("what is not UTF-8", data[: error.start], name) from error


def _bad_encoding(what: str, before: bytes, name: str) -> DefinitionError:
    lines = before.decode(errors="replace").removeprefix("\ufeff").split("\n")
    position = Position(name, len(lines), len(lines[-1]) + 1)
    message = f"the text holds {what} at byte {len(before)}"
    hint = "save it as UTF-8 with line ends of LF or CRLF"
    return _refused("definition.encoding", message, position=position, hint=hint)


def _too_large(name: str, limits: Limits) -> DefinitionError:
    message = f"the document is larger than {limits.max_bytes:,} bytes"
    return _refused("definition.too_large", message, position=Position(name, 1, 1))


def _refused(kind: str, message: str, *, position: Position | None = None, hint: str | None = None) -> DefinitionError:
    return DefinitionError([Problem(kind=kind, message=message, position=position, hint=hint)])
