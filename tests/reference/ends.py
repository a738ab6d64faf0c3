"""How steps of the reference end: results, retries, rounds, routes, failures, resets and rewinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression
from tests.reference.loops import first_output, microseconds, text_form
from tests.reference.nodes import Error, Level, Node

if TYPE_CHECKING:
    from tests.reference.interpreter import Interpreter

_NEVER_RETRIED: Final = ("expression.", "definition.", "step.unserializable")
_RETRIED_BY_DEFAULT: Final = frozenset({"call", "run", "agent"})
_SCHEMA_TYPES: Final = {"integer": int, "string": str, "object": dict, "array": list, "boolean": bool}


class RouteError(Exception):
    """No way leads on."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def finish(run: Interpreter, node: Node, result: Any) -> None:
    """An attempt gave a result: its schema, its outputs, its rounds, its route."""
    wanted = node.step.get("output_schema", {}).get("type")
    if wanted is not None and type(result) is not _SCHEMA_TYPES[wanted]:
        fail_attempt(run, node, Error("step.schema", "SchemaError", frozenset({"SchemaError"})))
        return
    names = {**run.names(node), "result": result}
    try:
        declared = {name: evaluate(text, names) for name, text in node.step.get("outputs", {}).items()}
    except ExpressionError:
        fail_attempt(run, node, Error("step.outputs", "OutputsError", frozenset({"OutputsError"})))
        return
    node.output = result
    node.outputs = declared or (result if isinstance(result, dict | list) else {})
    repeat = node.step.get("repeat")
    if repeat is None:
        complete(run, node)
        return
    try:
        is_enough = Expression.parse(repeat["until"]).test(names)
    except ExpressionError as error:
        fail(run, node, Error(error.kind, None))
        return
    if is_enough:
        complete(run, node)
    elif node.round >= repeat.get("max", 100):
        fail(run, node, Error("step.limit", None))
    else:
        _next_round(run, node, result, repeat.get("delay"))


def _next_round(run: Interpreter, node: Node, result: Any, delay: str | None) -> None:
    number = node.round
    node.state = "completed"
    reset(node)
    node.round, node.previous, node.decided, node.asked = number + 1, result, True, True
    node.due = None if delay is None else run.world.now + microseconds(delay)


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    return Expression.parse(text).evaluate(names)


def complete(run: Interpreter, node: Node) -> None:
    """It is done; in a level of states, the token moves on."""
    node.state = "completed"
    if node.level.shape == "states":
        try:
            target = _route(run, node)
        except RouteError as error:
            node.state = "running"
            fail(run, node, Error(error.kind, None), is_final=True)
            return
    else:
        target = None
    node.last = node.output
    _rest(run, node, "complete")
    _move(run, node, target)


def skip(run: Interpreter, node: Node) -> None:
    """It does not run; in a level of states, the token moves on."""
    node.state = "skipped"
    target = None
    if node.level.shape == "states":
        try:
            target = _route(run, node)
        except RouteError as error:
            node.state = "pending"
            fail(run, node, Error(error.kind, None), is_final=True)
            return
    _rest(run, node, "skip")
    _move(run, node, target)


def fail_attempt(run: Interpreter, node: Node, error: Error) -> None:
    """An attempt failed: another one follows, or the step fails."""
    node.failures += 1
    policy = policy_of(run, node)
    if policy is None or error.kind.startswith(_NEVER_RETRIED) or not _is_retried(run, node, error, policy):
        fail(run, node, error)
        return
    delay = microseconds(policy.get("delay", "1s"))
    if policy.get("backoff", "exponential") == "exponential":
        delay = round(delay * policy.get("factor", 2.0) ** (node.failures - 1))
    node.state = "backing_off"
    node.triggers.append("back_off")
    node.due = run.world.now + min(delay, microseconds(policy.get("max_delay", "5m")))


def policy_of(run: Interpreter, node: Node) -> Mapping[str, Any] | None:
    if "retry" in node.step:
        return node.step["retry"]  # type: ignore[no-any-return]
    is_default = bool(_RETRIED_BY_DEFAULT & node.step.keys())
    return run.tree.get("defaults", {}).get("retry") if is_default else None


def _is_retried(run: Interpreter, node: Node, error: Error, policy: Mapping[str, Any]) -> bool:
    if node.failures >= policy.get("max_attempts", 1) or error.names & {*policy.get("abort_on", ())}:
        return False
    if policy.get("retry_on") and not error.names & {*policy["retry_on"]}:
        return False
    if "retry_if" not in policy:
        return True
    names = {"error": error.view(), "attempt": node.attempts, "inputs": run.inputs, "run": run.about}
    return Expression.parse(policy["retry_if"]).test(names)


