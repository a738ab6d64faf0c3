"""How a group, a loop or a level of states ends once everything in it is at rest."""

from __future__ import annotations

from typing import Final

from statemachine_flow.engine import endings
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.rules import Rules
from statemachine_flow.journal import ErrorInfo, Reason, StepFold, StepSkipped
from statemachine_flow.model import END
from statemachine_flow.plan import Scope

_NO_MATCH: Final = "the token did not come here"


def conclude(rules: Rules, scope: Scope, now: int) -> None:
    """Everything in a scope is at rest: end what it belongs to."""
    if scope.kind == "states" and scope.state == END:
        _skip_unvisited(rules, scope, now)
    node = scope.node
    if node is None or node.dead or node.inner is not scope or rules.fold.state_of(node.path) != "waiting":
        return  # the end of the workflow's own level and of handlers is for `unwind` to see
    if rules.frontier.is_given_up(node) and _has_cancelled(rules, scope):
        rules.add("step.cancel", Reason(reason=rules.stop_reason(node)), now, node.path)
        endings.settle(rules, node, now)
    else:
        endings.finish(rules, node, _outcome_of(rules, scope), now)


def _has_cancelled(rules: Rules, scope: Scope) -> bool:
    return any(rules.fold.state_of(path) == "cancelled" for path in scope.nodes)


def _skip_unvisited(rules: Rules, scope: Scope, now: int) -> None:
    for node in list(rules.frontier.open_members(scope)):
        if rules.fold.state_of(node.path) == "pending":
            rules.add("step.skip", StepSkipped(reason=_NO_MATCH), now, node.path)
            scope.open -= 1


def _outcome_of(rules: Rules, scope: Scope) -> Outcome:
    if scope.end is not None:
        return Outcome(status="failed", error=scope.end, names=(scope.end.name,))
    if scope.kind == "items":
        if scope.failed > scope.allowance:
            return _items_failed(rules, scope)
    elif scope.failed:
        first = _first_failure(rules, scope)
        cause = first.error or ErrorInfo("internal", "Unknown", "no error was kept")
        message = f"step '{first.id}' failed: {cause.message or cause.name}"
        error = ErrorInfo("step.group", cause.name, message, cause.where, first.id)
        return Outcome(status="failed", error=error, names=(cause.name,))
    return Outcome(status="completed")


def _items_failed(rules: Rules, scope: Scope) -> Outcome:
    first = _first_failure(rules, scope)
    cause = first.error or ErrorInfo("internal", "Unknown", "no error was kept")
    message = f"{scope.failed} of {len(scope.keys)} items failed; first '{first.id}': {cause.message or cause.name}"
    error = ErrorInfo("step.items", cause.name, message, cause.where, first.id)
    return Outcome(status="failed", error=error, names=(cause.name,))


def _first_failure(rules: Rules, scope: Scope) -> StepFold:
    """The required member of a scope that failed first."""
    failures = [
        step
        for path in scope.nodes
        if (step := rules.fold.steps.get(path)) is not None and step.state == "failed" and not step.forgiven
    ]
    return min(failures, key=lambda step: step.ended_seq)
