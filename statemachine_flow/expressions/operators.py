"""What the operators of an expression do to plain data, and how `a.b` and `a[b]` read it; every result is bounded.

Arithmetic takes numbers only, and a boolean is not a number. Integers are exact and stay inside 64 bits, a result
is never infinite and never "not a number". Equality is Python's own, so that 2**53 + 1 differs from the float beside
it; the order is defined between two numbers and between two texts, by code point.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation, over_limit
from statemachine_flow.expressions.values import (
    CONTAINER,
    LIST,
    MAX_INTEGER,
    MIN_INTEGER,
    SCALARS,
    suggestion,
    word_for,
)

#: An operator between two values: the evaluation pays for it.
Binary = Callable[[Evaluation, Any, Any], Any]

_NUMBERS: Final = (int, float)
#: 2 to the power of 63 is the first that does not fit, and nothing grows slower.
_MAX_EXPONENT: Final = 63


def checked_number(value: Any) -> Any:
    """A number that an operator or function made, if it lies inside the language's range.

    Raises:
        ExpressionError: `expression.limit` for an integer outside 64 bits, `expression.evaluation` for a result
            that is infinite, not a number or not real.
    """
    if type(value) is int:
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
        raise over_limit("the integer does not fit into 64 bits")
    if type(value) is float and math.isfinite(value):
        return value
    raise ExpressionError("the result is not a finite number")


def is_number(value: Any) -> bool:
    """Whether the value is an integer or a float; a boolean is neither."""
    return type(value) in _NUMBERS


def _mismatch(action: str, left: Any, right: Any) -> ExpressionError:
    return ExpressionError(f"cannot {action} {word_for(left)} and {word_for(right)}")


def calculate(function: Callable[..., Any], *operands: Any) -> Any:
    """A number made by a function of Python that may fail on its numbers.

    Raises:
        ExpressionError: as in `checked_number`, and for a division by zero.
    """
    # Two integers of 64 bits are multiplied at once; those that were read from somewhere may be endless.
    for operand in operands:
        if type(operand) is int:
            checked_number(operand)
    try:
        return checked_number(function(*operands))
    except ZeroDivisionError:
        raise ExpressionError("division by zero") from None
    except (OverflowError, ValueError):
        raise ExpressionError("the result is not a finite number") from None


def _between_numbers(action: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return calculate(function, left, right)
    raise _mismatch(action, left, right)


def add(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The sum of two numbers, two texts in a row, or the items of two lists in one."""
    if isinstance(left, str) and isinstance(right, str):
        evaluation.build(len(left) + len(right))
        return left + right
    if isinstance(left, LIST) and isinstance(right, LIST):
        evaluation.build(len(left) + len(right))
        return [*left, *right]
    return _between_numbers("add", operator.add, left, right)


