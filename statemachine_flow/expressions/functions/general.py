"""Functions on values of any type, and between values and text."""

from __future__ import annotations

import json as codec
import re
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import values as plain
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.functions.table import (
    ANY,
    ANY_TO_READ,
    SIZED,
    TEXT,
    Table,
    shown_type,
    wrong_type,
)
from statemachine_flow.expressions.operators import calculate, contained

_table: Final = Table()
FUNCTIONS: Final = _table.functions

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@_table.add("default([1, 2][5], 0)", "0", value=ANY, fallback=ANY)
def default(value: Any, fallback: Any) -> Any:  # noqa: ARG001 - the evaluator computes and returns it instead of a call
    """The first value, or the second if the first names something that does not exist."""
    return value


@_table.add("len('abc') + len([1, 2]) + len({'a': 1})", "6", value=SIZED)
def len_(value: Any) -> int:
    """How many characters a text, items a list or keys a mapping has."""
    return len(value)


@_table.add("str(1.5) + str(true) + str([1, 2])", "'1.5true[1,2]'", value=ANY_TO_READ)
def str_(value: Any) -> str:
    """A value as text: a text as it is, everything else as compact JSON."""
    return value if isinstance(value, str) else to_json(value)


@_table.add("bool('true') and not bool('false')", "true", value=ANY)
def bool_(value: Any) -> bool:
    """A boolean from a boolean or from the text `true` or `false`; nothing else counts as true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    raise wrong_type(f"bool() takes a boolean, 'true' or 'false', not {shown_type(value)}")


@_table.add("raw('a b')", "'a b'", value=ANY)
def raw(value: Any) -> Any:
    """The value itself; as the whole of a placeholder in a shell command it is not quoted."""
    return value


@_table.add("""json('{"n": [1, null]}')""", "{'n': [1, null]}", text=TEXT)
def json(text: str) -> Any:
    """The value that a JSON text stands for."""
    try:
        value = codec.loads(text, parse_int=_json_integer, parse_float=_json_float, parse_constant=_json_float)
    except RecursionError:
        raise ExpressionError("json() got a text that is nested too deep", kind="expression.too_deep") from None
    except ValueError:
        raise ExpressionError("json() got a text that is not JSON") from None
    if "\\u" in text and _SURROGATE.search(plain.to_json(value)):
        raise ExpressionError("json() got half of a surrogate pair, which is no text")
    return value


def _json_integer(digits: str) -> Any:
    return calculate(int, digits)


def _json_float(digits: str) -> Any:
    return calculate(float, digits)


@_table.add("to_json({'a': [1, 'x']})", """'{"a":[1,"x"]}'""", value=ANY_TO_READ)
def to_json(value: Any) -> str:
    """A value as compact JSON; a text gets quotes, unlike with `str`."""
    Evaluation.check_result(value)
    return plain.to_json(value)


@_table.add("contains(['a', 'b'], 'a')", "true", pays=True, container=SIZED, item=ANY)
def contains(evaluation: Evaluation, container: Any, item: Any) -> bool:
    """Whether a list has the item, a mapping the key or a text the part; the same as `item in container`."""
    return contained(evaluation, item, container)
