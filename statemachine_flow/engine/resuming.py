"""Runs that go on because somebody says so: resumed, retried, or, while another process pauses them, asked to go on."""

from __future__ import annotations

import asyncio

from statemachine_flow.engine.code import check_code
from statemachine_flow.engine.control import Until, cleaned, wait as wait_for
from statemachine_flow.engine.core import Core, Listener
from statemachine_flow.engine.entry import POLL_SECONDS, go_on, until_durable, until_heard
from statemachine_flow.engine.hold import hold
from statemachine_flow.engine.length import require_room
from statemachine_flow.engine.recovery import require_certain
from statemachine_flow.engine.refusals import failed_step, require_resumable, worked_on
from statemachine_flow.engine.takeover import until_known
from statemachine_flow.engine.view import Run
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError
from statemachine_flow.lifecycle import RUN_AT_REST, RunState


async def resume(
    core: Core, run_id: str, reason: str, by: str | None, listener: Listener | None, *, take_over: bool
) -> Worker:
    """Take up a run that was paused, that waits, or whose process died; see `AsyncEngine.resume`."""
    row = core.row(run_id)
    require_resumable(row)
    if row.owner is not None and not take_over:
        await until_known(core, row.owner)
    worker = await hold(core, run_id, take_over=take_over, listener=listener)
    if worker.fold.state in RUN_AT_REST:  # somebody else brought it there meanwhile
        require_resumable(core.row(run_id))
    require_certain(worker.decider)
    if worker.fold.state == RunState.PAUSED:
        require_room(worker.decider)
    reason, by = cleaned(reason, by)
    await go_on(core, worker, by, reason)
    return worker


def _is_being_paused(core: Core, run_id: str) -> bool:
    """Whether a run is paused whose attempts still come to their end in another process.

    Where none is under way, its owner is one who is about to resume it, and whoever comes second is refused.
    """
    row = core.row(run_id)
    if row.state != RunState.PAUSED or not core.ownership.is_elsewhere(row):
        return False
    fold = core.load(row)[1]
    return fold.alive_steps > fold.child_runs


async def resume_elsewhere(  # noqa: PLR0917 - what is asked, and how it is followed
    core: Core,
    run_id: str,
    reason: str,
    by: str | None,
    listener: Listener | None,
    until: Until,
    *,
    timeout: float | None,
    wait: bool,
) -> Run | None:
    """Have a run that another process is still pausing go on there, and follow it; see `AsyncEngine.resume`.

    Returns:
        The run; None if there is no such process, or not any more: then the run can be resumed here.

    Raises:
        ConflictError: `run.uncertain`, `run.limit`; `run.state` if it is about to end.
    """
    if not _is_being_paused(core, run_id):
        return None
    seq = core.row(run_id).seq
    run = await _ask(core, run_id, reason, by, timeout=timeout, wait=wait)
    if run is None or run.state == RunState.PAUSED or not wait:
        return run
    return await _follow(core, run_id, seq, listener, until)


async def _ask(
    core: Core,
    run_id: str,
    reason: str,
    by: str | None,
    *,
    timeout: float | None,
    wait: bool,
) -> Run | None:
    """Ask the process that is pausing a run to go on with it.

    Returns:
        The run once that process has heard it, or once nobody waits for that any more; None if it is not being paused
        there, so that the run can be resumed here.

    Raises:
        ConflictError: `run.uncertain`, `run.limit`.
    """
    await until_durable(core, run_id)
    names = core.names_of(run_id)
    reason, by = cleaned(reason, by)
    reason, by = names.hide(reason), names.hide(by or "")
    if wait and (owner := core.row(run_id).owner) is not None:
        await until_known(core, owner)
    request = 0
    while not request:
        if not _is_being_paused(core, run_id):
            return None
        try:
            seen = core.try_out(run_id, "resume", reason, by, b"")
        except ConflictError as error:
            if not _is_being_paused(core, run_id):
                continue  # it went on, or came to rest, in between
            ends = [one.action for one in core.store.requests(run_id) if one.action in ("cancel", "quarantine")]
            if ends:  # which is not so yet, but comes first
                message = f"the run is paused{worked_on(core, core.row(run_id))}, and was asked to {ends[0]} it"
                raise ConflictError(message, run=run_id, hint="wait for it") from error
            raise
        request = core.store.request(run_id, "resume", by, reason, core.clock.now(), seen=seen)
    if wait and not await until_heard(core, run_id, request, timeout) and not _is_being_paused(core, run_id):
        return None  # whoever takes hold of the run grants it
    return core.view(run_id)


async def _follow(core: Core, run_id: str, seq: int, listener: Listener | None, until: Until) -> Run | None:
    """The run once it is at rest, or waits for the world, in another process; None if that process went before.

    Args:
        core: the engine.
        run_id: the run.
        seq: the number of the last record that is known.
        listener: told those behind it on the way.
        until: what is waited for.
    """
    waiting = asyncio.ensure_future(wait_for(core, run_id, until))
    try:
        while True:
            done, _ = await asyncio.wait((waiting,), timeout=POLL_SECONDS)
            if listener is not None:
                for record in core.store.records(run_id, seq):
                    listener(run_id, record)
                    seq = record.seq
            if done:
                return waiting.result()
    except ConflictError:  # nobody works on it any more
        return None
    finally:
        waiting.cancel()


def retry(  # noqa: PLR0917 - which part of which run, and who asks
    core: Core,
    run_id: str,
    step: str | None,
    item: str | None,
    reason: str,
    by: str | None,
    listener: Listener | None,
) -> Worker:
    """Begin anew what failed of a run; see `AsyncEngine.retry`."""
    row = core.row(run_id)
    if row.state != RunState.FAILED:
        message = f"the run is {row.state}{worked_on(core, row)}; only a failed run can be retried"
        raise ConflictError(message, run=run_id)
    only = failed_step(core, row, step, item)
    core.require_open()
    worker = core.take_hold(run_id, listener=listener)
    reason, by = cleaned(reason, by)
    worker.tell(lambda decider, now: decider.retry(now, by, only, reason=reason))
    check_code(core.library, worker)
    worker.start_clock()
    worker.tell(lambda decider, now: decider.advance(now))
    return worker
