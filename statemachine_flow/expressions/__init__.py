"""Expressions and `${{ }}` placeholders: parsed once, evaluated over plain data within bounds, never executed.

Layout, each module importing only from those above it:
    values      what plain data is: its words for people, its text form
    budget      what one evaluation may use: the limits, and the counter that enforces them
    operators   what `+`, `==`, `in`, `a.b` and `a[b]` do
    functions   `FUNCTIONS`, the table of everything that can be called
    scan        raw text: where a text literal and a placeholder end
    tokens      what is refused before any parser sees it: nesting, foreign tokens
    parse       text -> a syntax tree within the limits
    compiling   a syntax tree -> checked closures, with the references it reads
    expression  `Expression`
    shell       where in a shell command a placeholder stands
    template    `Template`
"""

from typing import TYPE_CHECKING, Any

from statemachine_flow.expressions.expression import Expression
from statemachine_flow.expressions.template import Template
from statemachine_flow.expressions.values import Reference

if TYPE_CHECKING:
    from statemachine_flow.expressions.functions import FUNCTIONS, Function

__all__ = ["FUNCTIONS", "Expression", "Function", "Reference", "Template"]


def __getattr__(name: str) -> Any:
    # The functions are only needed by the first expression that is more than a path, and by the reference.
    if name in ("FUNCTIONS", "Function"):
        from statemachine_flow.expressions import functions  # noqa: PLC0415

        return getattr(functions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
