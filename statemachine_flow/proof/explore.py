"""Every configuration of a level, one by one: what is reachable, what can still end, what must have begun. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.graph import Moves
from statemachine_flow.proof.report import Trace


class Model(Protocol):
    """A level as configurations and moves."""

    noted: list[tuple[str, Moves]]

    def initial(self) -> list[tuple[Moves, Any]]:
        """How it begins."""

    def successors(self, config: Any) -> Iterator[tuple[Moves, Any, bool]]:
        """Moves, what they lead to, whether they come from outside."""

    def end(self, config: Any) -> str | None:
        """How it ended, if it did."""

    def is_held(self, config: Any) -> bool:
        """Whether an operator has to let it go on."""

    def is_hurt(self, config: Any) -> bool:
        """Whether a required step failed."""


#: Moves -> what a journal would list.
Render = Callable[[Moves], Iterable[str]]


class _Search:
    """A breadth-first search, so that the first way to a configuration is a shortest one."""

    def __init__(self, model: Model, render: Render) -> None:
        self.model = model
        self.render = render
        self.configs: list[Any] = []
        self._known: dict[Any, int] = {}
        #: From where each was found first, and by which moves.
        self._found: list[tuple[int, Moves]] = []
        #: Source, destination, steps that begin as bits, whether it comes from outside.
        self.edges: list[tuple[int, int, int, bool]] = []
        self.findings = Findings()

    def run(self, steps: int, limit: int) -> bool:
        """Look at everything; False if there is more than the limit."""
        for moves, config in self.model.initial():
            self._reach(-1, moves, config, is_outside=False)
        self._note(-1)
        # A move costs the more, the more steps there are.
        most_edges = 64 * limit // max(16, steps)
        place = 0
        while place < len(self.configs):
            for moves, config, is_outside in self.model.successors(self.configs[place]):
                self._reach(place, moves, config, is_outside=is_outside)
            if self.model.noted:
                self._note(place)
            place += 1
            if len(self.configs) > limit or len(self.edges) > most_edges:
                return False
        self.findings.configurations = len(self.configs)
        return True

    def _reach(self, source: int, moves: Moves, config: Any, *, is_outside: bool) -> None:
        target = self._known.get(config)
        begun = 0
        for number, (trigger, step) in enumerate(moves):
            if trigger == "start":
                begun |= 1 << step
                if step not in self.findings.begins:
                    self.findings.begins[step] = self._trace(source, moves[: number + 1])
            elif trigger == "skip":
                self.findings.skips.add(step)
        if target is None:
            target = self._known[config] = len(self.configs)
            self.configs.append(config)
            self._found.append((source, moves))
            self._meet(target, config)
        self.edges.append((source, target, begun, is_outside))

    def _meet(self, place: int, config: Any) -> None:
        end = self.model.end(config)
        if end is not None and end not in self.findings.ends:
            self.findings.ends[end] = self.trace(place)
        if self.findings.hurt is None and self.model.is_hurt(config):
            self.findings.hurt = self.trace(place)

    def _note(self, place: int) -> None:
        for name, moves in self.model.noted:
            if name not in self.findings.broken:
                *before, last = self._trace(place, moves)
                self.findings.broken[name] = (*before, f"{last} (refused)" if name == "legal" else last)
        self.model.noted.clear()

    def trace(self, place: int) -> Trace:
        """How a configuration is come to."""
        return self._trace(place, ())

    def _trace(self, place: int, last: Moves) -> Trace:
        parts = [last]
        while place >= 0:
            place, moves = self._found[place]
            parts.append(moves)
        return tuple(self.render(tuple(move for moves in reversed(parts) for move in moves)))


def explore(model: Model, render: Render, steps: int, limit: int, *, can_be_cut: bool) -> Findings | None:
    """Look at every configuration.

    Args:
        model: the level.
        render: moves as a journal would list them.
        steps: how many steps it has.
        limit: how many configurations are looked at.
        can_be_cut: whether something that is no operator may end the level from outside.

    Returns:
        What was found; None if there are more configurations than the limit.
    """
    search = _Search(model, render)
    if not search.run(steps, limit):
        return None
    findings = search.findings
    _find_stuck(search)
    must = _must_have_begun(search, steps, with_cuts=can_be_cut)
    findings.always = {place for place in range(steps) if must >> place & 1}
    return findings


def _find_stuck(search: _Search) -> None:
    """The first configuration from which the level cannot end, if there is one; one that is held does not count."""
    back: list[list[int]] = [[] for _ in search.configs]
    for source, target, _, is_outside in search.edges:
        if source >= 0 and not is_outside:
            back[target].append(source)
    model = search.model
    queue = [place for place, config in enumerate(search.configs) if model.end(config) or model.is_held(config)]
    can_end = bytearray(len(search.configs))
    for place in queue:
        can_end[place] = 1
    while queue:
        for source in back[queue.pop()]:
            if not can_end[source]:
                can_end[source] = 1
                queue.append(source)
    stuck = can_end.find(0)
    if stuck >= 0:
        search.findings.broken["rests"] = search.trace(stuck)
    elif not search.configs:
        search.findings.broken["rests"] = ()


def _must_have_begun(search: _Search, steps: int, *, with_cuts: bool) -> int:
    """Steps that begin on every way to an end, as bits: what all ways into a configuration have in common."""
    everything = (1 << steps) - 1
    forth: list[list[tuple[int, int]]] = [[] for _ in search.configs]
    must = [-1] * len(search.configs)  # -1: not come to
    queue: deque[int] = deque()
    for source, target, begun, is_outside in search.edges:
        if source < 0:
            must[target] = begun if must[target] < 0 else must[target] & begun
            queue.append(target)
        elif with_cuts or not is_outside:
            forth[source].append((target, begun))
    while queue:
        place = queue.popleft()
        for target, begun in forth[place]:
            common = must[place] | begun
            if must[target] >= 0:
                common &= must[target]
            if common != must[target]:
                must[target] = common
                queue.append(target)
    for place, config in enumerate(search.configs):
        if must[place] >= 0 and search.model.end(config):
            everything &= must[place]
    return everything
