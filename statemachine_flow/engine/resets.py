"""How steps begin anew (loops, rewinds, retry), and how open ones are given up. Functions over a run's `Rules`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from statemachine_flow.engine.results import item_paths
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError
from statemachine_flow.journal import ABSENT, Reason, StepReset
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.model import END
from statemachine_flow.plan import Level, Node, PlannedStep, Scope
from statemachine_flow.steps.approval import Approval
from statemachine_flow.values import encode_value


def inside(rules: Rules, planned: PlannedStep, path: str, *, is_loop: bool) -> Iterator[tuple[str, PlannedStep, bool]]:
    """The steps that something is known of inside a step, innermost first: path, step, whether all its items."""
    if is_loop:
        for item in item_paths(rules.fold.step(path)):
            if item in rules.fold.steps:
                yield from inside(rules, planned, item, is_loop=False)
                yield item, planned, False
    elif planned.level is not None:
        for step in planned.level.steps:
            inner = f"{path}/{step.id}"
            if inner in rules.fold.steps:
                yield from inside(rules, step, inner, is_loop=step.is_loop)
                yield inner, step, step.is_loop


def begin_anew(  # noqa: PLR0913 - what a reset records
    rules: Rules,
    planned: PlannedStep,
    path: str,
    now: int,
    *,
    is_loop: bool,
    reason: str,
    round: int | None = None,  # noqa: A002 - the language's own word
    due: int | None = None,
    feedback: msgspec.Raw = ABSENT,
    rewound: bool = False,
) -> None:
    """Reset a step that is at rest, with everything inside it, for its next generation."""
    previous = _assembled(rules, planned, path, is_loop=is_loop)
    reset_inside(rules, planned, path, now, is_loop=is_loop, reason=reason, rewound=rewound)
    generation = rules.fold.steps[path].generation + 1
    data = StepReset(
        reason=reason,
        generation=generation,
        round=round,
        due=due,
        previous=previous,
        feedback=feedback,
        rewound=rewound,
    )
    rules.add("step.reset", data, now, path)


def reset_inside(
    rules: Rules, planned: PlannedStep, path: str, now: int, *, is_loop: bool, reason: str, rewound: bool = False
) -> None:
    """Reset everything inside a step for its next generation."""
    found = list(inside(rules, planned, path, is_loop=is_loop))
    # Read before anything is reset: the results of groups and loops are put together from those of their parts.
    previous = [_assembled(rules, step, inner, is_loop=is_all) for inner, step, is_all in found]
    for (inner, planned_inner, _), result in zip(found, previous, strict=True):
        step = rules.fold.steps[inner]
        if step.state in STEP_AT_REST:
            round_ = step.round if rewound and isinstance(planned_inner.verb, Approval) else None
            generation = step.generation + 1
            data = StepReset(reason=reason, generation=generation, round=round_, previous=result, rewound=rewound)
            rules.add("step.reset", data, now, inner)


def _assembled(rules: Rules, planned: PlannedStep, path: str, *, is_loop: bool) -> msgspec.Raw:
    """The result of a group or loop, which is gone once its parts begin anew; nothing where nobody reads it."""
    step = rules.fold.steps[path]
    is_assembled = is_loop or planned.level is not None
    if step.state != "completed" or not is_assembled or not planned.reads_previous:
        return ABSENT
    try:
        return msgspec.Raw(encode_value(rules.names.results.output(planned, step, is_loop=is_loop)))
    except SmfError:
        return ABSENT


def come_again(rules: Rules, scope: Scope, target: str, now: int, feedback: msgspec.Raw) -> None:
    """The token of a level has moved on to a step: if that has been visited before, it begins anew."""
    if target == END or scope.level is None:
        return
    planned = scope.level[target]
    path = scope.path(target)
    if rules.fold.state_of(path) in STEP_AT_REST:
        reason = "the token came again"
        begin_anew(rules, planned, path, now, is_loop=planned.is_loop, reason=reason, feedback=feedback)
        rules.frontier.came_again(rules.frontier.node(scope, planned))


def rewind(  # noqa: PLR0917 - what a rewind is
    rules: Rules, judge: Node, target: str, now: int, reason: str, feedback: msgspec.Raw
) -> None:
    """Send a level back to one of its steps: that and everything behind it begins anew.

    Args:
        rules: the run's rules.
        judge: the step that sends it back, itself behind the target; its round grows.
        target: where to.
        now: the time.
        reason: for the journal.
        feedback: what the target is told.
    """
    scope, level = judge.scope, judge.scope.level
    if level is None:
        return
    for planned in level.downstream(target):
        path = scope.path(planned.id)
        state = rules.fold.state_of(path)
        if state not in STEP_AT_REST and state != "pending":
            cancel(rules, rules.frontier.node(scope, planned), reason, now)
        if rules.fold.state_of(path) in STEP_AT_REST:
            told = feedback if planned.id == target else ABSENT
            # How often an approval sent the run back is counted over rewinds, its own and those of others.
            round_ = rules.fold.steps[path].round + (path == judge.path)
            begin_anew(
                rules,
                planned,
                path,
                now,
                is_loop=planned.is_loop,
                reason=reason,
                round=round_ if isinstance(planned.verb, Approval) else None,
                feedback=told,
                rewound=True,
            )
    rules.frontier.reopen(scope)
    rules.set_timers()


def cancel(rules: Rules, node: Node, reason: str, now: int) -> None:
    """Give up a node that is not at rest, with everything inside it; what is under way is told to stop."""
    if node.inner is not None:
        for member in list(rules.frontier.open_members(node.inner)):
            cancel(rules, member, reason, now)
    step = rules.fold.step(node.path)
    if step.state == "running":
        rules.abort(step, "cancel")
        rules.frontier.ended(node)
    elif step.is_alive:
        rules.abort(step, "cancel")
        rules.frontier.child_ended(node)
    rules.add("step.cancel", Reason(reason=reason), now, node.path)
    rules.frontier.close(node)


def sweep(rules: Rules, nodes: Iterable[Node], now: int) -> None:
    """Cancel what a stopping scope no longer waits for."""
    for node in nodes:
        if rules.fold.state_of(node.path) not in STEP_AT_REST:
            cancel(rules, node, rules.stop_reason(node), now)
            rules.frontier.settle(node, "cancelled", forgiven=False)


def cancel_idle(rules: Rules, scope: Scope, reason: str, now: int) -> None:
    """Cancel members of a scope in which nothing is under way; the others are told to stop, and swept later."""
    for node in list(rules.frontier.open_members(scope)):
        step = rules.fold.steps.get(node.path)
        if (step is None or not step.is_alive) and (node.inner is None or node.inner.alive == 0):
            cancel(rules, node, reason, now)
            rules.frontier.settle(node, "cancelled", forgiven=False)


# --- retry


def reset_for_retry(rules: Rules, only: str | None, now: int) -> None:
    """Reset what a retried run does again: what failed or was cancelled, what was skipped for that, what was undone."""
    undone = {
        path.removeprefix("@compensate/")
        for path, step in rules.fold.steps.items()
        if path.startswith("@compensate/") and step.state == "completed"
    }
    _retry_level(rules, rules.plan.level, "", now, _Choice(only, undone))
    for path, step in list(rules.fold.steps.items()):
        if path.startswith("@") and step.state in STEP_AT_REST:
            rules.add("step.reset", StepReset(reason="retry", generation=step.generation + 1), now, path)


class _Choice:
    """Which steps a retry is about."""

    def __init__(self, only: str | None, undone: set[str]) -> None:
        self.only = only
        self.undone = undone

    def wants(self, path: str, state: str, *, forgiven: bool) -> bool:
        """Whether a step begins again by itself."""
        if path in self.undone:
            return True
        if state == "cancelled" or (state == "failed" and not forgiven):
            return state == "cancelled" or self.covers(path)
        return False

    def covers(self, path: str) -> bool:
        """Whether a failed step is the one that was named, or stands around it or inside it."""
        if self.only is None:
            return True
        inner, outer = (path, self.only) if len(path) >= len(self.only) else (self.only, path)
        return inner == outer or inner.startswith((f"{outer}/", f"{outer}["))

    def undoes_inside(self, path: str) -> bool:
        """Whether something inside a step was undone."""
        return any(undone.startswith((f"{path}/", f"{path}[")) for undone in self.undone)


def _retry_level(rules: Rules, level: Level, prefix: str, now: int, choice: _Choice) -> None:
    folds = rules.fold.steps
    found: set[int] = set()
    queue: list[int] = []
    for planned in level.steps:
        step = folds.get(prefix + planned.id)
        if step is not None and (
            choice.wants(step.id, step.state, forgiven=step.forgiven)
            or (step.state == "completed" and choice.undoes_inside(step.id))
        ):
            queue.append(planned.index)
    while queue:
        index = queue.pop()
        if index not in found:
            found.add(index)
            behind = (level.steps[dependent] for dependent in level.steps[index].dependents)
            queue.extend(step.index for step in behind if rules.fold.state_of(prefix + step.id) == "skipped")
    if level.start is not None and found:
        found |= {step.index for step in level.steps if rules.fold.state_of(prefix + step.id) == "skipped"}
    for index in sorted(found):
        _retry_step(rules, level.steps[index], prefix + level.steps[index].id, now, choice)


def _retry_step(rules: Rules, planned: PlannedStep, path: str, now: int, choice: _Choice) -> None:
    if planned.is_loop:
        for item in item_paths(rules.fold.step(path)):
            step = rules.fold.steps.get(item)
            if step is not None and (
                choice.wants(item, step.state, forgiven=step.forgiven) or choice.undoes_inside(item)
            ):
                _retry_body(rules, planned, item, now, choice)
        rules.add("step.reset", StepReset(reason="retry"), now, path)
    else:
        _retry_body(rules, planned, path, now, choice)


def _retry_body(rules: Rules, planned: PlannedStep, path: str, now: int, choice: _Choice) -> None:
    if planned.level is not None:
        _retry_level(rules, planned.level, f"{path}/", now, choice)
    if rules.fold.steps[path].state in STEP_AT_REST:
        rules.add("step.reset", StepReset(reason="retry", round=rules.fold.steps[path].round), now, path)
