"""What became of a run and the runs below it, without what may differ: times, numbers of attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from statemachine_flow.engine.view import Run, StepView

#: Place and aspect (`state`, `output`, `outputs`, `error`) -> value; the place of the run itself is "".
Ending = Mapping[tuple[str, str], Any]

#: What an approval gives, and what of it depends on the moment.
_DECISION: Final = frozenset({"decision", "by", "at", "reason", "digest"})
_PASSING: Final = frozenset({"at", "digest"})


def ending(runs: Sequence[Run], place: Callable[[str, str], str]) -> dict[tuple[str, str], Any]:
    """What became of runs.

    Args:
        runs: the run above all, and those below it.
        place: the place of a step by run and path.
    """
    return {
        (place(run.id, path).rstrip("/"), aspect): timeless(value)
        for run in runs
        for path, aspect, value in _aspects(run)
    }


def _aspects(run: Run) -> Iterator[tuple[str, str, Any]]:
    yield "", "state", str(run.state)
    yield "", "error", _error(run)
    yield "", "outputs", run.outputs
    for step in run.steps.values():
        yield step.path, "state", str(step.state)
        yield step.path, "error", _error(step)
        yield step.path, "output", step.output
        yield step.path, "outputs", step.outputs


def _error(view: Run | StepView) -> Any:
    return None if view.error is None else [view.error.kind, view.error.name]


def timeless(value: Any) -> Any:
    """A value without the moments of decisions.

    Example:
        >>> timeless({"decision": "approve", "by": "ann", "at": "2030-01-01", "reason": "", "digest": "f00"})
        {'decision': 'approve', 'by': 'ann', 'reason': ''}
    """
    if isinstance(value, Mapping):
        passing = _PASSING if value.keys() >= _DECISION else frozenset[str]()
        return {key: timeless(item) for key, item in value.items() if key not in passing}
    return [timeless(item) for item in value] if isinstance(value, list | tuple) else value


def differences(expected: Ending, found: Ending) -> Iterator[tuple[str, str, Any, Any]]:
    """Where one ending differs from another: place, aspect, and both values; steps before the run that they make up."""
    for place, aspect in sorted({*expected, *found}, key=lambda key: (key[0] == "", key)):
        before, now = expected.get((place, aspect)), found.get((place, aspect))
        if before != now:
            yield place, aspect, before, now
