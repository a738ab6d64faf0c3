"""How what was cut off or left is taken up: attempts of a gone owner, child runs, steps whose effect is not known."""

from __future__ import annotations

from statemachine_flow.engine.advance import advance
from statemachine_flow.engine.commands import StartChild
from statemachine_flow.engine.rules import AT_WORK, CANCELLED, Rules
from statemachine_flow.journal import Reason
from statemachine_flow.plan import Node


def recover(rules: Rules, reason: str, now: int) -> None:
    """An owner took over: attempts that the last owner left behind are interrupted, timers are set again."""
    for step in list(rules.fold.steps.values()):
        if step.state == "running":
            interrupted(rules, rules.frontier.nodes[step.id], reason, now)
    if rules.fold.state == "cancelling":
        if rules.fold.unwinding is None:
            rules.frontier.give_up(rules.frontier.root, CANCELLED)
        advance(rules, now)
    rules.set_timers()
    follow_children(rules)


def interrupted(rules: Rules, node: Node, reason: str, now: int) -> None:
    """An attempt was cut off: it is begun again, unless somebody has to say first what became of it."""
    rules.add("step.interrupt", Reason(reason=reason), now, node.path)
    rules.frontier.ended(node)
    if not node.step.is_once:
        rules.frontier.enqueue(node)


def follow_children(rules: Rules) -> None:
    """Take up the child runs that are under way."""
    if rules.fold.state not in AT_WORK:
        return
    for step in rules.fold.steps.values():
        if step.state == "waiting" and step.is_alive and step.waits is not None:
            node = rules.frontier.nodes[step.id]
            rules.decision.children.append(StartChild(node, step.waits.run))
            if rules.frontier.is_stopped(node):
                rules.abort(step, "cancel")


def uncertain(rules: Rules) -> list[Node]:
    """Steps that were cut off and are never begun again by themselves."""
    steps = [step for step in rules.fold.steps.values() if step.state == "interrupted"]
    nodes = [rules.frontier.nodes[step.id] for step in steps if step.id in rules.frontier.nodes]
    return [node for node in nodes if node.step.is_once]
