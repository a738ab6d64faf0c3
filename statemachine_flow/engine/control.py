"""What callers have done to a run, wherever it is worked on: paused, cancelled, set aside, left, waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, Literal

from statemachine_flow.engine.core import Core
from statemachine_flow.engine.entry import POLL_SECONDS, until_durable
from statemachine_flow.engine.hold import hold
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.ownership import interrupt
from statemachine_flow.engine.refusals import ended_as, require_allowed
from statemachine_flow.engine.view import Run, view_of
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, UsageError
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState

#: What can be asked -> the state it brings a run to.
_WANTED: Final[Mapping[str, RunState]] = {
    "cancel": RunState.CANCELLED,
    "pause": RunState.PAUSED,
    "interrupt": RunState.PAUSED,
    "quarantine": RunState.QUARANTINED,
}

#: What a caller waits for: that the run is at rest, or also that it waits for the world.
Until = Literal["waiting", "rest"]


async def rest(core: Core, worker: Worker, until: Until = "rest") -> Run:
    """The run once it is at rest, or waits for the world, while it is worked on here."""
    await worker.rest(idle=until == "waiting")
    return view_of(worker.decider.plan, worker.fold, core.store.row(worker.fold.id), core.store)


async def wait(core: Core, run_id: str, until: Until) -> Run:
    """The run once it is at rest, or waits for the world, whoever works on it; see `AsyncEngine.wait`."""
    seen, left = None, core.left[run_id]
    while True:
        worker = core.workers.get(run_id)
        if worker is not None:
            return await rest(core, worker, until)
        row, version = core.row(run_id), core.store.version()
        if row.state in RUN_AT_REST or row.state == RunState.PAUSED or core.left[run_id] != left:
            return core.view(run_id)
        if until == "waiting" and version != seen and core.waits_for_world(run_id):
            return core.view(run_id)
        seen = version
        if row.owner is None or core.ownership.is_left(row):
            raise ConflictError("nobody works on the run", run=run_id, hint="resume it")
        await asyncio.sleep(POLL_SECONDS)


async def leave(core: Core, run_id: str, reason: str, by: str | None) -> None:
    """See `AsyncEngine.leave`."""
    core.left[run_id] += 1
    await until_durable(core, run_id)
    worker = core.workers.get(run_id)
    if worker is None:
        return
    interrupt(worker, *cleaned(reason, by))
    await worker.rest(idle=False)


async def pause(
    core: Core, run_id: str, *, interrupt: bool, reason: str, by: str | None, timeout: float | None, wait: bool
) -> Run:
    """See `AsyncEngine.pause`."""
    reason, by = cleaned(reason, by)
    row = core.row(run_id)
    if row.state == RunState.PENDING or (row.state == RunState.PAUSED and row.owner is None):
        return core.view(run_id)
    require_allowed(core, row, "pause", or_already=RunState.PAUSED)
    worker = await _hold_or_ask(core, run_id, "interrupt" if interrupt else "pause", reason, by, timeout, wait=wait)
    if isinstance(worker, Run):
        return worker
    if worker.fold.state == RunState.RUNNING:
        worker.tell(lambda decider, now: decider.pause(now, reason, by, interrupt=interrupt))
    elif interrupt and worker.fold.state == RunState.PAUSED:
        worker.tell(lambda decider, _now: decider.interrupt())
    if not wait:
        await worker.kept()
        return core.view(run_id)
    await _at_rest(core, worker, timeout)
    run = core.view(run_id)
    await core.children.kept(worker.fold)
    return run


async def cancel(
    core: Core, run_id: str, *, reason: str, by: str | None, timeout: float | None, wait: bool, carry: bool
) -> Run:
    """See `AsyncEngine.cancel`."""
    reason, by = cleaned(reason, by)
    row = core.row(run_id)
    if row.state == RunState.CANCELLED:
        return core.view(run_id)
    require_allowed(core, row, "cancel", or_already=RunState.CANCELLING)
    was_here = run_id in core.workers
    worker = await _hold_or_ask(core, run_id, "cancel", reason, by, timeout, wait=wait)
    if isinstance(worker, Run):
        return worker
    worker.decider.is_leaving = not carry and not was_here
    if "cancel" in RUN.allowed(worker.fold.state):
        worker.tell(lambda decider, now: decider.cancel(now, reason, by))
    return await _done(core, worker, RunState.CANCELLED, timeout, wait=wait)


async def quarantine(core: Core, run_id: str, *, reason: str, by: str | None, timeout: float | None, wait: bool) -> Run:
    """See `AsyncEngine.quarantine`.

    It is asked for first, in any case: should this process die before the run is set aside, whoever takes hold of
    the run next does it.
    """
    if not reason.strip():
        raise UsageError("a run is quarantined for a reason", hint="say which, for whoever finds it")
    reason, by = cleaned(reason, by)
    row = core.row(run_id)
    if row.state == RunState.QUARANTINED:
        return core.view(run_id)
    require_allowed(core, row, "quarantine", or_already=RunState.QUARANTINED)
    worker = await _hold_or_ask(core, run_id, "quarantine", reason, by, timeout, wait=wait, first=True)
    if isinstance(worker, Run):
        return worker
    return await _done(core, worker, RunState.QUARANTINED, timeout, wait=wait)


async def _done(core: Core, worker: Worker, wanted: RunState, timeout: float | None, *, wait: bool) -> Run:
    """The run once it came to rest or was left, or once what was asked of it is durable and nobody waits longer."""
    run_id = worker.fold.id
    if not wait:
        if not worker.finished.done():
            await worker.kept()
        return core.view(run_id)
    if not await _at_rest(core, worker, timeout) or worker.fold.state == RunState.CANCELLING:
        return core.view(run_id)
    return ended_as(core.view(run_id), wanted)


async def _at_rest(core: Core, worker: Worker, timeout: float | None) -> bool:
    """Wait until a run that is worked on here is at rest; False if that takes longer than a number of seconds.

    Raises:
        SmfError: the run was lost.
    """
    late = asyncio.Event()
    timer = None if timeout is None else core.clock.call_later(timeout, late.set)
    waiting = asyncio.ensure_future(late.wait())
    try:
        await asyncio.wait((worker.finished, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if timer is not None:
            timer.cancel()
    if worker.finished.done():
        await worker.rest(idle=False)
        return True
    await worker.kept()
    return False


async def _hold_or_ask(  # noqa: PLR0917 - what is asked
    core: Core,
    run_id: str,
    action: str,
    reason: str,
    by: str | None,
    timeout: float | None,
    *,
    wait: bool,
    first: bool = False,
) -> Worker | Run:
    """This engine's worker for a run; or, where another process works on it, the run once that has acted.

    The request is durable. If its owner dies first, it is granted to the worker that takes the run over here.

    Args:
        core: the engine.
        run_id: the run.
        action: a key of `asked.ACTIONS`.
        reason: why.
        by: who asks.
        timeout: seconds to wait for another process; None waits until it has acted.
        wait: whether to wait for it at all.
        first: ask before taking hold, so that this process is granted the request as well.
    """
    await until_durable(core, run_id)
    request = _ask(core, run_id, action, reason, by) if first else 0
    try:
        worker = await hold(core, run_id)
    except ConflictError as error:
        if error.kind != "run.owned":
            raise
    else:
        if first:
            core.watch.grant_all(worker)
        return worker
    if not first:
        request = _ask(core, run_id, action, reason, by)
    wanted = _WANTED[action]
    end, left = None if timeout is None else core.clock.monotonic() + timeout, core.left[run_id]
    while True:
        is_heard = all(one.id != request for one in core.store.requests(run_id))  # looked at before its consequence
        row = core.row(run_id)
        if row.state in RUN_AT_REST or (row.state == wanted and row.owner is None):
            return ended_as(core.view(run_id), wanted)
        if is_heard and row.state == RunState.RUNNING:
            message = "the run is running again: somebody resumed it before it had come to rest"
            raise ConflictError(message, run=run_id, hint="pause it once more")
        is_late = end is not None and core.clock.monotonic() >= end
        if not wait or is_late or core.left[run_id] != left:
            return core.view(run_id)
        with contextlib.suppress(ConflictError):  # the owner lives
            return await hold(core, run_id)
        await asyncio.sleep(POLL_SECONDS)


def _ask(core: Core, run_id: str, action: str, reason: str, by: str | None) -> int:
    """Leave a request for whoever owns a run; its number."""
    names = core.names_of(run_id)
    return core.store.request(run_id, action, names.hide(by or ""), names.hide(reason), core.clock.now())


def cleaned(reason: str, by: str | None) -> tuple[str, str | None]:
    """Both as a journal keeps them."""
    return clean_text(reason), by and clean_text(by)
