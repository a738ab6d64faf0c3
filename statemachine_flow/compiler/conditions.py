"""What a condition says for sure, read from its text: whether it is always false, and what it excludes. Pure.

Only what is certain counts: a condition that is not understood excludes nothing but its own opposite.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Literal

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.parse import Source
from statemachine_flow.expressions.values import CONSTANTS

#: `is`: one of the values; `not`: none of them; the others compare with the only one.
_Test = Literal["is", "not", "<", "<=", ">", ">="]

#: Longer conditions are not looked into.
_LONGEST: Final = 2_000
#: Values of a list that are compared with those of another.
_MOST_VALUES: Final = 50
#: What need not be the same for two steps that ask for it, or for one that asks twice.
_CHANGING: Final = re.compile(r"\b(env|feedback|previous|round)\b")


@attrs.frozen
class Fact:
    """Something that is so whenever a condition is true."""

    #: The expression it is about, in one spelling.
    subject: str
    test: _Test
    #: Constants; `true` is not 1.
    values: tuple[Any, ...] = attrs.field(eq=lambda values: tuple((type(value) is bool, value) for value in values))

    def excludes(self, other: Fact) -> bool:
        """Whether the two, about the same subject, are never true together."""
        if self.test == "is":
            return all(other.rules_out(value) for value in self.values)
        if other.test == "is":
            return all(self.rules_out(value) for value in other.values)
        if self.test in ("<", "<=") and other.test in (">", ">="):
            return _is_empty(other, self)
        if self.test in (">", ">=") and other.test in ("<", "<="):
            return _is_empty(self, other)
        return False

    def rules_out(self, value: Any) -> bool:
        """Whether the fact cannot hold for that value of its subject."""
        if self.test == "is":
            return all(value != own for own in self.values)
        if self.test == "not":
            return any(value == own and (type(value) is bool) is (type(own) is bool) for own in self.values)
        bound = self.values[0]
        return _are_ordered(value, bound) and not _COMPARE[self.test](value, bound)


#: What contradicts everything.
NEVER: Final = Fact("", "is", ())

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}
_ORDER: Final[dict[type[ast.cmpop], _Test]] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_FLIPPED: Final[dict[_Test, _Test]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def facts_of(text: str) -> frozenset[Fact]:
    """What is so whenever the condition is true; `NEVER` among it if it never is, nothing if it is no expression.

    Example:
        >>> [(fact.test, fact.values) for fact in facts_of("inputs.mode == 'fast'")]
        [('is', ('fast',))]
        >>> NEVER in facts_of("false and inputs.x"), NEVER in facts_of("1 == 2"), facts_of("true")
        (True, True, frozenset())
    """
    return _facts_of(text, truth=True)


def never_holds(text: str) -> bool:
    """Whether a condition is true under no circumstances; it may still fail to have a value."""
    return NEVER in _facts_of(text, truth=True)


def always_holds(text: str) -> bool:
    """Whether a condition is false under no circumstances; it may still fail to have a value."""
    return NEVER in _facts_of(text, truth=False)


@lru_cache(maxsize=256)
def _facts_of(text: str, *, truth: bool) -> frozenset[Fact]:
    if len(text) > _LONGEST:
        return frozenset()
    try:
        facts = frozenset(_facts(Source(text).tree, truth=truth))
    except (ExpressionError, RecursionError):
        return frozenset()
    return frozenset(fact for fact in facts if not _CHANGING.search(fact.subject))


def contradict(one: frozenset[Fact], other: frozenset[Fact]) -> bool:
    """Whether conditions with these facts are never true together.

    Example:
        >>> contradict(facts_of("inputs.n < 3"), facts_of("inputs.n >= 3 and inputs.x"))
        True
        >>> contradict(facts_of("inputs.n < 3"), facts_of("inputs.n > 1"))
        False
    """
    return any(fact.subject == each.subject and fact.excludes(each) for fact in one for each in other)


def _facts(node: ast.expr, *, truth: bool) -> Iterator[Fact]:
    """What is so when the node is true, or false."""
    constant = _constant(node)
    if isinstance(constant, _Constant):
        if constant.value is not truth:
            yield NEVER
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _facts(node.operand, truth=not truth)
    elif isinstance(node, ast.BoolOp):
        parts = [list(_facts(value, truth=truth)) for value in node.values]
        if isinstance(node.op, ast.And) is truth:
            yield from (fact for part in parts for fact in part)
            yield _opaque(node, truth=truth)
        elif all(NEVER in part for part in parts):
            yield NEVER
        elif len(rest := [part for part in parts if NEVER not in part]) == 1:
            yield from rest[0]
        else:
            yield _opaque(node, truth=truth)
    elif isinstance(node, ast.Compare) and (len(node.ops) == 1 or truth):
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            yield from _comparison(left, operator, right, truth=truth)
            left = right
    else:
        yield _opaque(node, truth=truth)


def _opaque(node: ast.expr, *, truth: bool) -> Fact:
    return Fact(_dump(node), "is", (truth,))


def _dump(node: ast.expr) -> str:
    return ast.unparse(node)


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, *, truth: bool) -> Iterator[Fact]:
    first, second = _constant(left), _constant(right)
    if first is not None and second is not None:
        result = _compare_constants(first.value, operator, second.value)
        if result is not None and result is not truth:
            yield NEVER
        return
    if isinstance(operator, ast.In | ast.NotIn):
        yield from _membership(left, right, truth=isinstance(operator, ast.In) is truth)
        return
    if first is not None:
        left, second = right, first
    test = _ORDER.get(type(operator))
    if test is not None:
        yield from _order(left, right, test, first, second, truth=truth)
    elif second is None:
        ordered = sorted((_dump(left), _dump(right)))
        yield Fact(" == ".join(ordered), "is", (isinstance(operator, ast.Eq) is truth,))
    else:
        yield Fact(_dump(left), "is" if isinstance(operator, ast.Eq) is truth else "not", (second.value,))


def _order(
    left: ast.expr, right: ast.expr, test: _Test, first: _Constant | None, second: _Constant | None, *, truth: bool
) -> Iterator[Fact]:
    if second is None:
        yield Fact(f"{_dump(left)} {test} {_dump(right)}", "is", (truth,))
        return
    if first is not None:
        test = _FLIPPED[test]
    if truth:
        yield Fact(_dump(left), test, (second.value,))
    else:  # the opposite of `<` is not `>=` for what is no number; only a plain comparison is sure
        yield Fact(f"{_dump(left)} {test} {second.value!r}", "is", (False,))


def _membership(item: ast.expr, container: ast.expr, *, truth: bool) -> Iterator[Fact]:
    if isinstance(container, ast.List | ast.Tuple) and len(container.elts) <= _MOST_VALUES:
        values = [_constant(each) for each in container.elts]
        constants = tuple(value.value for value in values if value is not None)
        if len(constants) == len(values) and _constant(item) is None:
            if constants:
                yield Fact(_dump(item), "is" if truth else "not", constants)
            elif truth:
                yield NEVER
            return
    yield Fact(f"{_dump(item)} in {_dump(container)}", "is", (truth,))


def _is_empty(above: Fact, below: Fact) -> bool:
    """Whether nothing lies both above one bound and below the other."""
    low, high = above.values[0], below.values[0]
    if not _are_ordered(low, high):
        return False
    return bool(low > high if above.test == ">=" and below.test == "<=" else low >= high)


def _are_ordered(one: Any, other: Any) -> bool:
    return _kind(one) == _kind(other) != ""


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _compare_constants(left: Any, operator: ast.cmpop, right: Any) -> bool | None:
    if isinstance(operator, ast.Eq | ast.NotEq):
        same = left == right and (type(left) is bool) is (type(right) is bool)
        return same is isinstance(operator, ast.Eq)
    test = _ORDER.get(type(operator))
    return _COMPARE[test](left, right) if test is not None and _are_ordered(left, right) else None


@attrs.frozen
class _Constant:
    value: Any


def _constant(node: ast.expr) -> _Constant | None:
    if isinstance(node, ast.Constant):
        return _Constant(node.value)
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return _Constant(CONSTANTS[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _constant(node.operand)
        return _Constant(-inner.value) if inner is not None and _kind(inner.value) == "number" else None
    return None
