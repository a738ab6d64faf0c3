"""A definition compiled for execution, and one run's place in it. Pure.

Layout, each module importing only from those above it:
    joins      whether a step runs, given how those it needs ended
    backoff    how long a failed step waits
    routes     the machine of a level of states, and which route is taken
    levels     `PlannedStep` and `Level`: steps beside each other, with their expressions
    nodes      a step of a run under its path, and the scopes they stand in
    lanes      which ready step begins next
    listeners  which steps wait for a signal
    members    the nodes of open scopes, and which scopes are over
    stops      what a failure lets begin no more
    offers     what coming to rest lets begin
    scopes     how scopes open, and close, as the fold says
    frontier   `Frontier`: all of these behind one door, and what coming to rest sets off
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

from statemachine_flow.expressions import Template
from statemachine_flow.journal import RunFold
from statemachine_flow.lifecycle import Lifecycle
from statemachine_flow.model import Definition
from statemachine_flow.plan.backoff import backoff_delay
from statemachine_flow.plan.frontier import Frontier
from statemachine_flow.plan.levels import Level, PlannedStep
from statemachine_flow.plan.nodes import Node, Scope

__all__ = ["Frontier", "Level", "Node", "Plan", "PlannedStep", "Scope", "backoff_delay"]


@final
class Plan:
    """A definition ready to be executed; it never changes, and every run of the definition may share it.

    Args:
        definition: a checked definition.

    Example:
        >>> from statemachine_flow.model import Step
        >>> from statemachine_flow.steps import Call
        >>> plan = Plan(Definition(name="two", steps=(
        ...     Step(id="a", verb=Call(call="f")), Step(id="b", verb=Call(call="f"), needs=("a",)))))
        >>> [step.id for step in plan.steps], plan.steps[0].dependents
        (['a', 'b'], [1])
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.level = Level(definition.steps, definition.defaults, definition.start)
        self.on_failure = Level(definition.on_failure, definition.defaults)
        self.finally_ = Level(definition.finally_, definition.defaults)
        #: Lane -> how many of its attempts may be under way at once.
        self.limits: Mapping[str, int] = (
            {"": definition.max_parallel} if definition.max_parallel else _verb_limits(self._levels())
        )

    def _levels(self) -> tuple[Level, ...]:
        return self.level, self.on_failure, self.finally_

    @property
    def steps(self) -> list[PlannedStep]:
        """The steps of the workflow's own level."""
        return self.level.steps

    @property
    def index(self) -> Mapping[str, int]:
        """Id of a step of the workflow's own level -> its place."""
        return self.level.index

    @property
    def machine(self) -> Any:
        """The `transitions` machine that a workflow of states compiled into; None for a graph.

        Its states are step ids and `end`; a trigger has the name of the state that it leads to.
        """
        routes = self.level.routes
        return None if routes is None else routes.machine

    @property
    def routes(self) -> Lifecycle | None:
        """The table behind `machine`: its states and edges, and how to fire them."""
        return self.level.routes

    def __getitem__(self, step_id: str) -> PlannedStep:
        return self.level[step_id]

    def frontier(self, fold: RunFold) -> Frontier:
        """One run's place in the plan."""
        return Frontier(self.level, dict(self.limits), fold, goes_on=self.definition.continue_on_error)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secrets that steps declare, wherever they stand."""
        planned = [step for level in self._levels() for step in level.walk()]
        undoing = [step.compensate for step in planned if step.compensate is not None]
        return tuple(dict.fromkeys(name for each in (*planned, *undoing) for name in each.step.secrets))

    @cached_property
    def outputs(self) -> Template:
        """The run's outputs, parsed."""
        return Template.parse(dict(self.definition.outputs))[0]


def _verb_limits(levels: tuple[Level, ...]) -> dict[str, int]:
    verbs = {type(step.verb) for level in levels for step in level.walk()}
    verbs |= {type(step.compensate.verb) for level in levels for step in level.walk() if step.compensate is not None}
    return {verb.key: verb.max_parallel for verb in verbs if verb.is_body}
