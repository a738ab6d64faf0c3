"""A definition compiled for execution: a graph by index, with its expressions parsed on first use. Pure.

`Plan` never changes once made and may be shared by every run of the same definition. `Frontier` is one run's
place in it: how many needs of each step are still open, and which steps became ready. Settling a step costs its
number of dependents, so a whole run costs steps plus edges.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, final

from statemachine_flow.expressions import Expression, Template
from statemachine_flow.journal import RunFold
from statemachine_flow.lifecycle import STEP_AT_REST, StepState
from statemachine_flow.model import Definition, RetryPolicy, Step

_NO_RETRY: Final = RetryPolicy()


@final
class PlannedStep:
    """One step, with the workflow's defaults applied.

    Args:
        index: its place in the definition, which is also its priority among ready steps.
        step: the definition's step.
        definition: where it belongs.
    """

    __slots__ = (
        "_outputs",
        "_templates",
        "_when",
        "dependents",
        "id",
        "index",
        "needs",
        "optional",
        "retry",
        "step",
        "timeout",
        "verb",
    )

    def __init__(self, index: int, step: Step, definition: Definition) -> None:
        self.index = index
        self.id = step.id
        self.step = step
        self.verb = step.verb
        self.optional = step.optional
        self.retry = step.retry or definition.defaults.retry or _NO_RETRY
        self.timeout = step.timeout or definition.defaults.timeout
        self.needs: list[int] = []
        self.dependents: list[int] = []
        # Parsed on first use: a resumed run never asks about the steps it has behind it.
        self._when: Expression | None = None
        self._templates: Mapping[str, Template] | None = None
        self._outputs: Mapping[str, Expression] | None = None

    @property
    def when(self) -> Expression | None:
        """The condition, parsed."""
        if self._when is None and self.step.when is not None:
            self._when = Expression.parse(self.step.when)
        return self._when

    @property
    def templates(self) -> Mapping[str, Template]:
        """Verb field -> template, for the fields that hold placeholders; empty when none does."""
        if self._templates is None:
            values = {name: getattr(self.verb, name) for name in self.verb.templates}
            parsed = {name: Template.parse(value)[0] for name, value in values.items() if value}
            self._templates = {name: template for name, template in parsed.items() if not template.is_constant}
        return self._templates

    @property
    def outputs(self) -> Mapping[str, Expression]:
        """Declared output -> expression over the result."""
        if self._outputs is None:
            self._outputs = {name: Expression.parse(text) for name, text in self.step.outputs.items()}
        return self._outputs


@final
class Plan:
    """A definition ready to be executed.

    Args:
        definition: a checked definition: its needs name existing steps and form no cycle.

    Example:
        >>> from statemachine_flow.steps import Call
        >>> plan = Plan(Definition(name="two", steps=(
        ...     Step(id="a", verb=Call(call="f")), Step(id="b", verb=Call(call="f"), needs=("a",)))))
        >>> [step.id for step in plan.steps], plan.steps[0].dependents
        (['a', 'b'], [1])
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.steps = [PlannedStep(index, step, definition) for index, step in enumerate(definition.steps)]
        #: Step id -> its place in `steps`.
        self.index = {step.id: step.index for step in self.steps}
        for planned in self.steps:
            for need in dict.fromkeys(planned.step.needs):
                upstream = self.steps[self.index[need]]
                planned.needs.append(upstream.index)
                upstream.dependents.append(planned.index)
        #: lane -> how many of its steps may run at once, see `lane`.
        self.limits: Mapping[str, int] = (
            {"": definition.max_parallel} if definition.max_parallel else _verb_limits(definition)
        )

    def __getitem__(self, step_id: str) -> PlannedStep:
        return self.steps[self.index[step_id]]

    def lane(self, step: PlannedStep) -> str:
        """The queue a ready step waits in: one for all when the workflow sets `max_parallel`, else one per verb."""
        return "" if self.definition.max_parallel else step.verb.key

    @cached_property
    def outputs(self) -> Template:
        """The run's outputs, parsed."""
        return Template.parse(dict(self.definition.outputs))[0]


def _verb_limits(definition: Definition) -> dict[str, int]:
    return {verb.key: verb.max_parallel for verb in {type(step.verb) for step in definition.steps}}


