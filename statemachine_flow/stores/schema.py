"""The SQL schema with its checks and triggers filled in from the lifecycle."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib.resources import files

from statemachine_flow.journal import KINDS
from statemachine_flow.lifecycle import RUN, STEP, Lifecycle


def schema_sql() -> str:
    """The statements that make an empty store.

    Example:
        >>> "WHEN 'paused' THEN (NEW.state = 'running' OR NEW.state = 'cancelling'" in schema_sql()
        True
    """
    names = {
        "kind_known": _any("kind", KINDS),
        "run_state_known": _any("state", RUN.states),
        "run_initial": RUN.states[0],
        "run_edge": _edge(RUN),
        "step_state_known": _any("state", STEP.states),
        "step_initial": STEP.states[0],
        "step_first": _any("NEW.state", _dests(STEP, STEP.states[0])),
        "step_edge": _edge(STEP),
    }
    text = files("statemachine_flow.stores").joinpath("sql/schema.sql").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: names[match[1]], text)


@functools.cache
def own_names() -> frozenset[str]:
    """The tables, indexes and triggers that belong to the store; whatever else a file holds belongs to its users.

    Example:
        >>> {"journal", "runs_by_state", "runs_edge"} <= own_names()
        True
    """
    return frozenset(re.findall(r"^CREATE (?:TABLE|INDEX|TRIGGER) (\w+)", schema_sql(), re.MULTILINE))


def _edge(lifecycle: Lifecycle) -> str:
    """True when a change of state is in the table."""
    sources = dict.fromkeys(edge.source for edge in lifecycle.edges)
    cases = (f"WHEN '{source}' THEN {_any('NEW.state', _dests(lifecycle, source))}" for source in sources)
    return f"CASE OLD.state {' '.join(cases)} ELSE 0 END"


def _dests(lifecycle: Lifecycle, source: str) -> list[str]:
    return [edge.dest for edge in lifecycle.edges if edge.source == source]


def _any(column: str, words: Iterable[str]) -> str:
    """True when the column holds one of the words.

    Written with OR: for IN with a list SQLite builds a temporary index each time a statement runs.
    """
    return f"({' OR '.join(f'{column} = {word!r}' for word in dict.fromkeys(words))})"
