"""What the world has to say to a run: signals, decisions, and what became of attempts that were cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from statemachine_flow.engine import endings, length
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import ConflictError, StepError
from statemachine_flow.journal import Signalled, StepReset
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Node
from statemachine_flow.steps.approval import Approval, Rewind
from statemachine_flow.values import encode_value


def signal(rules: Rules, now: int, *, event: str, key: str | None, payload: bytes, by: str | None) -> None:
    """Something happened outside: keep it, and tell whoever waits for it.

    Raises:
        ConflictError: `run.state`: the run has come to rest for good; `run.limit`: its journal is full.
    """
    if rules.fold.state in RUN_AT_REST:
        raise ConflictError(f"the run is {rules.fold.state}: nothing more happens to it", run=rules.fold.id)
    length.require_room(rules)
    names = rules.names
    kept = msgspec.Raw(names.hide_encoded(payload))
    rules.add("run.signal", Signalled(event=event, key=key, payload=kept, by=names.hide(by)), now)
    deliver(rules, event, key, now)


def deliver(rules: Rules, event: str, key: str | None, now: int) -> None:
    """Give signals that were kept to the steps that wait for them, the oldest to the one that waited longest."""
    while (event, key) in rules.fold.signals:
        node = rules.frontier.listener(event, key)
        if node is None:
            return
        seq, payload = rules.fold.signals[event, key][0]
        endings.finish(rules, node, Outcome(status="completed", output=bytes(payload), signal=seq), now)


def decide(rules: Rules, node: Node, decision: Mapping[str, Any], now: int) -> None:
    """A person decided.

    Args:
        rules: the run's rules.
        node: the approval.
        decision: from `approvals.answer`.
        now: the time.
    """
    verb = node.step.verb
    assert isinstance(verb, Approval)  # noqa: S101 - the caller knows
    if decision["decision"] == "reject" and verb.approval.choices is None:
        _reject(rules, node, verb.approval.on_reject, decision, now)
    else:
        endings.finish(rules, node, Outcome(status="completed", output=encode_value(dict(decision))), now)


def _reject(rules: Rules, node: Node, on_reject: str | Rewind, decision: Mapping[str, Any], now: int) -> None:
    said = f"rejected by {decision['by'] or 'somebody'}" + (f": {decision['reason']}" if decision["reason"] else "")
    if on_reject == "skip":
        endings.skip(rules, node, said, now)
    elif isinstance(on_reject, Rewind) and endings.rounds(rules, node) < on_reject.max_rounds:
        outcome = Outcome(status="completed", output=encode_value(dict(decision)))
        endings.send_back(rules, node, outcome, on_reject.rewind_to, said, now)
    else:
        error = StepError(f"the approval was {said}", kind="step.rejected", name="Rejected")
        endings.fail(rules, node, failed(error), now, may_retry=False)


def require_cut_off(rules: Rules, node: Node) -> None:
    """Refuse to say what became of a step of which that is known.

    Raises:
        ConflictError: `run.refused`: the step is not interrupted.
    """
    state = rules.fold.state_of(node.path)
    if state != "interrupted":
        message = f"step '{node.path}' is {state}: there is nothing to resolve"
        raise ConflictError(message, kind="run.refused", run=rules.fold.id)


def resolve(rules: Rules, node: Node, as_: str, outcome: Outcome | None, now: int, by: str | None) -> None:  # noqa: PLR0917 - what is said of an attempt
    """Somebody, or `verify`, says what became of an attempt that was cut off.

    Args:
        rules: the run's rules.
        node: the step.
        as_: `completed`, `failed` or `retry`.
        outcome: with its result, where it completed.
        now: the time.
        by: who says so.

    Raises:
        ConflictError: `run.refused`: the step is not interrupted.
    """
    require_cut_off(rules, node)
    who = rules.names.hide(by or "somebody")
    if outcome is not None:
        endings.finish(rules, node, outcome, now)
    elif as_ == "failed":
        error = StepError(f"{who} says that the attempt failed", kind="step.uncertain", name="Uncertain")
        endings.fail(rules, node, failed(error), now, may_retry=False)
    else:
        step = rules.fold.steps[node.path]
        reason = f"{who} says that the attempt took no effect"
        # Whoever says so knows of the effect, not of why the process died.
        rules.add("step.reset", StepReset(reason=reason, round=step.round, deaths=step.deaths), now, node.path)
        rules.frontier.enqueue(node)
