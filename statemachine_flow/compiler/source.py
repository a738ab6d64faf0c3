"""Where a document's text came from and where in it a value stands. Knows no format and no workflow field."""

from __future__ import annotations

import functools
import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Final, Literal, final

import attrs

from statemachine_flow.errors import Position, Problem

#: The way from the root to a value: keys of mappings and, in lists, indexes from 0.
Path = tuple[str | int, ...]

Format = Literal["toml", "yaml", "json"]

#: Which end of `key = value` is meant.
Part = Literal["key", "value"]

_PLAIN_KEY: Final = re.compile(r"[\w-]+")
_LONGEST_KEY: Final = 100


@attrs.define(eq=False)
class Place:
    """Where one value stands, as offsets into the text in characters, and the places of what it holds."""

    #: Where its key begins; for an item of a list, and for the root, where the value begins.
    key: int
    #: Where the value begins; for a TOML table, its header.
    value: int
    children: dict[str | int, Place] = attrs.field(factory=dict)


@final
@attrs.frozen(kw_only=True, slots=False, eq=False)  # cached properties need a __dict__
class Source:
    r"""The text of one document, and positions in it.

    Example:
        >>> from statemachine_flow.compiler.read import read_text
        >>> data, source = read_text("[steps.a]  # the first\nrun = 'true'", name="a.toml")
        >>> print(source.position(("steps", "a", "run")), source.position(("steps", "a", "run"), of="value"))
        a.toml:2:1 a.toml:2:7
    """

    #: As messages show it: the path as given, or `<text>`.
    name: str
    format: Format
    #: Without a byte order mark; line ends as they were.
    text: str = attrs.field(repr=False)
    #: The absolute directory of the file; None for text.
    directory: str | None
    #: SHA-256 of the bytes as read, in hexadecimal.
    digest: str
    _locate: Callable[[str], Place] = attrs.field(repr=False)

    @functools.cached_property
    def _root(self) -> Place:
        # Finding places costs a pass of its own, which only a document with something to report pays.
        return self._locate(self.text)

    @functools.cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    @functools.cached_property
    def _starts(self) -> list[int]:
        return list(itertools.accumulate((len(line) + 1 for line in self._lines), initial=0))

    def line(self, number: int) -> str:
        """The text of a line, without its line end.

        Args:
            number: counts from 1.

        Raises:
            IndexError: there is no such line.
        """
        return self._lines[number - 1].removesuffix("\r")

    def position(self, path: Path, *, of: Part = "key") -> Position:
        """Where a value stands.

        Args:
            path: the way to it; if the text has no such value, its longest known prefix counts: for a missing
                field, that is the mapping that lacks it.
            of: `"key"` for the place of its key, `"value"` for that of the value itself.
        """
        place = self._root
        for part in path:
            below = place.children.get(part)
            if below is None:
                break
            place = below
        return self.position_at(place.key if of == "key" else place.value)

    def position_at(self, offset: int) -> Position:
        """The position of the character at `offset`, which counts from 0."""
        index = min(bisect_right(self._starts, offset), len(self._lines)) - 1
        return Position(self.name, index + 1, offset - self._starts[index] + 1)

    def offset(self, line: int, column: int) -> int:
        """The offset, from 0, of a position; the inverse of `position_at`."""
        return self._starts[line - 1] + column - 1

    def problem(
        self, kind: str, message: str, path: Path = (), *, of: Part = "key", hint: str | None = None
    ) -> Problem:
        """Describe what is wrong with the value at `path`, with its position and line.

        Args:
            kind: a key of `errors.KINDS`.
            message: one sentence, no position and no advice in it.
            path: what it is about; see `position`.
            of: whether the key or the value is to be pointed at.
            hint: what to do about it.
        """
        return self._problem(kind, message, path, self.position(path, of=of), hint)

    def problem_at(self, kind: str, message: str, offset: int, path: Path = (), *, hint: str | None = None) -> Problem:
        """Like `problem`, for a place that is known by its offset in the text."""
        return self._problem(kind, message, path, self.position_at(offset), hint)

    def _problem(self, kind: str, message: str, path: Path, position: Position, hint: str | None) -> Problem:
        return Problem(
            kind=kind,
            message=message,
            path=dotted(path),
            position=position,
            source_line=self.line(position.line),
            hint=hint,
        )


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: indexes, and keys that are not plain words, stand in brackets.

    Example:
        >>> print(dotted(("steps", "review", "needs", 0)), dotted(("env", "A B")))
        steps.review.needs[0] env["A B"]
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def quoted(key: str) -> str:
    """A key in double quotes for a message: shortened if it is long, escaped if some of it is unprintable."""
    if len(key) > _LONGEST_KEY:
        key = key[:_LONGEST_KEY] + "…"
    return json.dumps(key, ensure_ascii=not key.isprintable())
