"""How a run ends: compensations, handlers, outputs. Functions over a run's `Rules`.

Once every step of the workflow's own level is at rest it is settled how the run is going to end. If the workflow
wants something done before, `run.unwind` records that end, and the handlers are carried out, one level after the
other; the run itself ends when the last of them is at rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from statemachine_flow.engine.results import item_paths
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError
from statemachine_flow.journal import ABSENT, ErrorInfo, Failed, Reason, RunCompleted, StepFold, Unwinding, is_top
from statemachine_flow.plan import Level, Node, PlannedStep, Scope
from statemachine_flow.plan.nodes import item_path
from statemachine_flow.values import decode_value, encode_value

_COMPENSATE: Final = "@compensate"
_ON_FAILURE: Final = "@on_failure"
_FINALLY: Final = "@finally"


def go_on(rules: Rules, now: int) -> bool:
    """Take the next step towards the end of the run, if it is time; whether anything happened."""
    fold = rules.fold
    if fold.unwinding is None:
        if fold.open_steps or fold.alive_steps:
            return False
        _settle_end(rules, now)
        return True
    for name in _phases(rules, fold.unwinding.outcome):
        scope = rules.frontier.handlers.get(name)
        if scope is None:
            _open(rules, name)
            return True
        if scope.open:
            return False
    _end(rules, fold.unwinding, now)
    return True


def open_again(rules: Rules) -> None:
    """Open the handlers that were under way when a process before this one ended."""
    rules.phases = None
    if rules.fold.unwinding is None:
        return
    for name in _phases(rules, rules.fold.unwinding.outcome):
        _open(rules, name)
        if rules.frontier.handlers[name].open:
            return


def _settle_end(rules: Rules, now: int) -> None:
    """Every step is at rest: how does the run end, and is something to be done before?"""
    fold, root = rules.fold, rules.frontier.root
    error, outputs = None, ABSENT
    if fold.state == "cancelling":
        outcome = "cancelled"
    elif root.end is not None or fold.failed_steps:
        outcome, error = "failed", root.end or _first_error(rules)
    else:
        try:
            values = rules.names.hide(rules.plan.outputs.render(rules.names()))
            outcome, outputs = "completed", msgspec.Raw(encode_value(values))
        except SmfError as fault:
            message = f"the run's outputs cannot be computed: {fault}"
            outcome, error = "failed", ErrorInfo("run.outputs", type(fault).__name__, message)
    end = Unwinding(outcome=outcome, error=error, outputs=outputs)
    if _phases(rules, outcome):
        rules.add("run.unwind", end, now)
    else:
        _end(rules, end, now)


def _end(rules: Rules, end: Unwinding, now: int) -> None:
    error = end.error
    last = rules.frontier.handlers.get(_FINALLY)
    if end.outcome == "completed" and last is not None and last.failed:
        error = _first_error(rules, f"{_FINALLY}/")
    if rules.fold.state == "cancelling":
        rules.add("run.settle", Reason(), now)
    elif error is not None:
        rules.add("run.fail", Failed(error=error), now)
    else:
        rules.add("run.complete", RunCompleted(outputs=end.outputs), now)


def _phases(rules: Rules, outcome: str) -> list[str]:
    """The handlers that an end asks for, in their order."""
    if rules.phases is None:
        rules.phases = _phases_of(rules, outcome)
    return rules.phases


def _phases_of(rules: Rules, outcome: str) -> list[str]:
    definition = rules.plan.definition
    names = []
    if outcome != "completed" and definition.compensate and next(_undoable(rules), None) is not None:
        names.append(_COMPENSATE)
    if outcome == "failed" and definition.on_failure:
        names.append(_ON_FAILURE)
    if definition.finally_:
        names.append(_FINALLY)
    return names


def _open(rules: Rules, name: str) -> None:
    if name == _COMPENSATE:
        undone = sorted(_undoable(rules), key=lambda found: -found[0])
        rules.frontier.open_queue(name, [node for _, node in undone])
    else:
        rules.frontier.open_handlers(name, rules.plan.on_failure if name == _ON_FAILURE else rules.plan.finally_)


def _first_error(rules: Rules, prefix: str = "") -> ErrorInfo:
    """The error of the required step that failed first: of the workflow's own level, or of a handler's."""
    broken = [step for step in rules.fold.steps.values() if _is_broken(step, prefix)]
    step = min(broken, key=lambda step: step.ended_seq)
    cause = step.error or ErrorInfo("internal", "Unknown", "no error was kept")
    message = f"step '{step.id}' failed: {cause.message or cause.name}"
    return ErrorInfo("run.failed", cause.name, message, cause.where, step.id)


def _is_broken(step: StepFold, prefix: str) -> bool:
    stands_here = is_top(step.id.removeprefix(prefix)) and step.id.startswith(prefix)
    return step.state == "failed" and not step.forgiven and stands_here


# --- what can be undone


def _undoable(rules: Rules) -> Iterator[tuple[int, Node]]:
    """Completed steps that say how to undo them, each with the number of the record that completed it.

    Their scopes may have been closed long ago; these nodes only serve to find the names that a compensation reads.
    """
    yield from _undoable_in(rules, rules.plan.level, rules.frontier.root)


def _undoable_in(rules: Rules, level: Level, scope: Scope) -> Iterator[tuple[int, Node]]:
    for planned in level.steps:
        step = rules.fold.steps.get(scope.path(planned.id))
        if step is not None:
            node = Node(step.id, planned, scope, (*scope.order, planned.index))
            yield from _undoable_at(rules, node, step, planned)


def _undoable_at(rules: Rules, node: Node, step: StepFold, planned: PlannedStep) -> Iterator[tuple[int, Node]]:
    if node.is_loop:
        yield from _undoable_items(rules, node, step, planned)
        return
    if planned.compensate is not None and step.state == "completed":
        yield step.ended_seq, node
    if planned.level is not None:
        inner = Scope("graph", node, planned.level, f"{node.path}/", node.order)
        yield from _undoable_in(rules, planned.level, inner)


def _undoable_items(rules: Rules, node: Node, step: StepFold, planned: PlannedStep) -> Iterator[tuple[int, Node]]:
    if step.waits is None or (planned.compensate is None and planned.level is None):
        return
    scope = Scope("items", node, None, node.path, node.order)
    scope.keys, scope.items = step.waits.keys or (), decode_value(step.waits.items) if item_paths(step) else []
    for place, key in enumerate(scope.keys):
        item = rules.fold.steps.get(item_path(node.path, key))
        if item is not None:
            yield from _undoable_at(rules, Node(item.id, planned, scope, (*node.order, place), place), item, planned)
