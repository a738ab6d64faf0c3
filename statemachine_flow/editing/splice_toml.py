"""Values put into and taken out of a TOML text: each function answers with the new text, and touches no other line.

A table of TOML may be written in four ways - with a header, by dotted keys, by longer headers alone, within braces -
and what is put in follows the way of its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing import splice_flow
from statemachine_flow.editing.layout_toml import section
from statemachine_flow.editing.render import toml_field, toml_fits, toml_inline, toml_key
from statemachine_flow.editing.spans import Node, Scan, Statement, line_end, line_start, next_line
from statemachine_flow.editing.splice_yaml import cut_lines

_COMMENT_LINE: Final = re.compile(r"[ \t]*#")


def replace(scan: Scan, path: Path, value: Any) -> str:
    """Put a value in the place of the one at `path`, which is no table of its own."""
    node = scan.root.at(path)
    is_pair = any(statement.path == path and not statement.is_header for statement in scan.statements)
    return splice_flow.replace(scan.text, node, toml_field(value) if is_pair else toml_inline(value))


def is_table(scan: Scan, path: Path) -> bool:
    """Whether the value at `path` stands in statements of its own."""
    return scan.root.at(path).style != "flow"


def insert(scan: Scan, path: Path, value: Any, after: str | int | None) -> str:
    """Put a new value into the mapping or list at `path[:-1]`, behind an entry of it, by default the last one."""
    parent = scan.root.at(path[:-1])
    siblings = parent.children
    before = siblings[after] if after is not None else None
    if parent.style == "flow":
        entry = toml_inline(value)
        if parent.kind == "mapping":
            entry = f"{toml_key(str(path[-1]))} = {entry}"
        return splice_flow.insert(scan.text, parent, before, entry)
    if parent.kind == "list" or _wants_section(scan, path, value, before):
        return _insert_section(scan, path, value, after)
    return _insert_pair(scan, path, value, after)


def _wants_section(scan: Scan, path: Path, value: Any, before: Node | None) -> bool:
    if not isinstance(value, Mapping) or not value or any(isinstance(part, int) for part in path):
        return False
    parent = scan.root.at(path[:-1])
    if parent.style == "dotted":
        return False
    mappings = [before] if before else [node for node in parent.children.values() if node.kind == "mapping"]
    if mappings:
        return mappings[-1].style in ("table", "implied")
    return parent is scan.root or not toml_fits(str(path[-1]), value)


def _insert_section(scan: Scan, path: Path, value: Any, after: str | int | None) -> str:
    text, parent = scan.text, path[:-1]
    if isinstance(path[-1], int):
        header = "[[" + ".".join(toml_key(part) for part in parent if isinstance(part, str)) + "]]"
        lines = [header, *(f"{toml_key(key)} = {toml_field(item)}" for key, item in value.items())]
        known: str | int | None = after if after is not None else path[-1] - 1
    else:
        is_apart = after is not None and scan.root.at((*parent, after)).style != "flow"
        lines, known = section(path, value), after if is_apart else None
    within = [one for one in scan.statements if _is_in(one, parent if known is None else (*parent, known))]
    position = _section_end(text, within[-1]) if within else len(text.rstrip())
    before = "\n\n" if text[:position].strip() else ""
    return text[:position] + before + "\n".join(lines) + (text[position:] or "\n")


def _insert_pair(scan: Scan, path: Path, value: Any, after: str | int | None) -> str:
    text, parent = scan.text, path[:-1]
    line = f"{toml_key(str(path[-1]))} = {toml_field(value)}"
    within = [one for one in scan.statements if not one.is_header and _is_in(one, parent)]
    own = [one for one in within if one.table == parent]
    if after is not None:
        own = [one for one in own if one.path[: len(path)] == (*parent, after)] or own
    header = next((one for one in scan.statements if one.is_header and one.path == parent), None)
    if own or header is not None:
        position = line_end(text, (own[-1] if own else header).end)  # type: ignore[union-attr]  # one of them is there
        return f"{text[:position]}\n{line}{text[position:]}"
    if scan.root.at(parent).style == "dotted":
        last = [one for one in within if after is None or _is_in(one, (*parent, after))][-1]
        names = [toml_key(str(part)) for part in parent[len(last.table) :]]
        position = line_end(text, last.end)
        return f"{text[:position]}\n{'.'.join([*names, line])}{text[position:]}"
    first = next((one for one in scan.statements if _is_in(one, parent)), None)
    position = len(text) if first is None else _above(text, first.start)
    opening = f"[{'.'.join(toml_key(str(part)) for part in parent)}]\n" if parent else ""
    return f"{text[:position]}{opening}{line}\n\n{text[position:]}"


def drop(scan: Scan, path: Path) -> str:
    """Take a value out, with its key and the comments right above it and behind it."""
    text, node = scan.text, scan.root.at(path)
    parent = scan.root.at(path[:-1])
    if parent.style == "flow" or (parent.kind == "list" and node.style == "flow"):
        return splice_flow.drop(text, parent, node)
    for start, end in reversed(list(_regions(scan, path))):
        text = cut_lines(text, start, end)
    return text


def _regions(scan: Scan, path: Path) -> Iterator[tuple[int, int]]:
    """The lines of everything at and below `path`: whole sections, and single lines elsewhere."""
    text = scan.text
    headers = [one for one in scan.statements if one.is_header]
    for index, statement in enumerate(scan.statements):
        if statement.is_header and _is_in(statement, path):
            following = next((one for one in headers if one.start > statement.start), None)
            inside = [one for one in scan.statements[index:] if following is None or one.start < following.start]
            yield _above(text, statement.start), next_line(text, _section_end(text, inside[-1]))
        elif _is_in(statement, path) and statement.table[: len(path)] != path:
            yield _above(text, statement.start), next_line(text, line_end(text, statement.end))


def key_spans(scan: Scan, path: Path) -> list[tuple[int, int]]:
    """Where the last key of `path` stands: in TOML a table's key may be in many headers."""
    node = scan.root.at(path)
    depth = sum(isinstance(part, str) for part in path) - 1
    spans = []
    for one in scan.statements:
        if _is_in(one, path):
            place = depth - (sum(isinstance(part, str) for part in one.path) - len(one.names))
            if place >= 0:
                spans.append((one.names[place].start, one.names[place].end))
    return spans or ([node.key] if node.key else [])


def _is_in(statement: Statement, path: Path) -> bool:
    return statement.path[: len(path)] == path


def _section_end(text: str, last: Statement) -> int:
    """Where a section ends whose last statement this is: with the comments right below it."""
    end = line_end(text, last.end)
    while end < len(text) and _COMMENT_LINE.match(text, end + 1):
        below = line_end(text, end + 1)
        if text[next_line(text, below) : line_end(text, next_line(text, below))].lstrip().startswith("["):
            break  # it stands right above the next header
        end = below
    return end


def _above(text: str, start: int) -> int:
    """Where a statement begins, with the comments right above it."""
    start = line_start(text, start)
    while start and _COMMENT_LINE.match(text, line_start(text, start - 1)):
        start = line_start(text, start - 1)
    return start
