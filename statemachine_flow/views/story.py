"""Why a step of a run is as it is: what held it back or let it go, what happened to it, what it waits for now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.errors import UsageError
from statemachine_flow.model import Definition
from statemachine_flow.plan.joins import end_of, holds
from statemachine_flow.views.facts import fact_of
from statemachine_flow.views.pending import last_wait, now_lines
from statemachine_flow.views.places import Place, find

_AT_REST: Final = ("completed", "failed", "skipped", "cancelled")
_ENDS: Final = ("step.complete", "step.fail", "step.skip", "step.cancel")


@attrs.frozen(kw_only=True)
class Fact:
    """Something that happened."""

    seq: int
    at: dt.datetime
    text: str


@attrs.frozen(kw_only=True)
class Story:
    """What there is to say about a step of a run."""

    run: str
    step: str
    state: str
    #: Why it is in that state, in one sentence.
    verdict: str
    #: What decides whether and how it runs, and how that came out.
    rules: tuple[str, ...]
    #: What happened to it, in order.
    facts: tuple[Fact, ...]
    #: What it waits for; empty once nothing is owed.
    now: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.step} is {self.state}: {self.verdict}", *self.rules]
        lines += [f"{fact.at:%Y-%m-%d %H:%M:%S} {fact.text}" for fact in self.facts]
        return "\n".join([*lines, *(f"now: {line}" for line in self.now)])


def explain_step(run: Run, step: str, events: Iterable[Event], definition: Definition) -> Story:
    r"""Tell why a step is as it is.

    Args:
        run: the run as it stands.
        step: the step's path, such as `build` or `review[src/a.py]/lint`.
        events: the run's journal, from its beginning.
        definition: what the run executes.

    Raises:
        UsageError: the workflow has no such step.

    Example:
        >>> from statemachine_flow import Engine, load
        >>> workflow = load('dsl = "1"\nname = "w"\n[steps]\na = { run = "true", when = "1 > 2" }\n')
        >>> with Engine("memory://") as engine:
        ...     run = engine.run(workflow)
        ...     print(explain_step(run, "a", engine.events(run.id), workflow.definition).verdict)
        its condition is false: 1 > 2
    """
    place = find(definition, step)
    if place is None:
        known = ", ".join(list(run.steps)[:8])
        raise UsageError(f"the run has no step {step!r}", run=run.id, hint=f"its steps: {known}")
    view = run.steps.get(step)
    state = "pending" if view is None else str(view.state)
    found = list(events)
    facts = tuple(_facts(found, step))
    began = any(event.step == step and event.kind == "step.start" for event in found)
    verdict = _verdict(run, place, view, state, began=began)
    return Story(
        run=run.id,
        step=step,
        state=state,
        verdict=f"it waits for {last_wait(step, found)}" if state == "waiting" else verdict,
        rules=(*_occasion(place, found), *_rules(run, place, state, began=began)),
        facts=facts,
        now=tuple(now_lines(run, step, place, found, definition)),
    )


def _facts(events: Iterable[Event], step: str) -> Iterator[Fact]:
    signals = {event.seq: event for event in events if event.kind == "run.signal"}
    is_open = True
    for event in events:
        is_own = event.step == step
        # Of the run itself, what happened while the step could be touched by it.
        if is_own or (event.step is None and (is_open or event.kind == "run.retry")):
            text = fact_of(event, signals, is_own=is_own)
            if text is not None:
                yield Fact(seq=event.seq, at=event.at, text=text)
        if is_own:
            is_open = event.kind not in _ENDS


def _end(run: Run, place: Place, need: str) -> tuple[str, str]:
    """How a need stands: for people, and for the join rule ("" while it is open)."""
    view = run.steps.get(place.prefix + need)
    state = "pending" if view is None else str(view.state)
    if state not in _AT_REST:
        return state, ""
    end = end_of(state, place.siblings[need].optional)
    return ("failed, but optional" if end == "forgiven" else state), end


def _join(run: Run, place: Place) -> bool | None:
    """Whether the trigger rule holds; None while it is not decided."""
    ends = [_end(run, place, need)[1] for need in place.step.needs]
    return None if "" in ends else holds(place.step.trigger_rule, ends)  # type: ignore[arg-type]  # none is open


def _occasion(place: Place, events: Iterable[Event]) -> Iterator[str]:
    """Of a handler, what it is for and whether that came."""
    if not place.prefix.startswith("@"):
        return
    unwinding = next((event for event in events if event.kind == "run.unwind"), None)
    name = place.prefix[1:].partition("/")[0]
    if unwinding is None:
        yield f"{name}: carried out once the run comes to its end"
    else:
        yield f"{name}: the run was on its way to {unwinding.data.get('outcome')} (record {unwinding.seq})"


def _rules(run: Run, place: Place, state: str, *, began: bool) -> Iterator[str]:
    step = place.step
    if place.undoes is not None:
        yield f"undoes {place.undoes}"
    if not place.is_item and place.start is None:
        for need in step.needs:
            yield f"needs {need}: {_end(run, place, need)[0]}"
        joined = _join(run, place)
        verdict = {None: "not decided yet", True: "holds", False: "does not hold"}[joined]
        if step.needs or step.trigger_rule != "all_success":
            yield f"trigger_rule {step.trigger_rule}: {verdict}"
        if step.when is not None:
            yield f"when {step.when}: {_condition(joined, state, began=began)}"
    elif step.when is not None and not place.is_item:
        yield f"when {step.when}: {_condition(True, state, began=began)}"
    if step.retry is not None:
        yield f"retry: {step.retry.max_attempts} attempts at most"
    if step.optional:
        yield "optional: the run may complete although it failed"


def _condition(joined: bool | None, state: str, *, began: bool) -> str:
    if began and state != "pending":
        return "true"
    if state == "skipped" and joined:
        return "false"
    return "not asked" if state in ("skipped", "cancelled") else "not asked yet"


def _verdict(run: Run, place: Place, view: StepView | None, state: str, *, began: bool) -> str:
    if view is None or state == "pending":
        return "it has not begun"
    if state == "skipped":
        return _why_skipped(run, place, view.reason, began=began)
    if view.error is not None and state in ("failed", "backing_off"):
        return f"{view.error.kind}: {view.error.name}: {view.error.message}"
    attempts = f"attempt {view.attempt}" if view.attempt else "no attempt"
    usual = {"completed": f"{attempts} gave its result", "running": f"{attempts} is under way"}.get(state, attempts)
    return view.reason or usual


def _why_skipped(run: Run, place: Place, reason: str, *, began: bool) -> str:
    step = place.step
    if place.start is None and not place.is_item and _join(run, place) is False:
        ends = ", ".join(f"{need} {_end(run, place, need)[0]}" for need in step.needs) or "it needs no step"
        return f"its rule {step.trigger_rule} does not hold: {ends}"
    if step.when is not None and not began and "condition" in reason:
        return f"its condition is false: {step.when}"
    return reason or "it was not needed"
