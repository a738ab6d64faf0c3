"""Taking a run and letting go of it: who may work on it, and under which epoch. `owner` tells who lives."""

from __future__ import annotations

from statemachine_flow.engine.owner import is_alive
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError
from statemachine_flow.lifecycle import RunState
from statemachine_flow.stores.base import Owner, RunRow, Store


def claim(store: Store, row: RunRow, me: Owner, *, take_over: bool) -> int:
    """Become a run's owner, unless somebody else who lives is.

    Args:
        store: where the run is.
        row: the run.
        me: the owner-to-be.
        take_over: do not ask whether its owner lives.

    Returns:
        The epoch under which it may be worked on.

    Raises:
        ConflictError: `run.owned`: another living process owns it.
    """
    owner = row.owner
    # A run that is its own without a worker is one this engine lost, such as by a full disk.
    if owner is not None and owner != me and is_alive(owner) and not take_over:
        raise ConflictError(
            f"process {owner.pid} on {owner.host} is working on the run",
            kind="run.owned",
            run=row.id,
            hint="wait for it, or cancel the run",
        )
    if not store.claim(row.id, row.epoch, me):
        raise ConflictError("another process took the run first", kind="run.owned", run=row.id)
    return row.epoch + 1


def what_left(row: RunRow) -> str:
    """What is said of the attempts that the last owner of a run left behind."""
    owner = row.owner
    return "its owner is gone" if owner is None else f"its owner, process {owner.pid} on {owner.host}, is gone"


def let_go(worker: Worker) -> None:
    """Interrupt what is under way of a run, so that whoever comes next can resume it."""
    if worker.is_idle or (worker.fold.state == RunState.CANCELLING and worker.decider.is_still):
        worker.release()  # what it waits for may be long in coming
    elif worker.fold.state == "running":
        worker.tell(lambda decider, now: decider.pause(now, "the engine was closed", None, interrupt=True))
    elif worker.fold.state == "paused":
        worker.tell(lambda decider, _now: decider.interrupt())
