"""From a node to its handler: what the handlers share, and nothing about any kind of node."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import MAX_DEPTH, Evaluation
from statemachine_flow.expressions.parse import Source
from statemachine_flow.expressions.values import Reference, word_for

Code = Callable[[Evaluation], Any]
Handler = Callable[["Compiler", Any], Code]

_FORBIDDEN: Final = {
    "Await": "await",
    "DictComp": "a loop that makes a mapping",
    "GeneratorExp": "a loop outside [...] and a function's brackets",
    "JoinedStr": "an f-string",
    "Lambda": "lambda",
    "Set": "a set",
    "SetComp": "a set",
    "Slice": "a part outside [...]",
    "Starred": "unpacking with *",
    "Yield": "yield",
    "YieldFrom": "yield",
}


@final
class Compiler:
    """Compiles one tree.

    Args:
        source: the tree and its text.
        handlers: what compiles each type of node.
    """

    def __init__(self, source: Source, handlers: Mapping[type[ast.expr], Handler]) -> None:
        self.source = source
        #: Each reference, and whether it stood only inside the first argument of `default`.
        self.references: dict[Reference, bool] = {}
        self.loop_variables = 0
        #: Loop variables in reach -> their place in the evaluation.
        self.scope: Mapping[str, int] = {}
        #: Nodes compiled so far.
        self.operations = 0
        #: How many first arguments of `default` stand around the current node.
        self.guards = 0
        self._handlers = handlers
        self._depth = 0

    def code(self, node: ast.expr) -> Code:
        """The code of a node."""
        self.operations += 1
        handler = self._handlers.get(type(node))
        if handler is None:
            name = type(node).__name__
            raise self.forbidden(node, _FORBIDDEN.get(name, name))
        if self._depth >= MAX_DEPTH:
            message = f"the expression is nested deeper than {MAX_DEPTH} levels"
            raise self.source.error(message, node, "expression.too_deep")
        self._depth += 1
        code = handler(self, node)
        self._depth -= 1
        return code

    def refer(self, reference: Reference) -> None:
        """Note a reference that is read here."""
        self.references[reference] = self.references.get(reference, True) and self.guards > 0

    def forbidden(self, place: ast.AST | int, what: str, hint: str | None = None) -> ExpressionError:
        """The error for something outside the language.

        Args:
            place: where it stands: a node or an offset.
            what: its name for people.
            hint: what to write instead.
        """
        return self.source.error(f"{what} is not part of the language", place, "expression.forbidden", hint)


def boolean(value: Any, what: str) -> bool:
    """The value itself if it is a boolean: the language has no truthiness.

    Raises:
        ExpressionError: `expression.type`, saying that `what` takes a boolean.
    """
    if value is True or value is False:
        return bool(value)
    raise ExpressionError(f"{what} takes true or false, not {word_for(value)}", kind="expression.type")