#: States of an upstream step that let a dependent run under `all_success`; see `Frontier.settle` for optional ones.
_SATISFIED: Final = StepState.COMPLETED.value


@final
class Frontier:
    """How far one run has come through its plan.

    Args:
        plan: the plan.
        fold: the run's fold, from which counters and queues are built.
    """

    def __init__(self, plan: Plan, fold: RunFold) -> None:
        self.plan = plan
        #: Per step: needs that are not at rest yet.
        self.missing = [len(step.needs) for step in plan.steps]
        #: Step -> the first need that keeps it from running, and how that ended.
        self.blocked: dict[int, tuple[str, str]] = {}
        #: Steps whose join rule says skip, waiting for their record, as a heap by place in the definition.
        self.skips: list[int] = []
        #: lane -> steps that may start, as a heap by place in the definition.
        self.ready: dict[str, list[int]] = {lane: [] for lane in plan.limits}
        #: lane -> attempts under way.
        self.busy: dict[str, int] = dict.fromkeys(plan.limits, 0)
        self._build(fold)

    def _build(self, fold: RunFold) -> None:
        for step in self.plan.steps:
            if not step.needs:
                self._offer(step, fold.state_of(step.id))
        for step_id, step_fold in fold.steps.items():
            planned = self.plan[step_id]
            if step_fold.state == "running":
                self.busy[self.plan.lane(planned)] += 1
            elif step_fold.state == "interrupted":
                self.enqueue(planned)
            elif step_fold.state in STEP_AT_REST:
                self.settle(planned, step_fold.state, step_fold.forgiven, fold)

    def settle(self, step: PlannedStep, state: str, forgiven: bool, fold: RunFold) -> None:
        """A step came to rest: count it for its dependents and queue those it was the last need of.

        The join rule is `all_success`: a completed need satisfies it, and so does the failure of an optional
        step, which its author declared the run can do without. Anything else blocks, so a skip propagates.
        """
        satisfied = state == _SATISFIED or forgiven
        for index in step.dependents:
            self.missing[index] -= 1
            if not satisfied:
                self.blocked.setdefault(index, (step.id, state))
            if self.missing[index] == 0:
                dependent = self.plan.steps[index]
                self._offer(dependent, fold.state_of(dependent.id))

    def _offer(self, step: PlannedStep, state: str) -> None:
        if state != "pending":
            return
        if step.index in self.blocked:
            heapq.heappush(self.skips, step.index)
        else:
            self.enqueue(step)

    def enqueue(self, step: PlannedStep) -> None:
        """Put a step in line for its next attempt."""
        heapq.heappush(self.ready[self.plan.lane(step)], step.index)

    def next_ready(self) -> PlannedStep | None:
        """Take the next step that may start within its lane's limit; None when there is none."""
        for lane, queue in self.ready.items():
            if queue and self.busy[lane] < self.plan.limits[lane]:
                return self.plan.steps[heapq.heappop(queue)]
        return None

    def began(self, step: PlannedStep) -> None:
        """An attempt of `step` takes a place in its lane."""
        self.busy[self.plan.lane(step)] += 1

    def ended(self, step: PlannedStep) -> None:
        """An attempt of `step` gives its place back."""
        self.busy[self.plan.lane(step)] -= 1


def backoff_delay(policy: RetryPolicy, failures: int, random: Any) -> float:
    """How long to wait before the attempt that follows the `failures`-th failure.

    Exponential growth with a cap and full jitter: "Exponential Backoff And Jitter", M. Brooker, AWS Architecture
    Blog, 2015.

    Args:
        policy: the step's policy.
        failures: how many attempts have failed, from 1.
        random: a `random.Random`, used for jitter only.

    Returns:
        Seconds.

    Example:
        >>> backoff_delay(RetryPolicy(max_attempts=9, delay=2.0, max_delay=10.0, jitter="none"), 4, None)
        10.0
    """
    delay = policy.delay
    if policy.backoff == "exponential":
        # Growth stops at the cap, so a large exponent never overflows.
        for _ in range(failures - 1):
            if delay >= policy.max_delay:
                break
            delay *= policy.factor
    delay = min(delay, policy.max_delay)
    return random.uniform(0, delay) if policy.jitter == "full" else delay
