"""How a run comes to be worked on here: begun, met again under a chosen id, or taken up where it stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from statemachine_flow.builder import Workflow
from statemachine_flow.builder.children import children_of
from statemachine_flow.engine.asked import EXCLUSIVE
from statemachine_flow.engine.code import code_digests
from statemachine_flow.engine.core import Core, Listener
from statemachine_flow.engine.hold import hold
from statemachine_flow.engine.ids import check_run_id, new_run_id
from statemachine_flow.engine.inputs import complete_inputs, require_plain, split_secrets
from statemachine_flow.engine.length import require_room
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.view import Run, view_of
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, StepError, UsageError
from statemachine_flow.journal import Created
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.model import Definition
from statemachine_flow.snapshot import encode_definition
from statemachine_flow.stores.base import Seen
from statemachine_flow.values import decode_value, encode_value

#: How often an answer is tried out on a run that moves on meanwhile, before it is kept all the same.
_TRIES: Final = 20
#: How often a caller looks whether another process has done what was asked of it.
POLL_SECONDS: Final = 0.1


async def start(
    core: Core, workflow: Workflow, inputs: Mapping[str, Any], run_id: str | None, listener: Listener | None
) -> Worker | Run:
    """Put a run to work and return once its start is durable; the run itself if it has come to rest before."""
    if run_id is not None:
        await until_durable(core, check_run_id(run_id))
    definition, cwd = workflow.definition, _current_directory()
    content_hash = definition.content_hash
    run_id_or_new = run_id or new_run_id()
    find = partial(core.secrets.find, run_id)
    stored, secrets = split_secrets(definition, complete_inputs(definition, inputs, cwd, find=find))
    values = encode_value(stored)
    core.library.bring(content_hash, workflow.functions)
    again = partial(_again, core, run_id_or_new, content_hash, values, secrets, listener)
    if run_id is not None and core.store.row(run_id) is not None:
        return await again()
    pins, children = children_of(workflow, core.library.workflows)
    for child in children.values():
        core.library.bring(child.content_hash, {**workflow.functions, **child.functions})
        code_digests(core.library, child)
    created = Created(
        workflow=definition.name,
        version=definition.version,
        definition=content_hash,
        inputs=msgspec.Raw(values),
        steps=len(definition.steps),
        cwd=cwd,
        origin=workflow.origin and os.fsencode(workflow.origin).decode("utf-8", "replace"),
        code=code_digests(core.library, workflow),
        children=pins,
    )
    bodies = {child.content_hash: encode_definition(child.definition) for child in children.values()}
    core.require_open()
    require_plain(stored, [*secrets.values(), *_secrets_of_steps(core, content_hash, definition, run_id)])
    core.secrets.give(run_id_or_new, secrets)
    worker = core.begin(run_id_or_new, definition, created, listener, children=bodies)
    try:
        await asyncio.shield(worker.durable)  # a caller that gives up does not give up for others
    except ConflictError as error:
        if error.kind != "run.conflict":
            raise
        return await again()
    return worker


def _secrets_of_steps(core: Core, content_hash: str, definition: Definition, run_id: str | None) -> Iterator[str]:
    """The secrets that steps of a new run may read, as far as they are known here."""
    for name in core.library.plan(content_hash, lambda: definition).secrets:
        with contextlib.suppress(StepError):  # the step that reads it is told
            if (found := core.secrets.find(run_id, name)) is not None:
                yield found


async def until_durable(core: Core, run_id: str) -> None:
    """Of several starts under one id in the same moment the first creates the run; the others wait to find it."""
    while (worker := core.workers.get(run_id)) is not None and not worker.durable.done():
        await asyncio.wait((worker.durable,))


async def _again(  # noqa: PLR0917 - what a run begins with
    core: Core, run_id: str, content_hash: str, values: bytes, secrets: Mapping[str, str], listener: Listener | None
) -> Worker | Run:
    """A run with a chosen id exists: it is this one, and goes on if it can, or somebody else's."""
    row = core.row(run_id)
    plan, fold = core.load(row)
    if (difference := _difference(fold.created, content_hash, values)) is not None:
        raise ConflictError(
            f"run {run_id} began with {difference}", kind="run.conflict", run=run_id, hint="choose another id"
        )
    if fold.state in RUN_AT_REST:
        return view_of(plan, fold, row, core.store)
    core.secrets.give(run_id, secrets)
    worker = await hold(core, run_id, listener=listener)
    if worker.fold.state == RunState.PAUSED:
        require_room(worker.decider)
    await go_on(core, worker, None)
    return worker


