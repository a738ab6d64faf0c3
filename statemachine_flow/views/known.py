"""Expressions as far as they can be evaluated before a run: with its inputs, and with what is skipped for sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression, Reference, Template

#: Of `run`, what is known before there is one.
_RUN_KEYS: Final = ("workflow", "version")


class NotKnown(Exception):  # noqa: N818 - no error: it says that an answer has to wait for the run
    """An expression reads what only a run can tell. No `ExpressionError`, or `default` would take it for absent."""


@final
@attrs.frozen
class Answer:
    """What came of an expression."""

    #: Whether it could be evaluated.
    is_known: bool
    value: Any = None
    #: Why it fails, whatever the run does; "" if it does not.
    error: str = ""
    #: What it has to wait for.
    depends: tuple[str, ...] = ()


class _Names(Mapping[str, Any]):
    """Names of which some are known."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Any:
        try:
            return self._known[name]
        except KeyError:
            raise NotKnown(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Skipped(_Names):
    """A step that is skipped for sure."""

    def __init__(self, step_id: str) -> None:
        super().__init__({"state": "skipped", "error": None})
        self._id = step_id

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        raise ExpressionError(f"step '{self._id}' has no {name}: it is skipped", kind="expression.undefined")


@final
class Knowledge:
    """What is known before a run.

    Args:
        inputs: those of the run, without secrets.
        run: `workflow` and `version`.

    Example:
        >>> knowledge = Knowledge({"n": 3}, {})
        >>> knowledge.ask("inputs.n > 2").value, knowledge.ask("steps.a.output > 2").depends
        (True, ('steps.a.output',))
        >>> knowledge.ask("inputs.n > 5 and steps.a.output > 2").value
        False
    """

    def __init__(self, inputs: Mapping[str, Any], run: Mapping[str, str]) -> None:
        self._inputs = inputs
        self._run = run
        self._skipped: tuple[frozenset[str], ...] = (frozenset(),)

    def inner(self) -> Knowledge:
        """The same for a level inside a step."""
        inside = Knowledge(self._inputs, self._run)
        inside._skipped = (frozenset(), *self._skipped)
        return inside

    def skip(self, step_id: str) -> None:
        """A step of this level is skipped for sure."""
        self._skipped = (self._skipped[0] | {step_id}, *self._skipped[1:])

    def ask(self, text: str) -> Answer:
        """Evaluate a bare condition; anything but a boolean is an error."""
        expression = Expression.parse(text)
        return self._answer(expression.references, lambda: expression.test(self._names()))

    def fill(self, value: Any) -> Answer:
        """Fill in the placeholders of a value."""
        template = Template.parse(value)[0]
        return self._answer(template.references, lambda: template.render(self._names()))

    def _answer(self, references: frozenset[Reference], evaluate: Any) -> Answer:
        try:
            return Answer(is_known=True, value=evaluate())
        except NotKnown:
            open_ones = sorted(".".join(reference) for reference in references if not self._knows(reference))
            return Answer(is_known=False, depends=tuple(open_ones))
        except ExpressionError as error:
            return Answer(is_known=True, error=f"{error.kind}: {error.message}")

    def _knows(self, reference: Reference) -> bool:
        root, *rest = reference
        if root == "inputs":
            return not rest or rest[0] in self._inputs
        if root == "run":
            return bool(rest) and rest[0] in _RUN_KEYS
        return root == "steps" and bool(rest) and any(rest[0] in level for level in self._skipped)

    def _names(self) -> _Names:
        skipped = {step_id: _Skipped(step_id) for level in self._skipped for step_id in level}
        known = {"inputs": _Names(self._inputs), "steps": _Steps(skipped), "run": _Names(self._run), "env": _Names({})}
        return _Names(known)


class _Steps(_Names):
    """`steps`: those that are skipped for sure; of the others nothing is known."""

    def __getitem__(self, name: str) -> Any:
        return self._known[name] if name in self._known else _Names({})
