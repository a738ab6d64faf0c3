"""Join rules: whether a step runs, given how the steps that it needs ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal

from statemachine_flow.model import TriggerRule

#: How a step that is at rest looks to those that need it; `forgiven` is the failure of an optional step.
End = Literal["completed", "failed", "forgiven", "skipped", "cancelled"]

#: Rules under which a step may run although a required step failed, so that a failure does not sweep it away.
TOLERANT: Final = frozenset[TriggerRule]({"all_done", "any_failed"})

_RULES: Final[Mapping[TriggerRule, Callable[[Collection[End]], bool]]] = {
    "all_success": lambda ends: all(end in ("completed", "forgiven") for end in ends),
    "none_failed": lambda ends: all(end in ("completed", "forgiven", "skipped") for end in ends),
    "all_done": lambda _: True,
    "any_success": lambda ends: not ends or any(end == "completed" for end in ends),
    "any_failed": lambda ends: any(end in ("failed", "forgiven") for end in ends),
}


def holds(rule: TriggerRule, ends: Collection[End]) -> bool:
    """Whether a step under `rule` runs once the steps it needs have ended like this.

    Example:
        >>> holds("none_failed", ["completed", "skipped"]), holds("all_success", ["completed", "skipped"])
        (True, False)
    """
    return _RULES[rule](ends)


def end_of(state: str, forgiven: bool) -> End:
    """How a step at rest looks to others."""
    return "forgiven" if forgiven and state == "failed" else state  # type: ignore[return-value]  # a state at rest
