"""The graph that `needs` describes: what is wrong with it, its circles, and who comes before whom. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import final

from statemachine_flow.model import Step


@final
class Graph:
    """Steps by index, in the order of the document.

    Args:
        steps: needs of steps that do not exist, and of a step on itself, are left out.

    Example:
        >>> from statemachine_flow.model import Verb
        >>> needs = {"a": (), "b": ("a",), "c": ("b",)}
        >>> graph = Graph([Step(id=step_id, verb=Verb(), needs=needs[step_id]) for step_id in needs])
        >>> graph.is_before("a", "c"), graph.is_before("c", "a"), list(graph.cycles())
        (True, False, [])
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        #: Id -> place in the document.
        self.index = {step.id: index for index, step in enumerate(steps)}
        self._ids = [step.id for step in steps]
        index = self.index
        self._needs = [[index[need] for need in step.needs if need in index and need != step.id] for step in steps]
        #: Whether every step stands below those it needs, as in most documents; then there is no circle.
        self._is_ordered = all(need < index for index, needs in enumerate(self._needs) for need in needs)

    def cycles(self) -> Iterator[list[str]]:
        """Circles, each as the ids on it: each needs the next, the last needs the first.

        A circle begins with the step that comes first in the document. Of circles that share steps one is told.
        """
        if self._is_ordered:
            return
        graph = dict(enumerate(self._needs))
        while True:
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                # The library lists a step before those that need it, and the first one again at the end.
                circle = error.args[1][:0:-1]
                first = circle.index(min(circle))
                circle = circle[first:] + circle[:first]
                yield [self._ids[index] for index in circle]
                for index in circle:
                    del graph[index]
                graph = {index: [need for need in needs if need in graph] for index, needs in graph.items()}
            else:
                return

    def is_before(self, earlier: str, later: str) -> bool:
        """Whether `later` needs `earlier`, directly or through others; the graph has no circle."""
        before, after = self.index[earlier], self.index[later]
        return before in self._needs[after] or bool(self._ancestors[after] >> before & 1)

    def order(self) -> Iterable[int]:
        """Places of all steps, each behind those it needs; the graph has no circle."""
        if self._is_ordered:
            return range(len(self._needs))
        return TopologicalSorter(dict(enumerate(self._needs))).static_order()

    @cached_property
    def _ancestors(self) -> list[int]:
        """Per step the set of all steps before it, as the bits of a number."""
        ancestors = [0] * len(self._needs)
        for index in self.order():
            bits = 0
            for need in self._needs[index]:
                bits |= ancestors[need] | 1 << need
            ancestors[index] = bits
        return ancestors