def _difference(created: Created, content_hash: str, values: bytes) -> str | None:
    """In what a run that exists is not the one that is asked for; None if it is that one."""
    if created.definition != content_hash:
        return f"another definition ({created.definition[:12]}, now {content_hash[:12]})"
    before, now = decode_value(created.inputs), decode_value(values)
    if bytes(created.inputs) == values or before == now:
        return None
    return f"other inputs ({', '.join(name for name in now if before.get(name) != now[name])})"


async def go_on(core: Core, worker: Worker, by: str | None, reason: str = "") -> None:
    """Take up a run where it stopped."""
    core.go_on(worker, by, reason)
    await asyncio.shield(worker.durable)  # a caller that gives up does not give up for others


async def tell(core: Core, run_id: str, action: str, reason: str, by: str | None, data: Mapping[str, Any]) -> int:  # noqa: PLR0917 - what is kept of it
    """Have something done to a run by whoever works on it, or by whoever takes it up next.

    An answer is kept only while the run is as it was when it was tried out: of two who answer at once one is refused.

    Returns:
        The number of the request that was left for them; 0 if it was done here.

    Raises:
        NotFoundError: no such run.
        SmfError: the run does not allow it; nothing is kept.
    """
    by, encoded = by and clean_text(by), encode_value(data)
    await until_durable(core, run_id)
    worker = core.workers.get(run_id)
    if worker is not None:
        try:
            core.do(worker, action, reason, by, encoded)
        finally:
            await worker.kept()  # a refusal as well rests on what nobody may be told before it is durable
        return 0
    names = core.names_of(run_id)
    reason, by, encoded = names.hide(reason), names.hide(by or ""), names.hide_encoded(encoded)
    tries = 0
    while True:
        tries += 1
        row = core.row(run_id)
        if row.state in RUN_AT_REST:
            raise ConflictError(f"the run is {row.state}: nothing more happens to it", run=run_id)
        seen: Seen | None = core.try_out(run_id, action, reason, by, encoded)
        # A run that is worked on may move on faster than it is read. Its owner says so if it has to drop this.
        if action not in EXCLUSIVE or (tries >= _TRIES and core.ownership.is_elsewhere(row)):
            seen = None
        if request := core.store.request(run_id, action, by, reason, core.clock.now(), encoded, seen=seen):
            return request


async def until_heard(core: Core, run_id: str, request: int, timeout: float | None) -> bool:
    """Wait until the process that works on a run has heard of a request.

    Args:
        core: the engine.
        run_id: the run.
        request: its number.
        timeout: for how many seconds at most; None for as long as that process works on the run.

    Returns:
        False if it has not: the time is over, the run was left here, or nobody works on it.
    """
    end, left = None if timeout is None else core.clock.monotonic() + timeout, core.left[run_id]
    while any(one.id == request for one in core.store.requests(run_id)):
        is_late = end is not None and core.clock.monotonic() >= end
        if is_late or core.left[run_id] != left or not core.ownership.is_elsewhere(core.row(run_id)):
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _current_directory() -> str:
    """Where commands of a new run stand and its relative paths begin."""
    try:
        path = os.getcwd()  # noqa: PTH109 - Path.cwd() is the same call
        path.encode()
    except FileNotFoundError:
        raise UsageError("the current directory is gone", hint="change to one that exists") from None
    except UnicodeEncodeError:
        raise UsageError("the name of the current directory is not valid UTF-8", hint="start in another one") from None
    return path
