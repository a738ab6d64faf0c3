"""Taking a run and letting go of it: who may work on it, and under which epoch. `lease` tells who is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import final

from statemachine_flow.clock import Clock
from statemachine_flow.engine.committer import fenced
from statemachine_flow.engine.lease import Heart, Observer
from statemachine_flow.engine.owner import is_alive, is_here, is_own, new_owner, retire
from statemachine_flow.engine.reasons import ENGINE_CLOSED
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, SmfError
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.stores.base import RunRow, Store, Write


@final
class Ownership:
    """What one engine owns, and what it may take.

    Args:
        store: where runs are.
        clock: time.
        lease: for how many seconds a sign of life of the engine holds.
        workers: run id -> who works on it here.
    """

    def __init__(self, store: Store, clock: Clock, lease: float, workers: Mapping[str, Worker]) -> None:
        self.me = new_owner(clock.monotonic(), lease)
        self.observer = Observer(store, clock)
        self._store = store
        self._clock = clock
        self._workers = workers
        self._heart = Heart(store, clock, self.me, self._epochs, self._lost)

    def begin(self) -> None:
        """The engine is about to work on a run."""
        self._heart.start()

    def claim(self, row: RunRow, *, take_over: bool) -> int:
        """Become a run's owner, unless somebody else who is there is.

        Args:
            row: the run.
            take_over: see `is_free`.

        Returns:
            The epoch under which it may be worked on.

        Raises:
            ConflictError: `run.owned`: another living process owns it.
        """
        owner = row.owner
        if owner is not None and not self.is_free(row, take_over=take_over):
            raise ConflictError(
                f"the run is {row.state}, and process {owner.pid} on {owner.host} works on it",
                kind="run.owned",
                run=row.id,
                hint="wait for it, or cancel the run",
            )
        self.begin()
        is_won = False
        try:
            is_won = self._store.claim(row.id, row.epoch, self.me)
        finally:
            if not is_won:
                self.rest()
        if not is_won:
            raise taken_first(self._store, row)
        return row.epoch + 1

    def give_back(self, row: RunRow, epoch: int) -> None:
        """Undo a claim: a run that is not at rest has the owner it had, so that a recovery finds it.

        Args:
            row: the run as it was claimed.
            epoch: what the claim gave.
        """
        self.rest()
        if row.owner is None or row.owner == self.me or row.state in RUN_AT_REST:
            self._store.release(row.id, epoch)
        else:
            self._store.claim(row.id, epoch, row.owner)

    def is_free(self, row: RunRow, *, take_over: bool) -> bool:
        """Whether this engine may work on a run.

        Args:
            row: the run.
            take_over: an owner of another host is said to be dead, and is believed to be. Of one of this host that is
                known without being told.
        """
        # A run that is its own without a worker is one this engine lost, such as by a full disk.
        return not self.is_elsewhere(row) or (take_over and row.owner is not None and not is_here(row.owner))

    def is_elsewhere(self, row: RunRow) -> bool:
        """Whether somebody else who is there works on a run."""
        return row.owner is not None and row.owner != self.me and not self.observer.is_gone(row.owner)

    def is_left(self, row: RunRow) -> bool:
        """Whether a run has an owner that is gone."""
        return row.owner is not None and row.owner != self.me and self.observer.is_gone(row.owner)

    def reject(self, write: Write) -> None:
        """A write came too late, for its run has another owner: keep it for people to see."""
        with contextlib.suppress(SmfError):  # nothing depends on it
            self._store.reject(write, self.me, self._clock.now())

    def rest(self) -> None:
        """The engine works on one run less than it was about to, and maybe on none any more."""
        if not self._workers:
            self._heart.stop()

    def leave(self) -> None:
        """The engine closes."""
        retire(self.me)
        with contextlib.suppress(SmfError):  # that it is gone will be seen anyway
            self._heart.leave()

    def _epochs(self) -> Mapping[str, int]:
        """The runs that are worked on here, as far as the store knows them, and under which epoch; for any thread."""
        workers = list(self._workers.items())  # in one go: the loop may add and remove some meanwhile
        return {run_id: worker.epoch for run_id, worker in workers if worker.durable.done()}

    def _lost(self, run_id: str, epoch: int) -> None:
        """Another owner has taken a run: stop all that is done for it."""
        worker = self._workers.get(run_id)
        if worker is not None and worker.epoch == epoch:  # else it was given up since, and taken up anew
            worker.end(fenced(run_id))


def taken_first(store: Store, row: RunRow) -> ConflictError:
    """What is said of a run that another process took in the moment in which this one wanted to.

    Args:
        store: where it is.
        row: as it was before.
    """
    now = store.row(row.id) or row
    who = "another process" if now.owner is None else f"process {now.owner.pid} on {now.owner.host}"
    message = f"the run is {now.state}, and {who} took it first"
    return ConflictError(message, kind="run.owned", run=row.id, hint="wait for it, or try again")


def what_left(row: RunRow, *, take_over: bool = False) -> str:
    """What is said of the attempts that the last owner of a run left behind.

    Args:
        row: the run, of which hold was taken.
        take_over: its owner was said to be dead, see `Ownership.is_free`.
    """
    owner = row.owner
    if owner is None:
        return "its owner is gone"
    if take_over and not is_here(owner):
        fate = "was said to be dead"
    elif is_own(owner):
        fate = "had given it up"
    elif not is_alive(owner):
        fate = "is gone"
    else:
        fate = "gives no sign of life"
    return f"its owner, process {owner.pid} on {owner.host}, {fate}"


def let_go(worker: Worker) -> None:
    """Stop working on a run because the engine closes; what only waits is released as it is."""
    if worker.is_idle or (worker.fold.state == RunState.CANCELLING and worker.decider.is_still):
        worker.release()  # what it waits for may be long in coming
    else:
        interrupt(worker, ENGINE_CLOSED, None)


def interrupt(worker: Worker, reason: str, by: str | None) -> None:
    """Stop what is under way of a run, so that whoever comes next can take it up.

    Args:
        worker: works on it.
        reason: for the journal, of a run that is paused for it.
        by: who asks.
    """
    if worker.fold.state == RunState.RUNNING:
        worker.tell(lambda decider, now: decider.pause(now, reason, by, interrupt=True))
    elif worker.fold.state == RunState.PAUSED:
        worker.tell(lambda decider, _now: decider.interrupt())
    elif worker.fold.state == RunState.CANCELLING:
        worker.tell(lambda decider, _now: decider.leave())
