"""Which planned step the path of a step in a run's journal stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from statemachine_flow.plan import Level, Plan, PlannedStep

_ITEM: Final = re.compile(r"\[[^\]]*\]")
_COMPENSATE: Final = "@compensate/"


def planned_at(plan: Plan, path: str) -> PlannedStep | None:
    """The planned step under a path, such as `ci/build`, `review[a.py]/lint` or `@finally/clean`, if there is one.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps import Call
        >>> plan = Plan(Definition(name="one", steps=(Step(id="a", verb=Call(call="f")),)))
        >>> planned_at(plan, "a[x]").id, planned_at(plan, "b")
        ('a', None)
    """
    level, rest = plan.level, path
    for name, handlers in (("@on_failure/", plan.on_failure), ("@finally/", plan.finally_)):
        if path.startswith(name):
            level, rest = handlers, path.removeprefix(name)
    found = _inside(level, rest.removeprefix(_COMPENSATE))
    return found.compensate if found is not None and rest.startswith(_COMPENSATE) else found


def _inside(level: Level | None, path: str) -> PlannedStep | None:
    found: PlannedStep | None = None
    for step_id in _ITEM.sub("", path).split("/"):
        found = None if level is None else level.get(step_id)
        level = None if found is None else found.level
    return found


def around(path: str) -> Iterator[str]:
    """The paths of what holds a step, outermost first.

    Example:
        >>> list(around("ci/review[src/a.py]/lint"))
        ['ci', 'ci/review', 'ci/review[src/a.py]']
    """
    depth = 0
    for place, char in enumerate(path):
        if (char == "/" and not depth) or char == "[":
            yield path[:place]
        depth += (char == "[") - (char == "]")
