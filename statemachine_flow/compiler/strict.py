"""Takes text, numbers and booleans from plain data, strictly: no type stands for another.

Each function takes a value and, as cattrs calls it, the type that is wanted.
"""

from __future__ import annotations

import re
from typing import Any, Final, get_args

from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.refused import Refused, wrong_type
from statemachine_flow.compiler.suggest import did_you_mean
from statemachine_flow.durations import check_seconds, format_duration, parse_duration
from statemachine_flow.model import Finding, Percentage

_SHARE: Final = re.compile(get_args(Percentage)[1].pattern)


def text(value: Any, _: object) -> str:
    """Text; a number is not taken for its digits, for `1.10` would lose its nought."""
    if type(value) is not str:
        raise wrong_type("text", value, "write it in quotes" if type(value) in (int, float) else None)
    return value


def boolean(value: Any, _: object) -> bool:
    """True or false, which no text and no number stands for."""
    if type(value) is not bool:
        raise wrong_type("true or false", value)
    return value


def whole_number(value: Any, _: object) -> int:
    """An integer; not `true`, not `1.0`."""
    if type(value) is not int:
        raise wrong_type("a whole number", value)
    return value


def number(value: Any, _: object) -> float:
    """An integer or a float, as a float."""
    if type(value) is not float and type(value) is not int:
        raise wrong_type("a number", value)
    return float(value)


def seconds(value: Any, _: object) -> float:
    """A duration as text; numbers are refused, for nobody can see their unit."""
    expected = "a duration such as '30s'"
    try:
        if type(value) is str:
            return parse_duration(value)
        if type(value) is bool:
            raise Refused(Finding("definition.range", f"expected {expected}, found true or false"))
        if type(value) is not int and type(value) is not float:
            raise wrong_type(expected, value)
        raise wrong_type(expected, value, f'write "{format_duration(check_seconds(value))}"')
    except ValueError as error:
        raise Refused(Finding("definition.range", str(error))) from None


def share(value: Any, _: object) -> str:
    """A percentage as text."""
    written = text(value, str)
    if not _SHARE.fullmatch(written):
        message = f"{shown(written)} is not a share between '0%' and '100%'"
        hint = f"write {written}, without quotes, for a number" if written.isdecimal() else None
        raise Refused(Finding("definition.range", message, (), hint))
    return written


def word(value: Any, choice: object) -> str:
    """One of the words of a `Literal`."""
    words = get_args(choice)
    if type(value) is not str:
        raise wrong_type("one of " + ", ".join(words), value)
    if value not in words:
        message = f"{shown(value)} is not one of {', '.join(words)}"
        raise Refused(Finding("definition.range", message, (), did_you_mean(value, words)))
    return value
