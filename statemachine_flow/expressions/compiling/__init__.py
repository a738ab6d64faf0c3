"""A syntax tree -> a closure per node, and the references it reads; what has no handler is not in the language.

Each handler checks its node and returns a function of the `Evaluation`. Before an operation that can fail, the
closure notes its place there, so that operators and functions need not know it.

Layout:
    compiler    `Compiler`: from node to handler, loop variables, references
    reading     literals, names, `a.b`, `a[b]`
    operations  operators, comparisons, and/or/not, if/else
    calls       function calls, `default`, loops
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final, final

import attrs

from statemachine_flow.expressions.compiling import calls, operations, reading
from statemachine_flow.expressions.compiling.compiler import Code, Compiler, Handler
from statemachine_flow.expressions.parse import Source
from statemachine_flow.expressions.values import Reference

_HANDLERS: Final[Mapping[type[ast.expr], Handler]] = {
    **reading.HANDLERS,
    **operations.HANDLERS,
    **calls.HANDLERS,
}


@final
@attrs.frozen
class Compiled:
    """An expression that can be evaluated."""

    code: Code
    #: Each reference, and whether it stands only where `default` catches that it does not exist.
    references: Mapping[Reference, bool]
    #: How many variables its loops bind.
    loop_variables: int
    #: Whether it only hands on a value that is there already.
    only_reads: bool
    #: Whether it is a call of `raw`.
    is_raw: bool


def compile_text(text: str) -> Compiled:
    """Parse and check an expression.

    Raises:
        ExpressionError: it is not in the language; kind `expression.syntax`, `.forbidden`, `.undefined` for an
            unknown function, `.type` for a wrong number of arguments, `.too_deep` or `.limit`.

    Example:
        >>> compile_text("default(steps.a.output, item[0])").references == {
        ...     ("steps", "a", "output"): True, ("item",): False
        ... }
        True
    """
    source = Source(text)
    compiler = Compiler(source, _HANDLERS)
    return Compiled(
        code=compiler.code(source.tree),
        references=compiler.references,
        loop_variables=compiler.loop_variables,
        only_reads=reading.only_reads(source.tree),
        is_raw=reading.calls(source.tree, "raw"),
    )
