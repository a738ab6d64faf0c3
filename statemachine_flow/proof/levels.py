"""One level of a workflow and what is inside its steps: found out level by level, then put together by path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, final

import attrs

from statemachine_flow.model import Definition, Step
from statemachine_flow.proof.explore import Render, explore
from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.graph import OUTSIDE, Graph, Moves
from statemachine_flow.proof.parts import Lanes, Part, is_empty, is_loop, parts_of, refusals
from statemachine_flow.proof.rules import Rules
from statemachine_flow.proof.states import States
from statemachine_flow.proof.structure import survey
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child

#: A level with more steps is not tried configuration by configuration.
_MOST_STEPS: Final = 400

#: In a trace: somebody outside ends the level.
CUT_OFF: Final = "(cut off from outside)"
_OUTSIDE: Final = {"hold": "run.pause", "go": "run.resume", "cut": CUT_OFF}
_END_OF_WAY: Final = {"complete": "completed", "fail": "failed"}


@final
@attrs.frozen(kw_only=True)
class Task:
    """What is the same for all levels of one workflow."""

    definition: Definition
    rules: Rules
    lanes: Lanes
    #: How many configurations of a level are looked at.
    limit: int
    #: Finds out about a child run whose workflow stands in the document; its paths begin with the text.
    child: Callable[[Definition, str], Findings]


def examine(steps: Sequence[Step], start: str | None, prefix: str, task: Task, *, can_be_cut: bool) -> Findings:
    """What can happen in a level and in everything inside it.

    Args:
        steps: the steps of the level.
        start: where a level of states begins.
        prefix: what its paths begin with.
        task: what is asked.
        can_be_cut: whether a failure or a timeout around it may end it before its time.
    """
    inner = {
        place: inside
        for place, step in enumerate(steps)
        if (inside := _inside(step, steps, start, prefix, task, can_be_cut=can_be_cut)) is not None
    }
    parts = parts_of(steps, prefix, inner, task.rules, task.lanes)
    goes_on = task.definition.continue_on_error
    found: Findings | None = None
    if start is not None:
        found = explore(States(parts, start, task.rules), _renderer(parts), len(parts), 10**9, can_be_cut=can_be_cut)
    elif _is_worth_trying(parts, task.limit):
        model = Graph(parts, task.rules, goes_on=goes_on)
        found = explore(model, _renderer(parts), len(parts), task.limit, can_be_cut=can_be_cut)
    findings = found or survey(parts, task.rules, goes_on=goes_on)
    _check_legality(parts, task.rules, findings)
    for part in parts:
        _tell(part, findings)
    return findings


def _is_worth_trying(parts: Sequence[Part], limit: int) -> bool:
    """Whether the configurations may be few enough: those of the steps that begin at once are not too many already."""
    at_once = sum(not part.needs and part.condition != "never" and part.lane is None for part in parts)
    return len(parts) <= _MOST_STEPS and 2 ** min(at_once, 64) <= limit


def _inside(
    step: Step, steps: Sequence[Step], start: str | None, prefix: str, task: Task, *, can_be_cut: bool
) -> Findings | None:
    verb, path = step.verb, prefix + step.id + ("[*]" if is_loop(step) else "")
    if isinstance(verb, Group):
        others = any(not other.optional for other in steps if other is not step)
        can_be_cut |= step.timeout is not None or is_loop(step)
        can_be_cut |= start is None and others and not task.definition.continue_on_error
        return examine(verb.steps, verb.start, path + "/", task, can_be_cut=can_be_cut)
    if isinstance(verb, Child) and isinstance(verb.workflow, Definition):
        return task.child(verb.workflow, path + ":")
    return None


def _renderer(parts: Sequence[Part]) -> Render:
    def render(moves: Moves) -> Iterator[str]:
        for trigger, place in moves:
            if place == OUTSIDE:
                yield _OUTSIDE[trigger]
                continue
            inner = parts[place].inner
            if inner is not None:
                yield from inner.ends.get(_END_OF_WAY.get(trigger, ""), ())
            yield f"step.{trigger} {parts[place].path}"

    return render


def _check_legality(parts: Sequence[Part], rules: Rules, findings: Findings) -> None:
    """Whether the lifecycle lets each step do on its own what its rules ask for."""
    judged: dict[tuple[tuple[str, ...], ...], None] = {}
    for part in parts:
        if part.place not in findings.begins:
            continue
        refused = tuple(refusals(part, rules))
        if refused and refused not in judged:
            judged[refused] = None
            before = findings.begins[part.place][:-1]
            lines = [f"step.{trigger} {part.path}" for trigger in refused[0]]
            findings.broken.setdefault("legal", (*before, *lines[:-1], f"{lines[-1]} (refused)"))


def _tell(part: Part, findings: Findings) -> None:
    """Put what was found about a step and inside it under its path."""
    begins = findings.begins.get(part.place)
    inner = part.inner
    if inner is not None:
        findings.take_in(inner, None if begins is None or is_empty(part.step) else begins)
    if begins is None:
        findings.never_run += all_paths(part.step, part.path)
        return
    if part.forever:
        findings.may_wait_for_ever.append(part.path)
    if part.place in findings.always:
        findings.always_run.append(part.path)
    if part.place not in findings.skips:
        findings.never_skipped.append(part.path)
    if inner is None:
        return
    if is_empty(part.step):
        findings.never_run += all_paths(part.step, part.path)[1:]
        return
    findings.never_run += inner.never_run
    findings.may_wait_for_ever += inner.may_wait_for_ever
    if part.place in findings.always and not (part.step.for_each and isinstance(part.step.for_each.items, str)):
        findings.always_run += inner.always_run
    findings.never_skipped += inner.never_skipped


def all_paths(step: Step, path: str) -> list[str]:
    """The path of a step and of everything inside it."""
    found = [path]
    each = path + ("[*]" if is_loop(step) else "")
    if isinstance(step.verb, Group):
        for inside in step.verb.steps:
            found += all_paths(inside, f"{each}/{inside.id}")
    elif isinstance(step.verb, Child) and isinstance(step.verb.workflow, Definition):
        for inside in step.verb.workflow.steps:
            found += all_paths(inside, f"{each}:{inside.id}")
    return found
