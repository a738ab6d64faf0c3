"""New runs that begin with what another one did: a fork at any of its records, a rerun from one of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from statemachine_flow.engine import entry
from statemachine_flow.engine.checkpoints import last_point, require_point
from statemachine_flow.engine.copies import Copy, entries_of, moved, waiting_for_children, with_new_children
from statemachine_flow.engine.core import Core, Listener
from statemachine_flow.engine.edits import Edits
from statemachine_flow.engine.ids import check_run_id, new_run_id
from statemachine_flow.engine.inputs import complete_inputs, split_secrets
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.recovery import require_certain
from statemachine_flow.engine.rerun import Rerun
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.engine.view import Run
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, InputError, NotFoundError, Problem
from statemachine_flow.journal import Created, Forked, Record, RunFold, RunStarted
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Plan
from statemachine_flow.values import decode_value, encode_value


class _Source(msgspec.Struct):
    """The run that records are taken from."""

    plan: Plan
    #: As it is now.
    fold: RunFold
    records: Sequence[Record]


async def fork(
    core: Core,
    run_id: str,
    *,
    at: int | None,
    edits: Mapping[str, Any],
    new_id: str | None,
    reason: str,
    by: str | None,
) -> str:
    """Create a run that begins at the state behind a record of another one; its id.

    Raises:
        NotFoundError: no such run or record.
        ConflictError: `run.state`: the run is over there; `run.conflict`: the new id is taken.
        UsageError: the record lies inside a decision; `usage.edit`.
        InputError: inputs that do not fit, or a secret one that cannot be had.
    """
    source = await _source(core, run_id)
    at = last_point(run_id, source.records) if at is None else at
    if not 1 <= at <= source.fold.seq:
        raise NotFoundError(f"the run has no record {at}: it has 1 to {source.fold.seq}", run=run_id)
    past = RunFold(run_id)
    past.replay(source.records[:at])
    require_point(past, source.records, at)
    hide = RunNames(source.plan, past, core.store, core.env, core.secrets).hide
    edited = Edits(edits, source.plan, entries_of(source.records[:at]), blob=core.store.blob, hide=hide)
    created, taken = edited.apply()
    origin = Forked(run=run_id, seq=at, edits=edited.digest)
    said = f"forked from {run_id}@{at}" + "".join(f"; set {path}" for path in edited.paths)

    def write(copy: Copy, now: int) -> None:
        passed = now - source.records[at - 1].at
        entries = [moved(one, source.plan, passed) for one in taken]
        entries = with_new_children(entries, waiting_for_children(past), copy.fold.id)
        copy.take(msgspec.structs.replace(one, at=now) if one.kind == "run.start" else one for one in entries)
        copy.settle(hide(_note(said, reason)), hide(by))

    return await _create(core, source, created, origin, new_id, write, edited)


async def rerun(core: Core, run_id: str, step: str, *, new_id: str | None, reason: str, by: str | None) -> str:
    """Create a run that keeps what another one did, except from one of its steps on; its id.

    Raises:
        NotFoundError: no such run or step.
        ConflictError: `run.conflict`: the new id is taken.
        InputError: a secret input that cannot be had.
        UsageError: the step belongs to the end of the run.
    """
    source = await _source(core, run_id)
    plan, last = source.plan, source.records[-1].at
    hide = RunNames(plan, source.fold, core.store, core.env, core.secrets).hide
    entries = entries_of(source.records)
    chosen = Rerun(plan, source.fold, entries, step)
    origin = Forked(run=run_id, seq=source.fold.seq, step=step)

    def write(copy: Copy, now: int) -> None:
        timeout = plan.definition.timeout
        copy.add("run.start", RunStarted(deadline=None if timeout is None else now + round(timeout * 1e6)))
        kept = [moved(one, plan, now - (one.at if chosen.opens(one) else last)) for one in chosen.kept()]
        waiting = {
            path: attempt
            for path, attempt in waiting_for_children(source.fold).items()
            if any((one.kind, one.step) == ("step.wait", path) for one in kept)
        }
        copy.take(with_new_children(kept, waiting, copy.fold.id))
        copy.settle(hide(_note(f"carried out anew from step {step} of {run_id}", reason)), hide(by))

    return await _create(core, source, entries[0].data, origin, new_id, write, None)


def _note(said: str, reason: str) -> str:
    return clean_text(f"{said}: {reason}" if reason else said)


async def _source(core: Core, run_id: str) -> _Source:
    await entry.until_durable(core, run_id)
    plan, fold = core.load(core.row(run_id))
    return _Source(plan, fold, core.store.records(run_id)[: fold.seq])


async def _create(  # noqa: PLR0917 - what a copy is made of
    core: Core,
    source: _Source,
    before: Created,
    origin: Forked,
    new_id: str | None,
    write: Callable[[Copy, int], None],
    edited: Edits | None,
) -> str:
    """Create the new run in one transaction, unless it was created before; its id."""
    core.require_open()
    run_id = new_run_id() if new_id is None else check_run_id(new_id)
    await entry.until_durable(core, run_id)
    inputs, secrets = _inputs(core, source, before, edited)
    created = msgspec.structs.replace(before, inputs=inputs, parent=None, depth=0, forked=origin)
    if before.parent is not None and (above := core.store.row(before.parent[0])) is not None:
        core.library.share(before.definition, above.definition)
    if core.store.row(run_id) is None:
        copy = Copy(run_id, created, now := core.clock.now())
        write(copy, now)
        definition = core.store.definition(before.definition)
        assert definition is not None  # noqa: S101 - the run that is copied was just loaded with it
        core.store.commit([copy.new_run(definition)])
    found = core.load(core.row(run_id))[1].created
    if found.forked != origin:
        message = f"the run id {run_id} is taken by a run that began otherwise"
        raise ConflictError(message, kind="run.conflict", run=run_id, hint="choose another id")
    core.secrets.give(run_id, secrets)
    return run_id


def _inputs(core: Core, source: _Source, created: Created, edited: Edits | None) -> tuple[msgspec.Raw, dict[str, str]]:
    """The inputs of the new run as they are stored, and its secret ones: no journal has them, so they are looked for.

    Raises:
        InputError: one of them does not fit, or cannot be had.
    """
    definition = source.plan.definition
    stored: dict[str, Any] = decode_value(created.inputs)
    secret = {name for name, declared in definition.inputs.items() if declared.secret}
    wanted = {name for name in secret if stored.get(name) is not None}
    given = {name: value for name, value in stored.items() if name not in secret}
    if edited is not None:
        given |= {**edited.inputs, **edited.secrets}
    find = partial(core.secrets.find, source.fold.id)
    missing = [name for name in sorted(wanted) if given.get(name) is None and find(name) is None]
    if missing:
        raise InputError([_missing(name) for name in missing])
    values = complete_inputs(definition, given, created.cwd, find=find)
    kept, secrets = split_secrets(definition, values)
    is_same = kept == stored
    return created.inputs if is_same else msgspec.Raw(encode_value(kept)), secrets


def _missing(name: str) -> Problem:
    ways = f"set the environment variable {name}, give Engine(secrets={{'{name}': ...}})"
    return Problem(
        kind="input.missing",
        message=f"the secret input '{name}' is in no journal, and it is not here",
        path=f"inputs.{name}",
        hint=f"{ways}, or set inputs.{name} in a fork",
    )


async def go_on(core: Core, run_id: str, by: str | None, listener: Listener | None) -> Worker | Run:
    """Put a run that was created from another one to work; itself if nothing happens to it by itself."""
    if core.row(run_id).state in RUN_AT_REST:
        return core.view(run_id)
    core.require_open()
    worker = core.take_hold(run_id, listener=listener)
    try:
        require_certain(worker.decider)
    except ConflictError:
        return worker  # it stays paused until somebody says what became of the step
    await entry.go_on(core, worker, by)
    return worker
