"""The fold: what a run's records add up to.

`RunFold.add` fires the lifecycle's machine before it believes a record, and replay does the same with every stored
one. Adding a record is O(1), whatever the size of the run: it touches one step and a few counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import StoreError, TransitionRefused
from statemachine_flow.journal.records import ABSENT, DIGEST_SIZE, Created, Data, ErrorInfo, Record, chain, encode_data
from statemachine_flow.lifecycle import RUN, STEP, STEP_AT_REST, RunState, StepState


@final
class StepFold(msgspec.Struct, gc=False):
    """One step as its records say; also the cursor its lifecycle moves."""

    id: str
    state: str = StepState.PENDING.value
    #: Attempts begun so far.
    attempt: int = 0
    #: Attempts that failed since the step was last reset; interrupted ones do not count.
    failures: int = 0
    #: When a step that is backing off may go on, microseconds UTC.
    due: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    output: msgspec.Raw | None = None
    outputs: msgspec.Raw | None = None
    blob: str | None = None
    error: ErrorInfo | None = None
    #: It failed, and the run may complete all the same.
    forgiven: bool = False
    reason: str = ""


@final
class RunFold:
    """One run as its records say; also the cursor its lifecycle moves.

    It belongs to whoever works on the run and changes in place. Steps that nothing has happened to yet have no
    entry in `steps`.

    Args:
        run_id: the run's id.
    """

    __slots__ = (
        "alive_steps",
        "created",
        "created_at",
        "deadline",
        "digest",
        "ended_at",
        "error",
        "failed_steps",
        "id",
        "notes",
        "open_steps",
        "outputs",
        "reason",
        "seq",
        "started_at",
        "state",
        "steps",
        "updated_at",
    )

    created: Created

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.state: str = RunState.PENDING.value
        self.seq = 0
        self.digest = bytes(DIGEST_SIZE)
        self.steps: dict[str, StepFold] = {}
        #: Steps that are not at rest, those not begun included.
        self.open_steps = 0
        #: Steps with an attempt under way.
        self.alive_steps = 0
        #: Required steps that failed.
        self.failed_steps = 0
        self.created_at = self.updated_at = 0
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.deadline: int | None = None
        self.outputs: msgspec.Raw | None = None
        self.error: ErrorInfo | None = None
        self.reason = ""
        self.notes: list[str] = []

    def step(self, step_id: str) -> StepFold:
        """The step's fold, made on first use."""
        step = self.steps.get(step_id)
        if step is None:
            step = self.steps[step_id] = StepFold(step_id)
        return step

    def state_of(self, step_id: str) -> str:
        """The step's state, without making an entry for it."""
        step = self.steps.get(step_id)
        return StepState.PENDING.value if step is None else step.state

    def add(self, kind: str, data: Data, at: int, step_id: str | None = None) -> Record:
        """Append a record: fire the lifecycle, change the fold, and return the record to be stored.

        Raises:
            TransitionRefused: the lifecycle does not allow it; the fold is as it was.
        """
        body = encode_data(data)
        self._apply(kind, data, at, step_id)
        seq = self.seq + 1
        digest = chain(self.digest, seq, kind, at, step_id, body)
        self.seq, self.digest, self.updated_at = seq, digest, at
        return Record(seq, kind, at, step_id, body, digest)

    def replay(self, records: Iterable[Record]) -> None:
        """Fold stored records, checking sequence, digests and transitions.

        Raises:
            StoreError: `store.corrupt` naming the first record that does not fit; `store.newer`.
        """
        for record in records:
            _check_link(self.id, record, self.seq, self.digest)
            data = record.decode()
            if not _fits(record):
                raise _corrupt(self.id, record, f"a {record.kind} record cannot stand here")
            try:
                self._apply(record.kind, data, record.at, record.step)
            except TransitionRefused as error:
                raise _corrupt(self.id, record, str(error)) from error
            self.seq, self.digest, self.updated_at = record.seq, record.digest, record.at

    def _apply(self, kind: str, data: Data, at: int, step_id: str | None) -> None:
        machine, _, trigger = kind.partition(".")
        if step_id is not None:
            step = self.steps.get(step_id) or StepFold(step_id)
            self._apply_to_step(trigger, data, at, step)
            self.steps[step_id] = step
        elif machine == "run" and trigger not in _STATELESS:
            RUN.fire(self, trigger)
            _ON_RUN.get(trigger, _on_run_reason)(self, data, at)
        elif kind == "run.create":
            _on_create(self, data, at)
        else:
            self.notes.append(data.reason)  # type: ignore[attr-defined]  # KINDS: a note holds a Reason

    def _apply_to_step(self, trigger: str, data: Data, at: int, step: StepFold) -> None:
        before = step.state
        STEP.fire(step, trigger)
        self.open_steps += (before in STEP_AT_REST) - (step.state in STEP_AT_REST)
        self.alive_steps += (step.state == "running") - (before == "running")
        if before == "failed" and not step.forgiven:
            self.failed_steps -= 1
        _ON_STEP[trigger](step, data, at)
        if step.state == "failed" and not step.forgiven:
            self.failed_steps += 1


