"""Where the boxes and lines of a picture stand: each level by itself, from the innermost out. Pure geometry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import attrs

from statemachine_flow.views.looks import title
from statemachine_flow.views.picture import Arrow, Level, Node
from statemachine_flow.views.ranks import Cell, Pass, Rows, rows_of

#: Sizes in pixels.
LINE_HEIGHT: Final = 16.0
PADDING: Final = 10.0
_CHARACTER: Final = 6.7
_NARROWEST: Final = 72.0
_BESIDE: Final = 22.0
_BELOW: Final = 34.0
#: Room for the label of a line.
_LABEL: Final = 18.0
#: Characters of a line's label.
LABEL_LENGTH: Final = 32
_PASS: Final = 8.0
_MARK: Final = 16.0
#: Between the lines that lead back.
_LANE: Final = 14.0
#: Between the places where they turn, which have their labels.
_TURN: Final = 15.0
_SWEEPS: Final = 8
#: Boxes whose corners are cut off.
_POINTED: Final = ("approval", "workflow")

Point = tuple[float, float]


@attrs.frozen
class Box:
    """A node in its place; its corner is counted from that of its level."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    #: What it says.
    lines: tuple[str, ...]
    inside: Placed | None

    @property
    def middle(self) -> float:
        """Its horizontal middle."""
        return self.x + self.width / 2


@attrs.frozen
class Line:
    """A line through points; where it turns is for the drawing to say."""

    points: tuple[Point, ...]
    arrow: Arrow
    has_head: bool = True
    #: Whether this piece of the arrow has room for its label.
    has_label: bool = True
    #: Whether it leads back up, around the boxes.
    is_back: bool = False


@attrs.frozen
class Placed:
    """A level with everything in its place."""

    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]


@attrs.frozen
class _Size:
    width: float
    height: float
    lines: tuple[str, ...] = ()
    inside: Placed | None = None


@attrs.frozen
class _Band:
    """From where to where a row reaches."""

    top: float
    bottom: float


def place(level: Level) -> Placed:
    """Find a place for every box of a level, for those inside of them, and for the lines.

    Example:
        >>> from statemachine_flow.views.picture import Arrow, Node
        >>> nodes = tuple(Node(path=path, name=path, kind="call") for path in "ab")
        >>> level = Level(name="", path="", shape="graph", nodes=nodes, arrows=(Arrow(source="a", target="b"),))
        >>> [(box.x, box.y) for box in place(level).boxes]
        [(0.0, 0.0), (0.0, 50.0)]
    """
    sizes = {node.path: _size(node) for node in level.nodes}
    rows = rows_of(level)
    middles = _middles(rows, sizes)
    back = [arrow for arrow in level.arrows if rows.is_back(arrow)]
    bands = _bands(rows, level, sizes)
    boxes = [_box(node, sizes[node.path], middles[node.path], bands[rows.row[node.path]]) for node in level.nodes]
    found = {box.node.path: box for box in boxes}
    right = max((middles[cell] + _width(cell, sizes) / 2 for cells in rows.cells for cell in cells), default=0.0)
    lines = list(_down(rows, found, middles, bands))
    turns: Counter[int] = Counter()
    for number, arrow in enumerate(back):
        row = rows.row[arrow.source]
        ends = found[arrow.source], found[arrow.target]
        between = bands[row], bands[rows.row[arrow.target]]
        lines.append(_around(arrow, ends, between, right + _LANE * (number + 1), turns[row]))
        turns[row] += 1
    width = max([right + _LANE * (len(back) + 1) if back else right, *map(_right_of_label, lines)])
    height = max([bands[-1].bottom if bands else 0.0, *(y + 4 for line in lines for _, y in line.points)])
    return Placed(width, height, boxes, lines)


def label_width(text: str) -> float:
    """How wide the label of a line is."""
    return len(text) * 5.6 + 4


def _right_of_label(line: Line) -> float:
    width = label_width(line.arrow.label[:LABEL_LENGTH])
    return line.points[1][0] + 8 + width if line.is_back else line.points[-1][0] + width / 2


def _size(node: Node) -> _Size:
    if node.step is None:
        return _Size(_MARK, _MARK)
    lines = (title(node), *node.marks)
    beside = 2.5 * PADDING if node.kind in _POINTED else PADDING
    width = max(_NARROWEST, 2.0 * math.ceil((max(map(len, lines)) * _CHARACTER) / 2 + beside))
    height = len(lines) * LINE_HEIGHT + 2 * PADDING
    if node.inside is None:
        return _Size(width, height, lines)
    inside = place(node.inside)
    return _Size(max(width, inside.width + 2 * PADDING), height + inside.height + PADDING, lines, inside)


def _width(cell: Cell, sizes: Mapping[str, _Size]) -> float:
    return _PASS if isinstance(cell, Pass) else sizes[cell].width


