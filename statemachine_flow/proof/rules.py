"""`Rules`: the tables and join rules that are judged, and what the language says they ought to do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, Final, final, get_args

import attrs

from statemachine_flow.lifecycle import RUN, STEP, Edge, Lifecycle
from statemachine_flow.model import TriggerRule
from statemachine_flow.plan.joins import TOLERANT, End, holds

#: How a step at rest looks to others; a set of ends is a number with the bits of their places here.
ENDS: Final[tuple[End, ...]] = ("completed", "failed", "forgiven", "skipped", "cancelled")
COMPLETED, FAILED, FORGIVEN, SKIPPED, CANCELLED = range(5)
#: Every set of ends.
END_SETS: Final = range(2 ** len(ENDS))

_TRIGGER_RULES: Final[tuple[TriggerRule, ...]] = get_args(TriggerRule)
#: What a step may wait for so that a failure does not sweep it away, as the language says.
WAITS_FOR_FAILURE: Final = ("all_done", "any_failed")


def ends_of(bits: int) -> tuple[End, ...]:
    """A set of ends by name."""
    return tuple(end for place, end in enumerate(ENDS) if bits >> place & 1)


def declared(rule: TriggerRule, ends: Collection[End]) -> bool:
    """What the language says about a join, written down a second time and in other words than `plan.joins`.

    Example:
        >>> declared("any_failed", ["forgiven"]), declared("any_failed", [])
        (True, False)
    """
    found = set(ends)
    match rule:
        case "all_success":
            return found.isdisjoint({"failed", "skipped", "cancelled"})
        case "none_failed":
            return found.isdisjoint({"failed", "cancelled"})
        case "any_success":
            return "completed" in found or not found
        case "any_failed":
            return not found.isdisjoint({"failed", "forgiven"})
        case _:
            return True


@final
@attrs.frozen(kw_only=True, slots=False, eq=False)
class Rules:
    """What is judged: by default what the engine goes by. Tests hand in altered ones to see them refuted.

    Args:
        run, step: the lifecycles.
        holds: the join rules; they may look at which ends there are, not at how many.
        tolerant: the join rules under which a step outlives a failure beside it.

    Example:
        >>> table = Rules().joins["any_success"]
        >>> table[0b00010], table[0b00011]
        ((False, False), (True, True))
    """

    run: Lifecycle = RUN
    step: Lifecycle = STEP
    holds: Callable[[TriggerRule, Collection[End]], bool] = holds
    tolerant: Collection[str] = TOLERANT

    @cached_property
    def joins(self) -> Mapping[str, tuple[tuple[bool, bool], ...]]:
        """Rule -> for every set of ends: whether the step runs, and whether it ought to."""
        return {
            rule: tuple((self.holds(rule, ends_of(bits)), declared(rule, ends_of(bits))) for bits in END_SETS)
            for rule in _TRIGGER_RULES
        }

    def alike(self, rules: frozenset[str]) -> tuple[int, ...]:
        """For each end the first one that none of these join rules can tell from it."""
        looks = [
            tuple(self.joins[rule][bits | 1 << end] for rule in sorted(rules) for bits in END_SETS) for end in range(5)
        ]
        return tuple(looks.index(look) for look in looks)

    def run_edge(self, state: str, trigger: str, cursor: Any) -> Edge | None:
        """The edge of the run's table that firing `trigger` would take now; None where it refuses."""
        for edge in self.run.edges:
            if edge.source == state and edge.trigger == trigger and (edge.guard is None or edge.guard(cursor)):
                return edge
        return None
