"""Prints `dsl/lifecycle.md`: the diagrams and tables of the lifecycle, drawn from the table in `lifecycle`.

`python -m statemachine_flow.lifecycle_doc > dsl/lifecycle.md` renews the file; a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from statemachine_flow.lifecycle import ALIASES, RUN, STEP, STEP_AT_REST, Edge, Lifecycle

_HEAD = """\
# Lifecycle

Every state a run or a step can be in, and every change between states that is legal. Printed from
`statemachine_flow/lifecycle.py`; `python -m statemachine_flow.lifecycle_doc > dsl/lifecycle.md` renews it.

A trigger fired in a state that it has no row for is refused, and so is one whose guard does not hold; the state stays
as it was. The kind of a journal record is `<machine>.<trigger>`, such as `step.complete`.
"""

_RUN = """\
A run begins `{initial}` and ends {terminal}; nothing leaves these. A
`failed` run is at rest as well: it stays so unless somebody retries, cancels or quarantines it.
"""

_STEP = """\
A step begins `{initial}` and is at rest when it is {at_rest}. Only `reset` takes
it out of these, and only while its run is `running`.
"""

_ALIASES = """\
Words that earlier systems had for the state of a run, and the state that stands for them. A run that waits for a person
is `running`, with a step that is `waiting`.
"""


def document() -> str:
    """The text of `dsl/lifecycle.md`.

    Example:
        >>> print(document())
        # Lifecycle
        ...
        stateDiagram-v2
            [*] --> pending
            pending --> running: start
        ...
    """
    run = _RUN.format(initial=RUN.states[0], terminal=_series(_in_order(RUN, RUN.terminal)))
    step = _STEP.format(initial=STEP.states[0], at_rest=_series(_in_order(STEP, STEP_AT_REST)))
    words: dict[str, list[str]] = {}
    for alias, state in ALIASES.items():
        words.setdefault(state, []).append(alias)
    aliases = _table(("state", "earlier words"), ((_code(state), _list(words[state])) for state in words))
    parts = (_HEAD, "## Run\n", run, *_sections(RUN), "## Step\n", step, *_sections(STEP))
    return "\n".join((*parts, "## Earlier words\n", _ALIASES, aliases))


def _sections(lifecycle: Lifecycle) -> Iterator[str]:
    """The diagram, the changes, and what each state allows."""
    yield _diagram(lifecycle)
    yield _table(("trigger", "from → to", "why", "guard"), _changes(lifecycle))
    allowed = ((_code(state), _list(lifecycle.allowed(state)) or "nothing") for state in lifecycle.states)
    yield _table(("state", "allowed triggers"), allowed)


def _diagram(lifecycle: Lifecycle) -> str:
    lines = [f"[*] --> {lifecycle.states[0]}"]
    lines += [f"{edge.source} --> {edge.dest}: {edge.trigger}" for edge in lifecycle.edges]
    lines += [f"{state} --> [*]" for state in _in_order(lifecycle, lifecycle.terminal)]
    return "".join(f"{line}\n" for line in ("```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"))


def _changes(lifecycle: Lifecycle) -> Iterator[Sequence[str]]:
    """One row for all the edges that differ in their source alone."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for edge in lifecycle.edges:
        rows.setdefault((edge.trigger, edge.dest, edge.why, _guard(edge)), []).append(edge.source)
    for (trigger, dest, why, guard), sources in rows.items():
        yield _code(trigger), f"{_list(sources)} → {_code(dest)}", why, guard


def _guard(edge: Edge) -> str:
    return "" if edge.guard is None else (edge.guard.__doc__ or "").rstrip(".").lower()


def _in_order(lifecycle: Lifecycle, states: Iterable[str]) -> list[str]:
    wanted = set(states)
    return [state for state in lifecycle.states if state in wanted]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (heads, ["---"] * len(heads), *rows))


def _code(word: str) -> str:
    return f"`{word}`"


def _list(words: Iterable[str]) -> str:
    return ", ".join(map(_code, words))


def _series(words: Sequence[str]) -> str:
    return f"{_list(words[:-1])} or {_code(words[-1])}"


if __name__ == "__main__":
    sys.stdout.write(document())
