"""Where in a definition the step stands that a path of a run names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.group import Group

_COMPENSATE: Final = "@compensate/"


@attrs.frozen
class Place:
    """A step and what stands around it."""

    step: Step
    #: The steps of its level by id, itself included.
    siblings: Mapping[str, Step]
    #: What the paths of its level begin with in the run, such as `review[a]/`.
    prefix: str
    #: Where a level of states begins; None for a graph.
    start: str | None
    #: The path of the step around it, or the loop it is an item of; None at the top.
    around: str | None
    #: Whether the path names an item, not the step that loops.
    is_item: bool = False
    #: The path of the step that it undoes.
    undoes: str | None = None


def find(definition: Definition, path: str) -> Place | None:
    """Find the step of a path; None if there is none.

    Example:
        >>> from statemachine_flow.steps.call import Call
        >>> inner = Group(steps=(Step(id="lint", verb=Call(call="f")),))
        >>> place = find(Definition(name="w", steps=(Step(id="ci", verb=inner),)), "ci[a/b]/lint")
        >>> place.step.id, place.prefix, place.around
        ('lint', 'ci[a/b]/', 'ci[a/b]')
    """
    if path.startswith(_COMPENSATE):
        undoes = path.removeprefix(_COMPENSATE)
        found = find(definition, undoes)
        if found is None or found.step.compensate is None:
            return None
        step = found.step.compensate
        return Place(step, {step.id: step}, _COMPENSATE, None, None, undoes=undoes)
    prefix, steps, start = "", definition.steps, definition.start
    for name, level in (("@on_failure/", definition.on_failure), ("@finally/", definition.finally_)):
        if path.startswith(name):
            prefix, steps, start = name, level, None
    return _walk(split(path.removeprefix(prefix)), prefix, steps, start)


def _walk(parts: Sequence[str], prefix: str, steps: Sequence[Step], start: str | None) -> Place | None:
    around: str | None = None
    place: Place | None = None
    for part in parts:
        step_id, bracket, _ = part.partition("[")
        siblings = {step.id: step for step in steps}
        step = siblings.get(step_id)
        if step is None:
            return None
        loop = prefix + step_id
        place = Place(step, siblings, prefix, start, loop if bracket else around, is_item=bool(bracket))
        around, prefix = prefix + part, f"{prefix}{part}/"
        steps, start = (step.verb.steps, step.verb.start) if isinstance(step.verb, Group) else ((), None)
    return place


def split(path: str) -> list[str]:
    """The parts of a path; a key may hold slashes, but no brackets.

    Example:
        >>> split("review[src/a.py]/lint")
        ['review[src/a.py]', 'lint']
    """
    parts = [""]
    depth = 0
    for character in path:
        depth += (character == "[") - (character == "]")
        if character == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
