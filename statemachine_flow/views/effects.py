"""What a change of a workflow would mean for a run that began before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from statemachine_flow.engine.view import Run
from statemachine_flow.views.paths import Progress, progress

#: State of a step -> what a change of it would mean.
_OF_STATES: Final[Mapping[str, str]] = {
    "completed": "already completed: its result would stay",
    "pending": "not begun: it would use the new form",
    "running": "under way: the attempt would end as it began, a later one would use the new form",
    "waiting": "under way: what it waits for now would stay, what begins later would use the new form",
    "backing_off": "between two attempts: the next one would use the new form",
    "interrupted": "cut off: the next attempt would use the new form",
    "failed": "already failed: a retry would use the new form",
    "skipped": "already skipped: it would stay so",
    "cancelled": "already cancelled: a retry would use the new form",
}


@attrs.frozen
class Live:
    """A run, as far as changes concern it."""

    places: Mapping[str, Progress]
    #: Whether it is a run of the earlier workflow.
    is_same: bool
    is_at_rest: bool

    @classmethod
    def of(cls, run: Run, *, is_same: bool) -> Live:
        """Read a run."""
        return cls(progress({path: str(step.state) for path, step in run.steps.items()}), is_same, run.at_rest)


def effect(kind: str, was: str | None, path: str, live: Live) -> str:
    """What a change would mean for a run.

    Args:
        kind: of the change.
        was: the path in the earlier workflow; None if the change is not about a step that it has.
        path: the path in the later one.
        live: the run.

    Example:
        >>> effect("code", "a", "a", Live({"a": Progress("completed")}, True, False))
        'already completed: its result would stay'
    """
    if kind == "added":
        return "new: it would begin once what it needs is at rest"
    if was is None:
        return f"{path}: it would hold for what begins later"
    found = live.places.get(was)
    if found is None:
        return "the run has no such step"
    state = found.state
    if kind == "removed":
        return f"{found}: its result would be out of reach" if state == "completed" else f"{found}: it would not run"
    if kind == "renamed":
        return f"{found}: it would go on under its new name"
    return _OF_STATES.get(state, state)
