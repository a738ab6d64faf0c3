"""How steps end: rounds of a repeated step, routes among states, retries, groups, loops. Functions over `Rules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from statemachine_flow.engine import resets
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError, StepError
from statemachine_flow.journal import (
    ABSENT,
    BackedOff,
    ErrorInfo,
    Failed,
    Reason,
    StepCompleted,
    StepFold,
    StepSkipped,
    StepStarted,
)
from statemachine_flow.model import END
from statemachine_flow.output_schema import conform
from statemachine_flow.plan import Node, Scope, backoff_delay
from statemachine_flow.plan.routes import choose
from statemachine_flow.steps.base import ExecutableVerb
from statemachine_flow.values import encode_value

_NO_MATCH: Final = "the token did not come here"


def finish(rules: Rules, node: Node, outcome: Outcome, now: int) -> None:
    """The body of a node ended by itself, or what it waited for came: record it, and what follows for the node."""
    if outcome.status != "completed":
        fail(rules, node, outcome, now)
        return
    target: str | None = None
    try:
        if not node.step.verb.is_body:
            outcome = _with_outputs(rules, node, outcome)
        if node.step.step.repeat is not None and not node.is_loop and not _is_last_round(rules, node, outcome):
            _next_round(rules, node, outcome, now)
            return
    except SmfError as error:
        # Only a result that is not as it should be may be better next time.
        fail(rules, node, _failed_after(outcome, error), now, may_retry=error.kind in ("step.schema", "step.outputs"))
        return
    if node.scope.kind == "states":
        try:
            target = _route(rules, node, _as_completed(rules, node, outcome), ended=True)
        except SmfError as error:  # the token has nowhere to go, whatever the step itself may do without
            fail(rules, node, _failed_after(outcome, error), now, may_retry=False, forgivable=False)
            return
    _complete(rules, node, outcome, now, target)
    settle(rules, node, now, target)


def _failed_after(outcome: Outcome, error: SmfError) -> Outcome:
    """The outcome of a body that ended well, but whose result cannot be used; what it used up is used up."""
    return msgspec.structs.replace(failed(error), signal=outcome.signal, usage=outcome.usage)


def settle(rules: Rules, node: Node, now: int, target: str | None = None, *, feedback: msgspec.Raw = ABSENT) -> None:
    """A node came to rest, and its record is there: count it, offer what that decides, move the token."""
    step = rules.fold.steps[node.path]
    frontier = rules.frontier
    if node.inner is not None:
        frontier.close(node)
    frontier.settle(node, step.state, forgiven=step.forgiven, target=target)
    if target is not None:
        resets.come_again(rules, node.scope, target, now, feedback)


def _complete(rules: Rules, node: Node, outcome: Outcome, now: int, target: str | None = None) -> None:
    outputs = ABSENT if outcome.outputs is None else msgspec.Raw(outcome.outputs)
    output = ABSENT if outcome.blob is not None or not outcome.output else msgspec.Raw(outcome.output)
    data = StepCompleted(
        output=output, outputs=outputs, blob=outcome.blob, next=target, signal=outcome.signal, usage=outcome.usage
    )
    rules.add("step.complete", data, now, node.path)


def send_back(rules: Rules, node: Node, outcome: Outcome, target: str, reason: str, now: int) -> None:  # noqa: PLR0917 - what a rewind is
    """A person sends the level of a node back to an earlier step: that and all behind it begins anew."""
    feedback = msgspec.Raw(outcome.output)
    if node.scope.kind == "states":  # the token goes back, and what it comes to again begins anew
        _complete(rules, node, outcome, now, target)
        settle(rules, node, now, target, feedback=feedback)
    else:
        _complete(rules, node, outcome, now)
        resets.rewind(rules, node, target, now, reason, feedback)


def rounds(rules: Rules, node: Node) -> int:
    """How often a node that can send its level back has been asked, this time included."""
    if node.scope.kind == "states":
        return visits(rules, node.scope, node.step.id)
    return rules.fold.step(node.path).round


def visits(rules: Rules, scope: Scope, step_id: str) -> int:
    """How often the token of a level of states has come to a step."""
    level = scope.level
    moves = rules.fold.visits.get(scope.prefix[:-1], {}).get(step_id, 0)
    return moves + (level is not None and step_id == level.start)


def fail(
    rules: Rules, node: Node, outcome: Outcome, now: int, *, may_retry: bool = True, forgivable: bool = True
) -> None:
    """The body of a node failed: try again later, or let the node fail.

    Args:
        rules: the run's rules.
        node: the step.
        outcome: how it failed.
        now: the time.
        may_retry: whether its retry policy is asked.
        forgivable: whether `optional` counts.
    """
    error = outcome.error
    if error is None:
        raise SmfError("an attempt failed without an error", kind="internal", step=node.path)
    step = rules.fold.step(node.path)
    if rules.fold.state == "cancelling" and rules.frontier.is_stopped(node):
        reason = f"{rules.stop_reason(node)}; {error.name}: {error.message}"
        rules.add("step.cancel", Reason(reason=reason), now, node.path)
    elif may_retry and _may_retry(rules, node, step, outcome):
        due = now + round(backoff_delay(node.step.retry, step.failures + 1, rules.rng) * 1e6)
        rules.add("step.back_off", BackedOff(error=error, due=due, usage=outcome.usage), now, node.path)
        rules.frontier.close(node)
        rules.frontier.rests(node)
        rules.wake(node.path, due)
        return
    else:
        optional, target = node.step.optional and node.place < 0 and forgivable, None
        if optional:
            try:
                target = _route_of_unfinished(rules, node, "failed", error)
            except SmfError as fault:  # the loop is over its bound
                error, optional = failed(fault).error or error, False
        data = Failed(error=error, optional=optional, next=target, signal=outcome.signal, usage=outcome.usage)
        rules.add("step.fail", data, now, node.path)
        settle(rules, node, now, target)
        return
    settle(rules, node, now)


def skip(rules: Rules, node: Node, reason: str, now: int) -> None:
    """A step is not carried out."""
    try:
        target = _route_of_unfinished(rules, node, "skipped")
    except SmfError as fault:  # the loop is over its bound
        if rules.fold.state_of(node.path) == "pending":
            attempt = rules.fold.step(node.path).attempt + 1
            rules.add("step.start", StepStarted(attempt=attempt), now, node.path)
        fail(rules, node, failed(fault), now, may_retry=False, forgivable=False)
        return
    rules.add("step.skip", StepSkipped(reason=reason, next=target), now, node.path)
    settle(rules, node, now, target)


def _may_retry(rules: Rules, node: Node, step: StepFold, outcome: Outcome) -> bool:
    policy = node.step.retry
    if node.is_loop or not outcome.retryable or step.failures + 1 >= policy.max_attempts:
        return False  # the items of a loop have been tried again, each for itself
    if node.step.is_once and outcome.error is not None and outcome.error.kind == "step.timeout":
        return False
    if policy.retry_on and not any(name in policy.retry_on for name in outcome.names):
        return False
    return not any(name in policy.abort_on for name in outcome.names) and _wants_retry(rules, node, step, outcome)


def _wants_retry(rules: Rules, node: Node, step: StepFold, outcome: Outcome) -> bool:
    """Whether `retry_if` is true, where there is one."""
    condition, error = node.step.retry.retry_if, outcome.error
    if condition is None or error is None:
        return True
    said = {"error": {"kind": error.kind, "name": error.name, "message": error.message}, "attempt": step.attempt}
    try:
        return node.step.expression("retry_if", condition).test(rules.names(node, said))
    except SmfError:
        return False  # the attempt's own error is what people need to see


# --- rounds


def _is_last_round(rules: Rules, node: Node, outcome: Outcome) -> bool:
    """Whether a repeated step is done.

    Raises:
        StepError: `step.limit`: it has no rounds left.
        ExpressionError: `until` cannot be evaluated.
    """
    repeat = node.step.step.repeat
    assert repeat is not None  # noqa: S101 - the caller knows
    step = rules.fold.step(node.path)
    names = rules.names(node, result_names(rules, node, outcome))
    if node.step.expression("until", repeat.until).test(names):
        return True
    if step.round >= repeat.max:
        message = f"`until` is not true after {repeat.max} rounds"
        raise StepError(message, kind="step.limit", name="LimitError", hint="raise repeat.max")
    return False


def _next_round(rules: Rules, node: Node, outcome: Outcome, now: int) -> None:
    repeat = node.step.step.repeat
    assert repeat is not None  # noqa: S101 - the caller knows
    step = rules.fold.step(node.path)
    due = None if repeat.delay is None else now + round(repeat.delay * 1e6)
    _complete(rules, node, outcome, now)
    rules.frontier.close(node)
    reason = f"round {step.round + 1}: `until` is not true yet"
    resets.begin_anew(rules, node.step, node.path, now, is_loop=False, reason=reason, round=step.round + 1, due=due)
    if due is None:
        rules.frontier.enqueue(node)
    else:
        rules.frontier.rests(node)
        rules.wake(node.path, due)


def result_of(rules: Rules, node: Node, outcome: Outcome) -> Any:
    """The result of a body that just ended, decoded."""
    step = _as_completed(rules, node, outcome)
    return rules.names.results.output(node.step, step, is_loop=node.is_loop)


def result_names(rules: Rules, node: Node, outcome: Outcome) -> dict[str, Any]:
    """The names that expressions over a result may use."""
    result = result_of(rules, node, outcome)
    verb = node.step.verb
    if isinstance(verb, ExecutableVerb) and isinstance(result, Mapping):
        return dict(verb.output_names(result))
    return {"result": result}


def _as_completed(rules: Rules, node: Node, outcome: Outcome) -> StepFold:
    """What the step is going to look like."""
    output = msgspec.Raw(outcome.output) if outcome.output else None
    outputs = None if outcome.outputs is None else msgspec.Raw(outcome.outputs)
    step = rules.fold.step(node.path)
    return msgspec.structs.replace(
        step, state="completed", output=output, outputs=outputs, blob=outcome.blob, error=None
    )


# --- routes


def _route(rules: Rules, node: Node, own: StepFold, *, ended: bool) -> str:
    """Where the token goes from a node that is about to come to rest.

    Raises:
        StepError: `step.route`: nowhere; `step.limit`: it has been there too often.
        ExpressionError: a condition cannot be evaluated.
    """
    results, planned = rules.names.results, node.step

    def first_output() -> Any:
        if planned.step.outputs and not planned.is_loop:
            declared = results.declared(own)
            return declared[next(iter(planned.step.outputs))]
        output = results.output(planned, own, is_loop=planned.is_loop)
        return next(iter(output.values())) if isinstance(output, Mapping) and output else output

    def holds(condition: str) -> bool:
        extra = {"result": results.output(planned, own, is_loop=planned.is_loop)} if ended else {}
        return planned.expression(f"next {condition}", condition).test(rules.names(node, extra, own))

    target = choose(planned.step, holds if ended else _leniently(holds), first_output, ended=ended)
    _check_visits(rules, node.scope, target)
    return target


def _leniently(holds: Any) -> Any:
    """A condition about what an unfinished step does not have is not true."""

    def asked(condition: str) -> bool:
        try:
            return bool(holds(condition))
        except SmfError:
            return False

    return asked


def _check_visits(rules: Rules, scope: Scope, target: str) -> None:
    if target == END or scope.level is None:
        return
    most = scope.level[target].step.max_visits
    if visits(rules, scope, target) >= most:
        message = f"the token has come to '{target}' {most} times"
        raise StepError(message, kind="step.limit", name="LimitError", hint="raise its max_visits")


def _route_of_unfinished(rules: Rules, node: Node, state: str, error: ErrorInfo | None = None) -> str | None:
    """Where the token goes from a step that was skipped, or whose failure is forgiven.

    Raises:
        StepError: `step.limit`: it has been there too often.
    """
    if node.scope.kind != "states":
        return None
    step = msgspec.structs.replace(rules.fold.step(node.path), state=state, error=error)
    return _route(rules, node, step, ended=False)


# --- groups and loops


def conclude(rules: Rules, scope: Scope, now: int) -> None:
    """Everything in a scope is at rest: end what it belongs to."""
    if scope.kind == "states" and scope.state == END:
        _skip_unvisited(rules, scope, now)
    node = scope.node
    if node is None or node.dead or node.inner is not scope or rules.fold.state_of(node.path) != "waiting":
        return  # the end of the workflow's own level and of handlers is for `unwind` to see
    if rules.frontier.is_given_up(node) and _has_cancelled(rules, scope):
        rules.add("step.cancel", Reason(reason=rules.stop_reason(node)), now, node.path)
        settle(rules, node, now)
    else:
        finish(rules, node, _outcome_of(rules, scope), now)


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
        if scope.failed > rules.frontier.allowance(scope):
            return _items_failed(rules, scope)
    elif scope.failed:
        first = first_failure(rules, scope)
        cause = first.error or ErrorInfo("internal", "Unknown", "no error was kept")
        message = f"step '{first.id}' failed: {cause.message or cause.name}"
        error = ErrorInfo("step.group", cause.name, message, cause.where, first.id)
        return Outcome(status="failed", error=error, names=(cause.name,))
    return Outcome(status="completed")


def _with_outputs(rules: Rules, node: Node, outcome: Outcome) -> Outcome:
    """Hold the result of a step that has no body of its own to its schema, and compute what it declares.

    Raises:
        StepError: `step.schema`, `step.outputs`.
    """
    step = node.step.step
    if not node.is_loop and step.output_schema is not None:
        conform(step.output_schema, result_of(rules, node, outcome))
    kept = rules.names.hide_encoded(outcome.output)
    if kept is not outcome.output:
        outcome = msgspec.structs.replace(outcome, output=kept)
    if node.is_loop or not step.outputs:
        return outcome
    result = result_of(rules, node, outcome)
    member = next(iter(node.inner.nodes.values()), node) if node.inner is not None else node
    names = rules.names(member, {"result": result})
    values: dict[str, Any] = {}
    for name, expression in node.step.outputs.items():
        try:
            values[name] = expression.evaluate(names)
        except SmfError as error:
            message = f"output '{name}' cannot be computed: {error}"
            raise StepError(message, kind="step.outputs", name="OutputsError") from error
    return msgspec.structs.replace(outcome, outputs=encode_value(rules.names.hide(values)))


def _items_failed(rules: Rules, scope: Scope) -> Outcome:
    first = first_failure(rules, scope)
    cause = first.error or ErrorInfo("internal", "Unknown", "no error was kept")
    message = f"{scope.failed} of {len(scope.keys)} items failed; first '{first.id}': {cause.message or cause.name}"
    error = ErrorInfo("step.items", cause.name, message, cause.where, first.id)
    return Outcome(status="failed", error=error, names=(cause.name,))


def first_failure(rules: Rules, scope: Scope) -> StepFold:
    """The required member of a scope that failed first."""
    failures = [
        step
        for path in scope.nodes
        if (step := rules.fold.steps.get(path)) is not None and step.state == "failed" and not step.forgiven
    ]
    return min(failures, key=lambda step: step.ended_seq)
