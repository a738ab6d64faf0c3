"""Items put into and taken out of what stands within brackets, in TOML and in YAML alike."""

from __future__ import annotations

import re
from typing import Final

from statemachine_flow.editing.spans import Node, line_start

_AFTER_ITEM: Final = re.compile(r"(?P<rest>[ \t]*(?P<comma>,)?[ \t]*(?:#[^\r\n]*)?)\r?(?:\n|\Z)")
_COMMA: Final = re.compile(r"\s*,[ \t]*")


def insert(text: str, parent: Node, after: Node | None, entry: str) -> str:
    """Put `entry` behind an item, by default the last one."""
    if not parent.children:
        return f"{text[: parent.start + 1]}{entry}{text[parent.end - 1 :]}"
    last = after or list(parent.children.values())[-1]
    start = line_start(text, last.entry)
    indent = text[start : last.entry]
    rest = _AFTER_ITEM.match(text, last.end)
    if indent.strip() or rest is None:
        return f"{text[: last.end]}, {entry}{text[last.end :]}"
    # The item before has a line of its own, perhaps with a comment, so the new one gets one as well.
    end = rest.end("rest")
    comma, own_comma = ("", ",") if rest["comma"] else (",", "")
    return f"{text[: last.end]}{comma}{text[last.end : end]}\n{indent}{entry}{own_comma}{text[end:]}"


def drop(text: str, parent: Node, node: Node) -> str:
    """Take an item out, and its line if it has one of its own."""
    start = line_start(text, node.entry)
    after = _AFTER_ITEM.match(text, node.end)
    if not text[start : node.entry].strip() and after:
        return text[:start] + text[after.end() :]
    items = list(parent.children.values())
    place = items.index(node)
    if place > 0:
        return text[: items[place - 1].end] + text[node.end :]
    if len(items) > 1:
        return text[: node.entry] + text[items[1].entry :]
    comma = _COMMA.match(text, node.end)
    return text[: node.entry] + text[comma.end() if comma else node.end :]


def replace(text: str, node: Node, value: str) -> str:
    """Put a value in the place of another one."""
    return text[: node.start] + value + text[node.end :]
