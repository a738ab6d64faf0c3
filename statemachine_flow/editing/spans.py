"""Where everything in a document's text stands, from its first character to its last: nodes, comments, lines.

The compiler's readers say where a value begins, which is enough for messages; whoever changes a text must know where
it ends as well. `scan` walks a text that the compiler has read, so nothing here proves the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, Literal, final

import attrs

from statemachine_flow.compiler.source import Format, Path

Kind = Literal["mapping", "list", "scalar"]
#: `flow`: within brackets, or a scalar; `block`: on lines of its own. In TOML a mapping is a `table` when it has a
#: header, `implied` when only longer headers name it, and `dotted` when only dotted keys do.
Style = Literal["flow", "block", "table", "implied", "dotted"]


@final
@attrs.define(eq=False)
class Node:
    """One value of a text."""

    kind: Kind
    style: Style
    #: The value itself: its first character, and the one behind its last. Of a TOML table, its header.
    start: int
    end: int
    #: Where its entry begins: with the key, the dash of a list, or the bracket of a TOML header.
    entry: int
    #: Its key alone, in a dotted name its own part; None for items of lists and for the root.
    key: tuple[int, int] | None = None
    #: In the order of the text.
    children: dict[str | int, Node] = attrs.field(factory=dict)

    def at(self, path: Path) -> Node:
        """The node below this one; KeyError if there is none."""
        node = self
        for part in path:
            node = node.children[part]
        return node

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        """This node and everything below it, in the order of the text."""
        yield path, self
        for part, child in self.children.items():
            yield from child.walk((*path, part))

    @property
    def last(self) -> int:
        """The end of the last thing in it."""
        return max([self.end, *(child.last for child in self.children.values())])


@final
@attrs.frozen
class Name:
    """One part of a name in a TOML header or before `=`."""

    text: str
    start: int
    end: int


@final
@attrs.frozen
class Statement:
    """One header or one `name = value` of a TOML text, outside of inline tables."""

    #: The table it stands in or, for a header, the table it opens.
    table: Path
    #: Its whole path: of the value, or of the table it opens.
    path: Path
    names: tuple[Name, ...]
    start: int
    end: int
    is_header: bool


@final
@attrs.frozen(eq=False)
class Scan:
    """What was found in a text."""

    text: str = attrs.field(repr=False)
    root: Node
    #: Spans from the `#` to the end of the line, in order.
    comments: tuple[tuple[int, int], ...]
    #: TOML only.
    statements: tuple[Statement, ...] = ()


_MODULES: Final = {"toml": "scan_toml", "yaml": "scan_yaml"}


def scan(text: str, syntax: Format) -> Scan:
    """Find everything in a valid TOML or YAML text.

    Example:
        >>> found = scan("a: [1, x]  # why", "yaml")
        >>> node = found.root.at(("a", 1))
        >>> found.text[node.start : node.end], [found.text[start:end] for start, end in found.comments]
        ('x', ['# why'])
    """
    # By name: PyYAML is not worth its import time to those who write TOML.
    module: Any = import_module(f"{__package__}.{_MODULES[syntax]}")
    found: Scan = module.scan(text)
    return found


def line_start(text: str, offset: int) -> int:
    """Where the line of `offset` begins."""
    return text.rfind("\n", 0, offset) + 1


def line_end(text: str, offset: int) -> int:
    """Where the line of `offset` ends, before its line end."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def next_line(text: str, offset: int) -> int:
    """Where the line after that of `offset` begins."""
    return min(line_end(text, offset) + 1, len(text))


def column(text: str, offset: int) -> int:
    """How many characters stand before `offset` in its line."""
    return offset - line_start(text, offset)
