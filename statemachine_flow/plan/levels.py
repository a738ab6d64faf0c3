"""A level of steps compiled: a graph by index or a machine of states; expressions are parsed on first use. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, final

from statemachine_flow.expressions import Expression, Template
from statemachine_flow.lifecycle import Lifecycle
from statemachine_flow.model import Defaults, RetryPolicy, Step
from statemachine_flow.plan.joins import TOLERANT
from statemachine_flow.plan.routes import route_machine, targets_of
from statemachine_flow.steps.group import Group

_NO_RETRY: Final = RetryPolicy()


@final
class PlannedStep:
    """One step, with the workflow's defaults applied.

    Args:
        index: its place in its level, which is also its priority among ready steps.
        step: the definition's step.
        defaults: what steps get that do not say otherwise.
    """

    __slots__ = (
        "_compiled",
        "compensate",
        "dependents",
        "id",
        "index",
        "is_loop",
        "is_once",
        "level",
        "needs",
        "optional",
        "retry",
        "step",
        "timeout",
        "tolerant",
        "verb",
    )

    def __init__(self, index: int, step: Step, defaults: Defaults) -> None:
        verb = step.verb
        self.index = index
        self.id = step.id
        self.step = step
        self.verb = verb
        self.optional = step.optional
        #: Whether it is never begun again by itself once it was cut off.
        self.is_once = step.delivery == "at_most_once"
        has_default = verb.is_body and not self.is_once and not getattr(verb, "transaction", False)
        self.retry = step.retry or (has_default and defaults.retry) or _NO_RETRY
        self.timeout = step.timeout or (defaults.timeout if verb.is_body else None)
        #: Whether it may begin although a required step of its level failed.
        self.tolerant = step.trigger_rule in TOLERANT
        #: Whether it is carried out once for each of several items.
        self.is_loop = step.for_each is not None or bool(step.matrix)
        self.needs: list[int] = []
        self.dependents: list[int] = []
        #: The steps inside it.
        self.level = Level(verb.steps, defaults, verb.start) if isinstance(verb, Group) else None
        self.compensate = PlannedStep(0, step.compensate, defaults) if step.compensate is not None else None
        # Parsed on first use: a resumed run never asks about the steps it has behind it.
        self._compiled: dict[str, Any] = {}

    @property
    def when(self) -> Expression | None:
        """The condition, parsed."""
        return None if self.step.when is None else self.expression("when", self.step.when)

    def expression(self, name: str, text: str) -> Expression:
        """A bare expression of the step, parsed once under a name."""
        found: Expression | None = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = Expression.parse(text)
        return found

    def template(self, name: str, value: Any) -> Template:
        """A value of the step that may hold placeholders, parsed once under a name."""
        found: Template | None = self._compiled.get(name)
        if found is None:
            found = self._compiled[name] = Template.parse(value)[0]
        return found

    @property
    def templates(self) -> Mapping[str, Template]:
        """Verb field -> template, for the fields that hold placeholders; empty when none does."""
        found: Mapping[str, Template] | None = self._compiled.get("templates")
        if found is None:
            values = {name: getattr(self.verb, name) for name in self.verb.templates}
            parsed = {name: Template.parse(value)[0] for name, value in values.items() if value}
            found = {name: template for name, template in parsed.items() if not template.is_constant}
            self._compiled["templates"] = found
        return found

    @property
    def outputs(self) -> Mapping[str, Expression]:
        """Declared output -> expression over the result."""
        found: Mapping[str, Expression] | None = self._compiled.get("outputs")
        if found is None:
            found = {name: Expression.parse(text) for name, text in self.step.outputs.items()}
            self._compiled["outputs"] = found
        return found

    @property
    def reads_previous(self) -> bool:
        """Whether something in it may read `previous`, so that its last result has to be kept."""
        found: bool | None = self._compiled.get("reads_previous")
        if found is None:
            # The word in some other text costs no more than keeping what nobody reads.
            found = self._compiled["reads_previous"] = "previous" in repr(self.step)
        return found

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The items of a matrix, the last name varying fastest."""
        names = list(self.step.matrix)
        for values in itertools.product(*self.step.matrix.values()):
            yield dict(zip(names, values, strict=True))


@final
class Level:
    """Steps that stand beside each other.

    Args:
        steps: checked: needs name steps of the level and form no circle, routes lead to steps of the level.
        defaults: what steps get that do not say otherwise.
        start: the first step of a level of states; None for a graph.

    Example:
        >>> from statemachine_flow.steps import Call
        >>> first, second = Step(id="a", verb=Call(call="f")), Step(id="b", verb=Call(call="f"), needs=("a",))
        >>> level = Level([first, second], Defaults())
        >>> [step.id for step in level.steps], level.steps[0].dependents
        (['a', 'b'], [1])
    """

    def __init__(self, steps: Sequence[Step], defaults: Defaults, start: str | None = None) -> None:
        self.start = start
        self.steps = [PlannedStep(index, step, defaults) for index, step in enumerate(steps)]
        #: Step id -> its place in `steps`.
        self.index = {step.id: step.index for step in self.steps}
        for planned in self.steps:
            for need in dict.fromkeys(planned.step.needs):
                upstream = self.steps[self.index[need]]
                planned.needs.append(upstream.index)
                upstream.dependents.append(planned.index)

    def __getitem__(self, step_id: str) -> PlannedStep:
        return self.steps[self.index[step_id]]

    def get(self, step_id: str) -> PlannedStep | None:
        """The step with that id; None if there is none on this level."""
        index = self.index.get(step_id)
        return None if index is None else self.steps[index]

    @cached_property
    def routes(self) -> Lifecycle | None:
        """The machine whose firing moves the token of a level of states; None for a graph."""
        if self.start is None:
            return None
        return route_machine(self.start, {step.id: targets_of(step.step) for step in self.steps})

    def downstream(self, step_id: str) -> list[PlannedStep]:
        """A step and everything that needs it, directly or through others, in the order of the level."""
        found: set[int] = set()
        queue = [self.index[step_id]]
        while queue:
            index = queue.pop()
            if index not in found:
                found.add(index)
                queue.extend(self.steps[index].dependents)
        return [self.steps[index] for index in sorted(found)]

    def walk(self) -> Iterator[PlannedStep]:
        """Every step, those inside others included, in the order of the document."""
        for step in self.steps:
            yield step
            if step.level is not None:
                yield from step.level.walk()
