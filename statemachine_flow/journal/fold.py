"""The fold: what a run's records add up to.

`RunFold.add` fires the lifecycle's machine before it believes a record, and replay does the same with every stored
one. Adding a record is O(1), whatever the size of the run: it touches one step and a few counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import TransitionRefused
from statemachine_flow.journal.links import check_link, corrupt, fits
from statemachine_flow.journal.records import (
    DIGEST_SIZE,
    KINDS,
    STATELESS,
    Created,
    Data,
    ErrorInfo,
    Record,
    Signalled,
    Unwinding,
    Usage,
    chain,
    encode_data,
)
from statemachine_flow.journal.step import ON_STEP, StepFold
from statemachine_flow.lifecycle import RUN, STEP, STEP_AT_REST, RunState, StepState


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
        "child_runs",
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
        "retry_seq",
        "seq",
        "signals",
        "started_at",
        "state",
        "steps",
        "tokens",
        "unwinding",
        "updated_at",
        "usage",
        "visits",
    )

    created: Created

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.state: str = RunState.PENDING.value
        self.seq = 0
        self.digest = bytes(DIGEST_SIZE)
        self.steps: dict[str, StepFold] = {}
        #: Steps of the workflow's own level that are not at rest, those not begun included.
        self.open_steps = 0
        #: Steps of which something is under way: an attempt, or a child run.
        self.alive_steps = 0
        #: Those of them that have a child run.
        self.child_runs = 0
        #: Required steps of the workflow's own level that failed.
        self.failed_steps = 0
        #: Path of what holds a level of states -> the step its token is at, once it moved.
        self.tokens: dict[str, str] = {}
        #: The same -> step -> how often the token has moved to it.
        self.visits: dict[str, dict[str, int]] = {}
        #: Event and key -> signals that nobody took yet, oldest first: number of the record, payload.
        self.signals: dict[tuple[str, str | None], list[tuple[int, msgspec.Raw]]] = {}
        #: What the end of the run is going to be, while its handlers are carried out.
        self.unwinding: Unwinding | None = None
        #: Number of the last `run.retry`: failures before it no longer stop anything.
        self.retry_seq = 0
        self.usage = Usage()
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
        # A type near by, such as its base, would only be the right one once it is read back.
        assert type(data) is KINDS[kind], f"{kind} takes {KINDS[kind].__name__}"  # noqa: S101 - our own mistake
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
            check_link(self.id, record, self.seq, self.digest)
            data = record.decode()
            if not fits(record):
                raise corrupt(self.id, record, f"a {record.kind} record cannot stand here")
            try:
                self._apply(record.kind, data, record.at, record.step)
            except TransitionRefused as error:
                raise corrupt(self.id, record, str(error)) from error
            self.seq, self.digest, self.updated_at = record.seq, record.digest, record.at

    def _apply(self, kind: str, data: Data, at: int, step_id: str | None) -> None:
        machine, _, trigger = kind.partition(".")
        if step_id is not None:
            step = self.steps.get(step_id) or StepFold(step_id)
            self._apply_to_step(trigger, data, at, step)
            self.steps[step_id] = step
        elif machine == "run" and kind not in STATELESS:
            RUN.fire(self, trigger)
            _ON_RUN.get(trigger, _on_run_reason)(self, data, at)
        else:
            _ON_STATELESS[kind](self, data, at)

    def _apply_to_step(self, trigger: str, data: Data, at: int, step: StepFold) -> None:
        before = step.state
        was_child = before == "waiting" and step.is_alive
        was_failed = before == "failed" and not step.forgiven
        STEP.fire(step, trigger)
        ON_STEP[trigger](step, data, at)
        state = step.state
        is_child = state == "waiting" and step.is_alive
        self.child_runs += is_child - was_child
        self.alive_steps += (state == "running" or is_child) - (before == "running" or was_child)
        is_at_rest = state in STEP_AT_REST
        if is_at_rest:
            step.ended_seq = self.seq + 1
        if "/" not in step.id and "[" not in step.id:  # `is_top`, without a call on the hottest way
            self.open_steps += (before in STEP_AT_REST) - is_at_rest
            self.failed_steps += (state == "failed" and not step.forgiven) - was_failed
        if trigger in _MORE:
            _MORE[trigger](self, data, step, before)


def _on_create(run: RunFold, data: Any, at: int) -> None:
    run.created = data
    run.open_steps = data.steps
    run.created_at = at


def _on_note(run: RunFold, data: Any, _at: int) -> None:
    if not data.label:  # that is a mark, not a remark about the run
        run.notes.append(data.reason)


def _on_signal(run: RunFold, data: Signalled, _at: int) -> None:
    run.signals.setdefault((data.event, data.key), []).append((run.seq + 1, data.payload))


def _on_unwind(run: RunFold, data: Any, _at: int) -> None:
    run.unwinding = data


_ON_STATELESS: Final[Mapping[str, Callable[[RunFold, Any, int], None]]] = {
    "run.create": _on_create,
    "run.note": _on_note,
    "run.signal": _on_signal,
    "run.unwind": _on_unwind,
}


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
    run.unwinding = None
    run.retry_seq = run.seq + 1


_ON_RUN: Final[Mapping[str, Callable[[RunFold, Any, int], None]]] = {
    "start": _on_run_start,
    "complete": _on_run_complete,
    "fail": _on_run_fail,
    "retry": _on_run_retry,
    "resume": _on_run_go_on,
}


# What records of a step change beyond it.


def _move_on(run: RunFold, data: Any, step: StepFold, _before: str) -> None:
    if data.next is not None:
        level = step.id.rpartition("/")[0]
        run.tokens[level] = data.next
        visits = run.visits.setdefault(level, {})
        visits[data.next] = visits.get(data.next, 0) + 1


def _take_up(run: RunFold, data: Any, step: StepFold, before: str) -> None:
    if data.usage is not None:
        _count_usage(run, data, step, before)
    if data.next is not None:
        _move_on(run, data, step, before)
    if getattr(data, "signal", None) is not None:
        _take_signal(run, data.signal)


def _take_signal(run: RunFold, seq: int) -> None:
    for name, kept in run.signals.items():
        left = [signal for signal in kept if signal[0] != seq]
        if len(left) < len(kept):
            run.signals[name] = left
            if not left:
                del run.signals[name]
            return


def _count_usage(run: RunFold, data: Any, _step: StepFold, _before: str) -> None:
    if data.usage is not None:
        before = run.usage
        run.usage = Usage(before.cost_usd + data.usage.cost_usd, before.tokens + data.usage.tokens)


def _begin_anew(run: RunFold, data: Any, step: StepFold, before: str) -> None:
    """The token of a level begins at its start when what holds the level begins anew."""
    if before == "backing_off" or (before != "pending" and getattr(data, "generation", None) is not None):
        run.tokens.pop(step.id, None)
        run.visits.pop(step.id, None)


_MORE: Final[Mapping[str, Callable[[RunFold, Any, StepFold, str], None]]] = {
    "complete": _take_up,
    "fail": _take_up,
    "back_off": _count_usage,
    "skip": _move_on,
    "start": _begin_anew,
    "reset": _begin_anew,
}
