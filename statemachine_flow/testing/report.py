"""What a rehearsal found, as values, as text and as plain data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, final

import attrs

from statemachine_flow.testing.crash import When
from statemachine_flow.values import jsonable

_VALUE_LENGTH: Final = 120
_ERROR_LENGTH: Final = 300
#: The aspect of a run that could not be brought to its rest.
_NO_END: Final = "rehearsal"
#: How many findings of one sort a text shows.
_SHOWN: Final = 20
#: State of a run -> how a sentence says that it ended in it.
_ENDED: Final[Mapping[str, str]] = {"failed": "failed", "cancelled": "was cancelled", "quarantined": "was quarantined"}

Declared = Literal["idempotency_key", "transaction", "at_most_once", "safe", ""]


@attrs.frozen
class Point:
    """Where processes die: one after the other, each at one of its writes."""

    #: Counts from 1; 0 is an undisturbed run, which is compared with another one.
    number: int
    #: At which write, on which side of it; empty if nobody dies.
    deaths: tuple[tuple[int, When], ...] = ()
    #: What the write of the first death is.
    what: str = ""

    def __str__(self) -> str:
        if not self.deaths:
            return "undisturbed, a second time"
        first, *more = (f"{when} write {at}" for at, when in self.deaths)
        return ", then ".join([f"{first} ({self.what})" if self.what else first, *more])


@attrs.frozen
class Difference:
    """Something ends otherwise than in the undisturbed run."""

    point: Point
    #: The step's place; "" for the run itself.
    step: str
    #: `state`, `output`, `outputs` or `error`; `rehearsal` if the run could not be brought to its rest.
    aspect: str
    expected: Any
    found: Any

    @property
    def where(self) -> str:
        """The step and the aspect, in words."""
        return f"{self.step or 'the run'}: {self.aspect}"

    def __str__(self) -> str:
        return f"{self.where} is {_short(self.found)}, not {_short(self.expected)}"


@attrs.frozen
class Repeat:
    """A step whose body began again after it was cut off, or after its result was lost."""

    step: str
    #: What says that this does no harm; "" if nothing does.
    declared: Declared
    #: At how many points.
    count: int
    first: Point


@final
@attrs.frozen(kw_only=True)
class Report:
    """What a rehearsal found."""

    workflow: str
    #: The document's file; None if there is none.
    origin: str | None
    seed: int
    #: How many durable writes the undisturbed run has.
    writes: int
    #: How many deaths, or rows of deaths, were tried.
    points: int
    #: The state of the undisturbed run.
    state: str
    #: Why the undisturbed run is in that state: its first error, with the step; "" if it completed.
    error: str = ""
    differences: tuple[Difference, ...]
    repeats: tuple[Repeat, ...]
    #: Places of steps of which somebody had to say what became of them.
    asked: tuple[str, ...]
    #: What `smf rehearse` was called with, but for the seed and the point; None if it was called from Python.
    arguments: tuple[str, ...] | None = None

    @property
    def ok(self) -> bool:
        """Whether everything ends as in the undisturbed run, wherever the process dies."""
        return not self.differences

    @property
    def undeclared(self) -> tuple[Repeat, ...]:
        """The steps whose effects may happen twice, of which nothing says that this does no harm."""
        return tuple(repeat for repeat in self.repeats if not repeat.declared)

    def command(self, point: Point) -> str:
        """What repeats one point: a shell command if that is where the rehearsal came from, else a call."""
        if self.arguments is None:
            return f"rehearse(..., seed={self.seed}, point={point.number})"
        which = ("--seed", str(self.seed), "--point", str(point.number))
        return shlex.join(["smf", "rehearse", *self.arguments, *which])

    def __str__(self) -> str:
        return "\n".join([*self._headlines(), *self._lines()])

    def _headlines(self) -> Iterator[str]:
        """What was compared with what, and how much of it is alike."""
        counted = f"{self.workflow}: {_count(self.writes, 'write')}, {_count(self.points, 'point')} of death"
        deaths = sum(point.number > 0 for point in self._failed)
        unsteady = [found for found in self.differences if not found.point.number]
        undisturbed = "the undisturbed run" + self._ended()
        if not unsteady:
            yield f"{counted}, {_verdict(self.points, deaths)} {undisturbed}"
            return
        yield f"{counted}; even undisturbed it does not end twice alike"
        left_out = [found.where for found in unsteady if found.aspect != _NO_END][:_SHOWN]
        if left_out:
            yield f"not compared, for it differs by itself: {', '.join(left_out)}"
        if self.points:
            yield f"all else was compared: {_verdict(self.points, deaths)} {undisturbed}"

    def _ended(self) -> str:
        if self.state == "completed":
            return ""
        why = " ".join(self.error.split())
        why = why if len(why) <= _ERROR_LENGTH else f"{why[:_ERROR_LENGTH]}..."
        return f", which {_ENDED.get(self.state, f'is {self.state}')}" + (f": {why}" if why else "")

    def _lines(self) -> Iterator[str]:
        failed = self._failed
        for point in failed[:_SHOWN]:
            yield f"point {point.number}, {point}:"
            yield from (f"  {found}" for found in self.differences if found.point == point)
            yield f"  again: {self.command(point)}"
        if len(failed) > _SHOWN:
            yield f"and {len(failed) - _SHOWN} more points"
        for repeat in self.undeclared[:_SHOWN]:
            yield f"not declared safe: {repeat.step} begins again, first {repeat.first}"
        if len(self.undeclared) > _SHOWN:
            yield f"and {len(self.undeclared) - _SHOWN} more steps"
        if self.undeclared:
            yield '  give such a step an `idempotency_key`, `transaction` or `delivery = "at_most_once"`,'
            yield "  or name it under `safe` in the script if to do it twice does no harm"
        if self.asked:
            yield f"somebody had to say what became of: {', '.join(self.asked)}"

    @property
    def _failed(self) -> list[Point]:
        return list(dict.fromkeys(found.point for found in self.differences))

    def data(self) -> dict[str, Any]:
        """The report as plain data, as `smf rehearse --json` prints it."""
        return {
            "ok": self.ok,
            "workflow": self.workflow,
            "state": self.state,
            "error": self.error or None,
            "seed": self.seed,
            "writes": self.writes,
            "points": self.points,
            "differences": [
                {
                    **_point(found.point),
                    "step": found.step or None,
                    "aspect": found.aspect,
                    "expected": jsonable(found.expected),
                    "found": jsonable(found.found),
                    "again": self.command(found.point),
                }
                for found in self.differences
            ],
            "repeats": [
                {"step": one.step, "declared": one.declared or None, "count": one.count, "first": _point(one.first)}
                for one in self.repeats
            ],
            "asked": list(self.asked),
        }


def _point(point: Point) -> dict[str, Any]:
    deaths = [{"write": at, "when": when} for at, when in point.deaths]
    return {"point": point.number, "deaths": deaths, "what": point.what or None}


def _verdict(points: int, otherwise: int) -> str:
    """How many points end otherwise, as the beginning of a sentence that goes on with what they are compared with."""
    if points == 0:
        return "and a second run without any ends like"
    if otherwise:
        return f"{otherwise} of them {'ends' if otherwise == 1 else 'end'} otherwise than"
    return "every one ends like"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(value: Any) -> str:
    text = json.dumps(jsonable(value), ensure_ascii=False)
    return text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]}..."
