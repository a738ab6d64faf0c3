"""How a step ends: it completes, fails, is tried again, begins its next round, or is skipped."""

from __future__ import annotations

import msgspec

from statemachine_flow.engine import produced, resets, routes
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError, StepError
from statemachine_flow.journal import (
    ABSENT,
    BackedOff,
    Failed,
    Reason,
    StepCompleted,
    StepFold,
    StepSkipped,
    StepStarted,
)
from statemachine_flow.plan import Node, backoff_delay


def finish(rules: Rules, node: Node, outcome: Outcome, now: int) -> None:
    """The body of a node ended by itself, or what it waited for came: record it, and what follows for the node."""
    if outcome.status != "completed":
        fail(rules, node, outcome, now)
        return
    target: str | None = None
    try:
        if not node.step.verb.is_body:
            outcome = produced.with_outputs(rules, node, outcome)
        if node.step.step.repeat is not None and not node.is_loop and not _is_last_round(rules, node, outcome):
            _next_round(rules, node, outcome, now)
            return
    except SmfError as error:
        # Only a result that is not as it should be may be better next time.
        fail(rules, node, _failed_after(outcome, error), now, may_retry=error.kind in ("step.schema", "step.outputs"))
        return
    if node.scope.kind == "states":
        try:
            target = routes.route(rules, node, produced.as_completed(rules, node, outcome), ended=True)
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
    rules.add("step.complete", completion(outcome, target), now, node.path)


def completion(outcome: Outcome, target: str | None = None) -> StepCompleted:
    """What is recorded of a body that ended well; `target` is where a token goes next."""
    outputs = ABSENT if outcome.outputs is None else msgspec.Raw(outcome.outputs)
    output = ABSENT if outcome.blob is not None or not outcome.output else msgspec.Raw(outcome.output)
    return StepCompleted(
        output=output, outputs=outputs, blob=outcome.blob, next=target, signal=outcome.signal, usage=outcome.usage
    )


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
                target = routes.route_of_unfinished(rules, node, "failed", error)
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
        target = routes.route_of_unfinished(rules, node, "skipped")
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


def rounds(rules: Rules, node: Node) -> int:
    """How often a node that can send its level back has been asked, this time included."""
    if node.scope.kind == "states":
        return routes.visits(rules, node.scope, node.step.id)
    return rules.fold.step(node.path).round


def _is_last_round(rules: Rules, node: Node, outcome: Outcome) -> bool:
    """Whether a repeated step is done.

    Raises:
        StepError: `step.limit`: it has no rounds left.
        ExpressionError: `until` cannot be evaluated.
    """
    repeat = node.step.step.repeat
    assert repeat is not None  # noqa: S101 - the caller knows
    step = rules.fold.step(node.path)
    names = rules.names(node, produced.result_names(rules, node, outcome))
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


def send_back(rules: Rules, node: Node, outcome: Outcome, target: str, reason: str, now: int) -> None:  # noqa: PLR0917 - what a rewind is
    """A person sends the level of a node back to an earlier step: that and all behind it begins anew."""
    feedback = msgspec.Raw(outcome.output)
    if node.scope.kind == "states":  # the token goes back, and what it comes to again begins anew
        _complete(rules, node, outcome, now, target)
        settle(rules, node, now, target, feedback=feedback)
    else:
        _complete(rules, node, outcome, now)
        resets.rewind(rules, node, target, now, reason, feedback)
