"""Plain data -> TOML: a table per step, short mappings on one line, text of several lines as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import tomlkit
from tomlkit.items import Array, Item, String, StringType, Table, Trivia

from statemachine_flow.errors import UsageError

_WIDTH: Final = 90

#: What a table is of.
Kind = Literal["document", "level", "step", "fields"]
_DOCUMENT: Final[Mapping[str, Kind]] = {
    "inputs": "fields",
    "outputs": "fields",
    "steps": "level",
    "on_failure": "level",
    "finally": "level",
}
_KINDS: Final[Mapping[Kind, Mapping[str, Kind]]] = {
    "document": _DOCUMENT,
    "step": {"steps": "level", "workflow": "document", "compensate": "step"},
    "fields": {},
}


def dump(document: Mapping[str, Any]) -> str:
    """A document as TOML.

    Raises:
        UsageError: a value is null, which TOML cannot say.

    Example:
        >>> print(dump({"name": "hi", "steps": {"a": {"run": ["echo"], "env": {"N": "1"}}}}), end="")
        name = "hi"
        <BLANKLINE>
        [steps.a]
        run = ["echo"]
        env = {N = "1"}
    """
    text = tomlkit.document()
    _fill(text, document, _DOCUMENT)
    return text.as_string().rstrip("\n") + "\n"


def _fill(table: tomlkit.TOMLDocument | Table, fields: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Add fields: first what stands on one line, for whatever follows a table's header belongs to that table.

    Args:
        table: what they are added to.
        fields: key -> value.
        kinds: those that get a table of their own, however short they are, and what it is a table of.
    """
    large: dict[str, Mapping[str, Any]] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping) and value and (key in kinds or not _fits_on_a_line(key, value)):
            large[key] = value
        else:
            table.add(key, _field(value))
    for key, value in large.items():
        kind = kinds.get(key, "fields")
        # Nothing stands beside the steps, so `[steps]` itself needs no header.
        sub = tomlkit.table(is_super_table=kind == "level")
        # Their order counts: a step that stood on one line would move up.
        _fill(sub, value, dict.fromkeys(value, "step") if kind == "level" else _KINDS[kind])
        table.add(key, sub)


def _fits_on_a_line(key: str, value: Mapping[str, Any]) -> bool:
    return len(key) + len(_inline(value).as_string()) <= _WIDTH and not any(map(_has_lines, value.values()))


def _has_lines(value: Any) -> bool:
    if isinstance(value, Mapping | list):
        return any(map(_has_lines, value.values() if isinstance(value, Mapping) else value))
    # A carriage return would be read as a part of the line end.
    return isinstance(value, str) and "\n" in value and "\r" not in value


def _field(value: Any) -> Item:
    """A value after `key =`, where text and lists may take several lines."""
    if isinstance(value, str) and _has_lines(value):
        return _lines(value)
    item = _inline(value)
    if isinstance(item, Array) and len(item.as_string()) > _WIDTH:
        item.multiline(multiline=True)
    return item


def _lines(text: str) -> Item:
    """Text that begins on the line after its quotes; TOML leaves that line end out of the value."""
    is_literal = "\\" in text and "'" not in text and text.replace("\n", "").isprintable()
    escaped = tomlkit.string(text, literal=is_literal, multiline=True).as_string()[3:-3].lstrip("\n")
    leading = len(text) - len(text.lstrip("\n"))
    quotes = StringType.MLL if is_literal else StringType.MLB
    return String(quotes, text, "\n" * (leading + 1) + escaped, Trivia())


def _inline(value: Any) -> Item:
    """A value inside another one, on one line."""
    if value is None:
        raise UsageError("TOML has no null", hint="write the workflow as YAML or JSON, or use ${{ None }}")
    if isinstance(value, str):
        return tomlkit.string(value, literal=_is_clearer_literal(value))
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(map(_inline, value))
        return array
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, item in value.items():
            table.add(key, _inline(item))
        return table
    scalar: Item = tomlkit.item(value)
    return scalar


def _is_clearer_literal(text: str) -> bool:
    """Whether single quotes, inside which nothing is escaped, save escapes."""
    return ('"' in text or "\\" in text) and "'" not in text and text.isprintable()
