"""Plain data -> TOML: a table per step, short mappings on one line, text of several lines as it is."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

import tomlkit
from tomlkit.items import Array, Item, String, StringType, Table, Trivia

from statemachine_flow.errors import UsageError

_WIDTH: Final = 90


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
    _fill(text, document, tables=("inputs", "outputs", "steps"))
    return text.as_string().rstrip("\n") + "\n"


def _fill(table: tomlkit.TOMLDocument | Table, fields: Mapping[str, Any], tables: Container[str] = ()) -> None:
    """Add fields: first what stands on one line, for whatever follows a table's header belongs to that table."""
    large: dict[str, Mapping[str, Any]] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping) and value and (key in tables or not _fits_on_a_line(key, value)):
            large[key] = value
        else:
            table.add(key, _field(value))
    for key, value in large.items():
        are_steps = key == "steps" and key in tables
        # Nothing stands beside the steps, so `[steps]` itself needs no header.
        sub = tomlkit.table(is_super_table=are_steps)
        # Their order counts: a step that stood on one line would move up.
        _fill(sub, value, tables=value if are_steps else ())
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
