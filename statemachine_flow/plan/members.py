"""What stands in the open scopes of a run: nodes by path, and which scopes have nothing left to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from statemachine_flow.journal import RunFold
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.model import END
from statemachine_flow.plan.levels import PlannedStep
from statemachine_flow.plan.nodes import Node, Scope, item_path


@final
class Members:
    """The nodes of one run; a node is made when it is first asked for.

    Args:
        fold: the run's fold; read, never changed.
    """

    def __init__(self, fold: RunFold) -> None:
        self._fold = fold
        #: Path -> node, those of every open scope.
        self.nodes: dict[str, Node] = {}
        #: Scopes whose members have all come to rest, to be concluded.
        self.over: list[Scope] = []

    def step(self, scope: Scope, step: PlannedStep) -> Node:
        """The node of a step of a scope's level."""
        path = scope.prefix + step.id
        node = scope.nodes.get(path)
        if node is None:
            node = self.add(Node(path, step, scope, (*scope.order, step.index)))
        return node

    def item(self, scope: Scope, place: int) -> Node:
        """The node of an item of a loop."""
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        path = item_path(holder.path, scope.keys[place])
        node = scope.nodes.get(path)
        if node is None:
            node = self.add(Node(path, holder.step, scope, (*scope.order, place), place))
        return node

    def add(self, node: Node) -> Node:
        """Let a node stand for its path."""
        node.scope.nodes[node.path] = self.nodes[node.path] = node
        return node

    def bury(self, node: Node) -> None:
        """Let a node stand for its path no longer."""
        node.dead = True
        self.nodes.pop(node.path, None)

    def unfinished(self, scope: Scope) -> Iterator[Node]:
        """Members of a scope that are not at rest, in the order of the document."""
        if scope.kind == "items":
            for place in range(len(scope.keys)):
                node = self.item(scope, place)
                if self._fold.state_of(node.path) not in STEP_AT_REST:
                    yield node
        elif scope.level is not None:
            for step in scope.level.steps:
                if self._fold.state_of(scope.path(step.id)) not in STEP_AT_REST:
                    yield self.step(scope, step)
        else:
            yield from (node for node in scope.queue if self._fold.state_of(node.path) not in STEP_AT_REST)

    def note_if_over(self, scope: Scope) -> None:
        """Put a scope among those to be concluded once nothing is left to do in it."""
        if scope.is_over:
            return
        if scope.kind == "states" and scope.state == END:
            is_done = True
        else:  # a token that goes back finds every step at rest, too
            is_done = scope.open == 0 and (scope.kind != "states" or scope.stopping)
        if is_done:
            scope.is_over = True
            self.over.append(scope)
