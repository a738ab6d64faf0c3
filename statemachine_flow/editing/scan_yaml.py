"""Spans and comments of a YAML or JSON text, from the events of the parser."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final, final

import yaml

from statemachine_flow.editing.spans import Node, Scan

#: libyaml's parser where PyYAML was built with it, which is ten times as fast.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Between scalars stand only indicators, comments and blanks.
_BETWEEN: Final = re.compile(r"(?P<comment>#[^\r\n]*)|(?P<dash>(?<![^\s])-(?=\s|\Z))")
_BLOCK_HEADER: Final = re.compile(r"[|>][-+0-9]*[ \t]+(#[^\r\n]*)")
_KEEPS_ITS_END: Final = re.compile(r"[|>][0-9]*\+")


def scan(text: str) -> Scan:
    """See `spans.scan`."""
    events = list(yaml.parse(text, Loader=_Loader))
    comments, dashes = _between(text, [event for event in events if isinstance(event, yaml.ScalarEvent)])
    builder = _Builder(text, dashes)
    for event in events:
        builder.take(event)
    return Scan(text, builder.root, tuple(comments))


def _between(text: str, scalars: Iterable[Any]) -> tuple[list[tuple[int, int]], list[int]]:
    """The comments, and the dashes of lists."""
    comments: list[tuple[int, int]] = []
    dashes: list[int] = []
    position = 0
    for start, end in [*((one.start_mark.index, one.end_mark.index) for one in scalars), (len(text), len(text))]:
        for match in _BETWEEN.finditer(text, position, max(start, position)):
            if match["comment"]:
                comments.append(match.span())
            elif text[match.start() : match.start() + 3] != "---":
                dashes.append(match.start())
        header = _BLOCK_HEADER.match(text, start, end)
        if header:
            comments.append(header.span(1))
        position = max(end, position)
    return comments, dashes


#: The stubs let every event be without marks; those of a parser have them.
_Event = Any


@final
class _Builder:
    def __init__(self, text: str, dashes: list[int]) -> None:
        self._text = text
        self._dashes = dashes
        self.root = Node("scalar", "flow", 0, 0, 0)
        self._open: list[Node] = []
        self._key: tuple[str, int, int] | None = None

    def take(self, event: _Event) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            start, end = event.start_mark.index, event.end_mark.index
            if self._open and self._open[-1].kind == "mapping" and self._key is None:
                self._key = (event.value, start, end)
                return
            is_block = event.style in ("|", ">")
            self._put(Node("scalar", "block" if is_block else "flow", start, self._trim(start, end), start))
        elif kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
            start = event.start_mark.index
            node = Node(
                "mapping" if kind is yaml.MappingStartEvent else "list",
                "flow" if event.flow_style else "block",
                start,
                start,
                start,
            )
            self._put(node)
            self._open.append(node)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            node = self._open.pop()
            # The end of a block collection is where the parser noticed it, lines too late.
            node.end = event.end_mark.index if node.style == "flow" else node.last

    def _trim(self, start: int, end: int) -> int:
        """The end of a scalar without the blank lines that the parser counts in."""
        if _KEEPS_ITS_END.match(self._text, start, end):
            return end - 1 if self._text.endswith("\n", start, end) else end
        return start + len(self._text[start:end].rstrip()) if end > start else end

    def _put(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.kind == "mapping" and self._key is not None:
            key, start, end = self._key
            node.key, node.entry, self._key = (start, end), start, None
            parent.children[key] = node
        else:
            if parent.style == "block":
                node.entry = self._dashes[bisect_left(self._dashes, node.start) - 1]
            parent.children[len(parent.children)] = node
