"""A picture as a Mermaid flowchart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from statemachine_flow.views.looks import FILLS, is_dashed, title
from statemachine_flow.views.picture import Arrow, Level, Node, Picture

#: Mermaid reads markup and entities in labels; these are written as its own numeric entities.
_SPECIAL: Final = re.compile(r"""[^A-Za-z0-9 _.,:()/=-]""")
#: Kind -> what stands around the text of a box.
_SHAPES: Final = {
    "approval": ("{{", "}}"),
    "wait": ("([", "])"),
    "workflow": ("[[", "]]"),
    "start": ("((", "))"),
    "end": ("(((", ")))"),
}
_BOX: Final = ("[", "]")


def mermaid(picture: Picture) -> str:
    """The workflow as a Mermaid flowchart.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps.call import Call
        >>> from statemachine_flow.views.picture import picture_of
        >>> steps = (Step(id="a", verb=Call(call="f")), Step(id="end", verb=Call(call="f"), needs=("a",)))
        >>> print(mermaid(picture_of(Definition(name="two", steps=steps))))
        flowchart TD
          s0["a (call)"]
          s1["end (call)"]
          s0 --> s1
    """
    # Numbers, for a step's own id may be a word of Mermaid's, such as `end`.
    names = {node.path: f"s{index}" for index, (_, node) in enumerate(picture.nodes())}
    lines = ["flowchart TD", *_level(picture.steps, names, "  ")]
    for level in picture.handlers:
        lines += [f'  subgraph {level.name}["{level.name}"]', *_level(level, names, "    "), "  end"]
    lines += _classes(picture, names)
    return "\n".join(lines)


def _level(level: Level, names: dict[str, str], indent: str) -> Iterator[str]:
    # Depth is bounded by how deep a document may be nested.
    for node in level.nodes:
        if node.inside is None:
            yield indent + _box(node, names[node.path])
        else:
            yield f'{indent}subgraph {names[node.path]}["{_text(_words(node))}"]'
            yield from _level(node.inside, names, indent + "  ")
            yield f"{indent}end"
    for arrow in level.arrows:
        yield indent + _arrow(arrow, names)


def _box(node: Node, name: str) -> str:
    before, behind = _SHAPES.get(node.kind, _BOX)
    text = {"start": " ", "end": "end"}.get(node.kind) or _words(node)
    state = f":::{node.progress.state}" if node.progress is not None else ""
    return f'{name}{before}"{_text(text)}"{behind}{state}'


def _words(node: Node) -> str:
    return "\n".join([title(node), *node.marks])


def _arrow(arrow: Arrow, names: dict[str, str]) -> str:
    line = "-.->" if arrow.kind in ("undo", "rewind") else "-->"
    label = f'|"{_text(arrow.label)}"|' if arrow.label else ""
    return f"{names[arrow.source]} {line}{label} {names[arrow.target]}"


def _classes(picture: Picture, names: dict[str, str]) -> Iterator[str]:
    found = list(picture.nodes())
    states = dict.fromkeys(node.progress.state for _, node in found if node.progress is not None)
    yield from (f"  classDef {state} fill:{FILLS[state]},color:#000" for state in states if state in FILLS)
    yield from (
        f"  class {names[node.path]} {node.progress.state}"
        for _, node in found
        if node.inside is not None and node.progress is not None and node.progress.state in FILLS
    )
    dashed = [names[node.path] for level, node in found if is_dashed(level, node)]
    if dashed:
        yield "  classDef special stroke-dasharray:5 4"
        yield f"  class {','.join(dashed)} special"


def _text(text: str) -> str:
    lines = text.split("\n")
    return "<br/>".join(_SPECIAL.sub(lambda match: f"#{ord(match[0])};", line) for line in lines)
