"""Values put into and taken out of a YAML text: each function answers with the new text, and touches no other line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing import splice_flow
from statemachine_flow.editing.render import yaml_flow, yaml_item, yaml_key, yaml_lines
from statemachine_flow.editing.spans import Node, Scan, column, line_end, line_start, next_line

_COLON: Final = re.compile(r"\s*:")
_WIDTH: Final = 90
_COMMENT_LINE: Final = re.compile(r"([ \t]*)#")


def replace(scan: Scan, path: Path, value: Any) -> str:
    """Put a value in the place of the one at `path`."""
    text, parent, node = scan.text, scan.root.at(path[:-1]), scan.root.at(path)
    if parent.style == "flow":
        if node.key and node.start == node.end:
            return f"{text[: node.key[1]]}: {yaml_flow(value)}{text[_colon(text, node.key[1]) :]}"
        return splice_flow.replace(text, node, yaml_flow(value))
    if node.key is None:
        anchor = node.entry + 1
        first, *rest = yaml_item(value)
        first = first.removeprefix("-")
    else:
        anchor = _colon(text, node.key[1])
        first, *rest = yaml_lines(str(path[-1]), value)
        first = first.removeprefix(f"{yaml_key(str(path[-1]))}:")
    end = max(anchor, node.last)
    is_on_line = node.start > anchor and node.start <= line_end(text, anchor)
    if rest and node.style == "flow" and node.kind != "scalar" and is_on_line and isinstance(value, Mapping | list):
        line = yaml_flow(value)
        if len(line) <= _WIDTH:  # as it was
            return text[: node.start] + line + text[end:]
    if not rest and node.style == "flow" and is_on_line:
        return text[: node.start] + first.lstrip() + text[end:]
    indent = column(text, node.entry)
    if node.style == "block" and node.kind != "scalar":
        end = _end_of(text, node, indent)  # what is said about its entries goes with them
    comment = ""
    span = next((span for span in scan.comments if anchor <= span[0] <= line_end(text, anchor)), None)
    if span is not None:
        before = text[anchor : span[0]]
        comment = before[len(before.rstrip()) :] + text[slice(*span)]
        end = max(end, span[1])
    return text[:anchor] + "\n".join([first + comment, *_indented(rest, " " * indent)]) + text[end:]


def insert(scan: Scan, path: Path, value: Any, after: str | int | None) -> str:
    """Put a new value into the mapping or list at `path[:-1]`, behind an entry of it, by default the last one."""
    text, parent, key = scan.text, scan.root.at(path[:-1]), path[-1]
    before = None if after is None else parent.children[after]
    if parent.style == "flow":
        entry = yaml_flow(value) if parent.kind == "list" else f"{yaml_key(str(key))}: {yaml_flow(value)}"
        return splice_flow.insert(text, parent, before, entry)
    siblings = list(parent.children.values())
    before = before or siblings[-1]
    indent = " " * column(text, siblings[0].entry)
    lines = yaml_item(value) if parent.kind == "list" else yaml_lines(str(key), value)
    blank = ["", ""] if _are_apart(text, siblings) else [""]
    position = _end_of(text, before, len(indent))
    return text[:position] + "\n".join([*blank, *_indented(lines, indent)]) + text[position:]


def drop(scan: Scan, path: Path) -> str:
    """Take a value out, with its key and the comments right above it and behind it."""
    text, parent, node = scan.text, scan.root.at(path[:-1]), scan.root.at(path)
    if parent.style == "flow":
        return splice_flow.drop(text, parent, node)
    siblings = list(parent.children.values())
    if len(siblings) == 1:
        empty: Any = {} if parent.kind == "mapping" else []
        return replace(scan, path[:-1], empty)
    indent = column(text, node.entry)
    start = line_start(text, node.entry)
    if text[start : node.entry].strip():  # it stands behind the dash of a list
        return text[: node.entry] + text[siblings[1].entry :]
    while start and (found := _COMMENT_LINE.match(text, line_start(text, start - 1))) and len(found[1]) == indent:
        start = found.start()
    return cut_lines(text, start, next_line(text, _end_of(text, node, indent)))


def cut_lines(text: str, start: int, end: int) -> str:
    """Cut whole lines out, and the blank lines that would be left over."""
    head, tail = text[:start], text[end:]
    if not tail.strip():
        head = head.rstrip("\n \t\r") + "\n" if head.strip() else head
    elif not head.strip() or head.endswith(("\n\n", "\n\r\n")):
        tail = re.sub(r"\A(?:[ \t\r]*\n)+", "", tail)
    return head + tail


def _colon(text: str, offset: int) -> int:
    found = _COLON.match(text, offset)
    return found.end() if found else offset


def _indented(lines: list[str], indent: str) -> list[str]:
    return [indent + line if line else line for line in lines]


def _are_apart(text: str, siblings: list[Node]) -> bool:
    """Whether a blank line stands between every two of several entries."""
    pairs = list(pairwise(siblings))
    return bool(pairs) and all(re.search(r"\n[ \t\r]*\n", text[one.last : other.entry]) for one, other in pairs)


def _end_of(text: str, node: Node, indent: int) -> int:
    """Where the last line of an entry ends, with the comments below it that are indented deeper."""
    end = position = line_end(text, node.last)
    while position < len(text):
        begin, position = position + 1, line_end(text, position + 1)
        found = _COMMENT_LINE.match(text, begin)
        if found and len(found[1]) > indent:
            end = position
        elif text[begin:position].strip():
            break
    return end
