"""How steps of the reference begin: attempts of bodies, and what containers, waits and approvals do at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression, Template
from tests.reference import ends
from tests.reference.loops import LoopError, allowance, items_of, microseconds, render, text_form
from tests.reference.nodes import Error, Level, Node, level_of
from tests.reference.script import error_names, returned

if TYPE_CHECKING:
    from tests.reference.interpreter import Interpreter

#: What happens when an attempt of a body ends.
End = Callable[[], None]


def start(run: Interpreter, node: Node) -> None:
    """One more attempt is under way."""
    node.attempts += 1
    node.state = "running"
    node.triggers.append("start")
    run.world.tick()


def begin(run: Interpreter, node: Node) -> End | None:
    """What happens when its turn has come: its condition, then an attempt; the end of that, if it is yet to come."""
    if not node.asked and not _ask(run, node):
        return None
    start(run, node)
    try:
        if node.kind == "body":
            return _body(run, node)
        _BEGINNINGS[node.kind](run, node)
    except LoopError as problem:
        ends.fail(run, node, problem.error)
    except ExpressionError as error:
        ends.fail_attempt(run, node, Error(error.kind, None))
    return None


def _ask(run: Interpreter, node: Node) -> bool:
    """Whether its condition holds; an item has none of its own."""
    try:
        if node.is_item or "when" not in node.step or Expression.parse(node.step["when"]).test(run.names(node)):
            node.asked = True
        else:
            ends.skip(run, node)
    except ExpressionError as error:
        start(run, node)
        ends.fail(run, node, Error(error.kind, None))
    return node.asked


def _body(run: Interpreter, node: Node) -> End:
    try:
        arguments = render(node.step.get("with", {}), run.names(node))
    except ExpressionError as failed:
        problem = Error(failed.kind, None)
        return lambda: ends.fail_attempt(run, node, problem)
    path = f"{run.tree['name']}!{node.path}" if run.is_child else node.path
    outcome = run.world.script.outcome(path, node.attempts)
    if outcome.error is not None:
        error = Error("step.failed", outcome.error, error_names(outcome.error))
        return lambda: ends.fail_attempt(run, node, error)
    return lambda: ends.finish(run, node, returned(outcome, path, node.attempts, arguments))


def _wait(run: Interpreter, node: Node, time: Any = None) -> None:
    due = None if time is None else run.world.now + microseconds(time)
    node.state, node.due = "waiting", due
    node.triggers.append("wait")


def _begin_group(run: Interpreter, node: Node) -> None:
    if node.inner is None:
        node.inner = level_of(node.step, node, outer=node.level, prefix=f"{node.path}/")
    for inner in node.inner.nodes.values():
        if inner.at_rest:
            ends.reset(inner)
        inner.live = True
    node.inner.begin()
    _wait(run, node, node.step.get("timeout"))


def _begin_loop(run: Interpreter, node: Node) -> None:
    items = items_of(node, run.names(node))
    level = node.inner = Level("items", node, node.level, allowance=allowance(node.step, len(items)))
    for key, variables in items:
        item = node.past.get(key)
        if item is None:
            # The rules do not say with which generation an item begins that an earlier round did not have.
            item = Node(key, f"{node.path}[{key}]", node.step, level, is_item=True, sure=node.generation == 1)
        elif item.round_seen < node.generation - 1:
            item.sure = False
        item.level, item.variables, item.live = level, variables, True
        item.round_seen = node.generation
        node.past[key] = level.nodes[key] = item
    _wait(run, node)


def _begin_child(run: Interpreter, node: Node) -> None:
    inputs = render(node.step.get("with", {}), run.names(node))
    _wait(run, node)
    child = type(run)(node.step["workflow"], inputs, run.world.script, run.world)
    result = child.run()
    if result.state == "completed":
        ends.finish(run, node, dict(result.outputs))
    else:
        ends.fail_attempt(run, node, Error.of("step.child", child.error_name))


def _begin_timer(run: Interpreter, node: Node) -> None:
    _wait(run, node, render(node.step["wait"]["for"], run.names(node)))


def _begin_event(run: Interpreter, node: Node) -> None:
    wanted = signal_of(run, node)
    node.visits += 1
    _wait(run, node, node.step["wait"].get("timeout"))
    for signal in run.world.signals:
        if signal[:2] == wanted:
            run.world.signals.remove(signal)
            ends.finish(run, node, signal[2])
            return


def signal_of(run: Interpreter, node: Node) -> tuple[str, str | None]:
    """Name and key of the signal that a step waits for."""
    wait = node.step["wait"]
    return wait["event"], text_form(render(wait["key"], run.names(node))) if "key" in wait else None


def _begin_approval(run: Interpreter, node: Node) -> None:
    question = node.step["approval"]
    names = run.names(node)
    prompt = render(question["prompt"], names)
    read = {path[1] for path in Template.parse(question["prompt"])[0].references if path[0] == "steps"}
    seen = sorted(read | {*node.step.get("needs", ())})
    node.shown = (prompt, [(step_id, names["steps"][step_id].get("output")) for step_id in seen])
    _wait(run, node, question.get("deadline", {}).get("after"))
    if node.held is not None and node.held[0] == node.shown:
        ends.finish(run, node, node.held[1])
    else:
        node.visits += 1


_BEGINNINGS: Final[Mapping[str, Callable[[Interpreter, Node], None]]] = {
    "group": _begin_group,
    "loop": _begin_loop,
    "child": _begin_child,
    "timer": _begin_timer,
    "event": _begin_event,
    "approval": _begin_approval,
}
