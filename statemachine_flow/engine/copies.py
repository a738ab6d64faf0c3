"""Runs that begin with records of another one: copied under a new `run.create`, kept in one transaction, or not at all.

What a copy changes in the records it takes over:
    times       a duration goes on where it stood: whatever falls due is moved by the time that passed since then.
                A moment that the document names (`wait.until`) stays, and so do the times at which things happened.
    attempts    that were under way are interrupted: what became of them there is not known here.
    child runs  that were waited for are begun anew, as children of the new run.
    signals     keep to the steps that took them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import msgspec

from statemachine_flow.engine.ids import child_run_id
from statemachine_flow.engine.paths import planned_at
from statemachine_flow.engine.rows import new_row
from statemachine_flow.journal import (
    BackedOff,
    Created,
    Data,
    Note,
    Record,
    RunFold,
    RunRetried,
    RunStarted,
    StepInterrupted,
    StepReset,
    StepWaiting,
)
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Plan
from statemachine_flow.steps.wait import Wait
from statemachine_flow.stores.base import NewRun, StepChange, Write


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is taken over, decoded."""

    #: Its number in the run that it comes from.
    seq: int
    kind: str
    at: int
    step: str | None
    data: Any


def entries_of(records: Iterable[Record]) -> list[Entry]:
    """Records, decoded.

    Raises:
        StoreError: one of them cannot be read.
    """
    return [
        Entry(seq=record.seq, kind=record.kind, at=record.at, step=record.step, data=record.decode())
        for record in records
    ]


def moved(entry: Entry, plan: Plan, by: int) -> Entry:
    """An entry with what falls due moved, except for moments that the document names.

    Args:
        entry: of a run of the plan.
        plan: the run's plan.
        by: microseconds.
    """
    data = entry.data
    if isinstance(data, StepWaiting) and data.on == "timer" and _waits_for_moment(plan, entry.step or ""):
        return entry
    if isinstance(data, StepWaiting | BackedOff | StepReset) and data.due is not None:
        return msgspec.structs.replace(entry, data=msgspec.structs.replace(data, due=data.due + by))
    if isinstance(data, RunStarted | RunRetried) and data.deadline is not None:
        return msgspec.structs.replace(entry, data=msgspec.structs.replace(data, deadline=data.deadline + by))
    return entry


def _waits_for_moment(plan: Plan, path: str) -> bool:
    planned = planned_at(plan, path)
    return planned is not None and isinstance(planned.verb, Wait) and planned.verb.wait.until is not None


@final
class Copy:
    """A new run that is being written from records of another one.

    Args:
        run_id: its id.
        created: what it begins with.
        now: the time.

    Raises:
        TransitionRefused: by its methods, if the records do not make a run.
    """

    def __init__(self, run_id: str, created: Created, now: int) -> None:
        self.fold = RunFold(run_id)
        self._now = now
        self._records: list[Record] = []
        self._states: list[str] = []
        self._changes: list[StepChange] = []
        #: Number of a signal there -> its number here.
        self._signals: dict[int, int] = {}
        self.add("run.create", created)

    def add(self, kind: str, data: Data, at: int | None = None, step: str | None = None) -> None:
        """Append a record."""
        fold, before = self.fold, self.fold.state
        first = step is not None and step not in fold.steps
        self._records.append(fold.add(kind, data, self._now if at is None else at, step))
        if step is not None:
            changed = fold.steps[step]
            self._changes.append(StepChange(step, changed.state, changed.attempt, first))
        elif fold.state != before:
            self._states.append(fold.state)

    def take(self, entries: Iterable[Entry]) -> None:
        """Take records over."""
        for entry in entries:
            data = entry.data
            if getattr(data, "signal", None) is not None:
                data = msgspec.structs.replace(data, signal=self._signals.get(data.signal))
            self.add(entry.kind, data, entry.at, entry.step)
            if entry.kind == "run.signal":
                self._signals[entry.seq] = self.fold.seq

    def settle(self, note: str, by: str | None) -> None:
        """Take what was under way for interrupted, and say where all this comes from.

        Args:
            note: what was done, for people.
            by: who did it.
        """
        assert self.fold.created.forked is not None  # noqa: S101 - it is a copy
        reason = f"it was under way in run {self.fold.created.forked.run}"
        for step in list(self.fold.steps.values()):
            if step.state == "running":
                self.add("step.interrupt", StepInterrupted(reason=reason), step=step.id)
        self.add("run.note", Note(reason=note, by=by))

    def new_run(self, definition: bytes) -> NewRun:
        """What creates the run, owned by nobody.

        Args:
            definition: as it is stored.
        """
        fold, created = self.fold, self.fold.created
        row = new_row(fold.id, created, self._now, None)
        write = Write(
            run_id=fold.id,
            epoch=1,
            seq=0,
            records=self._records,
            states=self._states,
            steps=self._changes,
            steps_done=created.steps - fold.open_steps,
            updated_at=fold.updated_at,
            started_at=fold.started_at,
            ended_at=fold.ended_at,
            message=fold.error.message if fold.error is not None else fold.reason,
            release=True,
            ends=fold.state in RUN_AT_REST,
        )
        # The definitions of its children are in the store already, for they came with the run that this one copies.
        return NewRun(row=row, definition=definition, write=write)


def with_new_children(entries: Sequence[Entry], waiting: Mapping[str, int], run_id: str) -> list[Entry]:
    """Entries in which steps that wait for a child run wait for one of the new run.

    Args:
        entries: the records.
        waiting: path of a step that waits for a child run -> its attempt.
        run_id: the new run.
    """
    result = list(entries)
    left = dict(waiting)
    for place in range(len(result) - 1, -1, -1):
        entry = result[place]
        if entry.kind == "step.wait" and entry.step in left:
            child = child_run_id(run_id, entry.step, left.pop(entry.step))
            result[place] = msgspec.structs.replace(entry, data=msgspec.structs.replace(entry.data, run=child))
    return result


def waiting_for_children(fold: RunFold) -> dict[str, int]:
    """The steps that wait for a child run: path -> attempt."""
    steps = fold.steps.values()
    return {step.id: step.attempt for step in steps if step.state == "waiting" and step.is_alive}
