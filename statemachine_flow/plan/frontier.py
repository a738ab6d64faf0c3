"""How far one run has come through its plan: open scopes, ready steps, and what coming to rest sets off. Pure.

Settling a step costs its number of dependents, opening a level its number of steps, so a whole run costs steps plus
edges. Nothing here decides about a step's life; the engine's decider asks for what is ready, skipped or over, records
what follows, and tells the frontier of it.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final, final

from statemachine_flow.journal import ErrorInfo, RunFold, StepFold
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.model import END
from statemachine_flow.plan.joins import End, end_of, holds
from statemachine_flow.plan.levels import Level, PlannedStep
from statemachine_flow.plan.nodes import Node, Scope, item_path
from statemachine_flow.values import decode_value

#: The lane of steps that take no place: they wait for something else.
_FREE: Final = "*"
#: Behind every step of the document.
_HANDLERS_FROM: Final = 1_000_000
#: Where handlers stand in the order of the document, in the order they are carried out.
HANDLERS: Final = {"@compensate": 0, "@on_failure": 1, "@finally": 2}


def _is_inside(node: Node, scope: Scope) -> bool:
    """Whether a node stands in a scope, at any depth."""
    current: Scope | None = node.scope
    while current is not None and current is not scope:
        current = current.node.scope if current.node is not None else None
    return current is scope


def _is_due(step: StepFold | None) -> bool:
    """Whether a step has still to begin, and waits for no time to do so."""
    return step is None or (step.state == "pending" and step.due is None)


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
        self.fold = fold
        self.goes_on = goes_on
        self.limits = limits
        self._one_lane = "" in limits
        self.nodes: dict[str, Node] = {}
        #: Steps whose join rule says skip, waiting for their record, by place in the document.
        self.skips: list[tuple[tuple[int, ...], int, Node]] = []
        #: lane -> steps that may start, by place in the document.
        self.ready: dict[str, list[tuple[tuple[int, ...], int, Node]]] = {_FREE: [], **{lane: [] for lane in limits}}
        #: lane -> attempts under way.
        self.busy: dict[str, int] = dict.fromkeys(self.ready, 0)
        #: Scopes whose members have all come to rest, to be concluded.
        self.over: list[Scope] = []
        #: Scopes in which something failed.
        self.stopping: list[Scope] = []
        #: Event and key -> nodes that wait for such a signal, in the order they began to.
        self.listeners: dict[tuple[str, str | None], list[Node]] = {}
        self._serial = itertools.count()
        self.root = self._new_scope("states" if level.start else "graph", None, level, "", ())
        #: Scopes of handlers, by their prefix without the slash.
        self.handlers: dict[str, Scope] = {}
        self.fill(self.root)

    # --- opening

    def _new_scope(
        self, kind: Any, node: Node | None, level: Level | None, prefix: str, order: tuple[int, ...]
    ) -> Scope:
        scope = Scope(kind, node, level, prefix, order)
        if kind == "graph" and level is not None:
            scope.missing = [len(step.needs) for step in level.steps]
        return scope

    def open_steps(self, node: Node) -> Scope:
        """Open the level of a group."""
        level = node.step.level
        assert level is not None  # noqa: S101 - only groups are opened so
        kind = "states" if level.start else "graph"
        scope = node.inner = self._new_scope(kind, node, level, node.path + "/", node.order)
        self.fill(scope)
        return scope

    def open_items(self, node: Node, keys: tuple[str, ...], items: list[Any]) -> Scope:
        """Open the items of a loop."""
        scope = node.inner = self._new_scope("items", node, None, node.path, node.order)
        scope.keys, scope.items = keys, items
        self.fill(scope)
        return scope

    def open_handlers(self, name: str, level: Level) -> Scope:
        """Open the steps that are carried out at the end of a run."""
        scope = self._new_scope("graph", None, level, name + "/", (_HANDLERS_FROM + HANDLERS[name],))
        scope.outer = self.root
        self.handlers[name] = scope
        self.fill(scope)
        return scope

    def open_queue(self, name: str, undone: Iterable[Node]) -> Scope:
        """Open compensations of completed steps, the first of which is undone first."""
        scope = self._new_scope("queue", None, None, name + "/", (_HANDLERS_FROM + HANDLERS[name],))
        scope.outer = self.root
        for place, reader in enumerate(undone):
            assert reader.step.compensate is not None  # noqa: S101 - only such steps are undone
            node = Node(scope.path(reader.path), reader.step.compensate, scope, (*scope.order, place))
            node.reader = reader
            scope.nodes[node.path] = self.nodes[node.path] = node
            scope.queue.append(node)
        self.handlers[name] = scope
        self.fill(scope)
        return scope

    def fill(self, scope: Scope) -> None:
        """Bring a scope in line with the fold: count what is at rest, offer what may begin, open what is under way."""
        scope.is_over = False
        getattr(self, f"_fill_{scope.kind}")(scope)
        if scope.failed and (scope.kind == "states" or (scope.kind == "graph" and not self.goes_on)):
            self._stop_if_news(scope)
        self._over_if_done(scope)

    def _stop_if_news(self, scope: Scope) -> None:
        """A failure from before the last retry of the run stops nothing any more; but a token stays where it is."""
        if scope.kind == "states":
            self._stop(scope)
            return
        failed = (self.fold.steps[path] for path in self._known(scope))
        if any(
            step.state == "failed" and not step.forgiven and step.ended_seq > self.fold.retry_seq for step in failed
        ):
            self._stop(scope)

    def _known(self, scope: Scope) -> Iterator[str]:
        assert scope.level is not None  # noqa: S101 - graphs and states have one
        for step in scope.level.steps:
            path = scope.path(step.id)
            if path in self.fold.steps:
                yield path

    def _fill_graph(self, scope: Scope) -> None:
        level, fold = scope.level, self.fold.steps
        assert level is not None  # noqa: S101 - a graph has one
        scope.open = len(level.steps)
        known: list[tuple[PlannedStep, StepFold]] = []
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
        for planned in level.steps:
            if not planned.needs:
                self._offer(scope, planned)
        for planned, step_fold in known:
            self._meet(self.node(scope, planned), step_fold)

    def _meet(self, node: Node, step: StepFold) -> None:
        """Take in a step of which the fold knows something."""
        if step.state in STEP_AT_REST:
            self._count_end(node, step.state, step.forgiven)
        elif node.is_kept:
            return
        elif step.state == "waiting":
            self._meet_waiting(node, step)
        elif step.state == "running":
            self.began(node)
        elif step.state == "interrupted" and not node.step.is_once:
            self.enqueue(node)

    def _meet_waiting(self, node: Node, step: StepFold) -> None:
        waits = step.waits
        assert waits is not None  # noqa: S101 - the fold of a waiting step says for what
        if waits.on == "steps":
            self.open_steps(node)
        elif waits.on == "items":
            self.open_items(node, waits.keys or (), decode_value(waits.items))
        elif waits.on == "event":
            self.listen(node, waits.event, waits.key)
        elif waits.on == "run":
            self._count_alive(node, 1)

    def _fill_states(self, scope: Scope) -> None:
        level = scope.level
        assert level is not None  # noqa: S101 - states have one
        assert level.start is not None  # noqa: S101 - as above
        scope.open = len(level.steps)
        for planned in level.steps:
            step_fold = self.fold.steps.get(scope.path(planned.id))
            if step_fold is not None and step_fold.state in STEP_AT_REST:
                node = self.node(scope, planned)
                scope.open -= 1
                scope.failed += step_fold.state == "failed" and not step_fold.forgiven
        scope.state = self.fold.tokens.get(scope.prefix[:-1], level.start)
        if scope.state == END:
            return
        node = self.node(scope, level[scope.state])
        step_fold = self.fold.steps.get(node.path)
        if step_fold is None or _is_due(step_fold):
            self.enqueue(node)
        elif step_fold.state not in STEP_AT_REST:
            self._meet(node, step_fold)

    def _fill_items(self, scope: Scope) -> None:
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        scope.open, scope.failed, scope.active, scope.next_item = len(scope.keys), 0, 0, 0
        news = 0
        for place, key in enumerate(scope.keys):
            step_fold = self.fold.steps.get(item_path(holder.path, key))
            if step_fold is None or _is_due(step_fold):
                continue
            node = self.item(scope, place)
            if step_fold.state in STEP_AT_REST:
                scope.open -= 1
                if step_fold.state == "failed":
                    scope.failed += 1
                    news += step_fold.ended_seq > self.fold.retry_seq
            elif step_fold.state in ("backing_off", "pending"):
                continue  # it takes no place while it waits for its time
            else:
                scope.active += 1
                self._meet(node, step_fold)
        if news and scope.failed > self.allowance(scope):
            self._stop(scope)
        self._offer_items(scope)

    def _fill_queue(self, scope: Scope) -> None:
        scope.open = len(scope.queue)
        for node in scope.queue:
            step_fold = self.fold.steps.get(node.path)
            if step_fold is None or step_fold.state == "pending":
                continue
            if step_fold.state in STEP_AT_REST:
                scope.open -= 1
            else:
                self._meet(node, step_fold)
                return
        self._offer_queue(scope)

    def reopen(self, scope: Scope) -> None:
        """Build a scope anew after some of its steps were reset; what is under way in it stays as it is.

        What was in line is in line no more: whoever calls this sets the timers again.
        """
        kept: dict[str, Node] = {}
        for path, node in scope.nodes.items():
            if self.fold.state_of(path) in ("running", "waiting"):
                kept[path] = node
                node.is_kept = True
            else:
                self._bury(node)
        scope.nodes = kept
        scope.failed, scope.blocked, scope.queue = 0, {}, []
        if scope.stopping and scope.end is None:
            scope.stopping = False
            self.stopping.remove(scope)
        if scope.level is not None:
            scope.missing = [len(step.needs) for step in scope.level.steps]
        self.fill(scope)
        for node in kept.values():
            node.is_kept = False
            if node.inner is not None:  # what a failure kept from beginning there may begin now
                self.reopen(node.inner)

    def _bury(self, node: Node) -> None:
        node.dead = True
        self.nodes.pop(node.path, None)
        self.close(node)

    def close(self, node: Node) -> None:
        """Forget what was open inside a node."""
        inner, node.inner = node.inner, None
        if inner is None:
            return
        inner.is_over = True
        if inner in self.stopping:
            self.stopping.remove(inner)
        for member in inner.nodes.values():
            self._bury(member)

    # --- nodes

    def node(self, scope: Scope, step: PlannedStep) -> Node:
        """The node of a step of a scope's level."""
        path = scope.prefix + step.id
        node = scope.nodes.get(path)
        if node is None:
            node = Node(path, step, scope, (*scope.order, step.index))
            scope.nodes[path] = self.nodes[path] = node
        return node

    def item(self, scope: Scope, place: int) -> Node:
        """The node of an item of a loop."""
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        path = item_path(holder.path, scope.keys[place])
        node = scope.nodes.get(path)
        if node is None:
            node = Node(path, holder.step, scope, (*scope.order, place), place)
            scope.nodes[path] = self.nodes[path] = node
        return node

    # --- offering

    def _offer(self, scope: Scope, step: PlannedStep) -> None:
        """The needs of a step are at rest: it runs or is skipped."""
        if not _is_due(self.fold.steps.get(scope.prefix + step.id)):
            return
        node = self.node(scope, step)
        if step.step.trigger_rule == "all_success":
            runs = step.index not in scope.blocked
        else:
            runs = holds(step.step.trigger_rule, self.ends(node))
        if runs:
            self.enqueue(node)
        else:
            heapq.heappush(self.skips, (node.order, next(self._serial), node))

    def ends(self, node: Node) -> list[End]:
        """How the steps that a node needs ended."""
        level, scope = node.scope.level, node.scope
        assert level is not None  # noqa: S101 - only steps of a level have needs
        folds = (self.fold.steps[scope.path(level.steps[need].id)] for need in node.step.needs)
        return [end_of(step.state, step.forgiven) for step in folds]

    def enqueue(self, node: Node) -> None:
        """Put a step in line for its next attempt, if it is not there already."""
        if not node.dead and not node.in_line:
            node.in_line = True
            heapq.heappush(self.ready[self.lane(node)], (node.order, next(self._serial), node))

    def lane(self, node: Node) -> str:
        """The queue a ready step waits in: one for all bodies when the workflow sets `max_parallel`, else by verb."""
        verb = node.step.verb
        if not verb.is_body or node.is_loop:
            return _FREE
        return "" if self._one_lane else verb.key

    def next_ready(self) -> Node | None:
        """Take the next step that may start within its lane's limit; None when there is none."""
        best: list[Any] | None = None
        for lane, queue in self.ready.items():
            while queue and (queue[0][2].dead or (self.stopping and self.is_stopped(queue[0][2]))):
                heapq.heappop(queue)[2].in_line = False
            is_free = lane == _FREE or self.busy[lane] < self.limits[lane]
            if queue and is_free and (best is None or queue[0] < best[0]):
                best = queue
        if best is None:
            return None
        node: Node = heapq.heappop(best)[2]
        node.in_line = False
        return node

    def next_skip(self) -> Node | None:
        """Take the next step whose join rule says skip; None when there is none."""
        while self.skips:
            node = heapq.heappop(self.skips)[2]
            if not node.dead and self.fold.state_of(node.path) == "pending":
                return node
        return None

    def _offer_items(self, scope: Scope) -> None:
        holder = scope.node
        assert holder is not None  # noqa: S101 - items belong to a loop
        each = holder.step.step.for_each
        limit = (each.max_parallel if each is not None else None) or len(scope.keys)
        while scope.active < limit and scope.queue:
            node = scope.queue.pop(0)
            node.in_line = False
            scope.active += 1
            self.enqueue(node)
        while scope.active < limit and scope.next_item < len(scope.keys) and not scope.stopping:
            place = scope.next_item
            scope.next_item += 1
            if _is_due(self.fold.steps.get(item_path(holder.path, scope.keys[place]))):
                node = self.item(scope, place)
                if not node.in_line:  # for its next round
                    scope.active += 1
                    self.enqueue(node)

    def rests(self, node: Node) -> None:
        """A node goes on later: of a loop, another item may take its place."""
        if node.place >= 0:
            node.scope.active -= 1
            self._offer_items(node.scope)

    def goes_on_with(self, node: Node) -> None:
        """The time of a node that rested has come: of a loop, it needs a place again."""
        if node.place < 0:
            self.enqueue(node)
            return
        if not node.in_line:
            node.in_line = True
            bisect.insort(node.scope.queue, node, key=lambda waiting: waiting.place)
            self._offer_items(node.scope)

    def _offer_queue(self, scope: Scope) -> None:
        while scope.next_item < len(scope.queue):
            node = scope.queue[scope.next_item]
            if self.fold.state_of(node.path) not in STEP_AT_REST:
                self.enqueue(node)
                return
            scope.next_item += 1

    def listen(self, node: Node, event: str, key: str | None) -> None:
        """A node waits for a signal."""
        waiting = self.listeners.setdefault((event, key), [])
        bisect.insort(waiting, node, key=lambda node: (self.fold.steps[node.path].started_at or 0, node.order))

    def listener(self, event: str, key: str | None) -> Node | None:
        """Take the node that has waited longest for a signal; None when there is none."""
        waiting = self.listeners.get((event, key), [])
        while waiting:
            node = waiting.pop(0)
            step = self.fold.steps[node.path]
            waits = step.waits
            if (
                not node.dead
                and step.state == "waiting"
                and waits is not None
                and (waits.event, waits.key) == (event, key)
            ):
                return node
        return None

    # --- what happened

    def began(self, node: Node) -> None:
        """An attempt of a node takes a place in its lane."""
        self.busy[self.lane(node)] += 1
        self._count_alive(node, 1)

    def ended(self, node: Node) -> None:
        """An attempt of a node gives its place back."""
        self.busy[self.lane(node)] -= 1
        self._count_alive(node, -1)

    def child_began(self, node: Node) -> None:
        """A child run is under way."""
        self._count_alive(node, 1)

    def child_ended(self, node: Node) -> None:
        """A child run has come to rest."""
        self._count_alive(node, -1)

    @staticmethod
    def _count_alive(node: Node, change: int) -> None:
        scope: Scope | None = node.scope
        while scope is not None:
            scope.alive += change
            scope = scope.node.scope if scope.node is not None else None

    def settle(self, node: Node, state: str, *, forgiven: bool, target: str | None = None) -> None:
        """A node came to rest: count it, and offer what that decides.

        Args:
            node: the node.
            state: the state it is at rest in.
            forgiven: whether it failed and is optional.
            target: in a level of states, where the token goes.
        """
        self._count_end(node, state, forgiven)
        scope = node.scope
        if state == "failed" and not forgiven and self._stops(scope):
            self._stop(scope)
        if scope.kind == "states":
            self._move_token(scope, target)
        elif scope.kind == "items":
            scope.active -= 1
            self._offer_items(scope)
        elif scope.kind == "queue":
            self._offer_queue(scope)
        self._over_if_done(scope)

    def _stops(self, scope: Scope) -> bool:
        """Whether a required failure lets nothing more begin in a scope."""
        if scope.kind == "items":
            return scope.failed > self.allowance(scope)
        # A token has nowhere to go from a failed step, whatever the workflow says about errors.
        return scope.kind == "states" or (scope.kind == "graph" and not self.goes_on)

    def _count_end(self, node: Node, state: str, forgiven: bool) -> None:
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
                self._offer(scope, scope.level.steps[index])

    def _move_token(self, scope: Scope, target: str | None) -> None:
        if target is None or scope.level is None or scope.level.routes is None:
            return
        scope.level.routes.fire(scope, target)
        if target != END:
            node = self.node(scope, scope.level[target])
            if self.fold.state_of(node.path) == "pending":  # else it is reset first, see `came_again`
                self.enqueue(node)

    def came_again(self, node: Node) -> None:
        """A step of a level of states was reset, for the token has come to it again."""
        node.scope.open += 1
        node.scope.is_over = False
        self.close(node)
        self.enqueue(node)

    def allowance(self, scope: Scope) -> int:
        """How many items of a loop may fail."""
        holder = scope.node
        each = holder.step.step.for_each if holder is not None else None
        most = each.max_failures if each is not None else 0
        if isinstance(most, int):
            return most
        return int(len(scope.keys) * float(most.rstrip("%")) / 100 + 1e-9)

    def _stop(self, scope: Scope) -> None:
        if not scope.stopping:
            scope.stopping = True
            self.stopping.append(scope)

    def give_up(self, scope: Scope, error: ErrorInfo) -> None:
        """Let nothing begin in a scope any more, tolerant steps included."""
        scope.end = scope.end or error
        scope.is_over = False
        self._stop(scope)
        self._over_if_done(scope)

    def is_stopped(self, node: Node) -> bool:
        """Whether a node may not begin because something around it failed.

        An attempt that was under way then and was cut off is begun again, so that a death changes nothing.
        """
        was_under_way = self.fold.state_of(node.path) == "interrupted"
        tolerant = node.step.tolerant and node.place < 0
        scope: Scope | None = node.scope
        while scope is not None:
            if scope.stopping and (scope.end is not None or not (tolerant or was_under_way)):
                return True
            holder = scope.node
            if holder is None:
                return False
            tolerant = holder.step.tolerant and holder.place < 0
            scope = holder.scope
        return False

    @staticmethod
    def is_given_up(node: Node) -> bool:
        """Whether something around a node was told to end."""
        scope: Scope | None = node.scope
        while scope is not None and scope.end is None:
            scope = scope.node.scope if scope.node is not None else None
        return scope is not None

    def to_sweep(self) -> list[Node] | None:
        """What is to be cancelled in the outermost stopping scope in which nothing is under way."""
        for scope in sorted(self.stopping, key=lambda scope: len(scope.order)):
            if scope.alive == 0 and scope.open and not self._may_begin_in(scope):
                swept = [
                    node for node in self.open_members(scope) if scope.end is not None or not self._tolerates(node)
                ]
                if swept and (scope.end is not None or not any(map(self._is_uncertain, swept))):
                    return swept
        return None

    def _is_uncertain(self, node: Node) -> bool:
        """Whether it is still to be found out what became of an attempt of a node, or of one inside it."""
        if self.fold.state_of(node.path) == "interrupted":
            return node.step.is_once
        return node.inner is not None and any(map(self._is_uncertain, node.inner.nodes.values()))

    def _may_begin_in(self, scope: Scope) -> bool:
        """Whether something is in line inside a stopping scope: tolerant, or cut off when it was under way."""
        if scope.end is not None:
            return False
        waiting = (node for queue in self.ready.values() for _, _, node in queue if not node.dead)
        return any(_is_inside(node, scope) and not self.is_stopped(node) for node in waiting)

    @staticmethod
    def _tolerates(node: Node) -> bool:
        return node.step.tolerant and node.place < 0

    def open_members(self, scope: Scope) -> Iterator[Node]:
        """Members of a scope that are not at rest, in the order of the document."""
        if scope.kind == "items":
            for place in range(len(scope.keys)):
                node = self.item(scope, place)
                if self.fold.state_of(node.path) not in STEP_AT_REST:
                    yield node
        elif scope.level is not None:
            for step in scope.level.steps:
                if self.fold.state_of(scope.path(step.id)) not in STEP_AT_REST:
                    yield self.node(scope, step)
        else:
            yield from (node for node in scope.queue if self.fold.state_of(node.path) not in STEP_AT_REST)

    def _over_if_done(self, scope: Scope) -> None:
        if scope.is_over:
            return
        if scope.kind == "states" and scope.state == END:
            is_done = True
        else:  # a token that goes back finds every step at rest, too
            is_done = scope.open == 0 and (scope.kind != "states" or scope.stopping)
        if is_done:
            scope.is_over = True
            self.over.append(scope)
