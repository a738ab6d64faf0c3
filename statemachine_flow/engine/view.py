"""What users see of a run: frozen views, made from its fold; and its records as events."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Any, final

import attrs
import msgspec

from statemachine_flow.engine.results import Results
from statemachine_flow.errors import StoreError
from statemachine_flow.journal import ABSENT, Data, ErrorInfo, Forked, Record, RunFold, StepFold, Usage
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState, StepState
from statemachine_flow.plan import Level, Plan, PlannedStep
from statemachine_flow.plan.nodes import item_path
from statemachine_flow.stores.base import Owner, Rejected, RunRow, Store
from statemachine_flow.values import decode_value, jsonable


def _time(micros: int | None) -> dt.datetime | None:
    return None if micros is None else dt.datetime.fromtimestamp(micros / 1e6, dt.UTC)


@final
@attrs.frozen(kw_only=True, slots=False, repr=False)
class StepView:
    """One step of a run, or one item of a loop."""

    #: Its path, such as `ci/build` or `review[a.py]`; the id of a step of the workflow's own level.
    id: str
    state: StepState
    #: Attempts begun, in all its generations.
    attempt: int
    #: Grows whenever the step begins anew, through a loop, a rewind or a retry of what holds it.
    generation: int
    #: What it waits for, while it does: `approval`, `event`, `timer`, `run`, `steps` or `items`; "" otherwise.
    on: str
    error: ErrorInfo | None
    #: Why it was skipped, cancelled or interrupted; "" otherwise.
    reason: str
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    #: When it goes on by itself, while it backs off or waits.
    due_at: dt.datetime | None
    _fold: StepFold
    _planned: PlannedStep
    _is_loop: bool
    _results: Results

    @property
    def path(self) -> str:
        """Its `id`."""
        return self.id

    @cached_property
    def output(self) -> Any:
        """The step's result; None unless it completed."""
        return self._results.output(self._planned, self._fold, is_loop=self._is_loop)

    @cached_property
    def outputs(self) -> Any:
        """The outputs it declares, by name, of a loop those of each item; empty unless it completed."""
        if self.state != StepState.COMPLETED or not self._planned.step.outputs:
            return {}
        return self._results.outputs(self._planned, self._fold, is_loop=self._is_loop)

    @cached_property
    def damage(self) -> str:
        """What is wrong with its large output, which its journal names and does not hold; "" for nothing."""
        if self._fold.blob is None:
            return ""
        try:
            _ = self.output
        except StoreError as error:
            return error.message
        return ""

    @property
    def event(self) -> str | None:
        """The signal it waits for."""
        return self._fold.waits.event if self.on == "event" and self._fold.waits is not None else None

    @property
    def key(self) -> str | None:
        """The key of the signal it waits for."""
        return self._fold.waits.key if self.on == "event" and self._fold.waits is not None else None

    @property
    def child(self) -> str | None:
        """The id of the child run that it started last."""
        waits = self._fold.waits
        return waits.run if waits is not None and waits.run else None

    @cached_property
    def question(self) -> Mapping[str, Any]:
        """What an approval that waits asks: `prompt`, `choices`, `approvers`, `form`, `digest`; empty otherwise."""
        waits = self._fold.waits
        if self.on != "approval" or waits is None:
            return {}
        return {**decode_value(waits.shown), "digest": waits.digest}

    @property
    def seconds(self) -> float | None:
        """From the start of the last attempt to the end; None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def __repr__(self) -> str:
        return f"<StepView {self.id} {self.state} attempt={self.attempt}>"


@final
@attrs.frozen(kw_only=True, slots=False, repr=False)
class Run:
    """A run as it stood when it was read."""

    id: str
    #: Name and version of the workflow.
    workflow: str
    version: str
    #: Content hash of the definition it executes.
    definition_hash: str
    state: RunState
    #: Why it failed; None otherwise.
    error: ErrorInfo | None
    #: Why it was paused or cancelled; "" otherwise.
    reason: str
    #: Remarks the engine left, such as a function whose code changed.
    notes: tuple[str, ...]
    created_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    #: By path: every step of the workflow's own level, and what is known of those inside others, as in the document.
    steps: Mapping[str, StepView]
    #: The process that works on it; None when nobody does.
    owner: Owner | None
    #: The last record's number.
    seq: int
    #: The document's file, if it came from one.
    origin: str | None
    #: Name of an input -> its type, as the workflow declares them.
    declared_inputs: Mapping[str, str]
    _fold: RunFold

    @property
    def ok(self) -> bool:
        """Whether it completed."""
        return self.state == RunState.COMPLETED

    @property
    def at_rest(self) -> bool:
        """Whether nothing will happen to it by itself."""
        return self.state in RUN_AT_REST or self.state == RunState.PAUSED

    @property
    def allowed(self) -> tuple[str, ...]:
        """The triggers its lifecycle has an edge for."""
        return RUN.allowed(self.state)

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs it was started with, defaults filled in."""
        return dict(decode_value(self._fold.created.inputs))

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """The workflow's outputs; empty unless it completed."""
        return {} if self._fold.outputs is None else dict(decode_value(self._fold.outputs))

    @property
    def waiting(self) -> tuple[StepView, ...]:
        """The steps that only the world can bring on: approvals and signals."""
        return tuple(step for step in self.steps.values() if step.on in ("approval", "event"))

    @property
    def children(self) -> Mapping[str, str]:
        """Path of a step -> the run that it started last."""
        return {path: step.child for path, step in self.steps.items() if step.child is not None}

    @property
    def parent(self) -> tuple[str, str] | None:
        """The run and the step that started this one."""
        return self._fold.created.parent

    @property
    def forked(self) -> Forked | None:
        """The run whose records it began with, and the last of them; None for one that began by itself."""
        return self._fold.created.forked

    @property
    def usage(self) -> Usage:
        """What its agents used up."""
        return self._fold.usage

    @property
    def done(self) -> tuple[int, int]:
        """Steps of the workflow's own level that are at rest, and all of them."""
        return self._fold.created.steps - self._fold.open_steps, self._fold.created.steps

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.workflow} {self.state} {self.done[0]}/{self.done[1]}>"


