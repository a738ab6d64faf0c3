"""What a rehearsal found, as values, as text and as plain data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, Final, Literal, final

import attrs

from statemachine_flow.testing.crash import When
from statemachine_flow.values import jsonable

_VALUE_LENGTH: Final = 120
#: How many findings of one sort a text shows.
_SHOWN: Final = 20

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

    def __str__(self) -> str:
        where = f"{self.step or 'the run'}: {self.aspect}"
        return f"{where} is {_short(self.found)}, not {_short(self.expected)}"


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
    differences: tuple[Difference, ...]
    repeats: tuple[Repeat, ...]
    #: Places of steps of which somebody had to say what became of them.
    asked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything ends as in the undisturbed run, wherever the process dies."""
        return not self.differences

    @property
    def undeclared(self) -> tuple[Repeat, ...]:
        """The steps whose effects may happen twice, of which nothing says that this does no harm."""
        return tuple(repeat for repeat in self.repeats if not repeat.declared)

    def command(self, point: Point) -> str:
        """What repeats one point: a shell command for a document, else a call."""
        if self.origin is None:
            return f"rehearse(..., seed={self.seed}, point={point.number})"
        return f"smf rehearse {shlex.quote(self.origin)} --seed {self.seed} --point {point.number}"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        failed = self._failed
        deaths = sum(point.number > 0 for point in failed)
        verdict = f"{deaths} of them end otherwise than" if deaths else "every one ends like"
        yield f"{self.workflow}: {self.writes} writes, {self.points} points of death, {verdict} the undisturbed run"
        if deaths < len(failed):
            yield "even undisturbed it does not end twice alike: only what it has in common is compared"
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


def _short(value: Any) -> str:
    text = json.dumps(jsonable(value), ensure_ascii=False)
    return text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]}..."
