"""`Expression`: one text, parsed once, evaluated as often as needed, from any thread."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.values import CONSTANTS, Reference, word_for

if TYPE_CHECKING:
    from statemachine_flow.expressions.compiling import Compiled

#: Only names with dots between them, the most frequent expression by far.
_PATH: Final = re.compile(r"[ \t\r\n]*([A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)[ \t\r\n]*")
_LONGEST_PATH: Final = 512


@final
@attrs.frozen(repr=False)
class Expression:
    """A checked expression.

    It is a value: two with the same text are equal. Evaluating never changes it, so threads may share it.

    Example:
        >>> expression = Expression.parse("any(f.severity == 'high' for f in steps.review.outputs)")
        >>> sorted(expression.references)
        [('steps', 'review', 'outputs')]
        >>> expression.test({"steps": {"review": {"outputs": [{"severity": "low"}]}}})
        False
    """

    text: str
    #: What it reads, each as the constant path from a free name: `steps.a.outputs` is `("steps", "a", "outputs")`.
    #: A path ends before the first subscript that is no constant text.
    references: frozenset[Reference] = attrs.field(eq=False)
    #: Those of them that stand only inside the first argument of `default`.
    guarded: frozenset[Reference] = attrs.field(eq=False)
    #: Whether it is a call of `raw`, which matters to a placeholder in a shell command.
    is_raw: bool = attrs.field(eq=False)
    # None for a path of names, which is read without an evaluator.
    _compiled: Compiled | None = attrs.field(eq=False)

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Check an expression.

        Args:
            text: the expression, without `${{ }}`.

        Raises:
            ExpressionError: it is not in the language; `offset` says where. The kind is `expression.syntax`,
                `.forbidden`, `.undefined` for an unknown function, `.type` for a wrong number of arguments,
                `.too_deep` or `.limit`.
        """
        if reference := _path(text):
            return cls(text, frozenset([reference]), frozenset(), is_raw=False, compiled=None)
        compiled = _compile(text)
        guarded = frozenset(reference for reference, guarded in compiled.references.items() if guarded)
        return cls(text, frozenset(compiled.references), guarded, is_raw=compiled.is_raw, compiled=compiled)

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """The value of the expression.

        Args:
            names: what free names mean: plain data, or mappings that fetch values when they are read. A value
                that is only read is handed on as it is, not copied.

        Raises:
            ExpressionError: it failed; the message names types and names, never values. `expression.undefined`
                if something does not exist, `.type`, `.evaluation`, or `.limit` when it goes over its budget. One
                that a mapping raises comes through, with this expression's text if it has none.
        """
        if self._compiled is not None:
            return self._run(self._compiled, names)
        value: Any = names
        try:
            for name in next(iter(self.references)):
                if type(value) is not dict and not isinstance(value, Mapping):
                    break
                value = value[name]
            else:
                return value
        except (KeyError, ExpressionError):
            pass
        # It failed: once more, slowly, for an error with its place.
        return self._run(_compile(self.text), names)

    def test(self, names: Mapping[str, Any]) -> bool:
        """The value of a condition.

        Raises:
            ExpressionError: as for `evaluate`, and `expression.type` unless the value is a boolean: nothing else
                counts as true or false.
        """
        value = self.evaluate(names)
        if value is True or value is False:
            return bool(value)
        message = f"a condition is true or false, not {word_for(value)}"
        raise ExpressionError(message, kind="expression.type", expression=self.text)

    def _run(self, compiled: Compiled, names: Mapping[str, Any]) -> Any:
        evaluation = Evaluation(names, compiled.loop_variables)
        try:
            value = compiled.code(evaluation)
            if not compiled.only_reads:
                evaluation.offset = 0
                evaluation.check_result(value)
        except ExpressionError as error:
            if not error.expression:
                error.expression, error.offset = self.text, evaluation.offset
            raise
        except RecursionError:
            message, kind = "the values are nested too deep", "expression.too_deep"
            raise ExpressionError(message, kind=kind, expression=self.text, offset=evaluation.offset) from None
        return value

    def __repr__(self) -> str:
        return f"Expression.parse({self.text!r})"


def _compile(text: str) -> Compiled:
    # Half of the package's import time, and most processes that only show something never need it.
    from statemachine_flow.expressions.compiling import compile_text  # noqa: PLC0415

    return compile_text(text)


def _path(text: str) -> Reference | None:
    """The reference that the whole text is, if it is nothing else; None leaves the text to the compiler."""
    match = _PATH.fullmatch(text) if len(text) <= _LONGEST_PATH else None
    if match is None:
        return None
    names = match[1].split(".")
    if names[0] in CONSTANTS or any(map(keyword.iskeyword, names)):
        return None
    return tuple(names)
