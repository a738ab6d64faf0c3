"""What a step that is not at rest waits for now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.model import Definition
from statemachine_flow.views.facts import awaited
from statemachine_flow.views.places import Place, find

_OPEN: Final = ("pending", "running", "waiting", "backing_off", "interrupted")


def now_lines(run: Run, path: str, place: Place, events: Sequence[Event], definition: Definition) -> Iterator[str]:
    """What the step waits for, each thing in one line; nothing if nothing is owed.

    Args:
        run: the run as it stands.
        path: of the step.
        place: where it stands in the definition.
        events: the run's journal.
        definition: what the run executes.
    """
    view = run.steps.get(path)
    state = "pending" if view is None else str(view.state)
    if state not in _OPEN:
        return
    yield from _of_run(run)
    if run.state not in ("pending", "running", "paused"):
        return
    if place.prefix.startswith("@") and not any(event.kind == "run.unwind" for event in events):
        yield "the run to come to its end"
    elif state == "pending":
        yield from _pending(run, place, view, definition)
    elif state == "waiting":
        yield last_wait(path, events)
    elif view is not None:
        yield _attempt(state, view, place)


def _of_run(run: Run) -> Iterator[str]:
    """What holds back every step of the run."""
    if run.state == "paused":
        yield "the run is paused" + (f": {run.reason}" if run.reason else "")
    elif run.state not in ("pending", "running"):
        yield f"the run is {run.state}: it will not begin by itself"
    elif run.owner is None:
        yield "nobody works on the run: `smf resume` goes on with it"


def _attempt(state: str, view: StepView, place: Place) -> str:
    if state == "backing_off":
        return f"the next attempt, which may begin at {_time(view)}"
    if state == "running":
        return f"attempt {view.attempt}, which is under way"
    is_once = place.step.delivery == "at_most_once"
    return "somebody to say whether it took effect" if is_once else "a new attempt, once the run goes on"


def last_wait(path: str, events: Sequence[Event]) -> str:
    """What a waiting step waits for, by the last record that says so."""
    waits = (event for event in reversed(events) if event.kind == "step.wait" and event.step == path)
    last = next(waits, None)
    return "nothing known" if last is None else awaited(last.data)


def _time(view: StepView) -> str:
    return "any time" if view.due_at is None else f"{view.due_at.astimezone():%Y-%m-%d %H:%M:%S}"


def _pending(run: Run, place: Place, view: StepView | None, definition: Definition) -> Iterator[str]:
    if place.around is not None:
        around = run.steps.get(place.around)
        if around is None or str(around.state) != "waiting":
            yield f"{place.around}, which is {'pending' if around is None else around.state}"
            return
    if place.start is not None and not place.is_item:
        here = [step_id for step_id in place.siblings if _state(run, place.prefix + step_id) in _OPEN[1:]]
        yield f"the token, which is at {', '.join(here)}" if here else "the token to come here"
        return
    needs = [] if place.is_item else place.step.needs
    missing = [need for need in needs if _state(run, place.prefix + need) in _OPEN]
    if missing:
        yield from (f"{need}, which is {_state(run, place.prefix + need)}" for need in missing)
    elif view is not None and view.due_at is not None:
        yield f"its time, which is {_time(view)}"
    else:
        yield from _lane(run, place, definition)


def _lane(run: Run, place: Place, definition: Definition) -> Iterator[str]:
    """Which limit holds a step back that is ready."""
    limit = definition.max_parallel
    running = [path for path, step in run.steps.items() if step.state == "running"]
    if limit is None:
        limit = place.step.verb.max_parallel
        key = place.step.verb.key
        running = [path for path in running if (other := find(definition, path)) and other.step.verb.key == key]
        name = f"steps with `{key}`"
    else:
        name = "steps (max_parallel)"
    loop = place.step.for_each
    if place.is_item and loop is not None and loop.max_parallel is not None:
        yield f"a place among the {loop.max_parallel} items that may be under way at once"
    elif len(running) >= limit:
        yield f"a free place: {len(running)} of at most {limit} {name} are under way"
    else:
        yield "nothing: it is ready to begin"


def _state(run: Run, path: str) -> str:
    view = run.steps.get(path)
    return "pending" if view is None else str(view.state)
