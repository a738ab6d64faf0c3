"""A picture as SVG: self-contained, without scripts or styles from elsewhere; all text of the document is inert."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from statemachine_flow.views.escape import xml_text
from statemachine_flow.views.layout import (
    LABEL_LENGTH,
    LINE_HEIGHT,
    PADDING,
    Box,
    Line,
    Placed,
    Point,
    label_width,
    place,
)
from statemachine_flow.views.looks import DASHES, GROUND, LINE, PLAIN, TEXT, fill, is_dashed
from statemachine_flow.views.picture import Level, Node, Picture

_MARGIN: Final = 16.0
_HEADING: Final = 24.0
_ROUND: Final = {"approval": 0, "agent": 10, "wait": 99, "workflow": 2}
_CENTRED: Final = 'text-anchor="middle" font-size="10"'
_HEAD: Final = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0.5 L7.5 4 L0 7.5 z" fill="{LINE}"/></marker></defs>'
)


def svg(picture: Picture) -> str:
    """The workflow as an SVG document.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps.call import Call
        >>> from statemachine_flow.views.picture import picture_of
        >>> text = svg(picture_of(Definition(name="one", steps=(Step(id="a", verb=Call(call="f")),))))
        >>> text.startswith("<svg"), "a (call)" in text
        (True, True)
    """
    parts: list[str] = []
    width, top = 0.0, _MARGIN + _HEADING
    for level in picture.levels:
        placed = place(level)
        if level is picture.steps:
            parts += _moved(_MARGIN, top, _level(level, placed))
            width, top = placed.width, top + placed.height
            continue
        outer = placed.width + 2 * PADDING
        height = placed.height + 2 * PADDING + LINE_HEIGHT
        top += _MARGIN
        frame = _rect((0, 0), (outer, height), 8, f'fill="{GROUND}" stroke="{LINE}" stroke-dasharray="{DASHES}"')
        name = _text(PADDING, LINE_HEIGHT, level.name, 'font-weight="600"')
        inner = _moved(PADDING, PADDING + LINE_HEIGHT, _level(level, placed))
        parts += _moved(_MARGIN, top, [frame, name, *inner])
        width, top = max(width, outer), top + height
    width = max(width, len(picture.name) * 8.5) + 2 * _MARGIN
    size = f'width="{width:g}" height="{top + _MARGIN:g}" viewBox="0 0 {width:g} {top + _MARGIN:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{xml_text(picture.name)}</title>",
            _HEAD,
            f'<rect width="100%" height="100%" fill="{GROUND}"/>',
            _text(_MARGIN, _MARGIN + 10, picture.name, 'font-weight="600" font-size="15"'),
            *parts,
            "</svg>",
        ]
    )


def _moved(x: float, y: float, parts: Iterator[str] | list[str]) -> list[str]:
    return [f'<g transform="translate({x:g} {y:g})">', *parts, "</g>"]


def _level(level: Level, placed: Placed) -> Iterator[str]:
    # Lines first, so that boxes lie above them, and labels last.
    for line in placed.lines:
        yield _line(line)
    for box in placed.boxes:
        yield from _box(box, level)
    for line in placed.lines:
        if line.has_label and line.arrow.label:
            yield _label(line)


def _box(box: Box, level: Level) -> Iterator[str]:
    node = box.node
    if node.kind in ("start", "end"):
        yield _dot(box)
        return
    dashes = f' stroke-dasharray="{DASHES}"' if is_dashed(level, node) else ""
    style = f'fill="{fill(node) or (GROUND if box.inside else PLAIN)}" stroke="{LINE}"{dashes}'
    yield "<g>"
    yield f"<title>{xml_text(_tip(node))}</title>"
    if node.is_many:
        yield _outline(box, 4, style)
    yield _outline(box, 0, style)
    if node.kind == "workflow":
        ends = (box.x + 5, box.x + box.width - 5)
        yield from (f'<path d="M{x:g} {box.y:g} v{box.height:g}" stroke="{LINE}"/>' for x in ends)
    for number, text in enumerate(box.lines):
        y = box.y + PADDING + LINE_HEIGHT * (number + 0.75)
        weight = 'font-weight="600"' if number == 0 else 'font-size="11"'
        yield _text(box.middle, y, text, f'text-anchor="middle" {weight}')
    yield "</g>"
    if box.inside is not None and node.inside is not None:
        x = box.middle - box.inside.width / 2
        y = box.y + PADDING + LINE_HEIGHT * len(box.lines) + PADDING
        yield from _moved(round(x, 1), round(y, 1), _level(node.inside, box.inside))


def _tip(node: Node) -> str:
    step = node.step
    parts = [node.path, *node.marks]
    if step is not None:
        parts += [f"when {step.when}"] if step.when else []
        parts += [step.description] if step.description else []
    if node.progress is not None:
        parts.append(str(node.progress))
    return " - ".join(dict.fromkeys(parts))


def _outline(box: Box, offset: float, style: str) -> str:
    x, y, width, height = box.x + offset, box.y + offset, box.width, box.height
    if box.node.kind == "approval":
        cut = min(10.0, height / 3)
        points = (
            (x + cut, y),
            (x + width - cut, y),
            (x + width, y + height / 2),
            (x + width - cut, y + height),
            (x + cut, y + height),
            (x, y + height / 2),
        )
        corners = " ".join(f"{px:g},{py:g}" for px, py in points)
        return f'<polygon points="{corners}" {style}/>'
    return _rect((x, y), (width, height), min(_ROUND.get(box.node.kind, 5), height / 2), style)


def _rect(corner: Point, size: Point, radius: float, style: str) -> str:
    (x, y), (width, height) = corner, size
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" {style}/>'


def _dot(box: Box) -> str:
    x, y, radius = box.middle, box.y + box.height / 2, box.height / 2 - 1
    inner = f'<circle cx="{x:g}" cy="{y:g}" r="{radius - 3:g}" fill="{TEXT}"/>'
    if box.node.kind == "start":
        return inner
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{GROUND}" stroke="{TEXT}"/>{inner}'


def _line(line: Line) -> str:
    dashes = f' stroke-dasharray="{DASHES}"' if line.arrow.kind in ("undo", "rewind") else ""
    head = ' marker-end="url(#head)"' if line.has_head else ""
    way = _corners(line.points) if line.is_back else _curves(line.points)
    return f'<path d="{way}" fill="none" stroke="{LINE}"{dashes}{head}/>'


def _curves(points: tuple[Point, ...]) -> str:
    """From row to row in curves that begin and end upright, straight through the rows between."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for (x, y), (next_x, next_y) in pairwise(points):
        half = (y + next_y) / 2
        parts.append(f"V{next_y:g}" if x == next_x else f"C{x:g} {half:g} {next_x:g} {half:g} {next_x:g} {next_y:g}")
    return " ".join(parts)


