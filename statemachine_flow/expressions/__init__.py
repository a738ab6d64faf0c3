"""Expressions and `${{ }}` placeholders: parsed once, evaluated over plain data within bounds, never executed.

Layout, each module importing only from those above it:
    values      what plain data is: its words for people, its text form
    budget      what one evaluation may use: the limits, and the counter that enforces them
    operators   what `+`, `==`, `in`, `a.b` and `a[b]` do
    functions   `FUNCTIONS`, the table of everything that can be called
    scan        raw text before any parser sees it: nesting, text literals, where a placeholder ends
    parse       text -> a syntax tree that is within the limits
    compiling   a syntax tree -> checked closures, with the references it reads
    expression  `Expression`
    shell       where in a shell command a placeholder stands
    template    `Template`
"""

from statemachine_flow.expressions.compiling.compiler import Reference
from statemachine_flow.expressions.expression import Expression
from statemachine_flow.expressions.functions import FUNCTIONS, Function
from statemachine_flow.expressions.template import Template

__all__ = ["FUNCTIONS", "Expression", "Function", "Reference", "Template"]
