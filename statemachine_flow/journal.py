"""The journal: records of what happened to a run, and the fold that turns them into its state.

A record's kind is `<machine>.<trigger>`, so a journal is a trace of legal transitions: `RunFold.add` fires the
lifecycle's machine before it believes a record, and replay does the same with every stored one. `run.create` and
`run.note` are the two kinds that change no state. Sequence numbers count from 1 without gaps, and each record
carries a digest over itself and its predecessor's digest, so that a lost, altered or reordered record shows.

Adding a record is O(1), whatever the size of the run: it touches one step and a few counters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import StoreError, TransitionRefused
from statemachine_flow.lifecycle import RUN, STEP, STEP_AT_REST, RunState, StepState

DIGEST_SIZE: Final = 16

#: Stands for "no value" where a record may hold one; msgspec knows no optional `Raw`.
ABSENT: Final = msgspec.Raw()

# --- what records say ---------------------------------------------------------------------------------------


class Data(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Base of what a record says beyond its kind; stored as a MessagePack map without the defaults."""


class Created(Data, frozen=True):
    """`run.create`: all a later process needs to go on with the run."""

    #: Name and version of the workflow, for people; the definition's content hash, for the engine.
    workflow: str
    version: str
    definition: str
    #: Encoded by `values`.
    inputs: msgspec.Raw
    #: How many steps the definition has.
    steps: int
    #: Where commands run and relative paths begin.
    cwd: str
    #: The document's file, if there was one.
    origin: str | None = None
    #: Function name -> digest of its source when the run began.
    code: dict[str, str] = {}


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an attempt, a step or a run failed."""

    #: A key of `errors.KINDS`.
    kind: str
    #: The name that `retry_on` and `abort_on` matched, such as `TimeoutError`.
    name: str
    message: str
    #: The last place in the user's own code, `file:line in function`.
    where: str | None = None
    #: The step, in the error of a run.
    step: str | None = None


class Reason(Data, frozen=True):
    """Any change that an operator, the engine or a rule asked for."""

    reason: str = ""
    #: Who asked, where it was somebody.
    by: str | None = None


class RunStarted(Data, frozen=True):
    """`run.start`."""

    #: The run's own deadline, microseconds UTC.
    deadline: int | None = None


class RunCompleted(Data, frozen=True):
    """`run.complete`."""

    outputs: msgspec.Raw


class Failed(Data, frozen=True):
    """`step.fail` and `run.fail`."""

    error: ErrorInfo
    #: The run may complete all the same.
    optional: bool = False


class StepStarted(Data, frozen=True):
    """`step.start`."""

    #: Counts from 1.
    attempt: int


class StepCompleted(Data, frozen=True):
    """`step.complete`."""

    #: Encoded by `values`; absent when it lies in a blob.
    output: msgspec.Raw = ABSENT
    #: Declared outputs; absent when the step declares none.
    outputs: msgspec.Raw = ABSENT
    #: Digest of the blob that holds `output`.
    blob: str | None = None


class BackedOff(Data, frozen=True):
    """`step.back_off`."""

    error: ErrorInfo
    #: When the next attempt may begin, microseconds UTC.
    due: int


#: kind -> the type of its data: the closed list of records.
KINDS: Final[Mapping[str, type[Data]]] = {
    "run.create": Created,
    "run.note": Reason,
    **{f"run.{trigger}": Reason for trigger in RUN.sources},
    **{f"step.{trigger}": Reason for trigger in STEP.sources},
    "run.start": RunStarted,
    "run.complete": RunCompleted,
    "run.fail": Failed,
    "step.start": StepStarted,
    "step.complete": StepCompleted,
    "step.fail": Failed,
    "step.back_off": BackedOff,
}


@final
class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of a journal, as stored."""

    seq: int
    #: A key of `KINDS`.
    kind: str
    #: Microseconds UTC.
    at: int
    #: The step it is about; None for the run itself.
    step: str | None
    #: The encoded `Data`.
    data: bytes
    #: Over this record and its predecessor's digest.
    digest: bytes

    def decode(self) -> Data:
        """What the record says.

        Raises:
            StoreError: `store.corrupt`, or `store.newer` for a kind this version does not know.
        """
        try:
            return _DECODERS[self.kind].decode(self.data)
        except KeyError:
            raise StoreError(f"unknown record kind {self.kind!r}", kind="store.newer", seq=self.seq) from None
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"a {self.kind} record cannot be read: {error}", kind="store.corrupt", seq=self.seq
            ) from error


def chain(previous: bytes, seq: int, kind: str, at: int, step: str | None, data: bytes) -> bytes:  # noqa: PLR0917 - a record's own fields
    """The digest of a record: BLAKE2b over its predecessor's digest and all its own fields."""
    head = f"{seq} {kind} {at} {step} ".encode()
    return hashlib.blake2b(previous + head + data, digest_size=DIGEST_SIZE).digest()


_encode: Final = msgspec.msgpack.Encoder().encode
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(data) for kind, data in KINDS.items()}

# --- what they add up to ------------------------------------------------------------------------------------


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
        self._apply(kind, data, at, step_id)
        seq = self.seq + 1
        body = _encode(data)
        digest = chain(self.digest, seq, kind, at, step_id, body)
        self.seq, self.digest, self.updated_at = seq, digest, at
        return Record(seq, kind, at, step_id, body, digest)

    def replay(self, records: Iterable[Record]) -> None:
        """Fold stored records, checking sequence, digests and transitions.

        Raises:
            StoreError: `store.corrupt` naming the first record that does not fit; `store.newer`.
        """
        for record in records:
            if record.seq != self.seq + 1:
                raise self._corrupt(record, f"expected record {self.seq + 1}, found {record.seq}")
            digest = chain(self.digest, record.seq, record.kind, record.at, record.step, record.data)
            if digest != record.digest:
                raise self._corrupt(record, "its checksum does not match")
            try:
                self._apply(record.kind, record.decode(), record.at, record.step)
            except TransitionRefused as error:
                raise self._corrupt(record, str(error)) from error
            self.seq, self.digest, self.updated_at = record.seq, digest, record.at

    def _corrupt(self, record: Record, why: str) -> StoreError:
        return StoreError(
            f"the journal is damaged: {why}", kind="store.corrupt", run=self.id, step=record.step, seq=record.seq
        )

    def _apply(self, kind: str, data: Data, at: int, step_id: str | None) -> None:
        machine, _, trigger = kind.partition(".")
        if step_id is not None:
            self._apply_to_step(trigger, data, at, self.step(step_id))
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


_ON_RUN: Final[Mapping[str, Callable[[RunFold, Any, int], None]]] = {
    "start": _on_run_start,
    "complete": _on_run_complete,
    "fail": _on_run_fail,
    "retry": _on_run_go_on,
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