@final
@attrs.frozen(kw_only=True)
class Event:
    """One record of a run's journal, readable."""

    run_id: str
    seq: int
    #: `<machine>.<trigger>`, such as `step.complete`.
    kind: str
    at: dt.datetime
    step: str | None
    #: What the record says, as plain data.
    data: Mapping[str, Any]


def view_of(plan: Plan, fold: RunFold, row: RunRow | None, store: Store) -> Run:
    """The user's view of a fold."""
    created = fold.created
    results = Results(fold, store)
    return Run(
        id=fold.id,
        workflow=created.workflow,
        version=created.version,
        definition_hash=created.definition,
        state=RunState(fold.state),
        error=fold.error,
        reason=fold.reason,
        notes=tuple(fold.notes),
        created_at=_require(_time(fold.created_at)),
        started_at=_time(fold.started_at),
        ended_at=_time(fold.ended_at),
        steps={step.id: step for step in _step_views(plan, fold, results)},
        owner=None if row is None else row.owner,
        seq=fold.seq,
        origin=created.origin,
        declared_inputs={name: declared.type for name, declared in plan.definition.inputs.items()},
        fold=fold,
    )


def _step_views(plan: Plan, fold: RunFold, results: Results) -> Iterator[StepView]:
    yield from _level_views(plan.level, "", fold, results, top=True)
    yield from _compensation_views(plan.level, fold, results)
    for name, level in (("@on_failure", plan.on_failure), ("@finally", plan.finally_)):
        yield from _level_views(level, f"{name}/", fold, results, top=False)


