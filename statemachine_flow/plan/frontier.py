"""How far one run has come through its plan: open scopes, ready steps, and what coming to rest sets off. Pure.

Settling a step costs its number of dependents, opening a level its number of steps, so a whole run costs steps plus
edges. Nothing here decides about a step's life; the engine's decider asks for what is ready, skipped or over, records
what follows, and tells the frontier of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

from statemachine_flow.journal import ErrorInfo, RunFold
from statemachine_flow.plan.lanes import Lanes, count_alive
from statemachine_flow.plan.levels import Level, PlannedStep
from statemachine_flow.plan.listeners import Listeners
from statemachine_flow.plan.members import Members
from statemachine_flow.plan.nodes import Node, Scope
from statemachine_flow.plan.offers import Offers
from statemachine_flow.plan.scopes import Scopes
from statemachine_flow.plan.stops import Stops


@final
class Frontier:
    """The open scopes of one run.

    Args:
        level: the workflow's own level.
        limits: lane -> how many of its attempts may be under way at once; "" stands for all when it is there.
        fold: the run's fold, from which counters and queues are built; read, never changed.
        goes_on: whether a failure stops nothing (`continue_on_error`).
    """

    def __init__(self, level: Level, limits: dict[str, int], fold: RunFold, *, goes_on: bool) -> None:
        self._members = Members(fold)
        self._lanes = Lanes(limits, fold)
        self._listeners = Listeners(fold)
        self._stops = Stops(fold, self._members, self._lanes, goes_on=goes_on)
        self._offers = Offers(fold, self._members, self._lanes)
        self._scopes = Scopes(
            fold, self._members, self._lanes, listeners=self._listeners, stops=self._stops, offers=self._offers
        )
        #: Path -> node, those of every open scope.
        self.nodes = self._members.nodes
        #: Lane -> steps that may start, by place in the document.
        self.ready = self._lanes.ready
        #: Lane -> attempts under way.
        self.busy = self._lanes.busy
        #: Scopes whose members have all come to rest, to be concluded.
        self.over = self._members.over
        #: Scopes in which something failed.
        self.stopping = self._stops.scopes
        #: Scopes of handlers, by their prefix without the slash.
        self.handlers = self._scopes.handlers
        self.root = self._scopes.open_root(level)

    # --- what happened

    def began(self, node: Node) -> None:
        """An attempt of a node takes a place in its lane."""
        self._lanes.began(node)

    def ended(self, node: Node) -> None:
        """An attempt of a node gives its place back."""
        self._lanes.ended(node)

    def child_began(self, node: Node) -> None:
        """A child run is under way."""
        count_alive(node, 1)

    def child_ended(self, node: Node) -> None:
        """A child run has come to rest."""
        count_alive(node, -1)

    def settle(self, node: Node, state: str, *, forgiven: bool, target: str | None = None) -> None:
        """A node came to rest: count it, and offer what that decides.

        Args:
            node: the node.
            state: the state it is at rest in.
            forgiven: whether it failed and is optional.
            target: in a level of states, where the token goes.
        """
        scope = node.scope
        self._offers.count_end(node, state, forgiven=forgiven)
        if state == "failed" and not forgiven and self._stops.is_due(scope):
            self._stops.stop(scope)
        if scope.kind == "states":
            self._offers.move_token(scope, target)
        elif scope.kind == "items":
            scope.active -= 1
            self._offers.items(scope)
        elif scope.kind == "queue":
            self._offers.compensation(scope)
        self._members.note_if_over(scope)

    def rests(self, node: Node) -> None:
        """A node goes on later: of a loop, another item may take its place."""
        self._offers.rests(node)

    def goes_on_with(self, node: Node) -> None:
        """The time of a node that rested has come: of a loop, it needs a place again."""
        self._offers.goes_on_with(node)

    def came_again(self, node: Node) -> None:
        """A step of a level of states was reset, for the token has come to it again."""
        node.scope.open += 1
        node.scope.is_over = False
        self._scopes.close(node)
        self._lanes.enqueue(node)

    def listen(self, node: Node, event: str, key: str | None) -> None:
        """A node waits for a signal."""
        self._listeners.add(node, event, key)

    def give_up(self, scope: Scope, error: ErrorInfo) -> None:
        """Let nothing begin in a scope any more, tolerant steps included."""
        self._stops.give_up(scope, error)

    # --- what opens and closes

    def open_steps(self, node: Node) -> None:
        """Open the level of a group."""
        self._scopes.open_steps(node)

    def open_items(self, node: Node, keys: tuple[str, ...], items: list[Any]) -> None:
        """Open the items of a loop."""
        self._scopes.open_items(node, keys, items)

    def open_handlers(self, name: str, level: Level) -> None:
        """Open the steps that are carried out at the end of a run."""
        self._scopes.open_handlers(name, level, self.root)

    def open_queue(self, name: str, undone: Iterable[Node]) -> None:
        """Open compensations of completed steps, the first of which is undone first."""
        self._scopes.open_queue(name, undone, self.root)

    def reopen(self, scope: Scope) -> None:
        """Build a scope anew after some of its steps were reset; what is under way in it stays as it is.

        What was in line is in line no more: whoever calls this sets the timers again.
        """
        self._scopes.reopen(scope)

    def close(self, node: Node) -> None:
        """Forget what was open inside a node."""
        self._scopes.close(node)

    # --- what is next

    def enqueue(self, node: Node) -> None:
        """Put a step in line for its next attempt, if it is not there already."""
        self._lanes.enqueue(node)

    def next_ready(self) -> Node | None:
        """Take the next step that may start within its lane's limit; None when there is none."""
        return self._lanes.next_ready(self._stops.is_stopped if self.stopping else None)

    def next_skip(self) -> Node | None:
        """Take the next step whose join rule says skip; None when there is none."""
        return self._lanes.next_skip()

    def listener(self, event: str, key: str | None) -> Node | None:
        """Take the node that has waited longest for a signal; None when there is none."""
        return self._listeners.take(event, key)

    def to_sweep(self) -> list[Node] | None:
        """What is to be cancelled in the outermost stopping scope in which nothing is under way."""
        return self._stops.to_sweep()

    # --- what is so

    def node(self, scope: Scope, step: PlannedStep) -> Node:
        """The node of a step of a scope's level."""
        return self._members.step(scope, step)

    def open_members(self, scope: Scope) -> Iterator[Node]:
        """Members of a scope that are not at rest, in the order of the document."""
        return self._members.unfinished(scope)

    def is_stopped(self, node: Node) -> bool:
        """Whether a node may not begin because something around it failed."""
        return self._stops.is_stopped(node)

    @staticmethod
    def is_given_up(node: Node) -> bool:
        """Whether something around a node was told to end."""
        return any(scope.end is not None for scope in node.scopes())
