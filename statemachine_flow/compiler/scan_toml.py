"""Finds places of values, and keys given twice, in a TOML text. Proving the text is the parser's part."""

from __future__ import annotations

import contextlib
import re
import tomllib
from typing import Final, final

import attrs

from statemachine_flow.compiler.scan import LostError, Scanner
from statemachine_flow.compiler.source import Path, Place

_TOKENS: Final = re.compile(
    r"""
    (?: [ \t\r]++ | \#[^\n]*+ )*+
    ( "{3} (?: [^"\\]++ | \\. | "{1,2}(?!") )*+ "{3,5}
    | '{3} (?: [^']++ | '{1,2}(?!') )*+ '{3,5}
    | " (?: [^"\\\n]++ | \\. )*+ "
    | ' [^'\n]*+ '
    | [^ \s \[ \] { } = , . \# " ' ]++
    | . | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_VALUE_ENDS: Final = frozenset({",", "]", "}", "\n", ""})


def scan(text: str) -> TomlScanner:
    """Walk a text that the parser has read, or as much of it as can be understood."""
    scanner = TomlScanner(text)
    # Lost only where the parser found problems; what comes before them has its place.
    with contextlib.suppress(LostError, RecursionError):
        scanner.document()
    return scanner


@attrs.define(eq=False)
class _Place(Place):
    """A place that knows how it came to be, which decides whether its key may be written again."""

    #: `value` by `key =`; `table` by its own header; `tables` by `[[ ]]`; `dotted` or `implied` as part of a
    #: longer name, before `=` or in a header.
    origin: str = "value"


#: What a longer name may not go through: inline tables and arrays are closed, and a dotted key may not reach
#: into a table that has a header of its own.
_CLOSED: Final = {"implied": frozenset({"value"}), "dotted": frozenset({"value", "table", "tables"})}


@final
class TomlScanner(Scanner):
    """Walks statement by statement, and notes the keys that TOML does not allow to be written again."""

    def __init__(self, text: str) -> None:
        super().__init__(text, _TOKENS)

    def document(self) -> None:
        """Walk the whole text."""
        table: Place = self.root
        path: Path = ()
        while self.sign:
            if self.sign == "\n":
                self.take()
            elif self.sign == "[":
                table, path = self._header()
            else:
                self._pair(table, path)

    def _header(self) -> tuple[Place, Path]:
        """Walk `[name]` or `[[name]]`; the table it opens."""
        begin = self.offset
        self.expect("[")
        repeated = self.sign == "["
        if repeated:
            self.take()
        *parents, (name, offset) = self._names()
        self.expect("]")
        if repeated:
            self.expect("]")
        parent, path = self._enter(self.root, (), parents, "implied")
        if repeated:
            return self._next_table(parent, (*path, name), offset, begin)
        return self._table(parent, (*path, name), offset, begin)

    def _table(self, parent: Place, path: Path, offset: int, begin: int) -> tuple[Place, Path]:
        known = parent.children.get(path[-1])
        if isinstance(known, _Place) and known.origin == "implied":
            known.key, known.value, known.origin = offset, begin, "table"
            return known, path
        table = _Place(offset, begin, origin="table")
        self.add(parent, path, table)
        return table, path

    def _next_table(self, parent: Place, path: Path, offset: int, begin: int) -> tuple[Place, Path]:
        known = parent.children.get(path[-1])
        if not (isinstance(known, _Place) and known.origin == "tables"):
            known = _Place(offset, begin, origin="tables")
            self.add(parent, path, known)
        index = len(known.children)
        table = known.children[index] = _Place(begin, begin, origin="table")
        return table, (*path, index)

    def _enter(self, place: Place, path: Path, names: list[tuple[str, int]], origin: str) -> tuple[Place, Path]:
        """Go down the leading parts of a name, through the last item where they name repeated tables."""
        for name, offset in names:
            path = (*path, name)
            below = place.children.get(name)
            if not isinstance(below, _Place) or below.origin in _CLOSED[origin]:
                below = _Place(offset, offset, origin=origin)
                self.add(place, path, below)
            elif below.origin == "tables":
                index = len(below.children) - 1
                below, path = below.children[index], (*path, index)
            place = below
        return place, path

    def _pair(self, table: Place, path: Path) -> None:
        """Walk `name = value`."""
        *parents, (name, offset) = self._names()
        self.expect("=")
        parent, path = self._enter(table, path, parents, "dotted")
        place = _Place(offset, self.offset)
        self.add(parent, (*path, name), place)
        self._value(place, (*path, name))

    def _names(self) -> list[tuple[str, int]]:
        """Walk a name of one or more parts; each with its offset."""
        names = []
        while True:
            offset = self.offset
            names.append((_unquoted(self.take()), offset))
            if self.sign != ".":
                return names
            self.take()

    def _value(self, place: Place, path: Path) -> None:
        """Walk one value, whose place is known up to what it holds."""
        if self.sign == "[":
            self._array(place, path)
        elif self.sign == "{":
            self._inline_table(place, path)
        elif self.sign in ('"', "'"):
            raise LostError  # a quote that is never closed
        else:
            while self.sign not in _VALUE_ENDS:
                self.take()

    def _array(self, place: Place, path: Path) -> None:
        self.expect("[")
        self._blank_lines()
        while self.sign != "]":
            index = len(place.children)
            item = place.children[index] = _Place(self.offset, self.offset)
            self._value(item, (*path, index))
            self._comma("]")
        self.take()

    def _inline_table(self, place: Place, path: Path) -> None:
        self.expect("{")
        self._blank_lines()
        while self.sign != "}":
            self._pair(place, path)
            self._comma("}")
        self.take()

    def _comma(self, end: str) -> None:
        self._blank_lines()
        if self.sign != end:
            self.expect(",")
            self._blank_lines()

    def _blank_lines(self) -> None:
        while self.sign == "\n":
            self.take()


def _unquoted(token: str) -> str:
    """The text of one part of a name.

    Raises:
        LostError: the token is no such part.
    """
    if token[:1] == '"' and "\\" in token:
        try:
            return str(tomllib.loads(f"key = {token}")["key"])
        except tomllib.TOMLDecodeError as error:
            raise LostError from error
    if len(token) > 1 and token[0] in "\"'":
        return token[1:-1]
    if not _BARE_KEY.fullmatch(token):
        raise LostError
    return token
