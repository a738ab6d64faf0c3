"""Where the steps of a level of states lead: whether each target is there, each step is reached, and values have ways.

Also where a rejected approval goes back to, in levels of either shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from statemachine_flow.compiler.levels import Level
from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.scopes import is_loop
from statemachine_flow.compiler.source import Path
from statemachine_flow.model import END, Route, Step, Verb
from statemachine_flow.plan.routes import DEFAULT
from statemachine_flow.steps.approval import Approval, Rewind

#: The first output of an approval is one of these by default, and only the first completes the step.
_APPROVE: Final = "approve"


def check_routes(level: Level, problems: Problems) -> None:
    """Check the routes of a level of states; of a graph, only where approvals go back to."""
    for step in level.steps:
        if type(step.verb) is Approval:
            _check_rewind(step, step.verb, level, problems)
    if level.start is None:
        return
    is_sure = level.start in level.graph.index
    if not is_sure:
        message = f"the level starts with {shown(level.start)}, which does not exist"
        hint = problems.advise(level.start, level.graph.index)
        problems.add("definition.unknown_step", message, level.start_path, hint=hint)
    for step in level.steps:
        is_sure = _check_next(step, level, problems) and type(step.verb) is not Verb and is_sure
    if is_sure:
        _check_reached(level, problems)


def _check_next(step: Step, level: Level, problems: Problems) -> bool:
    """Check the routes of a step; the answer is whether each has its target."""
    if isinstance(step.next, tuple):
        _check_list(step.next, (*level.path, step.id, "next"), problems)
    elif isinstance(step.next, Mapping):
        _check_map(step, step.next, (*level.path, step.id, "next"), problems)
    is_known = True
    for path, target in targets(step):
        if target != END and target not in level.graph.index:
            is_known = False
            message = f"step '{step.id}' leads to {shown(target)}, which does not exist"
            hint = problems.advise(target, (*level.graph.index, END))
            problems.add("definition.unknown_step", message, (*level.path, step.id, *path), hint=hint)
    return is_known


def targets(step: Step) -> Iterator[tuple[Path, str]]:
    """Where the routes of a step lead, each with its place in the step; nothing for a step without `next`."""
    match step.next:
        case None:
            return
        case str():
            yield ("next",), step.next
        case Mapping():
            for value, target in step.next.items():
                yield ("next", value), target
        case _:
            for index, route in enumerate(step.next):
                if route.goto is not None:
                    yield ("next", index, "goto"), route.goto
                if route.default is not None:
                    yield ("next", index, "default"), route.default


def rewind_of(step: Step) -> str | None:
    """The step that a rejection goes back to."""
    if isinstance(step.verb, Approval) and isinstance(step.verb.approval.on_reject, Rewind):
        return step.verb.approval.on_reject.rewind_to
    return None


def reached(level: Level, ways: Mapping[str, Collection[str]]) -> set[str]:
    """The steps that the token can come to."""
    seen: set[str] = set()
    pending = [level.start] if level.start is not None else []
    while pending:
        step_id = pending.pop()
        if step_id not in seen:
            seen.add(step_id)
            pending.extend(ways.get(step_id, ()))
    return seen


def _check_reached(level: Level, problems: Problems) -> None:
    ways = {step.id: [target for _, target in targets(step)] for step in level.steps}
    for step in level.steps:
        if (target := rewind_of(step)) is not None:
            ways[step.id].append(target)
    seen = reached(level, ways)
    for step in level.steps:
        if step.id not in seen:
            message = f"no route leads from the start to step '{step.id}'"
            problems.add("definition.unreachable", message, (*level.path, step.id), about_key=True)


def _check_list(routes: tuple[Route, ...], path: Path, problems: Problems) -> None:
    if not routes:
        problems.add("definition.route", "the list of routes is empty", path, hint="leave `next` out to end here")
    has_default = False
    for index, route in enumerate(routes):
        is_condition = route.when is not None and route.goto is not None and route.default is None
        is_default = route.default is not None and route.when is None and route.goto is None
        if has_default:
            message = "the route comes after the default, which is always taken"
            problems.add("definition.route", message, (*path, index), hint="write the default last")
        if not is_condition and not is_default:
            message = "a route has either 'when' and 'goto', or 'default'"
            problems.add("definition.route", message, (*path, index))
        has_default = has_default or route.default is not None


def _check_map(step: Step, routes: Mapping[str, str], path: Path, problems: Problems) -> None:
    if not routes:
        problems.add("definition.route", "the map of routes is empty", path, hint="leave `next` out to end here")
    verb = step.verb
    # What is looked at is the first output, which is the decision unless others are declared.
    if not isinstance(verb, Approval) or step.outputs or is_loop(step):
        return
    for value in routes:
        if value != DEFAULT and value not in verb.choices:
            message = f"{shown(value)} is none of the choices: {', '.join(verb.choices)}"
            hint = problems.advise(value, verb.choices)
            problems.add("definition.route", message, (*path, value), about_key=True, hint=hint)
    completing = verb.approval.choices or (_APPROVE,)
    missing = [choice for choice in completing if choice not in routes]
    if routes and missing and DEFAULT not in routes:
        message = f"the choice {shown(missing[0])} has no route and there is no default"
        problems.add("definition.route", message, path)


def _check_rewind(step: Step, verb: Approval, level: Level, problems: Problems) -> None:
    if not isinstance(verb.approval.on_reject, Rewind):
        return
    target = verb.approval.on_reject.rewind_to
    path = (*level.path, step.id, "approval", "on_reject", "rewind_to")
    if step.for_each is not None or step.matrix:
        message = "the rejection of one item of a loop cannot go back"
        way = "let an approval behind the loop go back, or one in a group for each item"
        problems.add("definition.reference", message, path, hint=way)
    elif target not in level.graph.index:
        message = f"the rejection goes back to {shown(target)}, which is no step of this level"
        hint = problems.advise(target, level.graph.index)
        problems.add("definition.reference", message, path, hint=hint)
    elif level.has_order and (target == step.id or not level.graph.is_before(target, step.id)):
        message = f"the rejection goes back to '{target}', which does not come before '{step.id}'"
        problems.add(
            "definition.reference", message, path, hint="name a step that it needs, directly or through others"
        )
