"""What a failure, and giving up, let begin no more: which scopes stop, and what in them is swept away. Pure.

A scope in which a required step failed *stops*: only tolerant steps begin in it, and what was under way and was cut
off begins again, so that a death changes nothing. A scope that is given up has an `end`: nothing begins in it at all.
When nothing is under way in it any more, what is left is *swept*: cancelled without having begun.
"""

from __future__ import annotations

from typing import final

from statemachine_flow.journal import ErrorInfo, RunFold
from statemachine_flow.plan.lanes import Lanes
from statemachine_flow.plan.members import Members
from statemachine_flow.plan.nodes import Node, Scope


@final
class Stops:
    """The scopes of one run in which something failed.

    Args:
        fold: the run's fold; read, never changed.
        members: the nodes of the run.
        lanes: what is in line in it.
        goes_on: whether a failure stops nothing (`continue_on_error`).
    """

    def __init__(self, fold: RunFold, members: Members, lanes: Lanes, *, goes_on: bool) -> None:
        self._fold = fold
        self._members = members
        self._lanes = lanes
        self._goes_on = goes_on
        #: Those that are open.
        self.scopes: list[Scope] = []

    def is_due(self, scope: Scope) -> bool:
        """Whether a scope in which a required member failed has to stop."""
        if scope.kind == "items":
            return scope.failed > scope.allowance
        # A token has nowhere to go from a failed step, whatever the workflow says about errors.
        return scope.kind == "states" or (scope.kind == "graph" and not self._goes_on)

    def stop(self, scope: Scope) -> None:
        """Let nothing begin in a scope any more but what is tolerant."""
        if not scope.stopping:
            scope.stopping = True
            self.scopes.append(scope)

    def lift(self, scope: Scope) -> None:
        """Let steps begin in a scope again, unless it was given up."""
        if scope.stopping and scope.end is None:
            scope.stopping = False
            self.scopes.remove(scope)

    def give_up(self, scope: Scope, error: ErrorInfo) -> None:
        """Let nothing begin in a scope any more, tolerant steps included."""
        scope.end = scope.end or error
        scope.is_over = False
        self.stop(scope)
        self._members.note_if_over(scope)

    def forget(self, scope: Scope) -> None:
        """A scope is closed."""
        if scope in self.scopes:
            self.scopes.remove(scope)

    def is_stopped(self, node: Node) -> bool:
        """Whether a node may not begin because something around it failed.

        An attempt that was under way then and was cut off is begun again, so that a death changes nothing.
        """
        was_under_way = self._fold.state_of(node.path) == "interrupted"
        member = node
        for scope in node.scopes():
            if scope.stopping and (scope.end is not None or not (_is_tolerant(member) or was_under_way)):
                return True
            if scope.node is not None:
                member = scope.node
        return False

    def to_sweep(self) -> list[Node] | None:
        """What is to be cancelled in the first stopping scope in which nothing is under way.

        A level of states ends with the step that failed, so it comes before the scopes around it, which may go on with
        what that decides; of the others the outermost comes first.
        """
        for scope in sorted(self.scopes, key=_sweeping_order):
            if scope.alive == 0 and scope.open and not self._may_begin_in(scope):
                unfinished = self._members.unfinished(scope)
                swept = [node for node in unfinished if scope.end is not None or not _is_tolerant(node)]
                if swept and (scope.end is not None or not any(map(self._is_uncertain, swept))):
                    return swept
        return None

    def _may_begin_in(self, scope: Scope) -> bool:
        """Whether something is in line inside a stopping scope: tolerant, or cut off when it was under way."""
        if scope.end is not None:
            return False
        return any(scope in node.scopes() and not self.is_stopped(node) for node in self._lanes.waiting())

    def _is_uncertain(self, node: Node) -> bool:
        """Whether it is still to be found out what became of an attempt of a node, or of one inside it."""
        if self._fold.state_of(node.path) == "interrupted":
            return node.step.is_once
        return node.inner is not None and any(map(self._is_uncertain, node.inner.nodes.values()))


def _sweeping_order(scope: Scope) -> tuple[bool, int]:
    return scope.end is not None or scope.kind != "states", len(scope.order)


def _is_tolerant(node: Node) -> bool:
    """Whether a node may begin although a required member of its scope failed; an item never may."""
    return node.step.tolerant and node.place < 0