_STATELESS: Final = frozenset({"create", "note"})


def _fits(record: Record) -> bool:
    """Whether a record is about what its kind says, and creates the run exactly if it is the first."""
    about_run = record.kind.startswith("run.")
    return about_run == (record.step is None) and (record.kind == "run.create") == (record.seq == 1)


def verified(run_id: str, records: Iterable[Record], before: Record | None) -> list[Record]:
    """Records of a run that follow `before`, or begin the journal, with their sequence and digests checked.

    Raises:
        StoreError: `store.corrupt` naming the first record that does not fit.
    """
    seq, digest = (before.seq, before.digest) if before is not None else (0, bytes(DIGEST_SIZE))
    checked: list[Record] = []
    for record in records:
        _check_link(run_id, record, seq, digest)
        seq, digest = record.seq, record.digest
        checked.append(record)
    return checked


def _check_link(run_id: str, record: Record, seq: int, digest: bytes) -> None:
    """That a record follows the one with that sequence number and digest, and is as it was written."""
    if record.seq != seq + 1:
        raise _corrupt(run_id, record, f"expected record {seq + 1}, found {record.seq}")
    if type(record.data) is not bytes:  # in a damaged file a column may have any type
        raise _corrupt(run_id, record, "its data is not bytes")
    if chain(digest, record.seq, record.kind, record.at, record.step, record.data) != record.digest:
        raise _corrupt(run_id, record, "its checksum does not match")


def _corrupt(run_id: str, record: Record, why: str) -> StoreError:
    return StoreError(
        f"the journal is damaged: {why}", kind="store.corrupt", run=run_id, step=record.step, seq=record.seq
    )


def _on_create(run: RunFold, data: Any, at: int) -> None:
    run.created = data
    run.open_steps = data.steps
    run.created_at = at


def _on_run_start(run: RunFold, data: Any, at: int) -> None:
    run.started_at, run.deadline = at, data.deadline


def _on_run_complete(run: RunFold, data: Any, at: int) -> None:
    run.outputs, run.ended_at = data.outputs, at


def _on_run_fail(run: RunFold, data: Any, at: int) -> None:
    run.error, run.ended_at = data.error, at


def _on_run_go_on(run: RunFold, _data: Any, _at: int) -> None:
    run.error, run.ended_at, run.reason = None, None, ""


def _on_run_reason(run: RunFold, data: Any, at: int) -> None:
    run.reason = data.reason or run.reason
    if run.state in RUN.terminal:
        run.ended_at = at


def _on_run_retry(run: RunFold, data: Any, at: int) -> None:
    _on_run_go_on(run, data, at)
    run.deadline = data.deadline


_ON_RUN: Final[Mapping[str, Callable[[RunFold, Any, int], None]]] = {
    "start": _on_run_start,
    "complete": _on_run_complete,
    "fail": _on_run_fail,
    "retry": _on_run_retry,
    "resume": _on_run_go_on,
}


def _on_step_start(step: StepFold, data: Any, at: int) -> None:
    step.attempt, step.started_at, step.due, step.reason = data.attempt, at, None, ""


def _on_step_complete(step: StepFold, data: Any, at: int) -> None:
    step.output = None if data.output is ABSENT else data.output
    step.outputs = None if data.outputs is ABSENT else data.outputs
    step.blob, step.ended_at, step.error = data.blob, at, None


def _on_step_fail(step: StepFold, data: Any, at: int) -> None:
    step.error, step.forgiven, step.ended_at = data.error, data.optional, at
    step.failures += 1


def _on_step_back_off(step: StepFold, data: Any, _at: int) -> None:
    step.error, step.due = data.error, data.due
    step.failures += 1


def _on_step_reset(step: StepFold, data: Any, _at: int) -> None:
    """Everything but the count of attempts begun, which only grows: an attempt's number is never used twice."""
    step.failures, step.due, step.forgiven, step.error = 0, None, False, None
    step.output = step.outputs = step.blob = step.ended_at = None
    step.reason = data.reason


def _on_step_reason(step: StepFold, data: Any, at: int) -> None:
    step.reason = data.reason
    if step.state in STEP_AT_REST:
        step.ended_at = at


_ON_STEP: Final[Mapping[str, Callable[[StepFold, Any, int], None]]] = {
    **dict.fromkeys(STEP.sources, _on_step_reason),
    "start": _on_step_start,
    "complete": _on_step_complete,
    "fail": _on_step_fail,
    "back_off": _on_step_back_off,
    "reset": _on_step_reset,
}
