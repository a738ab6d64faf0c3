"""A step as the prover sees it: when it begins, in which ways it can end, and what that asks of the lifecycle. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression
from statemachine_flow.model import Defaults, Definition, Step
from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.rules import COMPLETED, FAILED, FORGIVEN, SKIPPED, Rules
from statemachine_flow.steps.approval import Approval, Rewind
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.wait import Wait
from statemachine_flow.steps.workflow import Child

#: What a condition that nobody has asked yet can say.
Condition = Literal["always", "never", "maybe"]
#: `body`: an attempt; `wait`: a timer, a signal, a person; `composite`: other steps or a run.
Nature = Literal["body", "wait", "composite"]

_PLACEHOLDER: Final = "${{"
#: The limit of `run` depends on the machine; this is the least.
_LEAST_COMMANDS: Final = 4
_MANY: Final = 1_000_000


@final
@attrs.frozen(kw_only=True)
class Part:
    """One step of a level."""

    path: str
    step: Step
    place: int
    #: Places of the steps it needs, each once, and of those that need it.
    needs: tuple[int, ...]
    dependents: tuple[int, ...]
    tolerant: bool
    condition: Condition
    nature: Nature
    #: Trigger -> how the step then looks to others.
    ways: Mapping[str, int]
    #: The state it is in while it is open, and the triggers that lead there; None if the lifecycle refuses one.
    open_state: str | None
    begin: tuple[str, ...]
    #: Whether a failed attempt may be followed by another.
    retriable: bool
    #: The queue it waits in, if that can be full; and how many go at once.
    lane: str | None = None
    slots: int = _MANY
    #: The step that a rejection goes back to.
    rewinds_to: int | None = None
    #: Whether it can wait for somebody outside, and has no timeout.
    forever: bool = False
    inner: Findings | None = None

    @property
    def failure(self) -> int:
        """How its failure looks to others."""
        return FORGIVEN if self.step.optional else FAILED

    @property
    def needs_bits(self) -> int:
        """Places of the steps it needs, as a number."""
        return sum(1 << need for need in self.needs)

    @property
    def dependent_bits(self) -> int:
        """Places of the steps that need it, as a number."""
        return sum(1 << place for place in self.dependents)


@final
class Lanes:
    """Which queues of a workflow can be full, so that a ready step may have to wait.

    Args:
        definition: the workflow.
    """

    def __init__(self, definition: Definition) -> None:
        self.common = definition.max_parallel
        self.defaults = definition.defaults
        counts: Counter[str] = Counter()
        for step, times in _bodies((*definition.steps, *definition.on_failure, *definition.finally_), 1):
            counts["" if self.common else step.verb.key] += times
        #: Lane -> how many go at once, for those that can be full.
        self.crowded: dict[str, int] = {}
        for lane, count in counts.items():
            limit = self.common or (_LEAST_COMMANDS if lane == "run" else 64)
            if count > limit:
                self.crowded[lane] = limit

    def of(self, step: Step) -> tuple[str | None, int]:
        """The lane a step may have to wait in, and its limit."""
        lane = "" if self.common else step.verb.key
        if not step.verb.is_body or is_loop(step) or lane not in self.crowded:
            return None, _MANY
        return lane, self.crowded[lane]


def _bodies(steps: Sequence[Step], times: int) -> Iterator[tuple[Step, int]]:
    for step in steps:
        many = _MANY if is_loop(step) else times
        if isinstance(step.verb, Group):
            yield from _bodies(step.verb.steps, many)
        elif step.verb.is_body:
            yield step, many


def is_loop(step: Step) -> bool:
    """Whether the step is carried out for each of several items."""
    return step.for_each is not None or bool(step.matrix)


def is_empty(step: Step) -> bool:
    """Whether its list of items is written down and holds nothing."""
    return step.for_each is not None and step.for_each.items == ()


def condition_of(text: str | None) -> Condition:
    """What a condition can say: only one without names is known before somebody asks.

    Example:
        >>> condition_of(None), condition_of("1 > 2"), condition_of("inputs.fast")
        ('always', 'never', 'maybe')
    """
    if text is None:
        return "always"
    try:
        expression = Expression.parse(text)
        if expression.references:
            return "maybe"
        return "always" if expression.test({}) else "never"
    except ExpressionError:
        return "maybe"


def parts_of(
    steps: Sequence[Step], prefix: str, inner: Mapping[int, Findings], rules: Rules, lanes: Lanes
) -> list[Part]:
    """The steps of a level, with what was found inside them."""
    index = {step.id: place for place, step in enumerate(steps)}
    needs = [tuple(dict.fromkeys(index[need] for need in step.needs)) for step in steps]
    dependents: list[list[int]] = [[] for _ in steps]
    for place, found in enumerate(needs):
        for need in found:
            dependents[need].append(place)
    parts = []
    for place, step in enumerate(steps):
        nature = _nature(step)
        begin = ("start",) if nature == "body" else ("start", "wait")
        lane, slots = lanes.of(step)
        rewind = _rewind(step)
        parts.append(
            Part(
                path=prefix + step.id,
                step=step,
                place=place,
                needs=needs[place],
                dependents=tuple(dependents[place]),
                tolerant=step.trigger_rule in rules.tolerant,
                condition=condition_of(step.when),
                nature=nature,
                begin=begin,
                open_state=walk(rules, begin)[0],
                ways=_allowed(_ways(step, inner.get(place)), walk(rules, begin)[0], rules),
                retriable=_is_retriable(step, lanes.defaults),
                lane=lane,
                slots=slots,
                rewinds_to=index.get(rewind.rewind_to) if rewind is not None else None,
                forever=_waits_for_ever(step),
                inner=inner.get(place),
            )
        )
    return parts


def walk(rules: Rules, triggers: Sequence[str]) -> tuple[str | None, int]:
    """Where a step comes to from its first state; None where a trigger is refused, and how many were not."""
    state: str | None = rules.step.states[0]
    for done, trigger in enumerate(triggers):
        state = rules.step.dest(str(state), trigger)
        if state is None:
            return None, done
    return state, len(triggers)


def _nature(step: Step) -> Nature:
    if is_loop(step) or isinstance(step.verb, Group | Child):
        return "composite"
    return "wait" if isinstance(step.verb, Wait | Approval) else "body"


def _rewind(step: Step) -> Rewind | None:
    if isinstance(step.verb, Approval) and isinstance(step.verb.approval.on_reject, Rewind):
        return step.verb.approval.on_reject
    return None


def _is_retriable(step: Step, defaults: Defaults) -> bool:
    has_default = step.verb.is_body and step.delivery != "at_most_once" and not getattr(step.verb, "transaction", False)
    policy = step.retry or (defaults.retry if has_default else None)
    return policy is not None and policy.max_attempts > 1


def _ways(step: Step, inner: Findings | None) -> dict[str, int]:
    """Trigger -> end, for every way the step can end, whatever the lifecycle thinks of it."""
    ways = {"complete": COMPLETED}
    if inner is not None and "completed" not in inner.ends and not _may_go_without(step):
        del ways["complete"]
    if (
        is_loop(step)
        or step.repeat is not None
        or step.outputs
        or step.output_schema is not None
        or _can_fail(step, inner)
    ):
        ways["fail"] = FORGIVEN if step.optional else FAILED
    if (
        isinstance(step.verb, Approval)
        and step.verb.approval.choices is None
        and step.verb.approval.on_reject == "skip"
    ):
        ways["skip"] = SKIPPED
    return ways


def _can_fail(step: Step, inner: Findings | None) -> bool:
    """Whether what the step does can fail; an approval or a timer may be such that it cannot."""
    match step.verb:
        case Group():
            return step.timeout is not None or inner is None or "failed" in inner.ends
        case Wait(wait=wait):
            is_late = wait.event is not None and wait.timeout is not None and wait.then == "fail"
            return is_late or _PLACEHOLDER in f"{wait.for_} {wait.until} {wait.event} {wait.key}"
        case Approval(approval=question):
            is_rejected = question.choices is None and question.on_reject != "skip"
            is_late = question.deadline is not None and question.deadline.then == "fail"
            return is_rejected or is_late or _PLACEHOLDER in question.prompt
        case _:
            return True


def _may_go_without(step: Step) -> bool:
    """Whether the step may complete although what is inside it cannot: there may be no items, or they may fail."""
    each = step.for_each
    return each is not None and (isinstance(each.items, str) or not each.items or each.max_failures not in (0, "0%"))


def _allowed(ways: Mapping[str, int], state: str | None, rules: Rules) -> dict[str, int]:
    return {trigger: end for trigger, end in ways.items() if state is not None and rules.step.dest(state, trigger)}


def _waits_for_ever(step: Step) -> bool:
    verb = step.verb
    if isinstance(verb, Wait):
        return verb.wait.event is not None and verb.wait.timeout is None
    if isinstance(verb, Approval):
        return verb.approval.deadline is None
    # What a child run waits for is known only where its workflow stands in the document.
    return isinstance(verb, Child) and isinstance(verb.workflow, str) and step.timeout is None


def refusals(part: Part, rules: Rules) -> Iterator[tuple[str, ...]]:
    """Histories of a step that its rules ask for and the lifecycle refuses; the last trigger is the refused one."""
    for script in _scripts(part):
        state, done = walk(rules, script)
        if state is None:
            yield script[: done + 1]


def _scripts(part: Part) -> Iterator[tuple[str, ...]]:
    begin, step = part.begin, part.step
    yield ("cancel", "reset")
    if part.condition != "always" or part.needs or step.next is not None:
        yield ("skip", "reset")
    yield (*begin, "cancel")
    for way in _ways(step, part.inner):
        yield (*begin, way, "reset")
    if part.retriable:
        yield (*begin, "back_off", "start")
        yield (*begin, "back_off", "cancel")
    if part.nature == "body":
        yield ("start", "interrupt", "start")
        yield ("start", "interrupt", "cancel")
        if step.delivery == "at_most_once":
            yield ("start", "interrupt", "complete")
            yield ("start", "interrupt", "fail")
            yield ("start", "interrupt", "reset")
