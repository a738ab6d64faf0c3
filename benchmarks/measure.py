"""How the benchmarks measure: figures as ratios within one run, because absolute times say more about the machine.

Two things that are compared are run in turn, A B A B ..., and the ratio is taken pair by pair; the median of the
pairs is quoted with the smallest and the largest. Nothing here judges: a goal is printed beside the figure.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Figure:
    """One line of the report."""

    #: What was measured.
    name: str
    #: The median.
    value: float
    unit: str
    #: The smallest and the largest of the rounds.
    low: float
    high: float
    #: What it should be, in words; "" where there is no goal.
    goal: str = ""
    #: Whether the median meets the goal; None where there is none.
    met: bool | None = None
    #: Absolute times, for the curious.
    note: str = ""


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call, the garbage of earlier ones collected before."""
    gc.collect()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def ratios(first: Callable[[], float], second: Callable[[], float], rounds: int) -> list[tuple[float, float]]:
    """Pairs of (first, second), measured in turn after one uncounted pair."""
    first(), second()
    return [(first(), second()) for _ in range(rounds)]


def figure(
    name: str,
    values: list[float],
    unit: str,
    *,
    goal: str = "",
    met: Callable[[float], bool] | None = None,
    note: str = "",
) -> Figure:
    """A line from the values of all rounds."""
    middle = statistics.median(values)
    verdict = None if met is None else met(middle)
    return Figure(
        name=name, value=middle, unit=unit, low=min(values), high=max(values), goal=goal, met=verdict, note=note
    )


def at_most(limit: float) -> Callable[[float], bool]:
    """A goal from above."""
    return lambda value: value <= limit


def at_least(limit: float) -> Callable[[float], bool]:
    """A goal from below."""
    return lambda value: value >= limit


@contextmanager
def folder(where: Path) -> Iterator[Path]:
    """An empty folder on the disk that is measured, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="smf-bench-", dir=where))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def shown(figures: list[Figure]) -> str:
    """The figures as a table of plain text."""
    rows = [("", "median", "low", "high", "unit", "goal", "", "note")]
    for line in figures:
        verdict = {None: "", True: "met", False: "NOT MET"}[line.met]
        numbers = (f"{line.value:,.3g}", f"{line.low:,.3g}", f"{line.high:,.3g}")
        rows.append((line.name, *numbers, line.unit, line.goal, verdict, line.note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
