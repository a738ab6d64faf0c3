"""Functions on texts. None takes a pattern: a regular expression can run for ever on a short text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.functions.table import LIST_OF_ANY, TEXT, Table, check_items, is_text

_table: Final = Table()
FUNCTIONS: Final = _table.functions


@_table.add("lower('README')", "'readme'", text=TEXT)
def lower(text: str) -> str:
    """The text in small letters."""
    return text.lower()


@_table.add("upper('ok')", "'OK'", text=TEXT)
def upper(text: str) -> str:
    """The text in capital letters."""
    return text.upper()


@_table.add("strip('  a b\\n')", "'a b'", text=TEXT)
def strip(text: str) -> str:
    """The text without white space at its ends."""
    return text.strip()


@_table.add("startswith('docs/a.md', 'docs/')", "true", text=TEXT, prefix=TEXT)
def startswith(text: str, prefix: str) -> bool:
    """Whether the text begins with another."""
    return text.startswith(prefix)


@_table.add("endswith('docs/a.md', '.md')", "true", text=TEXT, suffix=TEXT)
def endswith(text: str, suffix: str) -> bool:
    """Whether the text ends with another."""
    return text.endswith(suffix)


@_table.add("lines('a\\nb\\n')", "['a', 'b']", text=TEXT)
def lines(text: str) -> list[str]:
    """The lines of a text without their ends; a line end at the end of the text begins no further line."""
    parts = [line.removesuffix("\r") for line in text.split("\n")]
    return parts if parts[-1] else parts[:-1]


@_table.add("split('a, b', ', ') + split(' c  d ')", "['a', 'b', 'c', 'd']", optional=1, text=TEXT, separator=TEXT)
def split(text: str, separator: str | None = None) -> list[str]:
    """The parts of a text between a separator, or between runs of white space."""
    if separator == "":
        raise ExpressionError("split() takes a separator of at least one character")
    return text.split(separator)


@_table.add("join(['a', 'b'], ', ')", "'a, b'", pays=True, texts=LIST_OF_ANY, separator=TEXT)
def join(evaluation: Evaluation, texts: Sequence[Any], separator: str) -> str:
    """The texts of a list in one, with a separator between them."""
    check_items("join", "texts", texts, is_text)
    evaluation.build(sum(map(len, texts)) + len(separator) * (len(texts) - 1))
    return separator.join(texts)


@_table.add("replace('a-b-c', '-', '/')", "'a/b/c'", pays=True, text=TEXT, old=TEXT, new=TEXT)
def replace(evaluation: Evaluation, text: str, old: str, new: str) -> str:
    """The text with another in place of each occurrence of a part."""
    if old == "":
        raise ExpressionError("replace() takes a part of at least one character")
    evaluation.build(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)
