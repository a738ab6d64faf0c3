"""Functions on lists and mappings. Pairs are lists of two, for plain data has one kind of list."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.functions.table import (
    ANY_TO_READ,
    INTEGER,
    LIST_OF_ANY,
    LIST_TO_COMPARE,
    MAPPING,
    TEXT,
    Table,
    check_items,
    is_text,
)
from statemachine_flow.expressions.operators import calculate, is_number, read_key
from statemachine_flow.expressions.values import LIST

_table: Final = Table()
FUNCTIONS: Final = _table.functions


@_table.add("any([false, true])", "true", booleans=LIST_OF_ANY)
def any_(booleans: Sequence[Any]) -> bool:
    """Whether one of the booleans is true; stops at the first when written as `any(... for ...)`."""
    check_items("any", "booleans", booleans, _is_boolean)
    return any(booleans)


@_table.add("all(n > 0 for n in [1, 2])", "true", booleans=LIST_OF_ANY)
def all_(booleans: Sequence[Any]) -> bool:
    """Whether every one of the booleans is true; stops at the first that is not when written as `all(... for ...)`."""
    check_items("all", "booleans", booleans, _is_boolean)
    return all(booleans)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


@_table.add("sum([1, 2, 3.5])", "6.5", numbers=LIST_OF_ANY)
def sum_(numbers: Sequence[Any]) -> Any:
    """The sum of a list of numbers, rounded once at the end; 0 for an empty list."""
    check_items("sum", "numbers", numbers, is_number)
    # The builtin rounds at each step before Python 3.12 and not since: a resumed run must see one result.
    exact = math.fsum if any(type(number) is float for number in numbers) else sum
    return calculate(lambda *terms: exact(terms), *numbers)


def _check_comparable(function: str, items: Sequence[Any]) -> None:
    """Refuse items that have no order among them; "not a number" has none even with itself."""
    if all(map(is_text, items)):
        return
    check_items(function, "numbers or of texts", items, is_number)
    if any(item != item for item in items):  # noqa: PLR0124 - only "not a number" differs from itself
        raise ExpressionError(f"{function}() cannot put 'not a number' in order")


def _extreme(name: str, choose: Callable[[Sequence[Any]], Any], arguments: tuple[Any, ...]) -> Any:
    items = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], LIST) else arguments
    _check_comparable(name, items)
    if not items:
        raise ExpressionError(f"{name}() of an empty list", kind="expression.undefined")
    return choose(items)


@_table.add("min([3, 1, 2]) + min(5, 4)", "5", repeated=True, values=ANY_TO_READ)
def min_(*values: Any) -> Any:
    """The smallest of the numbers or texts of a list, or of the arguments; an empty list has none."""
    return _extreme("min", min, values)


@_table.add("max([3, 1, 2]) + max(5, 4)", "8", repeated=True, values=ANY_TO_READ)
def max_(*values: Any) -> Any:
    """The largest of the numbers or texts of a list, or of the arguments; an empty list has none."""
    return _extreme("max", max, values)


@_table.add(
    "sorted([{'n': 2}, {'n': 1}], 'n') + sorted([2, 1])",
    "[{'n': 1}, {'n': 2}, 1, 2]",
    optional=1,
    items=LIST_TO_COMPARE,
    key=TEXT,
)
def sorted_(items: Sequence[Any], key: str | None = None) -> list[Any]:
    """The numbers or texts of a list from small to large, or its mappings by what they hold under a key."""
    if key is None:
        _check_comparable("sorted", items)
        return sorted(items)
    keys = [read_key(item, key, None) for item in items]
    _check_comparable("sorted", keys)
    return [items[position] for position in sorted(range(len(items)), key=keys.__getitem__)]


@_table.add("reversed([1, 2, 3])", "[3, 2, 1]", items=LIST_OF_ANY)
def reversed_(items: Sequence[Any]) -> list[Any]:
    """The list from its end to its beginning."""
    return list(items[::-1])


@_table.add("unique(['b', 'a', 'b'])", "['b', 'a']", items=LIST_TO_COMPARE)
def unique(items: Sequence[Any]) -> list[Any]:
    """The texts, numbers, booleans and nulls of a list without repetitions, in the order they first appear."""
    check_items("unique", "texts, numbers, booleans or nulls", items, _is_scalar)
    seen: dict[Any, Any] = {}
    for item in items:
        # Python takes true for 1.
        seen.setdefault((_is_boolean(item), item), item)
    return list(seen.values())


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


@_table.add("flatten([[1], [2, 3]])", "[1, 2, 3]", pays=True, lists=LIST_OF_ANY)
def flatten(evaluation: Evaluation, lists: Sequence[Any]) -> list[Any]:
    """The items of a list's lists in one list."""
    check_items("flatten", "lists", lists, lambda item: isinstance(item, LIST))
    evaluation.build(sum(map(len, lists)))
    return [item for part in lists for item in part]


@_table.add("range(3) + range(4, 6)", "[0, 1, 2, 4, 5]", optional=1, pays=True, start=INTEGER, stop=INTEGER)
def range_(evaluation: Evaluation, start: int, stop: int | None = None) -> list[int]:
    """The integers from 0, or from a start, up to but without a stop."""
    first, end = (0, start) if stop is None else (start, stop)
    evaluation.build(end - first)
    return list(range(first, end))


@_table.add("[i for i, name in enumerate(['a', 'b'])]", "[0, 1]", items=LIST_OF_ANY)
def enumerate_(items: Sequence[Any]) -> list[list[Any]]:
    """A list of each item's position and the item."""
    return [[position, item] for position, item in enumerate(items)]


@_table.add("zip([1, 2], ['a', 'b'])", "[[1, 'a'], [2, 'b']]", left=LIST_OF_ANY, right=LIST_OF_ANY)
def zip_(left: Sequence[Any], right: Sequence[Any]) -> list[list[Any]]:
    """Two lists of one length as a list of pairs."""
    if len(left) != len(right):
        raise ExpressionError(f"zip() takes lists of one length, not {len(left):,} and {len(right):,}")
    return [[a, b] for a, b in zip(left, right, strict=True)]


@_table.add("keys({'a': 1, 'b': 2})", "['a', 'b']", mapping=MAPPING)
def keys(mapping: Mapping[Any, Any]) -> list[Any]:
    """The keys of a mapping."""
    return list(mapping)


@_table.add("values({'a': 1, 'b': 2})", "[1, 2]", mapping=MAPPING)
def values(mapping: Mapping[Any, Any]) -> list[Any]:
    """The values of a mapping."""
    return list(mapping.values())


@_table.add("[k for k, v in items({'a': 1, 'b': 2}) if v > 1]", "['b']", mapping=MAPPING)
def items(mapping: Mapping[Any, Any]) -> list[list[Any]]:
    """A list of each key and its value."""
    return [[key, value] for key, value in mapping.items()]
