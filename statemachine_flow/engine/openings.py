"""How a step begins that is carried out by other steps, by waiting, or by a child run. Functions over `Rules`."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from statemachine_flow.durations import check_seconds, parse_duration
from statemachine_flow.engine import approvals, endings, outside, resets
from statemachine_flow.engine.commands import StartChild
from statemachine_flow.engine.ids import child_run_id
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import ExpressionError, SmfError, StepError
from statemachine_flow.expressions.values import to_text
from statemachine_flow.journal import StepFold, StepWaiting
from statemachine_flow.plan import Node, Scope
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.wait import Wait
from statemachine_flow.steps.workflow import Child
from statemachine_flow.values import decode_value, encode_value

#: More items, or combinations of a matrix, are refused.
MAX_ITEMS: Final = 10_000
#: A longer key is refused.
MAX_KEY: Final = 400
#: More runs are not nested in each other.
MAX_DEPTH: Final = 16


def begin(rules: Rules, node: Node, now: int, *, anew: bool) -> None:
    """Open what a step that has just started consists of, or begin to wait.

    Args:
        rules: the run's rules.
        node: the step; its `step.start` is recorded.
        now: the time.
        anew: whether an attempt before this one failed, so that what it left is reset first.
    """
    try:
        if node.is_loop:
            _begin_items(rules, node, now)
        elif isinstance(node.step.verb, Group):
            _begin_steps(rules, node, now, anew=anew)
        elif isinstance(node.step.verb, Child):
            _begin_child(rules, node, now)
        elif isinstance(node.step.verb, Wait):
            _begin_wait(rules, node, node.step.verb, now)
        else:
            _begin_approval(rules, node, now)
    except SmfError as error:
        endings.fail(rules, node, failed(error), now, may_retry=False)


def _wait(rules: Rules, node: Node, data: StepWaiting, now: int) -> None:
    rules.add("step.wait", data, now, node.path)
    if data.due is not None:
        rules.wake(node.path, data.due)


def _timeout(node: Node, now: int) -> int | None:
    return None if node.step.timeout is None else now + round(node.step.timeout * 1e6)


# --- loops and groups


def _begin_items(rules: Rules, node: Node, now: int) -> None:
    before = rules.fold.step(node.path).waits
    if before is not None and before.keys is not None:  # it takes up where it failed
        keys, items = before.keys, decode_value(before.items)
        _wait(rules, node, StepWaiting(on="items"), now)
    else:
        items = _items(rules, node)
        keys = _keys(rules, node, items)
        _wait(rules, node, StepWaiting(on="items", keys=keys, items=msgspec.Raw(encode_value(items))), now)
    rules.frontier.open_items(node, keys, items)


def _items(rules: Rules, node: Node) -> list[Any]:
    """The items of a loop.

    Raises:
        ExpressionError: they cannot be computed, or are no list.
        StepError: `step.items`: there are too many.
    """
    each = node.step.step.for_each
    if each is None:
        items: Any = list(node.step.combinations())
    else:
        written = each.items if isinstance(each.items, str) else list(each.items)
        items = node.step.template("items", written).render(rules.names(node))
    if not isinstance(items, list | tuple):
        message = f"for_each goes through a list, not a {type(items).__name__}"
        raise ExpressionError(message, kind="expression.type")
    if len(items) > MAX_ITEMS:
        message = f"there are {len(items):,} items, and at most {MAX_ITEMS:,} are allowed"
        raise StepError(message, kind="step.items", name="ItemsError")
    return list(items)


def _keys(rules: Rules, node: Node, items: list[Any]) -> tuple[str, ...]:
    each = node.step.step.for_each
    if each is None:
        keys = [",".join(map(to_text, item.values())) for item in items]
    elif each.key is None:
        keys = [str(place) for place in range(len(items))]
    else:
        template, scope = node.step.template("key", each.key), Scope("items", node, None, node.path, node.order)
        scope.items = items
        makers = (Node(node.path, node.step, scope, node.order, place) for place in range(len(items)))
        keys = [to_text(template.render(rules.names(item))) for item in makers]
    seen: set[str] = set()
    for key in keys:
        if key in seen or len(key) > MAX_KEY:
            what = f"is longer than {MAX_KEY} characters" if key not in seen else "stands for two items"
            raise StepError(f"the key {key[:80]!r} {what}", kind="step.items", name="ItemsError")
        seen.add(key)
    return tuple(keys)


def _begin_steps(rules: Rules, node: Node, now: int, *, anew: bool) -> None:
    if anew:
        resets.reset_inside(rules, node.step, node.path, now, is_loop=False, reason="the group begins again")
    _wait(rules, node, StepWaiting(on="steps", due=_timeout(node, now)), now)
    rules.frontier.open_steps(node)


# --- children


def _begin_child(rules: Rules, node: Node, now: int) -> None:
    step, depth = rules.fold.step(node.path), rules.fold.created.depth
    if depth >= MAX_DEPTH:
        message = f"runs are nested more than {MAX_DEPTH} deep"
        raise StepError(message, kind="step.limit", name="LimitError")
    run_id = child_run_id(rules.fold.id, node.path, step.attempt)
    _wait(rules, node, StepWaiting(on="run", run=run_id, due=_timeout(node, now)), now)
    rules.frontier.child_began(node)
    rules.decision.children.append(StartChild(node, run_id))


# --- time and signals


def _begin_wait(rules: Rules, node: Node, verb: Wait, now: int) -> None:
    wait, names, planned = verb.wait, rules.names(node), node.step
    if wait.for_ is not None:
        due = now + round(_seconds(planned.template("wait.for", wait.for_).render(names)) * 1e6)
        _wait(rules, node, StepWaiting(on="timer", due=due), now)
    elif wait.until is not None:
        _wait(
            rules,
            node,
            StepWaiting(on="timer", due=_moment(planned.template("wait.until", wait.until).render(names))),
            now,
        )
    else:
        event = to_text(planned.template("wait.event", wait.event).render(names))
        key = None if wait.key is None else to_text(planned.template("wait.key", wait.key).render(names))
        due_by = None if wait.timeout is None else now + round(wait.timeout * 1e6)
        _wait(rules, node, StepWaiting(on="event", event=event, key=key, due=due_by), now)
        rules.frontier.listen(node, event, key)
        outside.deliver(rules, event, key, now)


def _seconds(value: Any) -> float:
    """How long a timer runs."""
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        message = f"a duration is text such as '30s' or seconds, not a {type(value).__name__}"
        raise ExpressionError(message, kind="expression.type")
    try:
        return parse_duration(value) if isinstance(value, str) else check_seconds(value)
    except ValueError as error:
        raise ExpressionError(str(error), kind="expression.type") from None


def _moment(value: Any) -> int:
    """When a timer falls due, microseconds UTC."""
    try:
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, dt.datetime) or moment.tzinfo is None:
        message = "a moment is written like '2026-11-21T09:00:00+01:00', with its offset"
        raise ExpressionError(message, kind="expression.type")
    try:
        return round(moment.astimezone(dt.UTC).timestamp() * 1e6)
    except OverflowError:  # no view could show it
        raise ExpressionError("the moment lies outside of the years 1 to 9999", kind="expression.type") from None


# --- people


def _begin_approval(rules: Rules, node: Node, now: int) -> None:
    verb = node.step.verb
    assert isinstance(verb, Approval)  # noqa: S101 - no other verb is left
    shown, digest = approvals.question(rules, node)
    deadline = verb.approval.deadline
    due = None if deadline is None else now + round(deadline.after * 1e6)
    data = StepWaiting(on="approval", due=due, shown=msgspec.Raw(encode_value(shown)), digest=digest)
    _wait(rules, node, data, now)
    decided = approvals.still_holds(rules, node, digest)
    if decided is not None:
        endings.finish(rules, node, Outcome(status="completed", output=decided), now)


# --- time that ran out


def fell_due(rules: Rules, node: Node, step: StepFold, now: int) -> None:
    """The time until which a step waits has come."""
    on = step.waits.on if step.waits is not None else ""
    if on == "timer" and rules.waits_for_moment(node.path) and step.due is not None and now < step.due:
        rules.wake(node.path, step.due)  # the clock was set back
    elif on == "timer":
        endings.finish(rules, node, _NOTHING, now)
    elif on == "event":
        verb = node.step.verb
        assert isinstance(verb, Wait)  # noqa: S101 - nothing else waits for signals
        if verb.wait.then == "complete":
            endings.finish(rules, node, _NOTHING, now)
        else:
            endings.fail(
                rules, node, _timed_out(f"no signal came within {verb.wait.timeout:g} s"), now, may_retry=False
            )
    elif on == "approval":
        _decide_by_deadline(rules, node, now)
    elif on == "steps" and node.inner is not None and not node.inner.is_over:
        error = _timed_out(f"the attempt took longer than {node.step.timeout:g} s").error
        assert error is not None  # noqa: S101 - it was just made
        rules.frontier.give_up(node.inner, error)
        _abort_inside(rules, node.inner)
    elif on == "run":
        rules.expired.add(node.path)
        rules.abort(step, "timeout")


def _decide_by_deadline(rules: Rules, node: Node, now: int) -> None:
    verb = node.step.verb
    assert isinstance(verb, Approval)  # noqa: S101 - the caller knows
    deadline = verb.approval.deadline
    assert deadline is not None  # noqa: S101 - it fell due
    if deadline.then == "fail":
        message = f"nobody decided within {deadline.after:g} s"
        endings.fail(rules, node, _timed_out(message), now, may_retry=False)
    else:
        outside.decide(rules, node, approvals.by_deadline(rules, node, deadline.then, now), now)


def _abort_inside(rules: Rules, scope: Scope) -> None:
    for member in scope.nodes.values():
        step = rules.fold.steps.get(member.path)
        if step is not None and step.is_alive:
            rules.abort(step, "timeout")
        elif member.inner is not None:
            _abort_inside(rules, member.inner)


def timed_out_child(node: Node) -> Outcome:
    """The outcome of a child run that took too long."""
    return _timed_out(f"the child run took longer than {node.step.timeout or 0:g} s")


def over_budget(message: str) -> Outcome:
    """The outcome of an agent that is not asked, because the run's budget is used up."""
    return failed(StepError(message, kind="step.budget", name="BudgetError"))


def _timed_out(message: str) -> Outcome:
    return failed(StepError(message, kind="step.timeout", name="TimeoutError"))


_NOTHING: Final = Outcome(status="completed", output=encode_value(None))
