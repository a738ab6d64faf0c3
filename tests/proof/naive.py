"""A graph level walked through the plain way: every order of every end, nothing left out and nothing put together.

Written without a look at `proof.graph`, so that the two can be held against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from statemachine_flow.model import Definition, Step
from statemachine_flow.plan.joins import holds

AT_REST = {"completed", "failed", "forgiven", "skipped", "cancelled"}
BEGUN = {"running", "completed", "failed", "forgiven"}


@attrs.frozen
class Level:
    states: tuple[str, ...]
    held: bool = False


@attrs.define
class Seen:
    begins: set[str] = attrs.field(factory=set)
    skips: set[str] = attrs.field(factory=set)
    ends: set[str] = attrs.field(factory=set)
    always: set[str] = attrs.field(factory=set)


class Walk:
    """Conditions are None, "inputs.x" for one that may say anything, and "1 > 2"; no step is retried."""

    def __init__(self, definition: Definition) -> None:
        self.steps = definition.steps
        self.goes_on = definition.continue_on_error
        self.index = {step.id: place for place, step in enumerate(self.steps)}
        self.seen = Seen()

    def is_tolerant(self, step: Step) -> bool:
        return step.trigger_rule in ("all_done", "any_failed")

    def stops(self, states: list[str] | tuple[str, ...]) -> bool:
        return "failed" in states and not self.goes_on

    def conclude(self, states: list[str]) -> Iterator[tuple[str, ...]]:
        for place, step in enumerate(self.steps):
            ends: Any = [states[self.index[need]] for need in step.needs]
            if states[place] != "pending" or not AT_REST.issuperset(ends):
                continue
            if not holds(step.trigger_rule, ends):
                choices = ["skipped"]
            elif self.stops(states) and not self.is_tolerant(step):
                continue
            elif step.when is None:
                choices = ["running"]
            elif step.when == "1 > 2":
                choices = ["skipped"]
            else:
                self.seen.begins.add(step.id)
                choices = ["running", "skipped", "forgiven" if step.optional else "failed"]
            for choice in choices:
                yield from self.conclude([*states[:place], choice, *states[place + 1 :]])
            return
        if self.stops(states) and "running" not in states:
            swept = [
                "cancelled" if state == "pending" and not self.is_tolerant(step) else state
                for state, step in zip(states, self.steps, strict=True)
            ]
            if swept != states:
                yield from self.conclude(swept)
                return
        yield tuple(states)

    def moves(self, level: Level) -> Iterator[Level]:
        for place, step in enumerate(self.steps):
            if level.states[place] == "running":
                for end in ("completed", "forgiven" if step.optional else "failed"):
                    states = [*level.states[:place], end, *level.states[place + 1 :]]
                    after = [tuple(states)] if level.held else self.conclude(states)
                    yield from (Level(found, held=level.held) for found in after)

    def outside(self, level: Level) -> Iterator[Level]:
        if level.held:
            yield from (Level(found) for found in self.conclude(list(level.states)))
        elif not AT_REST.issuperset(level.states):
            yield Level(level.states, held=True)

    def walk(self) -> Seen:
        first = [Level(states) for states in self.conclude(["pending"] * len(self.steps))]
        natural = self._reach(first, with_outside=False)
        ended = [level for level in natural if AT_REST.issuperset(level.states)]
        begun = [
            {step.id for step, state in zip(self.steps, level.states, strict=True) if state in BEGUN} for level in ended
        ]
        self.seen.always = set.intersection(*begun)
        for level in self._reach(first, with_outside=True):
            for step, state in zip(self.steps, level.states, strict=True):
                if state in BEGUN:
                    self.seen.begins.add(step.id)
                if state == "skipped":
                    self.seen.skips.add(step.id)
            if AT_REST.issuperset(level.states):
                self.seen.ends.add("failed" if "failed" in level.states else "completed")
        return self.seen

    def _reach(self, first: list[Level], *, with_outside: bool) -> set[Level]:
        known, queue = set(first), list(first)
        while queue:
            level = queue.pop()
            for found in (*self.moves(level), *(self.outside(level) if with_outside else ())):
                if found not in known:
                    known.add(found)
                    queue.append(found)
        return known