def fail(run: Interpreter, node: Node, error: Error, *, is_final: bool = False) -> None:
    """It failed for good; `is_final`: because no route leads on, which is never forgiven."""
    node.error, node.state = error, "failed"
    node.forgiven = node.is_optional and not is_final
    target = None
    if node.level.shape == "states" and node.forgiven:
        try:
            target = _route(run, node)
        except RouteError as failed:
            node.error, node.forgiven = Error(failed.kind, None), False
    _rest(run, node, "fail")
    if node.level.shape == "states" and not node.forgiven:
        node.level.token, node.level.has_ended = None, True
        for other in node.level.nodes.values():
            cancel(run, other)
    else:
        _move(run, node, target)


def cancel(run: Interpreter, node: Node) -> None:
    """It does not come to its end, and nothing inside it does."""
    if node.at_rest:
        return
    if node.inner is not None:
        for inner in node.inner.nodes.values():
            if inner.live:
                cancel(run, inner)
    node.state = "cancelled"
    _rest(run, node, "cancel")


def _rest(run: Interpreter, node: Node, trigger: str) -> None:
    node.ended = run.world.tick()
    node.due = None
    node.triggers.append(trigger)


# --- levels of states -----------------------------------------------------------------------------------------


def _route(run: Interpreter, node: Node) -> str:
    target = _target(run, node)
    if target != "end":
        wanted = node.level.nodes[target]
        if node.level.visits[target] >= wanted.step.get("max_visits", 100):
            raise RouteError("step.limit")
    return target


def _target(run: Interpreter, node: Node) -> str:
    route = node.step.get("next", "end")
    if isinstance(route, str):
        return route
    if isinstance(route, list):
        return _listed(run, node, route)
    if node.state == "completed":
        value = text_form(first_output(node, node.output, node.outputs))
        if value in route and value != "default":
            return route[value]  # type: ignore[no-any-return]
    if "default" in route:
        return route["default"]  # type: ignore[no-any-return]
    return _nowhere(node)


def _listed(run: Interpreter, node: Node, routes: Iterable[Mapping[str, str]]) -> str:
    names = run.names(node)
    if node.state == "completed":
        names["result"] = node.output
    for route in routes:
        if "default" in route:
            return route["default"]
        try:
            if Expression.parse(route["when"]).test(names):
                return route["goto"]
        except ExpressionError as error:
            raise RouteError(error.kind) from None
    return _nowhere(node)


def _nowhere(node: Node) -> str:
    if node.state == "skipped":
        return "end"
    raise RouteError("step.route")


def _move(run: Interpreter, node: Node, target: str | None) -> None:
    level = node.level
    if target is None:
        return
    if target != "end":
        level.token = target
        level.visits[target] += 1
        reset(level.nodes[target])
        return
    level.token, level.has_ended = None, True
    for other in level.nodes.values():
        if other.state == "pending":
            other.state = "skipped"
            _rest(run, other, "skip")


# --- once more ------------------------------------------------------------------------------------------------


def reset(node: Node, *, is_rewind: bool = False) -> None:
    """Back to its beginning, if it is at rest; what is inside it likewise, though that is seen once it begins."""
    if node.at_rest:
        node.state = "pending"
        node.generation += 1
        node.triggers.append("reset")
    node.decided, node.asked, node.due, node.failures, node.round, node.previous = False, False, None, 0, 1, None
    node.output = node.outputs = node.error = node.feedback = None
    node.forgiven = False
    if not is_rewind:
        node.rejections, node.held = 0, None
    if node.inner is not None:
        for inner in node.inner.nodes.values():
            reset(inner, is_rewind=is_rewind)
            inner.live = False


def rewind(run: Interpreter, node: Node, target_id: str, output: Any) -> None:
    """A rejection that goes back: everything from the target on runs again."""
    level = node.level
    node.output = node.outputs = output
    node.state = "completed"
    node.last = output
    _rest(run, node, "complete")
    again = downstream(level, target_id)
    for each in level.nodes.values():
        if each.id in again:
            if each.state != "pending":
                cancel(run, each)
            reset(each, is_rewind=True)
    level.nodes[target_id].feedback = output


def downstream(level: Level, target: str) -> set[str]:
    """The target and every step that needs it, directly or through others."""
    found = {target}
    while True:
        more = {each.id for each in level.nodes.values() if found & {*each.step.get("needs", ())}} - found
        if not more:
            return found
        found |= more
