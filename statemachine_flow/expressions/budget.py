"""What one evaluation may use: the limits of the language and the counter that enforces them.

Reading is free: a value of any size that is there already may be read and taken apart. Three things are bounded.
*Steps* bound time: a loop's iterations, calls, and the data that operators and functions go through. *Built* bounds
memory: the texts and lists that operators make, before they make them. *Result* bounds what an expression hands back
when it does not just hand on a value it read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.values import CONTAINER, LIST, SCALARS

#: Characters in an expression.
MAX_TEXT: Final = 4096
#: Levels of nesting in an expression, in its brackets as well as in its syntax tree.
MAX_DEPTH: Final = 64
#: Steps of one evaluation.
MAX_STEPS: Final = 10_000
#: Characters of text and items of lists that the operators of one evaluation may make.
MAX_BUILT: Final = 65_536
#: Characters, items and keys in the result of an expression that computes something.
MAX_RESULT: Final = 2**20

# What one step pays for, as powers of two: operations in a loop's body, items of a list, characters.
_OPERATIONS_BITS: Final = 4
_ITEMS_BITS: Final = 4
_TEXT_BITS: Final = 10


def iteration_cost(operations: int) -> int:
    """Steps that one iteration costs whose loop is written with that many operations."""
    return 1 + (operations >> _OPERATIONS_BITS)


def over_limit(what: str) -> ExpressionError:
    """The error for going over a limit."""
    return ExpressionError(what, kind="expression.limit")


@final
class Evaluation:
    """One evaluation: the names it reads, its loop variables, and what is left of its budget.

    Args:
        names: what free names mean.
        loop_variables: how many variables the expression's loops bind.
    """

    __slots__ = ("_built", "_steps", "names", "offset", "variables")

    def __init__(self, names: Mapping[str, Any], loop_variables: int = 0) -> None:
        self.names = names
        self.variables: list[Any] = [None] * loop_variables
        #: Where the operation stands that is being carried out; an error happened there.
        self.offset = 0
        self._steps = MAX_STEPS
        self._built = MAX_BUILT

    def spend(self, steps: int) -> None:
        """Use up some steps.

        Raises:
            ExpressionError: `expression.limit`, there are not that many left.
        """
        if steps > self._steps:
            raise over_limit(f"the expression takes more than {MAX_STEPS:,} steps")
        self._steps -= steps

    def build(self, size: int) -> None:
        """Announce a text of so many characters or a list of so many items, before it is made; below 0 is none.

        Raises:
            ExpressionError: `expression.limit`, it is too large.
        """
        if size > self._built:
            raise over_limit(f"the expression builds more than {MAX_BUILT:,} characters and items")
        self._built -= max(size, 0)

    def handle(self, value: Any, times: int = 1) -> None:
        """Pay for going so often through a text, or through the items of a list or mapping but not into them."""
        if type(value) in SCALARS:
            return
        if isinstance(value, str):
            self.spend((len(value) >> _TEXT_BITS) * times)
        elif isinstance(value, CONTAINER):
            self.spend((len(value) >> _ITEMS_BITS) * times)

    def walk(self, value: Any) -> None:
        """Pay for going through a value with everything inside it.

        A list that stands in another a hundred times counts a hundred times, for so often is it gone through.
        """
        too_many = self._steps + 1
        nodes, characters = _measure(value, too_many << _ITEMS_BITS, too_many << _TEXT_BITS)
        self.spend((nodes >> _ITEMS_BITS) + (characters >> _TEXT_BITS))

    @staticmethod
    def check_result(value: Any) -> None:
        """Refuse a computed result that is too large; `expression.limit`."""
        if sum(_measure(value, MAX_RESULT, MAX_RESULT)) > MAX_RESULT:
            raise over_limit(f"the result is larger than {MAX_RESULT:,} characters and items")


def _measure(value: Any, most_nodes: int, most_characters: int) -> tuple[int, int]:
    """Values and characters in a value, keys included; the count stops soon after it passes a bound."""
    if isinstance(value, str):
        return 0, len(value)
    nodes = characters = 0
    pending = [value]
    while pending and nodes <= most_nodes and characters <= most_characters:
        current = pending.pop()
        nodes += 1
        if type(current) in SCALARS:
            continue
        if isinstance(current, str):
            characters += len(current)
        elif isinstance(current, LIST):
            pending.extend(current)
        elif isinstance(current, (dict, Mapping)):
            pending.extend(current)
            pending.extend(current.values())
    return nodes, characters
