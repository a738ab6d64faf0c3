"""What users see of a run: frozen views, made from its fold; and its records as events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, final

import attrs
import msgspec

from statemachine_flow.engine.scope import step_output
from statemachine_flow.journal import ABSENT, Data, ErrorInfo, Record, RunFold, StepFold
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState, StepState
from statemachine_flow.model import Definition
from statemachine_flow.stores.base import Owner, RunRow, Store
from statemachine_flow.values import decode_value, jsonable


def _time(micros: int | None) -> dt.datetime | None:
    return None if micros is None else dt.datetime.fromtimestamp(micros / 1e6, dt.UTC)


@final
@attrs.frozen(kw_only=True, slots=False, repr=False)
class StepView:
    """One step of a run."""

    id: str
    state: StepState
    #: Attempts begun.
    attempt: int
    error: ErrorInfo | None
    #: Why it was skipped, cancelled or interrupted; "" otherwise.
    reason: str
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    #: When the next attempt may begin, while it is backing off.
    due_at: dt.datetime | None
    _fold: StepFold
    _store: Store

    @cached_property
    def output(self) -> Any:
        """The step's result; None unless it completed."""
        return step_output(self._fold, self._store)

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs it declares, by name; empty unless it completed."""
        return {} if self._fold.outputs is None else dict(decode_value(self._fold.outputs))

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
    #: Every step of the definition, in its order.
    steps: Mapping[str, StepView]
    #: The process that works on it; None when nobody does.
    owner: Owner | None
    #: The last record's number.
    seq: int
    #: The document's file, if it came from one.
    origin: str | None
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
    def done(self) -> tuple[int, int]:
        """Steps at rest, and steps in all."""
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


def view_of(definition: Definition, fold: RunFold, row: RunRow | None, store: Store) -> Run:
    """The user's view of a fold."""
    created = fold.created
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
        steps={step.id: _step_view(fold.steps.get(step.id) or StepFold(step.id), store) for step in definition.steps},
        owner=None if row is None else row.owner,
        seq=fold.seq,
        origin=created.origin,
        fold=fold,
    )


def _step_view(step: StepFold, store: Store) -> StepView:
    return StepView(
        id=step.id,
        state=StepState(step.state),
        attempt=step.attempt,
        error=step.error,
        reason=step.reason,
        started_at=_time(step.started_at),
        ended_at=_time(step.ended_at),
        due_at=_time(step.due),
        fold=msgspec.structs.replace(step),
        store=store,
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


def _said(data: Data) -> Iterator[tuple[str, Any]]:
    """What a record says; a value of a user is shown whatever it is, any other field unless it has its default."""
    for field in msgspec.structs.fields(data):
        value = getattr(data, field.name)
        if isinstance(value, msgspec.Raw):
            if value is not ABSENT:
                yield field.name, jsonable(decode_value(value))
        elif value != (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()):
            yield field.name, msgspec.to_builtins(value)
