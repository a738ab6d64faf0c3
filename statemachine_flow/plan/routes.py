"""The routes of a level of states: the `transitions` machine they make, and which of them is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from statemachine_flow.errors import StepError
from statemachine_flow.expressions.values import to_text
from statemachine_flow.lifecycle import Edge, Lifecycle
from statemachine_flow.model import END, Route, Step
from statemachine_flow.steps.approval import Approval, Rewind

#: The key of a map of routes that is taken when no other fits.
DEFAULT: Final = "default"


def targets_of(step: Step) -> list[str]:
    """Where a step may lead, each target once, in the order of the document."""
    match step.next:
        case None:
            targets: Iterable[str | None] = [END]
        case str():
            targets = [step.next]
        case Mapping():
            targets = [*step.next.values(), END] if step.optional or step.when else step.next.values()
        case _:
            listed = [route.goto or route.default for route in step.next]
            targets = [*listed, END] if step.optional or step.when else listed
    back = step.verb.approval.on_reject if isinstance(step.verb, Approval) else None
    ways = [*targets, back.rewind_to] if isinstance(back, Rewind) else targets
    return list(dict.fromkeys(target for target in ways if target is not None))


def route_machine(start: str, targets: Mapping[str, Iterable[str]]) -> Lifecycle:
    """The machine of a level: states are step ids and `end`, and a trigger is the name of the state it leads to.

    Args:
        start: where the token begins.
        targets: step id -> where it may lead.

    Example:
        >>> machine = route_machine("plan", {"plan": ["gate"], "gate": ["plan", "end"]})
        >>> machine.allowed("gate")
        ('plan', 'end')
    """
    states = {state: place for place, state in enumerate(dict.fromkeys([start, *targets, END]))}
    edges = [Edge(to, step, to, f"a route of '{step}'") for step, ways in targets.items() for to in ways]
    return Lifecycle("level", states, tuple(sorted(edges, key=lambda edge: states[edge.trigger])))


def choose(step: Step, holds: Callable[[str], bool], first_output: Callable[[], Any], *, ended: bool) -> str:
    """The step that follows, or `END`.

    Args:
        step: the step that the token is at.
        holds: whether a condition of its routes is true.
        first_output: the value that a map of routes looks at.
        ended: whether the step completed; a step that did not takes the default, or ends the level.

    Raises:
        StepError: `step.route`: no route fits and there is no default.
        ExpressionError: a condition cannot be evaluated.

    Example:
        >>> from statemachine_flow.model import Verb
        >>> gate = Step(id="gate", verb=Verb(), next={"yes": "build", "default": "end"})
        >>> choose(gate, bool, lambda: "yes", ended=True), choose(gate, bool, lambda: "no", ended=True)
        ('build', 'end')
    """
    match step.next:
        case None:
            return END
        case str():
            return step.next
        case Mapping() if not ended:
            return step.next.get(DEFAULT, END)
        case Mapping():
            text = to_text(first_output())
            found = step.next.get(text, step.next.get(DEFAULT)) if text != DEFAULT else step.next.get(DEFAULT)
            if found is None:
                raise _no_route(f"the value {text[:80]!r} has no route and there is no default")
            return found
        case _:
            return _first_that_holds(step.next, holds) or _no_way_out(ended=ended)


def _first_that_holds(routes: Iterable[Route], holds: Callable[[str], bool]) -> str | None:
    for route in routes:
        if route.default is not None:
            return route.default
        if route.when is not None and holds(route.when):
            return route.goto
    return None


def _no_way_out(*, ended: bool) -> str:
    if not ended:
        return END
    raise _no_route("no condition of its routes is true and there is no default")


def _no_route(message: str) -> StepError:
    return StepError(message, kind="step.route", name="RouteError", hint="add a route for it, or a default")
