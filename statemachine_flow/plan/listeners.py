"""Which steps wait for a signal, and which of them gets one that came. Pure."""

from __future__ import annotations

import bisect
from typing import final

from statemachine_flow.journal import RunFold
from statemachine_flow.plan.nodes import Node


@final
class Listeners:
    """The steps of one run that wait for signals.

    Args:
        fold: the run's fold; read, never changed.
    """

    def __init__(self, fold: RunFold) -> None:
        self._fold = fold
        #: Event and key -> nodes that wait for such a signal, in the order they began to.
        self._waiting: dict[tuple[str, str | None], list[Node]] = {}

    def add(self, node: Node, event: str, key: str | None) -> None:
        """A node waits for a signal."""
        waiting = self._waiting.setdefault((event, key), [])
        bisect.insort(waiting, node, key=lambda node: (self._fold.steps[node.path].started_at or 0, node.order))

    def take(self, event: str, key: str | None) -> Node | None:
        """Take the node that has waited longest for a signal; None when there is none."""
        waiting = self._waiting.get((event, key), [])
        while waiting:
            node = waiting.pop(0)
            step = self._fold.steps[node.path]
            waits = step.waits
            if (
                not node.dead
                and step.state == "waiting"
                and waits is not None
                and (waits.event, waits.key) == (event, key)
            ):
                return node
        return None
