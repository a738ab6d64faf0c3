"""Spans, comments and statements of a TOML text, from its tokens."""

from __future__ import annotations

import re
import tomllib
from typing import Final, final

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing.spans import Name, Node, Scan, Statement, Style

_TOKEN: Final = re.compile(
    r"""
    (?P<blank> [ \t\r]++ )
    | (?P<comment> \#[^\r\n]*+ )
    | (?P<sign> "{3} (?: [^"\\]++ | \\. | "{1,2}(?!") )*+ "{3,5}
    | '{3} (?: [^']++ | '{1,2}(?!') )*+ '{3,5}
    | " (?: [^"\\\n]++ | \\. )*+ "
    | ' [^'\n]*+ '
    | [^ \s \[ \] { } = , . \# " ' ]++
    | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_VALUE_ENDS: Final = frozenset({",", "]", "}", "\n", ""})


def scan(text: str) -> Scan:
    """See `spans.scan`."""
    scanner = _Scanner(text)
    scanner.document()
    return Scan(text, scanner.root, tuple(scanner.comments), tuple(scanner.statements))


@final
class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        matches = list(_TOKEN.finditer(text))
        self.comments = [match.span() for match in matches if match.lastgroup == "comment"]
        self._tokens = [match.span() for match in matches if match.lastgroup == "sign"]
        self._tokens.append((len(text), len(text)))
        self._index = 0
        self.statements: list[Statement] = []
        self.root = Node("mapping", "table", 0, 0, 0)

    @property
    def _sign(self) -> str:
        start, end = self._tokens[self._index]
        return self._text[start:end]

    def _take(self) -> tuple[int, int]:
        span = self._tokens[self._index]
        self._index += 1
        return span

    def document(self) -> None:
        table: Node = self.root
        path: Path = ()
        while self._sign:
            if self._sign == "\n":
                self._take()
            elif self._sign == "[":
                table, path = self._header()
            else:
                start = self._tokens[self._index][0]
                names, whole, end = self._pair(table, path)
                self.statements.append(Statement(path, whole, names, start, end, is_header=False))

    def _header(self) -> tuple[Node, Path]:
        start, end = self._take()
        is_repeated = self._text.startswith("[", end)
        if is_repeated:
            self._take()
        names = self._names()
        for _ in range(1 + is_repeated):
            _, end = self._take()
        *_, last = names
        parent, path = self._enter(self.root, (), names[:-1], "implied")
        node = parent.children.get(last.text)
        path = (*path, last.text)
        if is_repeated:
            if node is None:
                node = parent.children[last.text] = Node("list", "table", start, end, start, (last.start, last.end))
            path = (*path, len(node.children))
            tables, node = node, Node("mapping", "table", start, end, start)
            tables.children[path[-1]] = node
        elif node is None:
            node = parent.children[last.text] = Node("mapping", "table", start, end, start, (last.start, last.end))
        else:  # longer headers came before
            node.style, node.start, node.end, node.entry, node.key = "table", start, end, start, (last.start, last.end)
        self.statements.append(Statement(path, path, names, start, end, is_header=True))
        return node, path

    def _enter(self, node: Node, path: Path, names: tuple[Name, ...], style: Style) -> tuple[Node, Path]:
        for name in names:
            path = (*path, name.text)
            below = node.children.get(name.text)
            if below is None:
                below = Node("mapping", style, name.start, name.end, names[0].start, (name.start, name.end))
                node.children[name.text] = below
            elif below.kind == "list":
                last = len(below.children) - 1
                below, path = below.children[last], (*path, last)
            node = below
        return node, path

    def _pair(self, table: Node, path: Path) -> tuple[tuple[Name, ...], Path, int]:
        names = self._names()
        self._take()  # the equals sign
        parent, path = self._enter(table, path, names[:-1], "dotted")
        last = names[-1]
        node = self._value()
        node.entry, node.key = names[0].start, (last.start, last.end)
        parent.children[last.text] = node
        return names, (*path, last.text), node.end

    def _names(self) -> tuple[Name, ...]:
        names: list[Name] = []
        while True:
            start, end = self._take()
            names.append(Name(_unquoted(self._text[start:end]), start, end))
            if self._sign != ".":
                return tuple(names)
            self._take()

    def _value(self) -> Node:
        start, end = self._tokens[self._index]
        if self._sign == "[":
            return self._array(start)
        if self._sign == "{":
            return self._inline_table(start)
        while self._sign not in _VALUE_ENDS:
            _, end = self._take()
        return Node("scalar", "flow", start, end, start)

    def _array(self, start: int) -> Node:
        node = Node("list", "flow", start, start, start)
        self._take()
        self._skip()
        while self._sign != "]":
            node.children[len(node.children)] = self._value()
            self._skip()
        _, node.end = self._take()
        return node

    def _inline_table(self, start: int) -> Node:
        node = Node("mapping", "flow", start, start, start)
        self._take()
        self._skip()
        while self._sign != "}":
            self._pair(node, ())
            self._skip()
        _, node.end = self._take()
        return node

    def _skip(self) -> None:
        while self._sign in ("\n", ","):
            self._take()


def _unquoted(token: str) -> str:
    return str(tomllib.loads(f"key = {token}")["key"]) if token[0] in "\"'" else token
