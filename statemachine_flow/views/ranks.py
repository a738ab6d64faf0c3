"""In which row of a drawing each box of a level stands, and in which order. Linear, or nearly so."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from graphlib import TopologicalSorter
from typing import Final

import attrs

from statemachine_flow.views.picture import Arrow, Level

#: A row with more boxes is broken into several.
_WIDEST: Final = 9
#: Places for lines that pass through rows; beyond it lines run straight, whatever lies between.
_MOST_PASSES: Final = 20_000
_SWEEPS: Final = 4


@attrs.frozen
class Pass:
    """A place in a row through which lines run that share one end: out of a box above, or into one below."""

    box: str
    row: int
    is_into: bool = False


#: What stands in a row.
Cell = str | Pass


@attrs.frozen
class Way:
    """A line from a cell to one in the row below."""

    above: Cell
    below: Cell
    #: The arrow it is part of; of several, one of them.
    arrow: Arrow


@attrs.frozen
class Rows:
    """The rows of a level from the top down."""

    cells: Sequence[list[Cell]]
    #: Path -> number of the row.
    row: Mapping[str, int]
    #: The pieces of all lines that lead down.
    ways: Sequence[Way]
    #: The rows of ranks that were too long for one.
    broken: AbstractSet[int]

    def is_back(self, arrow: Arrow) -> bool:
        """Whether an arrow does not lead down."""
        return self.row[arrow.source] >= self.row[arrow.target]


def rows_of(level: Level) -> Rows:
    """Put the boxes of a level into rows.

    A graph's boxes stand below everything they need; states by their distance from the start, the end last.

    Example:
        >>> from statemachine_flow.views.picture import Arrow, Node
        >>> nodes = tuple(Node(path=path, name=path, kind="call") for path in "abc")
        >>> arrows = (Arrow(source="a", target="b"), Arrow(source="b", target="c"), Arrow(source="a", target="c"))
        >>> rows_of(Level(name="steps", path="", shape="graph", nodes=nodes, arrows=arrows)).cells
        [['a'], [Pass(box='a', row=1, is_into=False), 'b'], ['c']]
    """
    ranks = _states_ranks(level) if level.shape == "states" else _graph_ranks(level)
    row, broken = _broken(ranks, level)
    ways = list(_ways(level, row))
    boxes: list[list[Cell]] = [[] for _ in range(max(row.values(), default=-1) + 1)]
    passes: list[list[Cell]] = [[] for _ in boxes]
    for node in level.nodes:
        boxes[row[node.path]].append(node.path)
    for cell in dict.fromkeys(cell for way in ways for cell in (way.above, way.below)):
        if isinstance(cell, Pass):
            passes[cell.row].append(cell)
    # Ways out on the one side and ways into on the other: equal forces leave what is between them where it is.
    cells = [
        [*(cell for cell in beside if not _is_into(cell)), *found, *filter(_is_into, beside)]
        for found, beside in zip(boxes, passes, strict=True)
    ]
    rows = Rows(cells, row, ways, broken)
    _order(rows)
    return rows


def _graph_ranks(level: Level) -> dict[str, int]:
    before: dict[str, list[str]] = {node.path: [] for node in level.nodes}
    for arrow in level.arrows:
        if arrow.kind != "rewind":
            before[arrow.target].append(arrow.source)
    ranks: dict[str, int] = {}
    for path in TopologicalSorter(before).static_order():
        ranks[path] = 1 + max((ranks[other] for other in before[path]), default=-1)
    return ranks


def _states_ranks(level: Level) -> dict[str, int]:
    ranks: dict[str, int] = {}
    todo = deque((node.path, 0) for node in level.nodes if node.kind == "start")
    while todo:
        path, rank = todo.popleft()
        if path in ranks:
            continue
        ranks[path] = rank
        ways = level.ways.get(path, ())
        todo.extend((arrow.target, rank + 1) for arrow in ways if level.by_path[arrow.target].kind != "end")
    last = max(ranks.values(), default=-1) + 1
    return {node.path: ranks.get(node.path, last) for node in level.nodes}


def _broken(ranks: Mapping[str, int], level: Level) -> tuple[dict[str, int], AbstractSet[int]]:
    """Ranks as rows: a rank of too many boxes becomes a block of rows, which are told besides."""
    members: dict[int, list[str]] = {}
    for node in level.nodes:
        members.setdefault(ranks[node.path], []).append(node.path)
    row: dict[str, int] = {}
    broken: set[int] = set()
    top = 0
    for rank in sorted(members):
        paths = members[rank]
        width = len(paths) if len(paths) <= _WIDEST else max(_WIDEST, math.ceil(math.sqrt(2 * len(paths))))
        for index, path in enumerate(paths):
            row[path] = top + index // width
        block = range(top, top + math.ceil(len(paths) / width))
        if len(block) > 1:
            broken.update(block)
        top = block.stop
    return row, broken


def _is_into(cell: Cell) -> bool:
    return isinstance(cell, Pass) and cell.is_into


def _ways(level: Level, row: Mapping[str, int]) -> Iterator[Way]:
    """Every arrow that leads down, in pieces from row to row; those that share an end share their way."""
    into = Counter(arrow.target for arrow in level.arrows)
    #: Box and direction -> how far its shared way reaches already.
    reached: dict[tuple[str, bool], int] = {}
    left = _MOST_PASSES
    for arrow in level.arrows:
        first, last = row[arrow.source] + 1, row[arrow.target] - 1
        if first > last + 1:
            continue
        is_into = into[arrow.target] > len(level.ways[arrow.source])
        box = arrow.target if is_into else arrow.source
        end = reached.get((box, is_into), last + 1 if is_into else first - 1)
        missing = range(first, end) if is_into else range(end + 1, last + 1)
        if first > last or len(missing) > left:
            yield Way(arrow.source, arrow.target, arrow)
            continue
        left -= len(missing)
        if missing:
            reached[box, is_into] = missing[0] if is_into else missing[-1]
        for number in missing:
            if is_into:
                below = arrow.target if number == last else Pass(box, number + 1, is_into)
                yield Way(Pass(box, number, is_into), below, arrow)
            else:
                above = arrow.source if number == first else Pass(box, number - 1)
                yield Way(above, Pass(box, number), arrow)
        if is_into:
            yield Way(arrow.source, Pass(box, first, is_into), arrow)
        else:
            yield Way(Pass(box, last), arrow.target, arrow)


def _order(rows: Rows) -> None:
    """Order each row by where what it is joined to stands, so that few lines cross."""
    upper: dict[Cell, list[Cell]] = {}
    lower: dict[Cell, list[Cell]] = {}
    for way in rows.ways:
        upper.setdefault(way.below, []).append(way.above)
        lower.setdefault(way.above, []).append(way.below)
    place: dict[Cell, float] = {}
    for cells in rows.cells:
        _number(cells, place)
    for sweep in range(_SWEEPS):
        others = lower if sweep % 2 else upper
        for cells in reversed(rows.cells) if sweep % 2 else rows.cells:
            middle = {cell: _middle(cell, others.get(cell, ()), place) for cell in cells}
            cells.sort(key=middle.__getitem__)
            _number(cells, place)


def _number(cells: Sequence[Cell], place: dict[Cell, float]) -> None:
    """Places of a row from 0 to 1, for rows differ in length."""
    for index, cell in enumerate(cells):
        place[cell] = (index + 0.5) / len(cells)


def _middle(cell: Cell, others: Sequence[Cell], place: Mapping[Cell, float]) -> float:
    return sum(place[other] for other in others) / len(others) if others else place[cell]
