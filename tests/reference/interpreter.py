"""A plain interpreter of the language: one attempt after the other, in the order of the document, without an engine.

It is written from the rules alone and shares nothing with the engine but expressions, so that where both agree on
random workflows, both have the rules right or the same misunderstanding. It carries out a run as an engine does whose
attempts take no time and of which one is under way at a time; the world acts when nothing else can happen: first a
signal or a decision, then the clock, which jumps to the next timer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_flow.errors import ExpressionError
from tests.reference import begins, ends, world
from tests.reference.loops import render
from tests.reference.nodes import Error, Level, Node, Steps, level_of, names_of
from tests.reference.script import Script
from tests.reference.world import Act, World

#: Kind, step and name of a run's error.
Failure = tuple[str, str | None, str | None]


@attrs.frozen
class PathResult:
    """What became of one path."""

    state: str
    attempts: int
    #: None: not for the rules to say.
    generation: int | None
    output: Any
    error: str | None
    #: The names of its records, in order.
    triggers: tuple[str, ...]


@attrs.frozen
class Result:
    """What became of a run."""

    state: str
    outputs: Mapping[str, Any]
    #: Kind of the run's error.
    error: str | None
    #: The required step that failed first.
    error_step: str | None
    paths: Mapping[str, PathResult]
    #: What the world did, in order.
    acts: tuple[Act, ...]
    #: Every path that ever began, those included that a later generation no longer has.
    begun: frozenset[str]


class Interpreter:
    """One run.

    Args:
        tree: the canonical tree of the workflow.
        inputs: of the run, already of the right types.
        script: what the world does.
    """

    def __init__(
        self, tree: Mapping[str, Any], inputs: Mapping[str, Any], script: Script, shared: World | None = None
    ) -> None:
        self.tree = tree
        declared = tree.get("inputs", {})
        self.inputs = {name: inputs.get(name, each.get("default")) for name, each in declared.items()}
        self.about = {"id": "r", "workflow": tree["name"], "version": tree.get("version", "1.0.0")}
        self.is_child = shared is not None
        self.world = shared or World(script, early=list(script.early))
        self.level = level_of(tree, None, outer=None, prefix="")
        #: The handlers that were carried out.
        self.handlers: list[Level] = []
        #: What `retry_on` of the step that started it may call the run's error.
        self.error_name: str | None = None

    # --- the run as a whole -----------------------------------------------------------------------------------

    def run(self) -> Result:
        """Carry it out to its end."""
        if not self._carry_out(self.level):
            return self._result("running", {}, None, None)
        error = self._first_failure(self.level)
        outputs: dict[str, Any] = {}
        if error is None:
            names = {"inputs": self.inputs, "run": self.about, "steps": Steps(self.level)}
            try:
                outputs = {name: render(value, names) for name, value in self.tree.get("outputs", {}).items()}
            except ExpressionError:
                error = ("run.outputs", None, None)
        if error is not None:
            self._compensate(error)
            self._handle("on_failure", error)
        last = self._handle("finally", error)
        if error is None and last is not None:
            error = last
        self.error_name = error[2] if error else None
        return self._result("failed" if error else "completed", {} if error else outputs, *(error or (None, None))[:2])

    def _first_failure(self, level: Level) -> Failure | None:
        for node in level.failures():
            return "run.failed", node.path, node.error.name if node.error else None
        return None

    def _handle(self, name: str, error: Failure | None) -> Failure | None:
        if name not in self.tree:
            return None
        level = level_of({"steps": self.tree[name]}, None, outer=self.level, prefix=f"@{name}/")
        self._carry_out_handlers(level, error)
        return self._first_failure(level)

    def _compensate(self, error: Failure) -> None:
        if not self.tree.get("compensate"):
            return
        done = [node for node in self.level.walk() if node.state == "completed" and node.kind != "loop"]
        for node in sorted(done, key=lambda node: -node.ended):
            if "compensate" in node.step:
                level = Level("graph", outer=node.level, undone=node)
                level.nodes[node.id] = Node(node.id, f"@compensate/{node.path}", node.step["compensate"], level)
                self._carry_out_handlers(level, error)

    def _carry_out_handlers(self, level: Level, error: Failure | None) -> None:
        level.is_handler = True
        if error is not None:
            level.error = {"kind": error[0], "step": error[1], "name": error[2], "message": ""}
        self.handlers.append(level)
        self._carry_out(level)

    def _result(self, state: str, outputs: Mapping[str, Any], error: str | None, step: str | None) -> Result:
        paths = {
            node.path: PathResult(
                node.state,
                node.attempts,
                node.generation if node.sure else None,
                node.output if node.state == "completed" else None,
                node.error.kind if node.error else None,
                tuple(node.triggers),
            )
            for level in (self.level, *self.handlers)
            for node in level.walk()
        }
        levels = (self.level, *self.handlers)
        begun = frozenset(node.path for level in levels for node in level.everything() if node.attempts)
        return Result(state, outputs, error, step, paths, tuple(self.world.acts), begun)

    def names(self, node: Node) -> dict[str, Any]:
        """What the expressions of a step read."""
        return {"inputs": self.inputs, "run": self.about, **names_of(node)}

    # --- one thing after the other ----------------------------------------------------------------------------

    def _carry_out(self, level: Level) -> bool:
        """Bring a level to its end; False if the world never lets it.

        Whatever follows from what happened is concluded first. Then all that may begin does so in the order of the
        document, with one body among it; that body ends when nothing else can begin, and the world acts when no body
        is under way.
        """
        end: begins.End | None = None
        while True:
            self.settle(level)
            if level.is_over:
                return True
            has_slot = end is None
            ready = (node for node in level.walk() if (has_slot or node.kind != "body") and self._may_begin(node))
            node = next(ready, None)
            if node is not None:
                end = begins.begin(self, node) or end
            elif end is not None:
                end()
                end = None
            elif not world.act(self, level):
                return False

    def settle(self, level: Level) -> None:
        """Draw every conclusion from what happened; nothing begins."""
        while self._conclude(level) or self._sweep(level):
            self.world.tick()

    def _conclude(self, level: Level) -> bool:
        """The first thing, in the order of the document, that follows from what happened."""
        for node in level.nodes.values():
            if node.live and node.state == "pending" and not node.decided and node.due is None and self._decide(node):
                return True
            if node.live and node.state == "waiting" and node.inner is not None:
                if self._conclude(node.inner):
                    return True
                if node.inner.is_over:
                    self._end_container(node)
                    return True
        return False

    def _decide(self, node: Node) -> bool:
        """Whether its join could be asked; its condition is, when it has stood in line."""
        level = node.level
        if level.shape == "states" and level.token != node.id:
            return False
        if level.shape == "graph":
            needs = [level.nodes[need] for need in node.step.get("needs", ())]
            if not all(need.at_rest for need in needs):
                return False
            if not _joins(node.step.get("trigger_rule", "all_success"), needs):
                ends.skip(self, node)
                return True
        node.decided = True
        return True

    def _is_stopping(self, level: Level) -> bool:
        if level.shape == "items":
            return len(level.failures()) > level.allowance
        return not self.tree.get("continue_on_error") and bool(level.failures())

    def _is_permitted(self, node: Node) -> bool:
        """Whether nothing around it is stopping."""
        each: Node | None = node
        while each is not None:
            if self._is_stopping(each.level) and not each.is_tolerant:
                return False
            each = each.level.container
        return True

    def _may_begin(self, node: Node) -> bool:
        is_ready = node.decided and node.due is None and node.state in {"pending", "backing_off"}
        return is_ready and self._has_place(node) and self._is_permitted(node)

    def _has_place(self, node: Node) -> bool:
        """Whether a loop has room for one more item, and no item before it wants it."""
        container = node.level.container
        if not node.is_item or container is None:
            return True
        most = container.step.get("for_each", {}).get("max_parallel")
        under_way = sum(each.state in {"running", "waiting"} for each in node.level.nodes.values())
        return most is None or under_way < most

    def _sweep(self, level: Level) -> bool:
        """Cancel what a stopping level leaves behind, once nothing in it can go on; the outermost level first."""
        if self._is_stopping(level):
            rest = [each for each in level.nodes.values() if not each.at_rest and not each.is_tolerant and each.live]
            if rest and not any(each.state == "running" or self._may_begin(each) for each in level.walk()):
                for each in rest:
                    ends.cancel(self, each)
                return True
        return any(
            self._sweep(each.inner)
            for each in level.nodes.values()
            if each.state == "waiting" and each.inner is not None
        )

    # --- ends of what waits -----------------------------------------------------------------------------------

    def _end_container(self, node: Node) -> None:
        level = node.inner
        assert level is not None
        failed = level.failures()
        if node.kind == "group":
            if failed:
                ends.fail_attempt(self, node, Error.of("step.group", failed[0].error.name if failed[0].error else None))
            else:
                output = {each.id: each.output for each in level.nodes.values() if each.state == "completed"}
                ends.finish(self, node, output)
        elif len(failed) > level.allowance:
            ends.fail(self, node, Error.of("step.items", failed[0].error.name if failed[0].error else None))
        else:
            done = [each if each.state == "completed" else None for each in level.nodes.values()]
            node.output = [each.output if each else None for each in done]
            node.outputs = (
                [each.outputs if each else None for each in done] if node.step.get("outputs") else node.output
            )
            ends.complete(self, node)


def _joins(rule: str, needs: list[Node]) -> bool:
    if rule == "all_success":
        return all(need.state == "completed" or need.forgiven for need in needs)
    if rule == "none_failed":
        return all(need.state in {"completed", "skipped"} or need.forgiven for need in needs)
    if rule == "any_success":
        return not needs or any(need.state == "completed" for need in needs)
    if rule == "any_failed":
        return any(need.state == "failed" for need in needs)
    return True
