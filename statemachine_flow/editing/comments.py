"""Which comment of a text belongs to which value, so that it can stand with it in another text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import final

import attrs

from statemachine_flow.compiler.source import Format, Path
from statemachine_flow.editing.spans import Node, Scan, column, line_end, line_start, next_line, scan


@final
@attrs.define
class Comments:
    """Comments by the paths of the values they stand with; a blank line among them is an empty text."""

    #: On the lines above a value.
    above: dict[Path, list[str]] = attrs.field(factory=dict)
    #: At the end of a value's line.
    end: dict[Path, str] = attrs.field(factory=dict)
    #: Below the last entry of a mapping or list.
    foot: dict[Path, list[str]] = attrs.field(factory=dict)
    #: At the top of the text, with a blank line below.
    head: list[str] = attrs.field(factory=list)
    #: At the end of the text.
    tail: list[str] = attrs.field(factory=list)

    @property
    def count(self) -> int:
        """How many lines of comment there are."""
        blocks = [self.head, self.tail, *self.above.values(), *self.foot.values()]
        return sum(1 for block in blocks for line in block if line) + len(self.end)

    def inside(self, path: Path) -> bool:
        """Whether a comment stands with something below `path`."""
        depth = len(path)
        below = any(len(one) > depth and one[:depth] == path for group in (self.above, self.end) for one in group)
        return below or any(one[:depth] == path for one in self.foot)

    def lift(self, path: Path) -> None:
        """Move what stands below `path` above it, for a value that cannot hold comments."""
        depth = len(path)
        lifted: list[str] = []
        for group in (self.above, self.foot):
            for one in [one for one in group if one[:depth] == path and (len(one) > depth or group is self.foot)]:
                lifted += [line for line in group.pop(one) if line]
        lifted += [self.end.pop(one) for one in [*self.end] if len(one) > depth and one[:depth] == path]
        if lifted:
            self.above[path] = [*self.above.get(path, []), *lifted]

    def moved(self, rename: Callable[[Path], Path]) -> Comments:
        """The same comments under other paths."""
        above: dict[Path, list[str]] = {}
        for path, lines in self.above.items():
            above.setdefault(rename(path), []).extend(lines)
        end: dict[Path, str] = {}
        for path, text in self.end.items():
            if end.setdefault(rename(path), text) != text:
                above.setdefault(rename(path), []).append(text)
        foot = {rename(path): lines for path, lines in self.foot.items()}
        return Comments(above, end, foot, list(self.head), list(self.tail))


@attrs.frozen
class _Line:
    """A comment with a line to itself."""

    start: int
    text: str
    #: Whether a blank line stands above.
    blank_above: bool


def collect(text: str, syntax: Format) -> Comments:
    r"""Find the comments of a TOML or YAML text.

    Example:
        >>> collect("# one\na: 1  # two\nb:\n  c: 1\n  # three\n", "yaml").foot
        {('b',): ['# three']}
    """
    return _Collector(scan(text, syntax), syntax).comments


@final
class _Collector:
    def __init__(self, found: Scan, syntax: Format) -> None:
        self.comments = Comments()
        self._scan = found
        self._text = found.text
        self._is_toml = syntax == "toml"
        self._entries = sorted(self._find_entries(), key=lambda entry: (entry[0], len(entry[1])))
        self._entry_starts = [start for start, _ in self._entries]
        self._ends = sorted(self._find_ends(), key=lambda entry: entry[0])
        self._end_offsets = [end for end, _ in self._ends]
        self._flows = [
            (path, node) for path, node in found.root.walk() if node.style == "flow" and node.kind != "scalar"
        ]
        block: list[_Line] = []
        for start, end in found.comments:
            comment = self._text[start:end].rstrip()
            if self._text[line_start(self._text, start) : start].strip():
                self._at_end(start, comment)
                continue
            if block and self._text[line_end(self._text, block[-1].start) : start].strip():
                self._block(block)
                block = []
            above = self._text[: line_start(self._text, start)].split("\n")[-2:-1] if start else []
            block.append(_Line(start, comment, above == [""] or (bool(above) and not above[0].strip())))
        if block:
            self._block(block)

    def _find_entries(self) -> Iterator[tuple[int, Path]]:
        """Where everything begins that a comment can stand above."""
        if self._is_toml:
            yield from ((one.start, one.path) for one in self._scan.statements)
        for path, node in self._scan.root.walk():
            if path and (not self._is_toml or self._scan.root.at(path[:-1]).style == "flow"):
                yield node.entry, path

    def _find_ends(self) -> Iterator[tuple[int, Path]]:
        """Where everything ends that a comment can stand behind."""
        for path, node in self._scan.root.walk():
            if node.key is not None and node.style not in ("implied", "dotted", "table"):
                yield node.key[1], path
            if node.style in ("flow", "table") or node.kind == "scalar":
                yield node.end, path

    def _at_end(self, start: int, comment: str) -> None:
        place = bisect_right(self._end_offsets, start) - 1
        if place < 0 or self._end_offsets[place] < line_start(self._text, start):
            self._above(start, [comment], blank_below=False)  # behind a dash, or `---`
            return
        path = self._ends[place][1]
        if path in self.comments.end:
            self.comments.above.setdefault(path, []).append(comment)
        else:
            self.comments.end[path] = comment

    def _above(self, offset: int, lines: list[str], *, blank_below: bool) -> None:
        place = bisect_right(self._entry_starts, offset)
        if place == len(self._entries):
            self.comments.tail += lines
            return
        path = self._entries[place][1]
        self.comments.above.setdefault(path, []).extend([*lines, ""] if blank_below else lines)

    def _block(self, block: list[_Line]) -> None:
        """Place lines of comment between which nothing else stands."""
        last = block[-1].start
        below = next_line(self._text, last)
        at_end = not self._text[below:].strip()
        blank_below = not at_end and not self._text[below : line_end(self._text, below)].strip()
        if not self._text[: block[0].start].strip() and not self._inner(last):
            cut = (
                len(block)
                if blank_below
                else max(index for index, _ in enumerate(block) if index == 0 or block[index].blank_above)
            )
            self.comments.head += _texts(block[:cut])
            block = block[cut:]
        feet = self._toml_foot(block, blank_below or at_end) if self._is_toml else self._yaml_foot(block)
        block = block[feet:]
        if block:
            self._above(block[-1].start, _texts(block), blank_below=blank_below)

    def _inner(self, offset: int) -> tuple[Path, Node] | None:
        """The innermost brackets around a place."""
        around = [(path, node) for path, node in self._flows if node.start < offset < node.end]
        return around[-1] if around else None

    def _flow_foot(self, block: list[_Line], path: Path, node: Node) -> int:
        if any(child.entry > block[-1].start for child in node.children.values()):
            return 0
        self.comments.foot.setdefault(path, []).extend(_texts(block))
        return len(block)

    def _toml_foot(self, block: list[_Line], blank_below: bool) -> int:
        """Lines right below a section, with a blank line between them and the next header, are its foot."""
        if not block:
            return 0
        if inner := self._inner(block[0].start):
            return self._flow_foot(block, *inner)
        before = [one for one in self._scan.statements if one.start < block[0].start]
        after = next((one for one in self._scan.statements if one.start > block[0].start), None)
        if block[0].blank_above or not before or not before[-1].table or (after and not after.is_header):
            return 0
        count = next((index for index, line in enumerate(block) if index and line.blank_above), len(block))
        if count == len(block) and not blank_below:
            return 0
        self.comments.foot.setdefault(before[-1].table, []).extend(line.text for line in block[:count])
        return count

    def _yaml_foot(self, block: list[_Line]) -> int:
        """Lines that are indented deeper than what follows are the foot of what they are indented as."""
        if not block:
            return 0
        if inner := self._inner(block[0].start):
            return self._flow_foot(block, *inner)
        place = bisect_right(self._entry_starts, block[0].start)
        after = column(self._text, self._entry_starts[place]) if place < len(self._entries) else 0
        count = 0
        for line in block:
            indent = column(self._text, line.start)
            container = self._container(self._entries[place - 1][1], indent) if place and indent > after else None
            if not container:
                break
            count += 1
            self.comments.foot.setdefault(container, []).append(line.text)
        return count

    def _container(self, path: Path, indent: int) -> Path:
        """The block around the entry at `path` whose entries stand deepest, but no deeper than `indent`."""
        found: Path = ()
        deepest = 0
        for end, part in enumerate(path):
            node = self._scan.root.at(path[:end])
            # A list may stand no deeper than its key; then the outer one has the comment.
            if node.style == "block" and deepest < (depth := column(self._text, node.children[part].entry)) <= indent:
                found, deepest = path[:end], depth
        return found


def _texts(block: list[_Line]) -> list[str]:
    lines: list[str] = []
    for index, line in enumerate(block):
        lines += ["", line.text] if index and line.blank_above else [line.text]
    return lines
