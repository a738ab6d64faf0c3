"""What follows by itself: what ended is concluded, what can no longer run is skipped, what may begins. One by one."""

from __future__ import annotations

from statemachine_flow.engine import conclusions, endings, length, openings, resets, unwind
from statemachine_flow.engine.commands import Launch
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import AT_WORK, Rules
from statemachine_flow.errors import SmfError
from statemachine_flow.journal import StepStarted
from statemachine_flow.plan import Node


def advance(rules: Rules, now: int, *, begins: bool = True) -> None:
    """Draw every conclusion that is due: first what has ended, then what begins, one step at a time.

    Args:
        rules: the run's rules.
        now: the time.
        begins: whether anything may begin by now; if not, it has to be called again.
    """
    begins = begins and not rules.holds
    rules.is_behind = (rules.is_behind or rules.holds) and not begins
    while rules.fold.state in AT_WORK:
        frontier = rules.frontier
        if frontier.over:
            conclusions.conclude(rules, frontier.over.pop(0), now)
        elif (node := frontier.next_skip()) is not None:
            _skip_blocked(rules, node, now)
        elif frontier.stopping and (swept := frontier.to_sweep()) is not None:
            resets.sweep(rules, swept, now)
        elif not begins or (rules.is_leaving and any(frontier.ready.values())):
            return
        elif (node := frontier.next_ready()) is not None:
            if rules.fold.state == "running" and length.is_full(rules, now):
                length.pause(rules, now)
            else:
                _start(rules, node, now)
        elif not unwind.go_on(rules, now):
            return


def _skip_blocked(rules: Rules, node: Node, now: int) -> None:
    found = node.scope.blocked.get(node.step.index)
    rule = node.step.step.trigger_rule
    if rule == "all_success" and found is not None:
        reason = f"needs '{found[0]}', which is {found[1]}"
    else:
        reason = f"its trigger_rule {rule} does not hold"
    endings.skip(rules, node, reason, now)


def _start(rules: Rules, node: Node, now: int) -> None:
    planned, fold = node.step, rules.fold.step(node.path)
    error: Outcome | None = None
    if planned.step.when is not None and fold.state == "pending" and _asks(rules, node):
        try:
            if not planned.expression("when", planned.step.when).test(rules.names(node)):
                endings.skip(rules, node, "its condition is false", now)
                return
        except SmfError as caught:
            error = failed(caught)
    attempt, was_backing_off = fold.attempt + 1, fold.state == "backing_off"
    rules.add("step.start", StepStarted(attempt=attempt), now, node.path)
    if error is not None:
        # Never retried: the condition is asked before the first attempt only.
        endings.fail(rules, node, error, now, may_retry=False)
    elif node.is_loop or not planned.verb.is_body:
        openings.begin(rules, node, now, anew=was_backing_off)
    elif (spent := _spent(rules, node)) is not None:
        endings.fail(rules, node, spent, now, may_retry=False)
    else:
        rules.frontier.began(node)
        rules.decision.launches.append(Launch(node, attempt))


def _asks(rules: Rules, node: Node) -> bool:
    """Whether a condition is asked: not for an item of a loop, and not again for a later round."""
    return node.place < 0 and (node.step.step.repeat is None or rules.fold.step(node.path).round == 1)


def _spent(rules: Rules, node: Node) -> Outcome | None:
    """The outcome of an agent that is not asked, because the budget is used up."""
    budget, usage = rules.plan.definition.budget, rules.fold.usage
    if budget is None or node.step.verb.key != "agent":
        return None
    if budget.cost_usd is not None and usage.cost_usd >= budget.cost_usd:
        return openings.over_budget(f"{usage.cost_usd:g} of {budget.cost_usd:g} USD are spent")
    if budget.tokens is not None and usage.tokens >= budget.tokens:
        return openings.over_budget(f"{usage.tokens:,} of {budget.tokens:,} tokens are spent")
    return None
