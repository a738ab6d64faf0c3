"""What a function of the language is: its parameters, its documentation, and the check before each call.

A function sees its arguments only after their types were checked and their size was paid for. This module holds no
function; each group of them adds its own to a `Table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.values import LIST, word_for


@final
@attrs.frozen
class Kind:
    """What a parameter takes."""

    #: How an error message names it.
    word: str
    types: tuple[type, ...]
    #: How a call pays for such an argument; None if the function never goes through it.
    pay: Callable[[Evaluation, Any], None] | None = Evaluation.handle

    def accepts(self, value: Any) -> bool:
        """Whether a value is of this kind; a boolean is not taken for a number."""
        return isinstance(value, self.types) and not (type(value) is bool and int in self.types)


Body = TypeVar("Body", bound=Callable[..., Any])

TEXT: Final = Kind("a text", (str,))
INTEGER: Final = Kind("an integer", (int,), pay=None)
NUMBER: Final = Kind("a number", (int, float), pay=None)
LIST_OF_ANY: Final = Kind("a list", LIST)
#: A list whose items are compared with each other.
LIST_TO_COMPARE: Final = Kind("a list", LIST, pay=Evaluation.walk)
MAPPING: Final = Kind("a mapping", (Mapping,))
SIZED: Final = Kind("a text, a list or a mapping", (str, *LIST, Mapping), pay=None)
ANY: Final = Kind("a value", (object,), pay=None)
#: A value that is read with everything inside it.
ANY_TO_READ: Final = Kind("a value", (object,), pay=Evaluation.walk)


@final
@attrs.frozen(kw_only=True)
class Function:
    """One function of the language."""

    name: str
    #: Name and kind of each parameter.
    parameters: tuple[tuple[str, Kind], ...]
    #: How many of them may be left out, from the end.
    optional: int
    #: Whether the last one may be given again and again.
    repeated: bool
    #: One sentence.
    doc: str
    #: An expression over no names.
    example: str
    #: An expression over no names that gives the same value.
    result: str
    body: Callable[..., Any]
    #: Whether the body takes the evaluation first, to pay for what it makes.
    pays: bool

    @property
    def signature(self) -> str:
        """How it is called, optional arguments in brackets: `split(text[, separator])`."""
        required = len(self.parameters) - self.optional
        names = [name for name, _ in self.parameters]
        text = ", ".join(names[:required]) + "".join(f"[, {name}" for name in names[required:]) + "]" * self.optional
        return f"{self.name}({text}{', ...' if self.repeated else ''})"

    def takes(self, count: int) -> bool:
        """Whether it can be called with that many arguments."""
        most = len(self.parameters)
        return most - self.optional <= count and (count <= most or self.repeated)

    def call(self, evaluation: Evaluation, arguments: Sequence[Any]) -> Any:
        """Check the arguments, pay for them, carry the function out.

        Args:
            evaluation: what pays.
            arguments: as many as `takes` allows.

        Raises:
            ExpressionError: an argument has the wrong type or value, or the budget is used up.
        """
        evaluation.spend(1)
        last = len(self.parameters) - 1
        for position, argument in enumerate(arguments):
            name, kind = self.parameters[min(position, last)]
            if not kind.accepts(argument):
                raise wrong_type(f"{self.name}() takes {kind.word} for '{name}', not {word_for(argument)}")
            if kind.pay is not None:
                kind.pay(evaluation, argument)
        return self.body(evaluation, *arguments) if self.pays else self.body(*arguments)


@final
class Table:
    """Functions by name, filled by decoration.

    Example:
        >>> table = Table()
        >>> @table.add("twice(2)", "4", number=NUMBER)
        ... def twice(number):
        ...     "The number, doubled."
        ...     return 2 * number
        >>> table.functions["twice"].signature
        'twice(number)'
    """

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}

    def add(
        self,
        example: str,
        result: str,
        *,
        optional: int = 0,
        repeated: bool = False,
        pays: bool = False,
        **parameters: Kind,
    ) -> Callable[[Body], Body]:
        """Put a function into the table under its own name; a trailing underscore keeps it off the builtin's.

        Args:
            example: as in `Function`.
            result: as in `Function`.
            optional: as in `Function`.
            repeated: as in `Function`.
            pays: as in `Function`.
            parameters: name and kind of each, in order.
        """

        def register(body: Body) -> Body:
            name = body.__name__.rstrip("_")
            self.functions[name] = Function(
                name=name,
                parameters=tuple(parameters.items()),
                optional=optional,
                repeated=repeated,
                doc=(body.__doc__ or "").strip(),
                example=example,
                result=result,
                body=body,
                pays=pays,
            )
            return body

        return register


def wrong_type(message: str) -> ExpressionError:
    """The error for an argument of the wrong type."""
    return ExpressionError(message, kind="expression.type")


def check_items(function: str, what: str, items: Sequence[Any], accepts: Callable[[Any], bool]) -> None:
    """Refuse a list in which something is not what the function works on; `expression.type`."""
    for item in items:
        if not accepts(item):
            raise wrong_type(f"{function}() takes a list of {what}, and one of its items is {word_for(item)}")


def is_text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def shown_type(value: Any) -> str:
    """How to name a value of a type that is allowed, but with another content."""
    return "another text" if is_text(value) else word_for(value)
