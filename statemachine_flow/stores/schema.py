"""The SQL schema with its checks and triggers filled in from the lifecycle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

from statemachine_flow.journal import KINDS
from statemachine_flow.lifecycle import RUN, STEP, Lifecycle


def schema_sql() -> str:
    """The statements that make an empty store.

    Example:
        >>> "'running>paused'" in schema_sql()
        True
    """
    names = {
        "record_kinds": _quoted(KINDS),
        "run_states": _quoted(RUN.states),
        "run_initial": RUN.states[0],
        "run_edges": _quoted(_pairs(RUN)),
        "step_states": _quoted(STEP.states),
        "step_initial": STEP.states[0],
        "step_edges": _quoted(_pairs(STEP)),
        "step_first": _quoted(edge.dest for edge in STEP.edges if edge.source == STEP.states[0]),
    }
    text = files("statemachine_flow.stores").joinpath("sql/schema.sql").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: names[match[1]], text)


def _pairs(lifecycle: Lifecycle) -> list[str]:
    return [f"{edge.source}>{edge.dest}" for edge in lifecycle.edges]


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in dict.fromkeys(words))
