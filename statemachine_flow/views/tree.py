"""A picture as a tree of text. Nothing recurses: chains may be long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Final

import attrs

from statemachine_flow.views.escape import sanitize
from statemachine_flow.views.picture import AGAIN, EACH, Level, Node, Picture, ways_out


@attrs.frozen(kw_only=True)
class Strokes:
    """What a tree is drawn with."""

    branch: str
    last: str
    line: str
    then: str
    #: Before what is inside of a step.
    inside: str
    #: Before the state that a level begins with, and before the others.
    start: str
    state: str
    to: str
    #: Marks of steps that are carried out more than once.
    each: str
    again: str


UNICODE: Final = Strokes(
    branch="├─ ",
    last="└─ ",
    line="│  ",
    then="↳ ",
    inside="┊ ",
    start="▶ ",
    state="  ",
    to="→",
    each=EACH,
    again=AGAIN,
)
ASCII: Final = Strokes(
    branch="|- ",
    last="`- ",
    line="|  ",
    then="> ",
    inside=": ",
    start="* ",
    state="  ",
    to="->",
    each="x",
    again="repeat",
)


def strokes_for(encoding: str | None) -> Strokes:
    """The strokes that a stream with that encoding can show."""
    try:
        "".join(attrs.astuple(UNICODE)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def tree(picture: Picture, strokes: Strokes = UNICODE, paint: Callable[[str, str], str] | None = None) -> str:
    """The workflow as a tree: each step once, below the need that comes last; other needs stand beside it.

    Steps that merely follow each other stand below each other, so that a long chain is a column and no staircase.
    Steps inside a step are set off by a line of their own; states stand in the order in which they are come to.

    Args:
        picture: what to draw.
        strokes: what to draw it with.
        paint: given a state and the text that shows it, gives that text in a colour; by default there are none.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps.call import Call
        >>> from statemachine_flow.views.picture import picture_of
        >>> steps = [Step(id=id, verb=Call(call="f"), needs=tuple(needs)) for id, needs in
        ...     [("a", ""), ("b", "a"), ("c", "b"), ("d", "b"), ("e", "cd")]]
        >>> print(tree(picture_of(Definition(name="five", steps=tuple(steps))), ASCII))
        a (call)
        > b (call)
        |- c (call)
        `- d (call)
           > e (call) after c, d
    """
    draw = _Tree(strokes, paint or (lambda _, shown: shown))
    lines = list(draw.lines(picture.steps, ""))
    for level in picture.handlers:
        lines += ["", f"{level.name}:", *draw.lines(level, "  ")]
    return "\n".join(lines)


@attrs.frozen
class _Line:
    """A node to be drawn."""

    node: Node
    level: Level
    #: Its level's nodes by the one they stand below.
    below: Mapping[str | None, Sequence[Node]]
    #: What stands before its own line, and before the lines below it.
    before: str
    behind: str


@attrs.frozen
class _Tree:
    strokes: Strokes
    paint: Callable[[str, str], str]

    def lines(self, level: Level, prefix: str) -> Iterator[str]:
        todo = list(reversed(list(self._roots(level, prefix))))
        while todo:
            line = todo.pop()
            yield line.before + self._label(line.node, line.level)
            following = [*self._inside(line), *self._followers(line)]
            todo.extend(reversed(following))

    def _roots(self, level: Level, prefix: str) -> Iterator[_Line]:
        if level.shape == "states":
            for index, node in enumerate(_states(level)):
                mark = self.strokes.start if index == 0 else self.strokes.state
                yield _Line(node, level, {}, prefix + mark, prefix + " " * len(mark))
            return
        below = _below(level)
        for node in below.get(None, ()):
            yield _Line(node, level, below, prefix, prefix)

    def _inside(self, line: _Line) -> Iterator[_Line]:
        prefix = line.behind + self.strokes.inside
        if line.node.inside is not None:
            yield from self._roots(line.node.inside, prefix)
        for undo in _undo(line.level, line.node):
            yield _Line(undo, line.level, {}, prefix, prefix)

    def _followers(self, line: _Line) -> Iterator[_Line]:
        nodes, prefix, strokes = line.below.get(line.node.path, ()), line.behind, self.strokes
        if len(nodes) == 1:
            yield _Line(nodes[0], line.level, line.below, prefix + strokes.then, prefix)
            return
        for node in nodes[:-1]:
            yield _Line(node, line.level, line.below, prefix + strokes.branch, prefix + strokes.line)
        for node in nodes[-1:]:
            yield _Line(node, line.level, line.below, prefix + strokes.last, prefix + " " * len(strokes.last))

    def _label(self, node: Node, level: Level) -> str:
        parts = [f"{node.name} ({node.kind})"]
        if node.progress is not None:
            parts.append(self.paint(node.progress.state, str(node.progress)))
        step = node.step
        if step is not None and len(step.needs) > 1 and level.shape == "graph":
            parts.append(f"after {', '.join(step.needs)}")
        strokes = self.strokes
        parts += (sanitize(mark).replace(EACH, strokes.each).replace(AGAIN, strokes.again) for mark in node.marks)
        parts += self._ways(node, level)
        return " ".join(parts)

    def _ways(self, node: Node, level: Level) -> Iterator[str]:
        to = self.strokes.to
        if level.shape == "states" and node.step is not None and not node.is_undo:
            ways = [sanitize(f"{when} {to} {target}".strip()) for when, target in ways_out(node.step)]
            yield ", ".join(ways)
        for arrow in level.ways.get(node.path, ()):
            if arrow.kind == "rewind":
                yield f"{arrow.label} {to} {arrow.target.rpartition('/')[2]}"


def _undo(level: Level, node: Node) -> Iterator[Node]:
    for arrow in level.ways.get(node.path, ()):
        if arrow.kind == "undo":
            yield level.by_path[arrow.target]


def _states(level: Level) -> list[Node]:
    """The states of a level in the order in which they are come to, those that no route leads to last."""
    by_path = {node.path: node for node in level.nodes if node.step is not None and not node.is_undo}
    seen: dict[str, None] = {}
    todo = deque(node.path for node in level.nodes if node.kind == "start")
    while todo:
        path = todo.popleft()
        if path not in seen:
            seen[path] = None
            todo.extend(arrow.target for arrow in level.ways.get(path, ()) if arrow.kind == "route")
    return [by_path[path] for path in dict.fromkeys([*seen, *by_path]) if path in by_path]


def _below(level: Level) -> dict[str | None, list[Node]]:
    """Nodes by their need of the highest rank, where the rank is the number of steps before it."""
    steps = {node.path: node for node in level.nodes if not node.is_undo}
    needs: dict[str, list[str]] = {path: [] for path in steps}
    for arrow in level.arrows:
        if arrow.kind == "need":
            needs[arrow.target].append(arrow.source)
    ranks: dict[str, int] = {}
    parents: dict[str, str | None] = {}
    for path in TopologicalSorter(needs).static_order():
        # The last of several on one level, for that is the one drawn nearest.
        parent = max(reversed(needs[path]), key=ranks.__getitem__, default=None)
        parents[path] = parent
        ranks[path] = 0 if parent is None else ranks[parent] + 1
    below: dict[str | None, list[Node]] = {}
    for path, node in steps.items():
        below.setdefault(parents[path], []).append(node)
    return below
