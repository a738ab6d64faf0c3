"""Which step begins next: ready steps stand in lanes, and a lane lets only so many be under way. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final, final

from statemachine_flow.journal import RunFold
from statemachine_flow.plan.nodes import Node

#: The lane of steps that take no place: they wait for something else.
_FREE: Final = "*"


@final
class Lanes:
    """The queues of one run; of several steps the first of the document begins.

    Args:
        limits: lane -> how many of its attempts may be under way at once; "" stands for all when it is there.
        fold: the run's fold; read, never changed.
    """

    def __init__(self, limits: dict[str, int], fold: RunFold) -> None:
        self._fold = fold
        self._limits = limits
        self._one_lane = "" in limits
        #: Lane -> steps that may start, by place in the document.
        self.ready: dict[str, list[tuple[tuple[int, ...], int, Node]]] = {_FREE: [], **{lane: [] for lane in limits}}
        #: Lane -> attempts under way.
        self.busy: dict[str, int] = dict.fromkeys(self.ready, 0)
        #: Steps whose join rule says skip, waiting for their record, by place in the document.
        self._skips: list[tuple[tuple[int, ...], int, Node]] = []
        self._serial = itertools.count()

    def lane(self, node: Node) -> str:
        """The queue a ready step waits in: one for all bodies when the workflow sets `max_parallel`, else by verb."""
        verb = node.step.verb
        if not verb.is_body or node.is_loop:
            return _FREE
        return "" if self._one_lane else verb.key

    def enqueue(self, node: Node) -> None:
        """Put a step in line for its next attempt, if it is not there already."""
        if not node.dead and not node.in_line:
            node.in_line = True
            heapq.heappush(self.ready[self.lane(node)], (node.order, next(self._serial), node))

    def next_ready(self, is_stopped: Callable[[Node], bool] | None) -> Node | None:
        """Take the next step that may start within its lane's limit; None when there is none.

        Args:
            is_stopped: tells which steps may not begin after all; None when all may.
        """
        best: list[Any] | None = None
        for lane, queue in self.ready.items():
            while queue and (queue[0][2].dead or (is_stopped is not None and is_stopped(queue[0][2]))):
                heapq.heappop(queue)[2].in_line = False
            is_free = lane == _FREE or self.busy[lane] < self._limits[lane]
            if queue and is_free and (best is None or queue[0] < best[0]):
                best = queue
        if best is None:
            return None
        node: Node = heapq.heappop(best)[2]
        node.in_line = False
        return node

    def waiting(self) -> Iterator[Node]:
        """What is in line."""
        return (node for queue in self.ready.values() for _, _, node in queue if not node.dead)

    def skip(self, node: Node) -> None:
        """Put a step in line to be skipped."""
        heapq.heappush(self._skips, (node.order, next(self._serial), node))

    def next_skip(self) -> Node | None:
        """Take the next step whose join rule says skip; None when there is none."""
        while self._skips:
            node = heapq.heappop(self._skips)[2]
            if not node.dead and self._fold.state_of(node.path) == "pending":
                return node
        return None

    def began(self, node: Node) -> None:
        """An attempt of a node takes a place in its lane."""
        self.busy[self.lane(node)] += 1
        count_alive(node, 1)

    def ended(self, node: Node) -> None:
        """An attempt of a node gives its place back."""
        self.busy[self.lane(node)] -= 1
        count_alive(node, -1)


def count_alive(node: Node, change: int) -> None:
    """Note in every scope around a node that an attempt or a child run of it began (1) or ended (-1)."""
    for scope in node.scopes():
        scope.alive += change
