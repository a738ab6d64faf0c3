"""How what was cut off or left is taken up: attempts of a gone owner, child runs, steps whose effect is not known."""

from __future__ import annotations

from statemachine_flow.engine import endings
from statemachine_flow.engine.advance import advance
from statemachine_flow.engine.commands import StartChild
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.rules import AT_WORK, CANCELLED, Rules
from statemachine_flow.errors import ConflictError
from statemachine_flow.journal import ErrorInfo, Failed, Reason, StepInterrupted
from statemachine_flow.plan import Node


def recover(rules: Rules, reason: str, now: int, *, killed: bool = False, poison_after: int | None = None) -> None:
    """An owner took over: attempts that the last owner left behind are interrupted, timers are set again.

    Args:
        rules: the run's rules.
        reason: what became of that owner.
        now: the time.
        killed: its process died, perhaps of one of the attempts.
        poison_after: how often in a row that may happen to a step; None for any number.
    """
    poisoned: list[Node] = []
    for step in list(rules.fold.steps.values()):
        if step.state == "running":
            node = rules.frontier.nodes[step.id]
            is_poisoned = killed and poison_after is not None and step.deaths + 1 >= poison_after
            interrupted(rules, node, reason, now, killed=killed, begins_again=not is_poisoned)
            poisoned += [node] if is_poisoned else []
    if poisoned:
        _set_aside(rules, poisoned, now)
    if rules.fold.state == "cancelling":
        if rules.fold.unwinding is None:
            rules.frontier.give_up(rules.frontier.root, CANCELLED)
        advance(rules, now)
    rules.set_timers()
    follow_children(rules)


def interrupted(
    rules: Rules, node: Node, reason: str, now: int, *, killed: bool = False, begins_again: bool = True
) -> None:
    """An attempt was cut off: it is begun again, unless somebody has to say first what became of it."""
    rules.add("step.interrupt", StepInterrupted(reason=reason, killed=killed), now, node.path)
    rules.frontier.ended(node)
    if begins_again and not node.step.is_once:
        rules.frontier.enqueue(node)


def _set_aside(rules: Rules, nodes: list[Node], now: int) -> None:
    """Fail steps that were under way each time when the process died, and quarantine the run with them."""
    deaths = max(rules.fold.steps[node.path].deaths for node in nodes)
    message = f"its process died {deaths} times in a row while the step was under way"
    error = ErrorInfo("step.poison", "Poison", message)
    if rules.fold.state == "cancelling":  # the rest of its end is still owed
        for node in nodes:
            outcome = Outcome(status="failed", error=error, retryable=False)
            endings.fail(rules, node, outcome, now, may_retry=False)
        return
    for node in nodes:
        rules.add("step.fail", Failed(error=error), now, node.path)
    for step in rules.fold.steps.values():
        if step.is_alive:  # child runs; nothing else is
            rules.abort(step, "quarantine")
    paths = ", ".join(node.path for node in nodes)
    rules.add("run.quarantine", Reason(reason=f"poison: {paths}: {message}"), now)


def follow_children(rules: Rules, *, resumes: bool = False) -> None:
    """Take up the child runs that are under way.

    Args:
        rules: the run's rules.
        resumes: see `StartChild`.
    """
    if rules.fold.state not in AT_WORK:
        return
    for step in rules.fold.steps.values():
        if step.state == "waiting" and step.is_alive and step.waits is not None:
            node = rules.frontier.nodes[step.id]
            rules.decision.children.append(StartChild(node, step.waits.run, resumes))
            if rules.frontier.is_stopped(node):
                rules.abort(step, "cancel")


def uncertain(rules: Rules) -> list[Node]:
    """Steps that were cut off and are never begun again by themselves."""
    steps = [step for step in rules.fold.steps.values() if step.state == "interrupted"]
    nodes = [rules.frontier.nodes[step.id] for step in steps if step.id in rules.frontier.nodes]
    return [node for node in nodes if node.step.is_once]


def require_certain(rules: Rules) -> None:
    """Refuse to resume a run that was paused because nobody knows what became of one of its steps.

    Raises:
        ConflictError: `run.uncertain`.
    """
    nodes = uncertain(rules) if rules.fold.state == "paused" else []
    if any(node.step.step.verify is None for node in nodes):
        paths = ", ".join(node.path for node in nodes)
        hint = "look, and say so with `smf resolve` or Engine.resolve"
        raise ConflictError(
            f"it is not known whether {paths} took effect", kind="run.uncertain", run=rules.fold.id, hint=hint
        )
