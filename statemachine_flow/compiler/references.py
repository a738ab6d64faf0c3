"""What expressions read: whether it exists, and whether it is there in time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.compiler.levels import Level, Roots
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.scopes import RESERVED, is_loop, output_keys, outputs_keys
from statemachine_flow.compiler.source import Path
from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression, Reference, Template
from statemachine_flow.model import Finding, Step
from statemachine_flow.steps.group import Group

_STEP_KEYS: Final = ("output", "outputs", "state", "error")
_PLACEHOLDER: Final = "${{"
#: Name -> where expressions can begin with it.
_ELSEWHERE: Final = {
    "attempt": "only `retry_if` has 'attempt'",
    "error": "only on_failure, finally, compensate and `retry_if` have 'error'; of a step it is steps.<id>.error",
    "feedback": "only what stands in a step has 'feedback'",
    "index": "only steps with for_each or matrix have 'index', and not in their own `when` and `items`",
    "item": "only steps with for_each have 'item', and not in their own `when` and `items`",
    "matrix": "only steps with matrix have 'matrix', and not in their own `when`",
    "previous": "only what stands in a step has 'previous'",
    "result": "only `outputs`, `until` and the routes of `next` have 'result'",
    "round": "only what stands in a step has 'round'",
    "secrets": "name the variable in the step's `secrets`, and read it in the fields of its verb",
}


@final
@attrs.frozen(eq=False)
class Place:
    """Where an expression stands, which decides what it can read."""

    path: Path
    #: The names it can begin with.
    roots: Roots
    #: Where ids of steps are looked up first.
    level: Level
    #: The step of that level it belongs to; None where every step of the level is at rest by then.
    reader: str | None = None
    #: Whether that step is at rest by then.
    reads_self: bool = False
    #: Who would see a secret that is read here; "" where it may be read.
    shown_to: str = ""


@final
class References:
    """Checks expressions.

    Args:
        problems: where to note what is wrong.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def check_condition(self, text: str, place: Place) -> None:
        """Check a bare expression in a field where a placeholder is a likely slip."""
        if _PLACEHOLDER in text:
            message, hint = f"`{place.path[-1]}` is an expression already", "write it without ${{ }}"
            self._problems.add("expression.syntax", message, place.path, hint=hint)
        else:
            self.check_expression(text, place)

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
            else:
                known = place.roots[root]
                finding = None if known is None else self._missing(rest, known, _LEADS.get(root) or f"'{root}' has no")
                if finding is None and place.shown_to:
                    finding = _secret_fault(root, rest, place)
            if finding is not None:
                yield reference, finding

    def _missing(self, rest: list[str], known: Iterable[str], lead: str) -> Finding | None:
        if not rest or rest[0] in known:
            return None
        hint = self._problems.advise(rest[0], known)
        return Finding("definition.reference", f"{lead} {shown(rest[0])}", (), hint)

    def _root_fault(self, root: str, place: Place) -> Finding:
        level: Level | None = place.level
        while level is not None and level.find(root) is None:
            level = level.around.level if level.around is not None else None
        if root in place.level.inputs:
            hint: str | None = f"write inputs.{root}"
        elif level is not None and "steps" in place.roots:
            hint = f"write steps.{root}.output"
        elif root == "item" and "index" in place.roots and (names := place.roots.keys() - RESERVED):
            hint = f"it is called '{min(names)}' here"
        else:
            hint = _ELSEWHERE.get(root) or self._problems.advise(root, place.roots)
            hint = hint or "known here: " + ", ".join(place.roots)
        return Finding("expression.undefined", f"{shown(root)} is not defined here", (), hint)

    def _step_fault(self, rest: list[str], place: Place) -> Finding | None:
        if not rest:
            message = "'steps' is no value of its own; steps are read one by one"
            return Finding("definition.reference", message, (), "write steps.<id>.output")
        step_id, *rest = rest
        level: Level | None = place.level
        reader, is_over = place.reader, place.reads_self
        while level is not None:
            step = level.find(step_id)
            if step is not None:
                fault = None if reader is None else _order_fault(step_id, level, reader, place, is_over=is_over)
                return fault or self._part_fault(step, rest)
            around = level.around
            level, reader, is_over = (around.level, around.holder, around.is_over) if around else (None, None, False)
        return self._unknown_step(step_id, place)

    def _unknown_step(self, step_id: str, place: Place) -> Finding:
        message = f"no step has the id {shown(step_id)}"
        known: list[str] = []
        level: Level | None = place.level
        while level is not None:
            known += level.graph.index
            for holder in level.steps:
                if isinstance(holder.verb, Group) and any(step.id == step_id for step in holder.verb.steps):
                    message = f"step {shown(step_id)} stands inside '{holder.id}', where it cannot be read from here"
                    hint = f"read steps.{holder.id}.output" + ("" if is_loop(holder) else f".{step_id}")
                    return Finding("definition.reference", message, (), hint)
            level = level.around.level if level.around is not None else None
        return Finding("definition.reference", message, (), self._problems.advise(step_id, known))

    def _part_fault(self, step: Step, rest: list[str]) -> Finding | None:
        if not rest:
            message = f"steps.{step.id} is no value of its own"
            return Finding("definition.reference", message, (), f"write steps.{step.id}.output")
        part, *rest = rest
        if part not in _STEP_KEYS:
            hint = self._problems.advise(part, _STEP_KEYS) or "known here: " + ", ".join(_STEP_KEYS)
            return Finding("definition.reference", f"a step has no {shown(part)}", (), hint)
        if rest and is_loop(step) and part in ("output", "outputs"):
            message = f"steps.{step.id}.{part} is a list with an entry for each item"
            hint = f"write [x[{rest[0]!r}] for x in steps.{step.id}.{part}]"
            return Finding("definition.reference", message, (), hint)
        names = outputs_keys(step) if part == "outputs" else output_keys(step) if part == "output" else None
        if names is None:
            return None
        return self._missing(rest, names, f"steps.{step.id}.{part} has no")