def _level_views(level: Level, prefix: str, fold: RunFold, results: Results, *, top: bool) -> Iterator[StepView]:
    """Steps that nothing has happened to are shown on the workflow's own level alone."""
    for planned in level.steps:
        path = prefix + planned.id
        if top or path in fold.steps:
            yield _step_view(results.fold_of(path), planned, results, is_loop=planned.is_loop)
            if path in fold.steps:
                yield from _inner_views(planned, path, fold, results, is_loop=planned.is_loop)


def _inner_views(
    planned: PlannedStep, path: str, fold: RunFold, results: Results, *, is_loop: bool
) -> Iterator[StepView]:
    if is_loop:
        waits = fold.steps[path].waits
        for key in (waits.keys if waits is not None else None) or ():
            item = item_path(path, key)
            if item in fold.steps:
                yield _step_view(fold.steps[item], planned, results, is_loop=False)
                yield from _inner_views(planned, item, fold, results, is_loop=False)
    elif planned.level is not None:
        yield from _level_views(planned.level, f"{path}/", fold, results, top=False)


def _compensation_views(level: Level, fold: RunFold, results: Results) -> Iterator[StepView]:
    undone = {path: step for path, step in fold.steps.items() if path.startswith("@compensate/")}
    for path, step in undone.items():
        planned = _compensation(level, path.removeprefix("@compensate/"))
        if planned is not None:
            yield _step_view(step, planned, results, is_loop=False)
            yield from _inner_views(planned, path, fold, results, is_loop=False)


def _compensation(level: Level, path: str) -> PlannedStep | None:
    """What undoes the step under a path."""
    step_id, _, rest = re.sub(r"\[[^\]]*\]", "", path).partition("/")
    planned = level.get(step_id)
    if planned is None:
        return None
    return planned.compensate if not rest else planned.level and _compensation(planned.level, rest)


def _step_view(step: StepFold, planned: PlannedStep, results: Results, *, is_loop: bool) -> StepView:
    is_waiting = step.state == "waiting" and step.waits is not None
    return StepView(
        id=step.id,
        state=StepState(step.state),
        attempt=step.attempt,
        generation=step.generation,
        on=step.waits.on if is_waiting and step.waits is not None else "",
        error=step.error,
        reason=step.reason,
        started_at=_time(step.started_at),
        ended_at=_time(step.ended_at),
        due_at=_time(step.due),
        fold=msgspec.structs.replace(step),
        planned=planned,
        is_loop=is_loop,
        results=results,
    )


def _require(moment: dt.datetime | None) -> dt.datetime:
    return moment if moment is not None else dt.datetime.fromtimestamp(0, dt.UTC)


def event_of(run_id: str, record: Record) -> Event:
    """A record as users see it: times as datetimes, values decoded and made plain."""
    return Event(
        run_id=run_id,
        seq=record.seq,
        kind=record.kind,
        at=_require(_time(record.at)),
        step=record.step,
        data=dict(_said(record.decode())),
    )


def rejected_event(rejected: Rejected) -> Event:
    """A record that came too late, as users see it: with the number 0, and whose it was."""
    record = Record(0, rejected.kind, rejected.at, rejected.step, rejected.data, b"")
    event = event_of(rejected.run_id, record)
    owner = f"process {rejected.owner.pid} on {rejected.owner.host}"
    return attrs.evolve(event, data={**event.data, "epoch": rejected.epoch, "owner": owner})


@cache
def _fields_of(kind: type[Data]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Msgspec looks through the annotations of a class anew each time, which takes longer than all the rest."""
    return msgspec.structs.fields(kind)


def _said(data: Data) -> Iterator[tuple[str, Any]]:
    """What a record says; a value of a user is shown whatever it is, any other field unless it has its default."""
    for field in _fields_of(type(data)):
        value = getattr(data, field.name)
        if isinstance(value, msgspec.Raw):
            if value is not ABSENT:
                yield field.name, jsonable(decode_value(value))
        elif value != (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()):
            yield field.name, msgspec.to_builtins(value)
