"""Group commit: whatever is decided in one tick of the loop, by any run of the process, shares one transaction.

There is no timer. The first change schedules a flush for the end of the tick; changes that come while a commit is
under way go into the next one. A chain of steps therefore commits once per step and waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import msgspec

from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.patience import Patience
from statemachine_flow.engine.unkept import Unkept, UnkeptError
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import ConflictError, SmfError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.stores.base import NewRun, Store, Write


class Transaction(msgspec.Struct):
    """An attempt that is done inside the transaction that keeps its result."""

    worker: Worker
    #: Does the attempt on the store's connection.
    work: Callable[[Any], Outcome]
    #: Tells the rules how it ended.
    report: Callable[[Outcome], None]


class _Blocked(msgspec.Struct):
    """A run that goes nowhere until a large output of it is kept."""

    patience: Patience
    #: What it wants to do then.
    transactions: list[Transaction]


_Taken = tuple[Worker, NewRun | Write]


@final
class Committer:
    """Collects the writes of workers and keeps them in the store.

    Args:
        store: where to.
        threads: where a commit runs while attempts on the loop could go on.
        is_busy: whether there are such attempts.
        reject: told each write that came too late, because its run has another owner.
        patience: how long a write that failed is tried again.
        unkept: large outputs that have to be kept before what follows from them.
    """

    def __init__(  # noqa: PLR0917 - what a commit needs
        self,
        store: Store,
        threads: ThreadExecutor,
        is_busy: Callable[[], bool],
        reject: Callable[[Write], None],
        patience: Patience,
        unkept: Unkept,
    ) -> None:
        self._store = store
        self._threads = threads
        self._is_busy = is_busy
        self._reject = reject
        self._patience = patience
        self._unkept = unkept
        self._blocked: dict[Worker, _Blocked] = {}
        self._changed: dict[Worker, None] = {}
        #: Attempts that are to be done inside a transaction of their own.
        self._transactions: list[Transaction] = []
        self._scheduled = False

    def changed(self, worker: Worker) -> None:
        """The worker has something to write."""
        self._changed[worker] = None
        self._schedule()

    def transact(self, transaction: Transaction) -> None:
        """Do an attempt inside the transaction that keeps its result, once no other commit is under way."""
        self._transactions.append(transaction)
        self._schedule()

    def hurry(self) -> None:
        """See `Patience.hurry`."""
        for patience in (self._patience, *(blocked.patience for blocked in self._blocked.values())):
            patience.hurry()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        transactions, self._transactions = self._transactions, []
        for transaction in transactions:
            if self._is_clear(transaction.worker):
                self._transact(transaction)
            elif transaction.worker in self._blocked:
                self._blocked[transaction.worker].transactions.append(transaction)
        changed, self._changed = self._changed, {}
        free = [worker for worker in changed if self._is_clear(worker)]
        taken = [(worker, write) for worker in free if (write := self._take(worker)) is not None]
        if not taken:
            self._scheduled = False
            self._again()
        elif self._is_busy():
            self._commit_aside(taken)  # bodies on the loop go on while the disk syncs
        else:
            # A thread would cost two hops, and nothing else could use the time.
            self._kept(taken, lambda: self._store.commit([write for _, write in taken]))

    def _commit_aside(self, taken: Sequence[_Taken]) -> None:
        batch = [write for _, write in taken]
        task = asyncio.get_running_loop().create_task(self._threads.run(lambda: self._store.commit(batch)))
        task.add_done_callback(lambda task: self._kept(taken, task.result))

    def _is_clear(self, worker: Worker) -> bool:
        """Whether all is kept that a worker's next write names; what is not is tried, and if that fails held."""
        if worker in self._blocked:
            return False
        return not self._unkept.is_holding(worker.fold.id) or self._clear(worker, self._patience.another())

    def _clear(self, worker: Worker, patience: Patience) -> bool:
        blocked = self._blocked.pop(worker, None) or _Blocked(patience, [])
        try:
            self._unkept.keep(worker.fold.id)
        except SmfError as error:
            if patience.hold(error, lambda: self._clear_again(worker, patience)):
                self._blocked[worker] = blocked
            else:
                self._lose([worker], error)
            return False
        patience.over()
        for transaction in blocked.transactions:
            self.transact(transaction)
        return True

    def _clear_again(self, worker: Worker, patience: Patience) -> None:
        if worker.is_over:  # it was lost meanwhile, and what was held with it
            del self._blocked[worker]
        elif self._clear(worker, patience):
            self.changed(worker)

    def _take(self, worker: Worker) -> NewRun | Write | None:
        """The worker's next write; a bug in one run must not keep the others from being written."""
        try:
            write = worker.take()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the run is told
            self._lose([worker], _bug(error))
            return None
        if not worker.is_over:
            return write
        # It was lost meanwhile, and this engine may be at work on the run anew, under a later epoch.
        if worker.is_fenced and isinstance(write, Write):
            self._reject(write)
        worker.end(worker.finished.exception())
        return None

    def _kept(self, taken: Sequence[_Taken], commit: Callable[[], Any]) -> None:
        try:
            refused = set(commit())
        except SmfError as error:
            if self._hold(taken, error):
                return  # and `_scheduled` stays, so that nothing is written before it
        except BaseException as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self._patience.over()
            self._lose([worker for worker, _ in taken], _bug(error))
        else:
            self._patience.over()
            for worker, write in taken:
                self._act(worker, write, is_kept=worker.fold.id not in refused)
        self._scheduled = False
        self._again()

    def _hold(self, taken: Sequence[_Taken], error: SmfError) -> bool:
        """Keep what could not be written, to try it again; what only begins has nothing to lose, and ends at once."""
        self._lose([worker for worker, write in taken if isinstance(write, NewRun)], error)
        held = [(worker, write) for worker, write in taken if not isinstance(write, NewRun)]
        if held and self._patience.hold(error, lambda: self._commit_aside(held)):
            return True
        self._lose([worker for worker, _ in held], error)
        return False

    def _act(self, worker: Worker, write: NewRun | Write, *, is_kept: bool) -> None:
        """Go on after a commit."""
        if not is_kept:
            if isinstance(write, NewRun):
                worker.end(ConflictError("a run with that id exists", kind="run.conflict", run=worker.fold.id))
            else:
                self._reject(write)
                worker.end(fenced(worker.fold.id))
            return
        try:
            worker.committed()
        except BaseException as error:  # noqa: BLE001 - as in `_take`
            self._lose([worker], _bug(error))

    def _transact(self, transaction: Transaction) -> None:
        """The attempt's effect and the records of its completion are kept together, or neither is."""
        worker, outcomes, taken = transaction.worker, list[Outcome](), list[NewRun | Write]()

        def work(connection: Any) -> None:
            outcomes.append(transaction.work(connection))

        def write() -> NewRun | Write | None:
            if outcomes[0].status != "completed":
                return None
            transaction.report(outcomes[0])
            kept = worker.take()
            if kept is not None:
                taken.append(kept)
            return kept

        try:
            is_kept = self._store.transact(work, write)
        except SmfError as error:
            if taken:
                self._lose([worker], error)
            else:
                transaction.report(failed(error))
        except BaseException as error:  # noqa: BLE001 - as in `_take`
            self._lose([worker], _bug(error))
        else:
            if taken:
                self._act(worker, taken[0], is_kept=is_kept)
            else:
                transaction.report(outcomes[0])

    def _again(self) -> None:
        if self._changed or self._transactions:
            self._schedule()

    def _lose(self, workers: Iterable[Worker], error: SmfError) -> None:
        for worker in workers:
            self._changed.pop(worker, None)  # what came meanwhile follows from what was not kept
            worker.end(error)


def _bug(error: BaseException) -> SmfError:
    if isinstance(error, UnkeptError):
        return error.error
    return SmfError(f"committing failed: {type(error).__name__}: {error}")


def fenced(run_id: str) -> ConflictError:
    """What whoever waits for a run is told when another owner has taken it."""
    return ConflictError(
        "another owner took the run over; what this process still did for it is not kept",
        kind="run.fenced",
        run=run_id,
        hint="wait for it; `smf events RUN --rejected` shows what came too late",
    )
