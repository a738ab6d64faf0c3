"""What expressions read: whether it exists, and whether it is there in time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.compiler.graph import Graph
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.source import Path
from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression, Reference, Template
from statemachine_flow.model import Definition, Finding, Step

_RUN_KEYS: Final = ("id", "workflow", "version")
_STEP_KEYS: Final = ("output", "outputs", "state", "error")
#: What `when` and the placeholders of a step can begin with.
STEP_ROOTS: Final = ("inputs", "steps", "run", "env")
#: The same for the outputs of the workflow.
RUN_ROOTS: Final = ("inputs", "steps", "run")


def result_roots(step: Step) -> tuple[str, ...]:
    """What the outputs of a step can begin with."""
    return ("result", *(step.verb.result_names or ()), "inputs", "run")


@final
@attrs.frozen
class Place:
    """Where an expression stands, which decides what it can read."""

    path: Path
    #: The names it can begin with.
    roots: tuple[str, ...]
    #: The step it belongs to; None for the outputs of the workflow.
    step: Step | None = None


@final
class References:
    """Checks the expressions of one definition.

    Args:
        definition: may hold bare verbs, for steps whose own form was refused.
        graph: its graph.
        has_order: whether the graph is whole and without circles, so that order can be judged.
        problems: where to note what is wrong.
    """

    def __init__(self, definition: Definition, graph: Graph, problems: Problems, *, has_order: bool) -> None:
        self._inputs: Final[Mapping[str, object]] = definition.inputs
        self._steps: Final = {step.id: step for step in definition.steps}
        self._graph = graph
        self._problems = problems
        self._has_order = has_order

    def check_expression(self, text: str, place: Place) -> None:
        """Check a bare expression."""
        try:
            expression = Expression.parse(text)
        except ExpressionError as error:
            self._note(error, place.path, text)
            return
        for reference, finding in self._faults(expression.references, place):
            self._problems.add_in_text(finding, place.path, text, _offset(reference, text))

    def check_template(self, value: Any, place: Place, *, is_shell: bool = False) -> None:
        """Check the placeholders of a value, and where they stand if it is a shell command."""
        template, errors = Template.parse(value)
        if is_shell and not errors:
            errors = template.shell_problems()
        for path, error in errors:
            self._note(error, (*place.path, *path), _leaf(value, path))
        faults = dict(self._faults(template.references, place))
        if not faults:
            return
        for path, text in _leaves(value):
            for reference in sorted(Template.parse(text)[0].references & faults.keys()):
                if self._problems.is_full:
                    return
                offset = _offset(reference, text)
                self._problems.add_in_text(faults[reference], (*place.path, *path), text, offset)

    def _note(self, error: ExpressionError, path: Path, text: str) -> None:
        finding = Finding(error.kind, error.message, (), error.hint)
        self._problems.add_in_text(finding, path, text, error.offset)

    def _faults(self, references: Iterable[Reference], place: Place) -> Iterator[tuple[Reference, Finding]]:
        for reference in sorted(references):
            root, *rest = reference
            if root not in place.roots:
                finding: Finding | None = self._root_fault(root, place)
            elif root == "steps":
                finding = self._step_fault(rest, place)
            elif root == "inputs":
                finding = self._missing(rest, self._inputs, "the workflow declares no input")
            elif root == "run":
                finding = self._missing(rest, _RUN_KEYS, "'run' has no")
            elif root == "result" and place.step is not None and place.step.verb.result_names is not None:
                finding = self._missing(rest, place.step.verb.result_names, "'result' has no")
            else:
                continue
            if finding is not None:
                yield reference, finding

    def _missing(self, rest: list[str], known: Iterable[str], lead: str) -> Finding | None:
        if not rest or rest[0] in known:
            return None
        hint = self._problems.advise(rest[0], known)
        return Finding("definition.reference", f"{lead} {shown(rest[0])}", (), hint)

    def _root_fault(self, root: str, place: Place) -> Finding:
        if root in self._inputs:
            hint: str | None = f"write inputs.{root}"
        elif root in self._steps and "steps" in place.roots:
            hint = f"write steps.{root}.output"
        elif root == "item":
            hint = "this version of the library does not have 'item' yet"
        else:
            hint = self._problems.advise(root, place.roots) or "known here: " + ", ".join(place.roots)
        return Finding("expression.undefined", f"{shown(root)} is not defined here", (), hint)

    def _step_fault(self, rest: list[str], place: Place) -> Finding | None:
        if not rest:
            message = "'steps' is no value of its own; steps are read one by one"
            return Finding("definition.reference", message, (), "write steps.<id>.output")
        step_id, *rest = rest
        step = self._steps.get(step_id)
        if step is None:
            hint = self._problems.advise(step_id, self._steps)
            return Finding("definition.reference", f"no step has the id {shown(step_id)}", (), hint)
        return self._order_fault(step_id, place) or self._part_fault(step, rest)

    def _order_fault(self, step_id: str, place: Place) -> Finding | None:
        """What is read in a step must come from a step that is at rest by then."""
        if place.step is None:
            return None
        reader = place.step.id
        if step_id == reader:
            message, hint = f"step '{reader}' reads its own result", "only its `outputs` can, as `result`"
        elif not self._has_order or self._graph.is_before(step_id, reader):
            return None
        else:
            message = f"step '{reader}' reads steps.{step_id} but does not depend on it"
            later = self._graph.is_before(reader, step_id)
            hint = f"'{step_id}' comes after it" if later else f"add '{step_id}' to its needs"
        return Finding("definition.reference", message, (), hint)

    def _part_fault(self, step: Step, rest: list[str]) -> Finding | None:
        if not rest:
            message = f"steps.{step.id} is no value of its own"
            return Finding("definition.reference", message, (), f"write steps.{step.id}.output")
        part, *rest = rest
        if part not in _STEP_KEYS:
            hint = self._problems.advise(part, _STEP_KEYS) or "known here: " + ", ".join(_STEP_KEYS)
            return Finding("definition.reference", f"a step has no {shown(part)}", (), hint)
        if part == "outputs":
            names: Iterable[str] | None = step.outputs or step.verb.result_names
        else:
            names = step.verb.result_names if part == "output" else None
        if names is None:
            return None
        return self._missing(rest, names, f"steps.{step.id}.{part} has no")


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a value, with the way to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))


def _leaf(value: Any, path: Path) -> str:
    for part in path:
        value = value[part]
    return str(value)


def _offset(reference: Reference, text: str) -> int:
    """Where in a text a reference stands, in whichever spelling; 0 when it is not found, as behind an escape."""
    root, *parts = map(re.escape, reference)
    keys = (rf"""\s*(?:\.\s*{part}(?!\w)|\[\s*['"]{part}['"]\s*\])""" for part in parts)
    found = re.search(rf"""(?<![\w.'"]){root}(?!\w){"".join(keys)}""", text)
    return found.start() if found else 0