def _corners(points: tuple[Point, ...]) -> str:
    """Straight, with rounded corners."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, behind in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, behind)
        parts.append(f"L{start[0]:g} {start[1]:g} Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}")
    return " ".join([*parts, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(point: Point, other: Point) -> Point:
    (x, y), (other_x, other_y) = point, other
    length = max(abs(other_x - x), abs(other_y - y))
    share = min(6.0, length / 2) / length if length else 0.0
    return round(x + (other_x - x) * share, 1), round(y + (other_y - y) * share, 1)


def _label(line: Line) -> str:
    text = line.arrow.label
    shown = text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 3] + "..."
    width = label_width(shown)
    if line.is_back:
        x, y = line.points[1][0] + 8 + width / 2, line.points[1][1]
    else:
        # Nearer to the target, where lines from one box have come apart.
        slanted = [pair for pair in pairwise(line.points) if pair[0][0] != pair[1][0]] or [
            (line.points[0], line.points[-1])
        ]
        (start_x, start_y), (end_x, end_y) = slanted[0]
        x, y = start_x + (end_x - start_x) * 0.7, start_y + (end_y - start_y) * 0.6
    ground = _rect((x - width / 2, y - 7), (width, 14), 3, f'fill="{GROUND}" fill-opacity="0.9"')
    return f"<g><title>{xml_text(text)}</title>{ground}{_text(x, y + 3.5, shown, _CENTRED)}</g>"


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{TEXT}" {style}>{xml_text(text)}</text>'
