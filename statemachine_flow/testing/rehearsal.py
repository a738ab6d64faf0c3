"""`rehearse`: a death right before and right after every write of a workflow, and what came of it."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, final

from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import DefinitionError, Problem, SmfError, UsageError
from statemachine_flow.expressions.values import suggestion
from statemachine_flow.model import Definition, Step
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.testing.compare import Ending, differences
from statemachine_flow.testing.crash import When
from statemachine_flow.testing.life import Setting, World, lives_of
from statemachine_flow.testing.places import Places, without_items
from statemachine_flow.testing.report import Declared, Difference, Point, Repeat, Report
from statemachine_flow.testing.script import Given, Script
from statemachine_flow.testing.stores import stores

#: How many processes of a row die at most.
_MOST_DEATHS: Final = 5
#: Options of an engine that a rehearsal chooses itself, and what they are.
_OURS: Final = {"store": "store", "clock": "clock", "rng": "source of chance", "stand_in": "player of bodies"}


def rehearse(  # noqa: PLR0913 - what a rehearsal may be told
    workflow: Workflow | Definition | str | os.PathLike[str],
    inputs: Mapping[str, Any] | None = None,
    *,
    script: Given = None,
    seed: int = 0,
    rows: int = 10,
    point: int | None = None,
    store: Literal["memory", "sqlite"] | None = None,
    reset: Callable[[], object] = lambda: None,
    forget: Callable[[], object] = lambda: None,
    is_careful: bool = False,
    on_point: Callable[[int, int], object] = lambda _done, _all: None,
    **options: Any,
) -> Report:
    """Find out whether a workflow ends in the same way wherever its process dies.

    It is run undisturbed, and then again for each of its durable writes, with a process that dies right before it is
    kept and with one that dies right after it; another one goes on with what is in the store. On top come rows of
    several deaths in a row. All of it happens in this process, on a clock where waiting takes no time.

    A step of which the script says nothing is carried out, each time again: let the script speak of all that is slow or
    has effects.

    Args:
        workflow: a workflow, or the path or text of a document.
        inputs: by name.
        script: how attempts end and what people do: a `Script`, outcomes by path, or the path of a document of them.
        seed: of the jitter of retries and of the rows.
        rows: how many rows of deaths are tried.
        point: try only this one; those behind the two for each write are the rows.
        store: `"memory"`, or `"sqlite"` for files in a temporary folder, which is what `transaction` steps need; by
            default whichever the workflow needs.
        reset: called before each run, to put the world outside back to where it was.
        forget: called when a process dies, to empty what its memory held: variables of modules, caches.
        is_careful: refuse to carry out steps that are `at_most_once`: the script has to speak of them.
        on_point: told before the first point and after each how many were tried, and of how many.
        **options: of the engine, see `AsyncEngine`: `functions`, `agents`, `secrets`, `workflows` ... `poison_after`
            has nothing to count here: the deaths of a rehearsal are never those of a step.

    Returns:
        What was found.

    Raises:
        DefinitionError: the workflow or the script is not valid, or the run waits for somebody of whom the script says
            nothing.
        InputError: the inputs do not fit.
        UsageError: there is no such point or store, an option is none of the engine's, or an event loop is running.

    Example:
        >>> workflow = Workflow("order")
        >>> _ = workflow.call("pay", "shop:pay")
        >>> _ = workflow.call("book", "shop:book", needs="pay", idempotency_key="${{ run.id }}")
        >>> print(rehearse(workflow, script={"pay": {"return": 3}, "book": {"return": "seat 7"}}, rows=0))
        order: 3 writes, 6 points of death, every one ends like the undisturbed run
        not declared safe: pay begins again, first before write 2 (step.complete pay, step.start book)
        ...
    """
    _require_sense(store, rows, point, options)
    checked = as_workflow(workflow)
    places = Places(checked, options.get("workflows"))
    plot = Script.of(script, places)
    if is_careful:
        _require_scripted(places, plot)
    setting = Setting(workflow=checked, inputs=inputs or {}, script=plot, seed=seed, forget=forget, options=options)
    with stores(store, places) as new_store:
        rehearsal = _Rehearsal(setting, places, new_store, reset)
        rehearsal.undisturbed()
        chosen = rehearsal.chosen(rows, point)
        on_point(0, len(chosen))
        for done, each in enumerate(chosen, 1):
            rehearsal.attempt(each)
            on_point(done, len(chosen))
        return rehearsal.report()


def _require_sense(store: object, rows: object, point: object, options: Mapping[str, Any]) -> None:
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - `get_running_loop` raises where there is none
        raise UsageError("a rehearsal was called on an event loop", hint="call it from a plain function")
    if store not in (None, "memory", "sqlite"):
        raise UsageError(f"there is no store {store!r}", hint='"memory", "sqlite" or None')
    if not isinstance(rows, int) or rows < 0:
        raise UsageError(f"there cannot be {rows!r} rows", hint="a whole number from 0 on")
    if point is not None and not isinstance(point, int):
        raise UsageError(f"there is no point {point!r}", hint="points are whole numbers")
    known = [name for name in inspect.signature(AsyncEngine).parameters if name not in _OURS]
    for name in options:
        if name in _OURS:
            raise UsageError(f"a rehearsal has a {_OURS[name]} of its own, so it takes no option {name!r}")
        if name not in known:
            raise UsageError(f"an engine has no option {name!r}", hint=suggestion(name, known) or None)


def _require_scripted(places: Places, script: Script) -> None:
    problems = [
        Problem(
            kind="definition.missing_field",
            message=f"'{path}' is `at_most_once`, and a rehearsal would carry it out many times, for {script.name} is "
            "silent about it",
            path=f"steps.{path}",
            hint=f"add to the script how it ends: '{path}' = {{ return = ... }}",
        )
        for path, step in places.all()
        if step.delivery == "at_most_once" and step.verb.is_body and script.outcome(path, 1) is None
    ]
    if problems:
        raise DefinitionError(problems)


@final
class _Rehearsal:
    def __init__(
        self, setting: Setting, places: Places, new_store: Callable[[], Store], reset: Callable[[], object]
    ) -> None:
        self._setting = setting
        self._places = places
        self._new_store = new_store
        self._reset = reset
        self._expected: Ending = {}
        self._error = ""
        self._written: list[str] = []
        self._tried = 0
        self._differences: list[Difference] = []
        #: Place and aspect of what differs from one undisturbed run to the next.
        self._unsteady: set[tuple[str, str]] = set()
        self._repeats: dict[str, list[Point]] = {}
        self._asked: dict[str, None] = {}

    def undisturbed(self) -> None:
        """What everything is compared with; run twice, for what differs by itself cannot be compared."""
        world = self._world()
        try:
            run = world.live()
            self._error = "" if run.ok else _why(run)
        finally:
            world.end()
        self._expected, self._written = world.ending, world.written
        self.attempt(Point(0))
        self._unsteady = {(found.step, found.aspect) for found in self._differences}

    def chosen(self, rows: int, number: int | None) -> list[Point]:
        """The points to try: before and after each write, then the rows.

        Raises:
            UsageError: there is no point with that number.
        """
        last = 2 * len(self._written) + rows
        if number is None:
            return [self._point(each) for each in range(1, last + 1)]
        if not 0 <= number <= last:
            hint = f"0 is an undisturbed run, 1 the first death, {last} the last; more `rows` are more points"
            raise UsageError(f"there is no point {number}", hint=hint)
        return [self._point(number)] if number else []

    def _point(self, number: int) -> Point:
        writes = len(self._written)
        if number <= 2 * writes:
            at, when = (number + 1) // 2, _SIDES[(number + 1) % 2]
            return Point(number, ((at, when),), self._written[at - 1])
        rng = random.Random(f"{self._setting.seed} {number}")  # noqa: S311 - a seed is to be repeated
        deaths = [(rng.randint(1, writes), rng.choice(_SIDES)) for _ in range(rng.randint(2, _MOST_DEATHS))]
        return Point(number, tuple(deaths), self._written[deaths[0][0] - 1])

    def attempt(self, point: Point) -> None:
        """Let processes die there, and compare what comes of it."""
        self._tried += bool(point.number)
        world = self._world()
        try:
            lives_of(world, iter(point.deaths))
        except SmfError as error:
            self._differences.append(Difference(point, error.step or "", "rehearsal", "an end", str(error)))
        else:
            self._differences += [
                Difference(point, *found)
                for found in differences(self._expected, world.ending)
                if found[:2] not in self._unsteady
            ]
            for place in _repeated(world):
                self._repeats.setdefault(place, []).append(point)
            self._asked.update(dict.fromkeys(world.asked))
        finally:
            world.end()

    def _world(self) -> World:
        self._reset()
        return World(self._setting, self._new_store())

    def report(self) -> Report:
        setting = self._setting
        return Report(
            workflow=setting.workflow.definition.name,
            origin=setting.workflow.origin,
            seed=setting.seed,
            writes=len(self._written),
            points=self._tried,
            state=str(self._expected.get(("", "state"), "")),
            error=self._error,
            differences=tuple(self._differences),
            repeats=tuple(
                Repeat(place, self._declared(place), len(points), points[0]) for place, points in self._repeats.items()
            ),
            asked=tuple(self._asked),
        )

    def _declared(self, place: str) -> Declared:
        step = self._places.step(place)
        if step is not None and (said := declared(step)):
            return said
        return "safe" if self._setting.script.is_safe(place) else ""


_SIDES: Final[tuple[When, When]] = ("before", "after")


def _why(run: Run) -> str:
    """Why a run did not complete: its first error, after the step that failed with it."""
    if run.error is None:
        return run.reason
    step = run.steps.get(run.error.step or "")
    error = run.error if step is None or step.error is None else step.error
    text = f"{error.name}: {error.message}" if error.message else error.name
    return text if step is None else f"{step.path}: {text}"


def declared(step: Step) -> Declared:
    """What a step says of its effects being repeated; "" if nothing."""
    if step.delivery == "at_most_once":
        return "at_most_once"
    if getattr(step.verb, "transaction", False):
        return "transaction"
    return "idempotency_key" if step.idempotency_key is not None else ""


def _repeated(world: World) -> Iterator[str]:
    """The places of steps whose body began again after an attempt whose body had begun was cut off."""
    cut_off: set[tuple[str, str | None, int]] = set()
    for row in world.inner.rows(RunFilter(limit=10_000)):
        attempts: dict[str | None, int] = {}
        for record in world.inner.records(row.id):
            if record.kind == "step.start":
                attempts[record.step] = record.decode().attempt  # type: ignore[attr-defined]  # StepStarted
            elif record.kind == "step.interrupt":
                cut_off.add((row.id, record.step, attempts[record.step]))
    began = world.player.began
    lost = [one for one in began if (one.run_id, one.path, one.attempt) in cut_off]
    again = {
        without_items(one.place)
        for one in lost
        if any((other.run_id, other.path) == (one.run_id, one.path) and other.attempt > one.attempt for other in began)
    }
    yield from sorted(again)
