"""Marking the point that a run has come to, whoever works on it."""

from __future__ import annotations

from statemachine_flow.engine.checkpoints import check_label
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.entry import until_durable, until_heard
from statemachine_flow.engine.ownership import taken_first
from statemachine_flow.errors import ConflictError
from statemachine_flow.journal import Note
from statemachine_flow.lifecycle import RUN
from statemachine_flow.stores.base import Write
from statemachine_flow.values import encode_value


async def mark(core: Core, run_id: str, label: str, *, reason: str, by: str | None, timeout: float | None) -> int:
    """Mark the point that a run has come to; the number of the record that does.

    Raises:
        NotFoundError: no such run.
        ConflictError: `run.state`: the run is over; `run.owned`: its owner has not done it in time, and will.
        UsageError: that cannot be a label.
    """
    data = encode_value({"label": check_label(label)})
    await until_durable(core, run_id)
    names = core.names_of(run_id)
    reason, by = names.hide(reason), names.hide(by)
    _require_marks(core, run_id)
    before = core.row(run_id).seq
    worker = core.workers.get(run_id)
    if worker is not None:
        core.do(worker, "checkpoint", reason, by, data)
        await worker.kept()
    elif core.ownership.is_elsewhere(core.row(run_id)):
        await _ask_for_mark(core, run_id, reason, by, data, timeout)
    else:
        _mark(core, run_id, Note(reason=reason, by=by, label=label))
    for record in reversed(core.store.records(run_id, before)):
        said = record.decode()
        if isinstance(said, Note) and said.label == label:
            return record.seq
    raise ConflictError("the run came to rest before it could be marked", run=run_id)


def _require_marks(core: Core, run_id: str) -> None:
    row = core.row(run_id)
    if row.state in RUN.terminal:
        raise ConflictError(f"the run is {row.state}: nothing goes on from there", run=run_id)


async def _ask_for_mark(  # noqa: PLR0917 - what is asked
    core: Core, run_id: str, reason: str, by: str | None, data: bytes, timeout: float | None
) -> None:
    request = core.store.request(run_id, "checkpoint", by or "", reason, core.clock.now(), data)
    if not await until_heard(core, run_id, request, timeout):
        hint = "it is marked as soon as somebody works on it"
        raise ConflictError("the run's owner has not marked it yet", kind="run.owned", run=run_id, hint=hint)


def _mark(core: Core, run_id: str, note: Note) -> None:
    """Mark a run that nobody works on: nothing of it is taken up for that."""
    row = core.row(run_id)
    epoch = core.ownership.claim(row, take_over=False)
    try:
        fold = core.load(row)[1]
        seq, record = fold.seq, fold.add("run.note", note, core.clock.now())
        done = fold.created.steps - fold.open_steps
        write = Write(
            run_id=run_id,
            epoch=epoch,
            seq=seq,
            records=[record],
            steps_done=done,
            updated_at=fold.updated_at,
            release=row.owner is None,
        )
        refused = core.store.commit([write])
    finally:
        core.ownership.give_back(row, epoch)
    if refused:
        raise taken_first(core.store, row)