def _middles(rows: Rows, sizes: Mapping[str, _Size]) -> dict[Cell, float]:
    """The horizontal middle of every cell: near those of what it is joined to, without overlapping its neighbours."""
    joined: dict[Cell, tuple[list[Cell], list[Cell]]] = {}
    for way in rows.ways:
        joined.setdefault(way.below, ([], []))[0].append(way.above)
        joined.setdefault(way.above, ([], []))[1].append(way.below)
    middles: dict[Cell, float] = {}
    for cells in rows.cells:
        _spread(cells, dict.fromkeys(cells, 0.0), sizes, middles)
    for sweep in range(_SWEEPS):
        for number in range(len(rows.cells) - 1, -1, -1) if sweep % 2 else range(len(rows.cells)):
            cells = rows.cells[number]
            wanted = {}
            for cell in cells:
                # Both sides count, or rows that hang together would drift away to one of them.
                others = [other for side in joined.get(cell, ()) for other in side]
                wanted[cell] = sum(middles[other] for other in others) / len(others) if others else middles[cell]
            _spread(cells, wanted, sizes, middles)
            if number in rows.broken:
                _centre(cells, middles)
    left = min((middles[cell] - _width(cell, sizes) / 2 for cells in rows.cells for cell in cells), default=0.0)
    return {cell: round(middle - left, 1) for cell, middle in middles.items()}


def _spread(
    cells: Sequence[Cell], wanted: Mapping[Cell, float], sizes: Mapping[str, _Size], middles: dict[Cell, float]
) -> None:
    """Put the cells of a row where they want to be, as far as their neighbours let them."""
    gaps = [
        (_width(left, sizes) + _width(right, sizes)) / 2 + (_BESIDE if isinstance(left, str) else _BESIDE / 2)
        for left, right in pairwise(cells)
    ]
    from_left = [wanted[cell] for cell in cells]
    from_right = list(from_left)
    for index, gap in enumerate(gaps):
        from_left[index + 1] = max(from_left[index + 1], from_left[index] + gap)
    for index in range(len(gaps) - 1, -1, -1):
        from_right[index] = min(from_right[index], from_right[index + 1] - gaps[index])
    # Each of the two keeps the distances, and so does what lies halfway between them.
    for cell, low, high in zip(cells, from_right, from_left, strict=True):
        middles[cell] = (low + high) / 2


def _centre(cells: Sequence[Cell], middles: dict[Cell, float]) -> None:
    """Move a row so that its boxes lie around 0, for a block of rows holds together only by standing upright."""
    boxes = [cell for cell in cells if isinstance(cell, str)]
    shift = (middles[boxes[0]] + middles[boxes[-1]]) / 2 if boxes else 0.0
    for cell in cells:
        middles[cell] -= shift


def _bands(rows: Rows, level: Level, sizes: Mapping[str, _Size]) -> list[_Band]:
    """From where to where each row reaches, with room between them for what runs there."""
    back = [arrow for arrow in level.arrows if rows.is_back(arrow)]
    busy = {rows.row[arrow.target] for arrow in level.arrows if arrow.label and not rows.is_back(arrow)}
    busy.update(rows.row[arrow.target] for arrow in back)
    turns = Counter(rows.row[arrow.source] for arrow in back)
    bands: list[_Band] = []
    for number, cells in enumerate(rows.cells):
        above = bands[-1].bottom + _BELOW if bands else 0.0
        top = above + (_LABEL if number in busy else 0.0) + turns[number - 1] * _TURN
        height = max((sizes[cell].height for cell in cells if isinstance(cell, str)), default=0.0)
        bands.append(_Band(top, top + height))
    return bands


def _box(node: Node, size: _Size, middle: float, band: _Band) -> Box:
    x = middle - size.width / 2
    y = (band.top + band.bottom - size.height) / 2
    return Box(node, round(x, 1), round(y, 1), size.width, size.height, size.lines, size.inside)


def _down(
    rows: Rows, boxes: Mapping[str, Box], middles: Mapping[Cell, float], bands: Sequence[_Band]
) -> Iterator[Line]:
    """The lines that lead down, in pieces: from the lower edge of a box or row to the upper one of the next."""
    for way in rows.ways:
        above, below = way.above, way.below
        # Upright beside the boxes of a row, which may be higher than the box itself.
        points = [] if isinstance(above, Pass) else [(middles[above], boxes[above].y + boxes[above].height)]
        points.append((middles[above], bands[_row(above, rows)].bottom))
        band = bands[_row(below, rows)]
        points.append((middles[below], band.top))
        points.append((middles[below], band.bottom if isinstance(below, Pass) else boxes[below].y))
        # The label stands where the line is that of one arrow alone.
        is_own = isinstance(above, str) if isinstance(below, Pass) and below.is_into else isinstance(below, str)
        is_own = is_own and not (isinstance(above, Pass) and above.is_into)
        yield Line(tuple(points), way.arrow, has_head=isinstance(below, str), has_label=is_own)


def _row(cell: Cell, rows: Rows) -> int:
    return cell.row if isinstance(cell, Pass) else rows.row[cell]


def _around(arrow: Arrow, ends: tuple[Box, Box], bands: tuple[_Band, _Band], lane: float, turn: int) -> Line:
    """A line that leads back: out below, up beside all boxes, in from above.

    Args:
        arrow: what it stands for.
        ends: where it begins and where it ends.
        bands: the rows of both.
        lane: where it runs up.
        turn: how many others turn below the same row.
    """
    source, target = ends
    out = min(source.middle + _LANE, source.x + source.width)
    into = min(target.middle + _LANE, target.x + target.width)
    low, high = bands[0].bottom + 12 + turn * _TURN, bands[1].top - 12
    start, end = (out, source.y + source.height), (into, target.y)
    return Line((start, (out, low), (lane, low), (lane, high), (into, high), end), arrow, is_back=True)
