"""What the fields of outcomes may be: each function gives back a good value, and refuses a bad one.

The refusal is a `DefinitionError` of one problem; whoever reads a document adds the place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn, get_args

from statemachine_flow.durations import check_seconds, parse_duration
from statemachine_flow.errors import DefinitionError, Problem

#: What somebody finds out about an attempt that was cut off.
Found = Literal["completed", "failed", "retry"]

_NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def refuse(kind: str, message: str, hint: str | None = None) -> NoReturn:
    """Say that a value is wrong.

    Raises:
        DefinitionError: always.
    """
    raise DefinitionError([Problem(kind=kind, message=message, hint=hint)])


def seconds(value: float | str) -> float:
    """A time: a number of seconds from 0 on, or text.

    Example:
        >>> seconds(0), seconds("1h30m")
        (0.0, 5400.0)
    """
    if not isinstance(value, str) and not _is_number(value):
        _wrong_type("a number of seconds, or text such as '2h'", value)
    try:
        if isinstance(value, str):
            return parse_duration(value)
        return check_seconds(value) if value else 0.0
    except (ValueError, OverflowError) as error:
        refuse("definition.range", str(error))


def finding(value: Found | None) -> Found | None:
    """What somebody finds out, if it is said."""
    if value is not None and value not in get_args(Found):
        refuse("definition.range", f"somebody finds out: completed, failed or retry; not {_shown(value)}")
    return value


def text(value: str) -> str:
    """Text."""
    if not isinstance(value, str):
        _wrong_type("text", value)
    return value


def name_or_none(value: str | None) -> str | None:
    """Text, or nothing."""
    return None if value is None else text(value)


def whole(value: int) -> int:
    """A whole number."""
    if not _is_number(value) or isinstance(value, float):
        _wrong_type("a whole number", value)
    return value


def whole_from_0(value: int) -> int:
    """A count."""
    if whole(value) < 0:
        refuse("definition.range", f"a count is 0 or more, not {value}")
    return value


def amount(value: float) -> float:
    """An amount of money."""
    if not _is_number(value):
        _wrong_type("a number", value)
    if not 0 <= value < float("inf"):
        refuse("definition.range", f"an amount is 0 or more, not {value}")
    return value


def form(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values by name."""
    if not isinstance(value, Mapping):
        _wrong_type("a mapping of values by name", value)
    return value


def error_name(value: str) -> str:
    """The name of an error's class, as `retry_on` has it."""
    if not _NAME.fullmatch(text(value)):
        refuse("definition.name", f"{_shown(value)} is not the name of an error", "such as ConnectionError")
    return value


def error_names(value: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Names of errors' classes."""
    if not isinstance(value, list | tuple):
        _wrong_type("a list of names of errors", value)
    return tuple(error_name(name) for name in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong_type(wanted: str, value: object) -> NoReturn:
    refuse("definition.type", f"{wanted} is wanted here, not a value of the type {type(value).__name__}")


def _shown(value: object) -> str:
    return repr(value)[:80]
