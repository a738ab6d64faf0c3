"""Which steps a step reads, and so needs: what the builder fills in where the author only referred to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression, Template

#: Fields that are read before a step begins or while it goes on: text with placeholders.
_TEMPLATES: Final = ("with", "run", "env", "cwd", "prompt", "idempotency_key")
#: The same inside the mappings of a step.
_TEMPLATES_INSIDE: Final = {"for_each": ("items", "key"), "wait": ("for", "until", "key"), "approval": ("prompt",)}

Steps = Mapping[str, Mapping[str, Any]]


def steps_in(templates: Iterable[Any], expressions: Iterable[Any] = ()) -> list[str]:
    """Ids of the steps that texts refer to; what cannot be parsed is reported later.

    Example:
        >>> steps_in(["Read ${{ steps.b.output }}"], ["steps.a.state == 'completed'"])
        ['a', 'b']
    """
    references = set(Template.parse(list(templates))[0].references)
    for text in expressions:
        if isinstance(text, str):
            with contextlib.suppress(ExpressionError):
                references |= Expression.parse(text).references
    return sorted({path[1] for path in references if path[0] == "steps" and len(path) > 1})


def _read_by(step: Mapping[str, Any]) -> set[str]:
    templates = [step[key] for key in _TEMPLATES if key in step]
    expressions = [step.get("when")]
    for holder, keys in _TEMPLATES_INSIDE.items():
        if isinstance(step.get(holder), Mapping):
            templates += [step[holder][key] for key in keys if key in step[holder]]
    if isinstance(step.get("repeat"), Mapping):
        expressions.append(step["repeat"].get("until"))
    if "steps" in step and isinstance(step.get("outputs"), Mapping):
        expressions += step["outputs"].values()  # those of a group may read steps
    return set(steps_in(templates, expressions))


def with_needs(steps: Steps, *, is_states: bool = False) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """A level with needs filled in, at every depth, and what it reads of the levels around.

    A step needs the steps beside it that it reads. What a group reads from beside it, the group needs as a whole.

    Args:
        steps: as they were built; they are left as they are.
        is_states: whether the steps are states, which need nothing.

    Example:
        >>> group = {"steps": {"b": {"call": "f", "with": {"x": "${{ steps.a.output }}"}}}}
        >>> with_needs({"a": {"call": "f"}, "g": group})[0]["g"]["needs"]
        ['a']
    """
    finished: dict[str, dict[str, Any]] = {}
    outer: set[str] = set()
    for step_id, step in steps.items():
        done = finished[step_id] = dict(step)
        reads = _read_by(step) | _finish_inside(done)
        outer.update(read for read in reads if read not in steps)
        beside = [] if is_states else [read for read in sorted(reads) if read in steps and read != step_id]
        needs = dict.fromkeys([*done.get("needs", ()), *beside])
        if needs:
            done["needs"] = list(needs)
    return finished, outer


def _finish_inside(step: dict[str, Any]) -> set[str]:
    """Fill in the needs of steps inside a step; the ids they read around them."""
    reads: set[str] = set()
    if isinstance(step.get("steps"), Mapping):
        step["steps"], reads = with_needs(step["steps"], is_states="start" in step)
    if isinstance(step.get("compensate"), Mapping):
        step["compensate"] = dict(step["compensate"])
        _finish_inside(step["compensate"])  # begins when all is at rest, and so needs nothing
    if isinstance(step.get("workflow"), Mapping):
        step["workflow"] = _copy(step["workflow"])  # it was finished when it was taken in
    return reads


def _copy(value: Any) -> Any:
    """A copy of mappings and lists, down to what is neither, such as functions."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
