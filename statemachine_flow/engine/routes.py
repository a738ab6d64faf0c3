"""Where the token of a level of states goes from a step, and how often it has come to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError, StepError
from statemachine_flow.journal import ErrorInfo, StepFold
from statemachine_flow.model import END
from statemachine_flow.plan import Node, Scope
from statemachine_flow.plan.routes import choose


def route(rules: Rules, node: Node, own: StepFold, *, ended: bool) -> str:
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


def route_of_unfinished(rules: Rules, node: Node, state: str, error: ErrorInfo | None = None) -> str | None:
    """Where the token goes from a step that was skipped, or whose failure is forgiven.

    Raises:
        StepError: `step.limit`: it has been there too often.
    """
    if node.scope.kind != "states":
        return None
    step = msgspec.structs.replace(rules.fold.step(node.path), state=state, error=error)
    return route(rules, node, step, ended=False)


def visits(rules: Rules, scope: Scope, step_id: str) -> int:
    """How often the token of a level of states has come to a step."""
    level = scope.level
    moves = rules.fold.visits.get(scope.prefix[:-1], {}).get(step_id, 0)
    return moves + (level is not None and step_id == level.start)
