"""A picture in the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from statemachine_flow.views.escape import sanitize
from statemachine_flow.views.looks import LINE, PLAIN, TEXT, fill, is_dashed, title
from statemachine_flow.views.picture import Arrow, Level, Node, Picture

_SHAPES: Final = {
    "approval": "hexagon",
    "wait": "oval",
    "workflow": "component",
    "start": "point",
    "end": "doublecircle",
}


def dot(picture: Picture) -> str:
    """The workflow as a directed graph; groups are clusters.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps.call import Call
        >>> from statemachine_flow.views.picture import picture_of
        >>> steps = (Step(id="a", verb=Call(call="f")), Step(id="b", verb=Call(call="f"), needs=("a",)))
        >>> print(dot(picture_of(Definition(name="two", steps=steps))))
        digraph "two" {
          ...
          n0 [label="a (call)"];
          n1 [label="b (call)"];
          n0 -> n1;
        }
    """
    names = {node.path: f"n{index}" for index, (_, node) in enumerate(picture.nodes())}
    lines = [
        f"digraph {_quoted(picture.name)} {{",
        '  compound=true; rankdir=TB; fontname="sans-serif";',
        f'  node [shape=box style="rounded,filled" fillcolor="{PLAIN}" color="{LINE}" fontcolor="{TEXT}"];',
        '  node [fontname="sans-serif" fontsize=11];',
        f'  edge [color="{LINE}" fontcolor="{TEXT}" fontname="sans-serif" fontsize=9];',
        *_level(picture.steps, names, "  "),
    ]
    for level in picture.handlers:
        lines.append(f"  subgraph cluster_{level.name} {{")
        lines.append(f"    label={_quoted(level.name)}; style=dashed;")
        lines += [*_level(level, names, "    "), "  }"]
    return "\n".join([*lines, "}"])


def _level(level: Level, names: dict[str, str], indent: str) -> Iterator[str]:
    for node in level.nodes:
        if node.inside is None:
            yield f"{indent}{names[node.path]} [{_attributes(level, node)}];"
        else:
            yield from _cluster(level, node, names, indent)
    for arrow in level.arrows:
        yield f"{indent}{_arrow(arrow, level, names)};"


def _cluster(level: Level, node: Node, names: dict[str, str], indent: str) -> Iterator[str]:
    """A group: its label is a node of its own, for arrows lead from node to node."""
    name = names[node.path]
    yield f"{indent}subgraph cluster_{name} {{"
    line = "dashed" if is_dashed(level, node) else "solid"
    yield f'{indent}  style="rounded,filled,{line}"; color="{LINE}"; fillcolor="{fill(node) or "#ffffff"}";'
    yield f"{indent}  {name} [label={_quoted(_words(node))} shape=plaintext style=solid];"
    if node.inside is not None:
        yield from _level(node.inside, names, indent + "  ")
    yield f"{indent}}}"


def _attributes(level: Level, node: Node) -> str:
    if node.kind in ("start", "end"):
        return f'shape={_SHAPES[node.kind]} label="" width=0.15 fillcolor="{TEXT}"'
    found = [f"label={_quoted(_words(node))}"]
    if node.kind in _SHAPES:
        found.append(f"shape={_SHAPES[node.kind]}")
    colour = fill(node)
    if colour is not None:
        found.append(f'fillcolor="{colour}"')
    if is_dashed(level, node):
        found.append('style="rounded,filled,dashed"')
    if node.is_many:
        found.append("peripheries=2")
    return " ".join(found)


def _arrow(arrow: Arrow, level: Level, names: dict[str, str]) -> str:
    found = []
    if arrow.label:
        found.append(f"label={_quoted(arrow.label)}")
    if arrow.kind in ("undo", "rewind"):
        found.append("style=dashed")
    if arrow.kind == "rewind":
        found.append("constraint=false")
    found += (
        f"{end}=cluster_{names[path]}"
        for end, path in (("ltail", arrow.source), ("lhead", arrow.target))
        if level.by_path[path].inside is not None
    )
    text = f"{names[arrow.source]} -> {names[arrow.target]}"
    return f"{text} [{' '.join(found)}]" if found else text


def _words(node: Node) -> str:
    return "\n".join([title(node), *node.marks])


def _quoted(text: str) -> str:
    # Sanitized first, so that the only escapes left are those of this language.
    lines = (sanitize(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
