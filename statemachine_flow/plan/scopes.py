"""How scopes open, open anew and close: their counters and queues are built from the run's fold. Pure.

A scope is built the same way whether it opens for the first time, in a process that resumes the run, or after some of
its steps were reset: what the fold says decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, final

from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.model import END
from statemachine_flow.plan.lanes import Lanes, count_alive
from statemachine_flow.plan.levels import Level, PlannedStep
from statemachine_flow.plan.listeners import Listeners
from statemachine_flow.plan.members import Members
from statemachine_flow.plan.nodes import Node, Scope, item_path
from statemachine_flow.plan.offers import Offers, is_due
from statemachine_flow.plan.stops import Stops
from statemachine_flow.values import decode_value

#: Behind every step of the document.
_HANDLERS_FROM: Final = 1_000_000
#: Where handlers stand in the order of the document, in the order they are carried out.
_HANDLERS: Final = {"@compensate": 0, "@on_failure": 1, "@finally": 2}


@final
class Scopes:
    """The open scopes of one run.

    Args:
        fold: the run's fold; read, never changed.
        members: gets the nodes of what opens.
        lanes: gets what is under way and what begins again.
        listeners: gets what waits for signals.
        stops: gets the scopes in which something failed.
        offers: offers what may begin.
    """

    def __init__(
        self, fold: RunFold, members: Members, lanes: Lanes, *, listeners: Listeners, stops: Stops, offers: Offers
    ) -> None:
        self._fold = fold
        self._members = members
        self._lanes = lanes
        self._listeners = listeners
        self._stops = stops
        self._offers = offers
        #: Scopes of handlers, by their prefix without the slash.
        self.handlers: dict[str, Scope] = {}

    # --- opening

    def open_root(self, level: Level) -> Scope:
        """Open the workflow's own level."""
        scope = _scope_of(level, None, "", ())
        self._fill(scope)
        return scope

    def open_steps(self, node: Node) -> None:
        """Open the level of a group."""
        assert node.step.level is not None  # noqa: S101 - only groups are opened so
        node.inner = _scope_of(node.step.level, node, node.path + "/", node.order)
        self._fill(node.inner)

    def open_items(self, node: Node, keys: tuple[str, ...], items: list[Any]) -> None:
        """Open the items of a loop."""
        scope = node.inner = Scope("items", node, None, node.path, node.order)
        scope.keys, scope.items = keys, items
        self._fill(scope)

    def open_handlers(self, name: str, level: Level, root: Scope) -> None:
        """Open the steps that are carried out at the end of a run."""
        scope = self.handlers[name] = _scope_of(level, None, name + "/", (_HANDLERS_FROM + _HANDLERS[name],))
        scope.outer = root
        self._fill(scope)

    def open_queue(self, name: str, undone: Iterable[Node], root: Scope) -> None:
        """Open compensations of completed steps, the first of which is undone first."""
        scope = self.handlers[name] = Scope("queue", None, None, name + "/", (_HANDLERS_FROM + _HANDLERS[name],))
        scope.outer = root
        for place, reader in enumerate(undone):
            assert reader.step.compensate is not None  # noqa: S101 - only such steps are undone
            node = Node(scope.path(reader.path), reader.step.compensate, scope, (*scope.order, place))
            node.reader = reader
            scope.queue.append(self._members.add(node))
        self._fill(scope)

    # --- closing and opening anew

    def close(self, node: Node) -> None:
        """Forget what was open inside a node."""
        inner, node.inner = node.inner, None
        if inner is None:
            return
        inner.is_over = True
        self._stops.forget(inner)
        for member in inner.nodes.values():
            self._bury(member)

    def _bury(self, node: Node) -> None:
        self._members.bury(node)
        self.close(node)

    def reopen(self, scope: Scope) -> None:
        """Build a scope anew after some of its steps were reset; what is under way in it stays as it is.

        What was in line is in line no more: whoever calls this sets the timers again.
        """
        kept: dict[str, Node] = {}
        for path, node in scope.nodes.items():
            if self._fold.state_of(path) in ("running", "waiting"):
                kept[path] = node
                node.is_kept = True
            else:
                self._bury(node)
        scope.nodes = kept
        scope.failed, scope.blocked, scope.queue = 0, {}, []
        self._stops.lift(scope)
        if scope.level is not None:
            scope.missing = _missing(scope.level)
        self._fill(scope)
        for node in kept.values():
            node.is_kept = False
            if node.inner is not None:  # what a failure kept from beginning there may begin now
                self.reopen(node.inner)

    # --- in line with the fold

    def _fill(self, scope: Scope) -> None:
        """Bring a scope in line with the fold: count what is at rest, offer what may begin, open what is under way."""
        scope.is_over = False
        match scope.kind:
            case "graph":
                self._fill_graph(scope)
            case "states":
                self._fill_states(scope)
            case "items":
                self._fill_items(scope)
            case "queue":
                self._fill_queue(scope)
        if scope.failed and scope.kind != "items" and self._stops.is_due(scope) and self._is_news(scope):
            self._stops.stop(scope)
        self._members.note_if_over(scope)

    def _is_news(self, scope: Scope) -> bool:
        """A failure from before the last retry of the run stops nothing any more; but a token stays where it is."""
        if scope.kind == "states":
            return True
        assert scope.level is not None  # noqa: S101 - a graph has one
        folds = (self._fold.steps.get(scope.path(planned.id)) for planned in scope.level.steps)
        return any(
            step is not None and step.state == "failed" and not step.forgiven and step.ended_seq > self._fold.retry_seq
            for step in folds
        )

    def _fill_graph(self, scope: Scope) -> None:
        level = scope.level
        assert level is not None  # noqa: S101 - a graph has one
        scope.open = len(level.steps)
        known = self._known(scope, level)
        for planned in level.steps:
            if not planned.needs:
                self._offers.step(scope, planned)
        for planned, step_fold in known:
            self._meet(self._members.step(scope, planned), step_fold)

    def _known(self, scope: Scope, level: Level) -> list[tuple[PlannedStep, StepFold]]:
        """The steps of a level of which the fold knows something, found by way of whichever is shorter."""
        fold, known = self._fold.steps, []
        if len(fold) < len(level.steps):
            offset = len(scope.prefix)
            for path, step_fold in fold.items():
                if path.startswith(scope.prefix):
                    planned = level.get(path[offset:])
                    if planned is not None:
                        known.append((planned, step_fold))
        else:
            for planned in level.steps:
                found = fold.get(scope.prefix + planned.id)
                if found is not None:
                    known.append((planned, found))
        return known

    def _fill_states(self, scope: Scope) -> None:
        level = scope.level
        assert level is not None  # noqa: S101 - states have one
        assert level.start is not None  # noqa: S101 - as above
        scope.open = len(level.steps)
        for planned in level.steps:
            step_fold = self._fold.steps.get(scope.path(planned.id))
            if step_fold is not None and step_fold.state in STEP_AT_REST:
                self._members.step(scope, planned)
                scope.open -= 1
                scope.failed += step_fold.state == "failed" and not step_fold.forgiven
        scope.state = self._fold.tokens.get(scope.prefix[:-1], level.start)
        if scope.state == END:
            return
        node = self._members.step(scope, level[scope.state])
        step_fold = self._fold.steps.get(node.path)
        if step_fold is None or is_due(step_fold):
            self._lanes.enqueue(node)
        elif step_fold.state not in STEP_AT_REST:
            self._meet(node, step_fold)

    def _fill_items(self, scope: Scope) -> None:
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        scope.open, scope.failed, scope.active, scope.next_item = len(scope.keys), 0, 0, 0
        news = 0
        for place, key in enumerate(scope.keys):
            step_fold = self._fold.steps.get(item_path(holder.path, key))
            if step_fold is None or is_due(step_fold):
                continue
            node = self._members.item(scope, place)
            if step_fold.state in STEP_AT_REST:
                scope.open -= 1
                if step_fold.state == "failed":
                    scope.failed += 1
                    news += step_fold.ended_seq > self._fold.retry_seq
            elif step_fold.state in ("backing_off", "pending"):
                continue  # it takes no place while it waits for its time
            else:
                scope.active += 1
                self._meet(node, step_fold)
        if news and self._stops.is_due(scope):
            self._stops.stop(scope)
        self._offers.items(scope)

    def _fill_queue(self, scope: Scope) -> None:
        scope.open = len(scope.queue)
        for node in scope.queue:
            step_fold = self._fold.steps.get(node.path)
            if step_fold is None or step_fold.state == "pending":
                continue
            if step_fold.state in STEP_AT_REST:
                scope.open -= 1
            else:
                self._meet(node, step_fold)
                return
        self._offers.compensation(scope)

    def _meet(self, node: Node, step: StepFold) -> None:
        """Take in a step of which the fold knows something."""
        if step.state in STEP_AT_REST:
            self._offers.count_end(node, step.state, forgiven=step.forgiven)
        elif node.is_kept:
            return
        elif step.state == "waiting":
            self._meet_waiting(node, step)
        elif step.state == "running":
            self._lanes.began(node)
        elif step.state == "interrupted" and not node.step.is_once:
            self._lanes.enqueue(node)

    def _meet_waiting(self, node: Node, step: StepFold) -> None:
        waits = step.waits
        assert waits is not None  # noqa: S101 - the fold of a waiting step says for what
        if waits.on == "steps":
            self.open_steps(node)
        elif waits.on == "items":
            self.open_items(node, waits.keys or (), decode_value(waits.items))
        elif waits.on == "event":
            self._listeners.add(node, waits.event, waits.key)
        elif waits.on == "run":
            count_alive(node, 1)


def _scope_of(level: Level, node: Node | None, prefix: str, order: tuple[int, ...]) -> Scope:
    """A scope of steps, to be filled."""
    if level.start:
        return Scope("states", node, level, prefix, order)
    scope = Scope("graph", node, level, prefix, order)
    scope.missing = _missing(level)
    return scope


def _missing(level: Level) -> list[int]:
    return [len(step.needs) for step in level.steps]
