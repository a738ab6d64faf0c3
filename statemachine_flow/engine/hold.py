"""Taking hold of a run once nothing of its gone owner is left, which would go on beside what begins again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from statemachine_flow.engine.owner import is_here, is_mine, shares_clock
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import SmfError
from statemachine_flow.executors.orphans import mark_of, reap

if TYPE_CHECKING:
    from statemachine_flow.engine.core import Core, Listener


async def hold(core: Core, run_id: str, *, take_over: bool = False, listener: Listener | None = None) -> Worker:
    """`Core.take_hold`, once all is ended that a gone owner of the run, or of a run below it, has left on this host.

    It comes before the claim: whoever dies in between leaves the run, and the name of its gone owner, as they were.
    Of several that take the run over none ends what the winner has started, for that has the winner's name.

    Raises:
        NotFoundError: no such run.
        ConflictError: `run.owned`.
        UsageError: `usage.closed`: the engine is closing.
    """
    if run_id not in core.workers:
        marks = _marks_left(core, run_id, take_over=take_over)
        if marks:
            await asyncio.to_thread(reap, marks, core.grace)
    core.require_open()
    return core.take_hold(run_id, take_over=take_over, listener=listener)


def _marks_left(core: Core, run_id: str, *, take_over: bool) -> set[str]:
    """What marks the processes that gone owners of a run and the runs below it started on this host."""
    row, marks = core.store.row(run_id), set[str]()
    if row is None or row.owner is None or row.owner == core.owner:
        return marks
    if not core.ownership.is_free(row, take_over=take_over):
        return marks
    # What an engine of this very process started ends with its attempts, which this process has cancelled itself.
    if is_here(row.owner) and shares_clock(row.owner) and not is_mine(row.owner):
        marks |= set(mark_of(row.owner.nonce, run_id).values())
    with contextlib.suppress(SmfError):  # a damaged journal is told of by whoever takes hold of the run
        for child in core.load(row)[1].steps.values():
            if child.waits is not None and child.waits.run and child.is_alive:
                marks |= _marks_left(core, child.waits.run, take_over=False)
    return marks
