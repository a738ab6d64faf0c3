"""What coming to rest lets begin: steps whose needs are met, the next items of a loop, the next compensation. Pure."""

from __future__ import annotations

import bisect
from typing import final

from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.model import END
from statemachine_flow.plan.joins import End, end_of, holds
from statemachine_flow.plan.lanes import Lanes
from statemachine_flow.plan.levels import PlannedStep
from statemachine_flow.plan.members import Members
from statemachine_flow.plan.nodes import Node, Scope, item_path


def is_due(step: StepFold | None) -> bool:
    """Whether a step has still to begin, and waits for no time to do so."""
    return step is None or (step.state == "pending" and step.due is None)


@final
class Offers:
    """Puts the steps of one run in line.

    Args:
        fold: the run's fold; read, never changed.
        members: the nodes of the run.
        lanes: where they stand in line.
    """

    def __init__(self, fold: RunFold, members: Members, lanes: Lanes) -> None:
        self._fold = fold
        self._members = members
        self._lanes = lanes

    def count_end(self, node: Node, state: str, *, forgiven: bool) -> None:
        """Count a node that is at rest, and offer the steps of a graph that needed nothing else."""
        scope = node.scope
        scope.open -= 1
        if state == "failed" and not forgiven:
            scope.failed += 1
        if scope.kind != "graph":
            return
        satisfied = state == "completed" or forgiven
        assert scope.level is not None  # noqa: S101 - a graph has one
        for index in node.step.dependents:
            scope.missing[index] -= 1
            if not satisfied:
                scope.blocked.setdefault(index, (node.step.id, state))
            if scope.missing[index] == 0:
                self.step(scope, scope.level.steps[index])

    def step(self, scope: Scope, step: PlannedStep) -> None:
        """The needs of a step are at rest: it runs or is skipped."""
        if not is_due(self._fold.steps.get(scope.prefix + step.id)):
            return
        node = self._members.step(scope, step)
        if step.step.trigger_rule == "all_success":
            runs = step.index not in scope.blocked
        else:
            runs = holds(step.step.trigger_rule, self._ends(node))
        if runs:
            self._lanes.enqueue(node)
        else:
            self._lanes.skip(node)

    def _ends(self, node: Node) -> list[End]:
        """How the steps that a node needs ended."""
        level, scope = node.scope.level, node.scope
        assert level is not None  # noqa: S101 - only steps of a level have needs
        folds = (self._fold.steps[scope.path(level.steps[need].id)] for need in node.step.needs)
        return [end_of(step.state, step.forgiven) for step in folds]

    def move_token(self, scope: Scope, target: str | None) -> None:
        """The token of a level of states goes to a step, if it goes anywhere."""
        if target is None or scope.level is None or scope.level.routes is None:
            return
        scope.level.routes.fire(scope, target)
        if target != END:
            node = self._members.step(scope, scope.level[target])
            if self._fold.state_of(node.path) == "pending":  # else it is reset first, see `Frontier.came_again`
                self._lanes.enqueue(node)

    def items(self, scope: Scope) -> None:
        """Fill the places of a loop: with items whose time has come again, then with the next ones."""
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        each = holder.step.step.for_each
        limit = (each.max_parallel if each is not None else None) or len(scope.keys)
        while scope.active < limit and scope.queue:
            node = scope.queue.pop(0)
            node.in_line = False
            scope.active += 1
            self._lanes.enqueue(node)
        while scope.active < limit and scope.next_item < len(scope.keys) and not scope.stopping:
            place = scope.next_item
            scope.next_item += 1
            if is_due(self._fold.steps.get(item_path(holder.path, scope.keys[place]))):
                node = self._members.item(scope, place)
                if not node.in_line:  # for its next round
                    scope.active += 1
                    self._lanes.enqueue(node)

    def rests(self, node: Node) -> None:
        """A node goes on later: of a loop, another item may take its place."""
        if node.place >= 0:
            node.scope.active -= 1
            self.items(node.scope)

    def goes_on_with(self, node: Node) -> None:
        """The time of a node that rested has come: of a loop, it needs a place again."""
        if node.place < 0:
            self._lanes.enqueue(node)
            return
        if not node.in_line:
            node.in_line = True
            bisect.insort(node.scope.queue, node, key=lambda waiting: waiting.place)
            self.items(node.scope)

    def compensation(self, scope: Scope) -> None:
        """The next of a queue of compensations: one at a time."""
        while scope.next_item < len(scope.queue):
            node = scope.queue[scope.next_item]
            if self._fold.state_of(node.path) not in STEP_AT_REST:
                self._lanes.enqueue(node)
                return
            scope.next_item += 1
