"""Workflows as pictures in text: a tree for people, Mermaid for documents. Nothing recurses: chains may be long."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any, Final

import attrs

from statemachine_flow.cli.output import STATE_COLOURS, paint_state, sanitize
from statemachine_flow.model import Definition, Step

#: A state's colour -> what its box is filled with.
_FILLS: Final = {"green": "#c8e6c9", "red": "#ffcdd2", "blue": "#bbdefb", "yellow": "#fff9c4"}
#: Mermaid reads markup and entities in labels; these are written as its own numeric entities.
_MERMAID_SPECIAL: Final = re.compile(r"""[^A-Za-z0-9 _.,:()/=-]""")


@attrs.frozen
class Strokes:
    """What a tree is drawn with."""

    branch: str
    last: str
    line: str
    then: str


UNICODE: Final = Strokes("├─ ", "└─ ", "│  ", "↳ ")
ASCII: Final = Strokes("|- ", "`- ", "|  ", "> ")


def strokes_for(encoding: str | None) -> Strokes:
    """The strokes that a stream with that encoding can show."""
    try:
        "".join(attrs.astuple(UNICODE)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def graph_data(definition: Definition, states: Mapping[str, str] | None) -> dict[str, Any]:
    """Nodes and edges for `--json`.

    Args:
        definition: the workflow.
        states: step id -> state, for a run.
    """
    return {
        "workflow": definition.name,
        "nodes": [_node(step, states) for step in definition.steps],
        "edges": [{"from": need, "to": step.id} for step in definition.steps for need in step.needs],
    }


def _node(step: Step, states: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "id": step.id,
        "verb": step.verb.key,
        "optional": step.optional,
        "when": step.when,
        "state": None if states is None else states[step.id],
    }


def tree(definition: Definition, states: Mapping[str, str] | None, strokes: Strokes) -> str:
    """The workflow as a tree: each step once, below the need that comes last; other needs stand beside it.

    Steps that merely follow each other stand below each other, so that a long chain is a column and no staircase.

    Example:
        >>> from statemachine_flow.steps.call import Call
        >>> steps = [Step(id=id, verb=Call(call="f"), needs=tuple(needs)) for id, needs in
        ...     [("a", ""), ("b", "a"), ("c", "b"), ("d", "b"), ("e", "cd")]]
        >>> print(tree(Definition(name="five", steps=tuple(steps)), None, ASCII))
        a (call)
        > b (call)
        |- c (call)
        `- d (call)
           > e (call) after c, d
    """
    parents = _parents(definition)
    below: dict[str | None, list[Step]] = {}
    for step in definition.steps:
        below.setdefault(parents[step.id], []).append(step)
    lines = []
    # Each entry: a step, what stands before its own line, and before the lines below it.
    todo = [(step, "", "") for step in reversed(below.get(None, []))]
    while todo:
        step, before, behind = todo.pop()
        lines.append(before + _label(step, states))
        todo.extend(reversed(list(_children(below.get(step.id, []), behind, strokes))))
    return "\n".join(lines)


def _children(steps: list[Step], prefix: str, strokes: Strokes) -> Iterator[tuple[Step, str, str]]:
    if len(steps) == 1:
        yield steps[0], prefix + strokes.then, prefix
        return
    for step in steps[:-1]:
        yield step, prefix + strokes.branch, prefix + strokes.line
    for step in steps[-1:]:
        yield step, prefix + strokes.last, prefix + " " * len(strokes.last)


def _parents(definition: Definition) -> dict[str, str | None]:
    """Each step's need of the highest level, where a level is the number of steps before it."""
    needs = {step.id: step.needs for step in definition.steps}
    levels: dict[str, int] = {}
    parents: dict[str, str | None] = {}
    for step_id in TopologicalSorter(needs).static_order():
        # The last of several on one level, for that is the one drawn nearest.
        parent = max(reversed(needs[step_id]), key=levels.__getitem__, default=None)
        parents[step_id] = parent
        levels[step_id] = 0 if parent is None else levels[parent] + 1
    return parents


def _label(step: Step, states: Mapping[str, str] | None) -> str:
    parts = [f"{step.id} ({step.verb.key})"]
    if states is not None:
        parts.append(paint_state(states[step.id]))
    if step.optional:
        parts.append("optional")
    if len(step.needs) > 1:
        parts.append(f"after {', '.join(step.needs)}")
    if step.when is not None:
        parts.append(f"when {sanitize(step.when, 60)}")
    return " ".join(parts)


def mermaid(definition: Definition, states: Mapping[str, str] | None) -> str:
    """The workflow as a Mermaid flowchart.

    Example:
        >>> from statemachine_flow.steps.call import Call
        >>> steps = (Step(id="a", verb=Call(call="f")), Step(id="end", verb=Call(call="f"), needs=("a",)))
        >>> print(mermaid(Definition(name="two", steps=steps), None))
        flowchart TD
          s0["a (call)"]
          s1["end (call)"]
          s0 --> s1
    """
    # Numbers, for a step's own id may be a word of Mermaid's, such as `end`.
    names = {step.id: f"s{index}" for index, step in enumerate(definition.steps)}
    lines = ["flowchart TD"]
    for step in definition.steps:
        text, mark = f"{step.id} ({step.verb.key})", ""
        if states is not None:
            text, mark = f"{text} {states[step.id]}", f":::{states[step.id]}"
        lines.append(f'  {names[step.id]}["{_mermaid_text(text)}"]{mark}')
    lines += [f"  {names[need]} --> {names[step.id]}" for step in definition.steps for need in step.needs]
    for state in dict.fromkeys((states or {}).values()):
        if state in STATE_COLOURS:
            lines.append(f"  classDef {state} fill:{_FILLS[STATE_COLOURS[state]]}")
    return "\n".join(lines)


def _mermaid_text(text: str) -> str:
    return _MERMAID_SPECIAL.sub(lambda match: f"#{ord(match[0])};", text)
