"""What callers have done to a run, wherever it is worked on: resumed, retried, paused, cancelled, waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, Literal

from statemachine_flow.engine.code import check_code
from statemachine_flow.engine.core import Core, Listener
from statemachine_flow.engine.entry import go_on, until_durable
from statemachine_flow.engine.hold import hold
from statemachine_flow.engine.length import require_room
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.takeover import until_known
from statemachine_flow.engine.view import Run, view_of
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState
from statemachine_flow.plan.nodes import item_path
from statemachine_flow.stores.base import RunRow

#: How often a caller looks whether another process has done what was asked of it.
_POLL_SECONDS: Final = 0.1

#: State of a run that cannot be resumed -> what can be done instead.
_HINTS: Final[Mapping[str, str]] = {
    "failed": "`smf retry` goes on with a failed run",
    "quarantined": "`smf status` tells why; `smf fork` begins a new run where it was, `smf rerun` one from a step on",
}

#: What can be asked -> the state it brings a run to.
_WANTED: Final[Mapping[str, RunState]] = {
    "cancel": RunState.CANCELLED,
    "pause": RunState.PAUSED,
    "interrupt": RunState.PAUSED,
    "quarantine": RunState.QUARANTINED,
}

#: What a caller waits for: that the run is at rest, or also that it waits for the world.
Until = Literal["waiting", "rest"]


async def resume(
    core: Core, run_id: str, reason: str, by: str | None, listener: Listener | None, *, take_over: bool
) -> Worker:
    """Take up a run that was paused, that waits, or whose process died; see `AsyncEngine.resume`."""
    row = core.row(run_id)
    _require_resumable(row)
    if row.owner is not None and not take_over:
        await until_known(core, row.owner)
    worker = await hold(core, run_id, take_over=take_over, listener=listener)
    if worker.fold.state in RUN_AT_REST:  # somebody else brought it there meanwhile
        _require_resumable(core.row(run_id))
    require_certain(worker)
    if worker.fold.state == RunState.PAUSED:
        require_room(worker.decider)
    reason, by = cleaned(reason, by)
    await go_on(core, worker, by, reason)
    return worker


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
        message = f"the run is {row.state}{_worked_on(row)}; only a failed run can be retried"
        raise ConflictError(message, run=run_id)
    only = _failed_step(core, row, step, item)
    core.require_open()
    worker = core.take_hold(run_id, listener=listener)
    reason, by = cleaned(reason, by)
    worker.tell(lambda decider, now: decider.retry(now, by, only, reason=reason))
    check_code(core.library, worker)
    worker.start_clock()
    worker.tell(lambda decider, now: decider.advance(now))
    return worker


async def rest(core: Core, worker: Worker, until: Until = "rest") -> Run:
    """The run once it is at rest, or waits for the world, while it is worked on here."""
    await worker.rest(idle=until == "waiting")
    return view_of(worker.decider.plan, worker.fold, core.store.row(worker.fold.id), core.store)


async def wait(core: Core, run_id: str, until: Until) -> Run:
    """The run once it is at rest, or waits for the world, whoever works on it; see `AsyncEngine.wait`."""
    seen = None
    while True:
        worker = core.workers.get(run_id)
        if worker is not None:
            return await rest(core, worker, until)
        row, version = core.row(run_id), core.store.version()
        if row.state in RUN_AT_REST or row.state == RunState.PAUSED:
            return core.view(run_id)
        if until == "waiting" and version != seen and core.waits_for_world(run_id):
            return core.view(run_id)
        seen = version
        if row.owner is None or core.ownership.is_left(row):
            raise ConflictError("nobody works on the run", run=run_id, hint="resume it")
        await asyncio.sleep(_POLL_SECONDS)


async def pause(
    core: Core, run_id: str, *, interrupt: bool, reason: str, by: str | None, timeout: float | None, wait: bool
) -> Run:
    """See `AsyncEngine.pause`."""
    reason, by = cleaned(reason, by)
    row = core.row(run_id)
    if row.state == RunState.PENDING or (row.state == RunState.PAUSED and row.owner is None):
        return core.view(run_id)
    _require_allowed(row, "pause", or_already=RunState.PAUSED)
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
    await worker.rest(idle=False)
    run = core.view(run_id)
    await core.children.kept(worker.fold)
    return run


async def cancel(core: Core, run_id: str, *, reason: str, by: str | None, timeout: float | None, wait: bool) -> Run:
    """See `AsyncEngine.cancel`."""
    reason, by = cleaned(reason, by)
    row = core.row(run_id)
    if row.state == RunState.CANCELLED:
        return core.view(run_id)
    _require_allowed(row, "cancel", or_already=RunState.CANCELLING)
    worker = await _hold_or_ask(core, run_id, "cancel", reason, by, timeout, wait=wait)
    if isinstance(worker, Run):
        return worker
    if "cancel" in RUN.allowed(worker.fold.state):
        worker.tell(lambda decider, now: decider.cancel(now, reason, by))
    return await _done(core, worker, RunState.CANCELLED, wait=wait)


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
    _require_allowed(row, "quarantine", or_already=RunState.QUARANTINED)
    worker = await _hold_or_ask(core, run_id, "quarantine", reason, by, timeout, wait=wait, first=True)
    if isinstance(worker, Run):
        return worker
    return await _done(core, worker, RunState.QUARANTINED, wait=wait)


async def _done(core: Core, worker: Worker, wanted: RunState, *, wait: bool) -> Run:
    """The run once it came to rest, or, if nobody waits for that, once what was asked of it is durable."""
    run_id = worker.fold.id
    if not wait:
        if not worker.finished.done():
            await worker.kept()
        return core.view(run_id)
    await worker.rest(idle=False)
    return _ended_as(core.view(run_id), wanted)


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
    if first:
        _ask(core, run_id, action, reason, by)
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
        _ask(core, run_id, action, reason, by)
    wanted = _WANTED[action]
    end = None if timeout is None else core.clock.monotonic() + timeout
    while True:
        row = core.row(run_id)
        if row.state in RUN_AT_REST or (row.state == wanted and row.owner is None):
            return _ended_as(core.view(run_id), wanted)
        if not wait or (end is not None and core.clock.monotonic() >= end):
            return core.view(run_id)
        with contextlib.suppress(ConflictError):  # the owner lives
            return await hold(core, run_id)
        await asyncio.sleep(_POLL_SECONDS)


def _ask(core: Core, run_id: str, action: str, reason: str, by: str | None) -> None:
    """Leave a request for whoever owns a run."""
    names = core.names_of(run_id)
    core.store.request(run_id, action, names.hide(by or ""), names.hide(reason), core.clock.now())


# --- what is refused before anything is touched


def _failed_step(core: Core, row: RunRow, step: str | None, item: str | None) -> str | None:
    """The path of the failed step that a retry is about; None for all.

    Raises:
        UsageError: an item without its step.
        NotFoundError: no such step or item.
        ConflictError: it did not fail.
    """
    if step is None:
        if item is not None:
            raise UsageError("an item is retried by its step and its key", hint="name the step, too")
        return None
    path = step if item is None else item_path(step, item)
    steps = core.load(row)[1].steps
    found = steps.get(path)
    if found is None:
        raise NotFoundError(f"the run has no step {path[:200]!r} that was begun", run=row.id)
    if found.state not in ("failed", "cancelled"):
        raise ConflictError(f"step '{path}' is {found.state}: only what failed is retried", run=row.id)
    around = [steps[path[:end]] for end, char in enumerate(path) if char in "/[" and path[:end] in steps]
    for part in (*around, found):
        if part.state not in ("failed", "cancelled") or part.forgiven:
            message = f"step '{part.id}' is {part.state}, and the run does without '{path}'"
            raise ConflictError(message, run=row.id, hint="only what made the run fail is retried")
    return path


def _require_resumable(row: RunRow) -> None:
    """Refuse to resume a run that is at rest for good.

    Raises:
        ConflictError: `run.state`.
    """
    if row.state in RUN_AT_REST:
        hint = _HINTS.get(row.state)
        raise ConflictError(f"the run is {row.state}: there is nothing to resume", run=row.id, hint=hint)


def require_certain(worker: Worker) -> None:
    """Refuse to resume a run that was paused because nobody knows what became of one of its steps.

    Raises:
        ConflictError: `run.uncertain`.
    """
    uncertain = worker.decider.uncertain() if worker.fold.state == RunState.PAUSED else []
    if any(node.step.step.verify is None for node in uncertain):
        paths = ", ".join(node.path for node in uncertain)
        hint = "look, and say so with `smf resolve` or Engine.resolve"
        raise ConflictError(
            f"it is not known whether {paths} took effect", kind="run.uncertain", run=worker.fold.id, hint=hint
        )


def _require_allowed(row: RunRow, action: str, *, or_already: str) -> None:
    """Refuse what the lifecycle has no edge for, before anything is touched.

    Raises:
        ConflictError: `run.state`, naming what is allowed.
    """
    if action not in RUN.allowed(row.state) and row.state != or_already:
        allowed = ", ".join(RUN.allowed(row.state)) or "nothing more"
        message = f"the run is {row.state}{_worked_on(row)}: it cannot {action}"
        raise ConflictError(message, run=row.id, hint=f"it allows {allowed}")


def _worked_on(row: RunRow) -> str:
    """Who works on a run, as a part of a sentence; "" for nobody."""
    owner = row.owner
    return "" if owner is None else f", and process {owner.pid} on {owner.host} works on it"


def _ended_as(run: Run, wanted: RunState) -> Run:
    """The run if it is where the caller wanted it; it may have come to rest before it was asked.

    Raises:
        ConflictError: `run.state`.
    """
    if run.state != wanted:
        raise ConflictError(f"the run is {run.state}: it came to rest before it could be {wanted}", run=run.id)
    return run


def cleaned(reason: str, by: str | None) -> tuple[str, str | None]:
    """Both as a journal keeps them."""
    return clean_text(reason), by and clean_text(by)