_LEADS: Final = {"inputs": "the workflow declares no input", "secrets": "the step's `secrets` do not name"}


def _order_fault(step_id: str, level: Level, reader: str, place: Place, *, is_over: bool) -> Finding | None:
    """What is read in a step must come from a step that is at rest by then."""
    is_inside = level is not place.level
    who = f"a step inside '{reader}'" if is_inside else f"step '{reader}'"
    if step_id == reader:
        if is_over:
            return None
        if is_inside:
            message, hint = f"{who} reads steps.{reader}, which ends after it", None
        else:
            message, hint = f"{who} reads its own result", "only its `outputs` can, as `result`"
    elif not level.has_order or level.graph.is_before(step_id, reader):
        return None
    elif level.graph.is_before(reader, step_id):
        message, hint = f"{who} reads steps.{step_id} but does not depend on it", f"'{step_id}' comes after it"
    else:
        message = f"{who} reads steps.{step_id} but does not depend on it"
        hint = f"add '{step_id}' to " + (f"the needs of '{reader}'" if is_inside else "its needs")
    return Finding("definition.reference", message, (), hint)


def _secret_fault(root: str, rest: list[str], place: Place) -> Finding | None:
    if root == "secrets":
        name = f"secrets.{rest[0]}" if rest else root
    elif root == "inputs":
        secrets = [key for key, declared in place.level.inputs.items() if declared.secret]
        name = next((f"inputs.{key}" for key in secrets if not rest or rest[0] == key), "")
    else:
        return None
    if not name:
        return None
    hint = "pass it in `env`" if place.shown_to.startswith("the arguments") else None
    return Finding("definition.secret", f"the secret {name} would stand in {place.shown_to}", (), hint)


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
