"""Functions on numbers."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from statemachine_flow.expressions.budget import over_limit
from statemachine_flow.expressions.functions.table import ANY, INTEGER, NUMBER, Table, shown_type, wrong_type
from statemachine_flow.expressions.operators import calculate, is_number

_table: Final = Table()
FUNCTIONS: Final = _table.functions

_MAX_DIGITS: Final = 15
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")
_NUMBER: Final = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


@_table.add("int(' 42 ') + int(2.9)", "44", value=ANY)
def int_(value: Any) -> int:
    """An integer from a text of digits or from a number, whose fraction is cut off."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(calculate(int, value))
    if isinstance(value, float) and math.isfinite(value):
        return int(calculate(math.trunc, value))
    if type(value) is int:
        return value
    raise wrong_type(f"int() takes a number or a text of digits, not {shown_type(value)}")


@_table.add("float('2.50') + float(1)", "3.5", value=ANY)
def float_(value: Any) -> float:
    """A number with a fraction from a text such as `-1.5e3` or from an integer."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(calculate(float, value))
    if is_number(value):
        return float(calculate(float, value))
    raise wrong_type(f"float() takes a number or the text of one, not {shown_type(value)}")


@_table.add("abs(-3)", "3", number=NUMBER)
def abs_(number: Any) -> Any:
    """A number without its sign."""
    return calculate(abs, number)


@_table.add("round(2.567, 1) + round(2.5)", "4.6", optional=1, number=NUMBER, digits=INTEGER)
def round_(number: Any, digits: int | None = None) -> Any:
    """The nearest integer, or the nearest number with so many digits after the point; halves go to the even one."""
    if digits is not None and abs(digits) > _MAX_DIGITS:
        raise over_limit(f"round() takes at most {_MAX_DIGITS} digits")
    return calculate(round, number, digits)