def multiply(evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The product of two numbers, or a text or list repeated."""
    if type(left) is int:
        left, right = right, left
    if type(right) is int and isinstance(left, (str, *LIST)):
        # An integer that was read may be too long for Python to repeat even nothing by it.
        times = max(right, 0) if left else 0
        evaluation.build(len(left) * times)
        return left * times if isinstance(left, str) else list(left) * times
    return _between_numbers("multiply", operator.mul, left, right)


def modulo(_evaluation: Evaluation, left: Any, right: Any) -> Any:
    """The remainder of a division."""
    if isinstance(left, str):
        raise ExpressionError("text formatting with % is not part of the language", kind="expression.forbidden")
    return _between_numbers("divide", operator.mod, left, right)


def power(_evaluation: Evaluation, left: Any, right: Any) -> Any:
    """A number to the power of another."""
    if type(left) is int and type(right) is int and right > _MAX_EXPONENT and left not in (-1, 0, 1):
        raise over_limit("the integer does not fit into 64 bits")
    return _between_numbers("raise to a power", operator.pow, left, right)


def _arithmetic(action: str, function: Callable[[Any, Any], Any]) -> Binary:
    return lambda _evaluation, left, right: _between_numbers(action, function, left, right)


def negate(value: Any) -> Any:
    """A number with the other sign."""
    if not is_number(value):
        raise ExpressionError(f"cannot negate {word_for(value)}")
    return checked_number(-value)


def equal(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """Whether two values are equal; values of different types are not, but for numbers of the same size."""
    if type(left) in SCALARS:
        return bool(left == right) and _alike(left, right)
    if isinstance(left, str):
        # Different lengths are told apart without a look at the characters.
        if isinstance(right, str) and len(left) == len(right):
            evaluation.handle(left)
    elif isinstance(left, CONTAINER) and isinstance(right, CONTAINER):
        evaluation.walk(left)
        evaluation.walk(right)
        return bool(left == right) and _alike(left, right)
    return bool(left == right)


def _alike(left: Any, right: Any) -> bool:
    """Whether values that Python takes for equal have booleans in the same places: to Python, true is 1."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        if (type(one) is bool) is not (type(other) is bool):
            return False
        if isinstance(one, LIST) and isinstance(other, LIST):
            pairs: Iterable[tuple[Any, Any]] = zip(one, other, strict=True)
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            pairs = ((item, other[key]) for key, item in one.items())
        else:
            continue
        # Texts are equal to texts alone: most of a large value needs no second look.
        pending.extend(pair for pair in pairs if type(pair[0]) is not str)
    return True


def not_equal(evaluation: Evaluation, left: Any, right: Any) -> bool:
    """The opposite of `equal`."""
    return not equal(evaluation, left, right)


def _order(function: Callable[[Any, Any], Any]) -> Binary:
    def compare(evaluation: Evaluation, left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            evaluation.handle(left)
        elif not (is_number(left) and is_number(right)):
            raise _mismatch("put in order", left, right)
        return bool(function(left, right))

    return compare


def contained(evaluation: Evaluation, item: Any, container: Any) -> bool:
    """Whether an item is in a list, a key in a mapping, a part in a text."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise ExpressionError(f"cannot look for {word_for(item)} in a text")
        evaluation.handle(container)
        return item in container
    if isinstance(container, LIST):
        if isinstance(item, CONTAINER):
            evaluation.walk(item)
            evaluation.walk(container)
        else:
            evaluation.handle(container)
            evaluation.handle(item, times=len(container))
        return item in container and any(_alike(item, other) for other in container if item == other)
    if isinstance(container, Mapping):
        return _checked_key(item) in container
    raise ExpressionError(f"cannot look for something in {word_for(container)}")


def not_contained(evaluation: Evaluation, item: Any, container: Any) -> bool:
    """The opposite of `contained`."""
    return not contained(evaluation, item, container)


def _checked_key(key: Any) -> Any:
    """The key itself, if it is one that mappings of plain data can have."""
    if key is None or isinstance(key, (str, int, float)):
        return key
    raise ExpressionError(f"{word_for(key)} is no key of a mapping")


def read_key(value: Any, key: Any, shown: str | None) -> Any:
    """What a mapping holds under a key.

    Args:
        value: what should be a mapping; null has no key at all.
        key: text, or what else a mapping of plain data may have for a key.
        shown: how an error names the key; None when it was computed, for then it may be a secret.

    Raises:
        ExpressionError: `expression.undefined` if there is no such key, `expression.evaluation` if there cannot be.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ExpressionError(f"cannot read a key from {word_for(value)}")
    try:
        if value is not None:
            return value[_checked_key(key)]
    except KeyError:
        pass
    named = "such key" if shown is None else f"'{shown}'"
    hint = None if shown is None else suggestion(shown, value or ())
    raise ExpressionError(f"{word_for(value)} has no {named}", kind="expression.undefined", hint=hint)


def read_item(value: Any, key: Any, shown: str | None) -> Any:
    """What a list or text holds at a position, or a mapping under a key; arguments and errors as in `read_key`."""
    if not isinstance(value, (str, *LIST)):
        return read_key(value, key, shown)
    if type(key) is not int:
        raise ExpressionError(f"the position in {word_for(value)} is an integer, not {word_for(key)}")
    try:
        return value[key]
    except IndexError:
        message = f"{word_for(value)} of length {len(value):,} has nothing at that position"
        raise ExpressionError(message, kind="expression.undefined") from None


def read_slice(evaluation: Evaluation, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """Part of a list or text."""
    if not isinstance(value, (str, *LIST)):
        raise ExpressionError(f"cannot take a part of {word_for(value)}")
    for bound in (start, stop, step):
        if bound is not None and type(bound) is not int:
            raise ExpressionError(f"the bounds of a part are integers, not {word_for(bound)}")
    if step == 0:
        raise ExpressionError("the step of a part is not 0")
    part = value[start:stop:step]
    evaluation.handle(part)
    return part if isinstance(part, str) else list(part)


#: Name of the syntax node -> the operator.
ARITHMETIC: Final[Mapping[str, Binary]] = {
    "Add": add,
    "Sub": _arithmetic("subtract", operator.sub),
    "Mult": multiply,
    "Div": _arithmetic("divide", operator.truediv),
    "FloorDiv": _arithmetic("divide", operator.floordiv),
    "Mod": modulo,
    "Pow": power,
}

#: Name of the syntax node -> the comparison; `is` is not among them, for it takes null only.
COMPARISONS: Final[Mapping[str, Binary]] = {
    "Eq": equal,
    "NotEq": not_equal,
    "Lt": _order(operator.lt),
    "LtE": _order(operator.le),
    "Gt": _order(operator.gt),
    "GtE": _order(operator.ge),
    "In": contained,
    "NotIn": not_contained,
}
