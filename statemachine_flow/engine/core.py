"""The heart of an engine: its store, its workers, and taking hold of runs. Used on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, final

from statemachine_flow.agents import Agents
from statemachine_flow.clock import Clock
from statemachine_flow.engine.asked import Trial, carry_out
from statemachine_flow.engine.children import Children
from statemachine_flow.engine.code import check_code
from statemachine_flow.engine.commands import StartChild, StopChild
from statemachine_flow.engine.committer import Committer, Transaction
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.library import Library
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.owner import was_killed
from statemachine_flow.engine.ownership import Ownership, let_go, what_left
from statemachine_flow.engine.patience import Patience
from statemachine_flow.engine.rows import new_row
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.engine.unkept import Unkept
from statemachine_flow.engine.view import Run, view_of
from statemachine_flow.engine.watch import Watch
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import NotFoundError, SmfError, UsageError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.journal import Created, Record, RunFold, require_end
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState
from statemachine_flow.model import Definition
from statemachine_flow.plan import Plan
from statemachine_flow.secrets import SecretSource
from statemachine_flow.snapshot import encode_definition
from statemachine_flow.steps.base import StandIn
from statemachine_flow.stores.base import NewRun, RunRow, Seen, Store, Write

Listener = Callable[[str, Record], None]


@final
class Core:
    """Everything the workers of one engine share.

    Args:
        store: where journals are kept; closed with the core.
        clock: time.
        functions: what `call` steps may call.
        env: what commands inherit and expressions may read.
        grace: seconds an attempt has to end after it was asked to.
        strict_code: pause a run whose functions' code changed, instead of leaving a note.
        max_records: how many records a run may have before it is paused.
        rng: for the jitter of retries.
        lease: for how many seconds a sign of life of this engine holds.
        max_abandoned: how many functions may go on in threads that were given up.
        poison_after: how often in a row a step may be cut off by the death of its process.
        write_timeout: for how many seconds a write that failed is tried again.
        agents: whom `agent` steps may ask.
        secrets: where values come from that are never stored.
        workflows: name -> what `workflow` steps may start by that name.
        stand_in: does the work of step bodies in their place.
    """

    def __init__(  # noqa: PLR0913 - what an engine consists of
        self,
        store: Store,
        clock: Clock,
        functions: Functions,
        env: Mapping[str, str],
        *,
        agents: Agents,
        secrets: SecretSource,
        workflows: Mapping[str, Any],
        grace: float,
        strict_code: bool,
        max_records: int,
        rng: random.Random,
        lease: float,
        max_abandoned: int | None,
        poison_after: int | None,
        write_timeout: float,
        stand_in: StandIn | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.env = env
        self.grace = grace
        self.agents = agents
        self.secrets = secrets
        self.children = Children(self)
        self.stand_in = stand_in
        self.threads = ThreadExecutor(max_abandoned) if stand_in is None else stand_in.threads
        self.workers: dict[str, Worker] = {}
        #: Run id -> how often it was left, see `AsyncEngine.leave`.
        self.left: Counter[str] = Counter()
        self.ownership = Ownership(store, clock, lease, self.workers)
        self.owner = self.ownership.me
        self.library = Library(store, functions, agents, workflows, strict_code=strict_code)
        self.watch = Watch(store, clock, self.library, self.workers, self.children.look)
        self._max_records = max_records
        self._rng = rng
        self._poison_after = poison_after
        self._patience = Patience(store, clock, write_timeout)
        self.unkept = Unkept(store)
        reject = self.ownership.reject
        self._committer = Committer(store, self.threads, self._is_busy, reject, self._patience, self.unkept)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closing = False

    # --- what workers ask of their host

    def changed(self, worker: Worker) -> None:
        """See `worker.Host.changed`."""
        self._committer.changed(worker)

    def done(self, worker: Worker) -> None:
        """See `worker.Host.done`."""
        if self.workers.get(worker.fold.id) is worker:
            del self.workers[worker.fold.id]
            self.unkept.drop(worker.fold.id)
            self.children.left(worker)
            self.idles(worker)
            if worker.fold.state in RUN.terminal:
                self.secrets.forget(worker.fold.id)
        if not self.workers:
            self.watch.end()
        self.ownership.rest()

    def transact(self, worker: Worker, work: Callable[[Any], Outcome], report: Callable[[Outcome], None]) -> None:
        """See `worker.Host.transact`."""
        self._committer.transact(Transaction(worker, work, report))

    def reject(self, write: Write) -> None:
        """See `worker.Host.reject`."""
        self.ownership.reject(write)

    def start_child(self, worker: Worker, command: StartChild) -> None:
        """See `worker.Host.start_child`."""
        self.children.start(worker, command)

    def stop_child(self, worker: Worker, command: StopChild) -> None:
        """See `worker.Host.stop_child`."""
        self.children.stop(worker, command)

    def is_idle(self, run_id: str) -> bool:
        """See `worker.Host.is_idle`."""
        worker = self.workers.get(run_id)
        return worker is None or worker.is_idle

    def idles(self, worker: Worker) -> None:
        """See `worker.Host.idles`: what waits for the run may now wait for the world as well."""
        parent = worker.fold.created.parent
        if parent is not None and (above := self.workers.get(parent[0])) is not None:
            above.look_idle()

    def _is_busy(self) -> bool:
        # A stand-in brings what bodies do into an order; a commit in a thread would be out of it.
        return self.stand_in is None and any(worker.is_busy for worker in self.workers.values())

    # --- runs

    def require_open(self) -> None:
        """Refuse to take up another run while those under way are let go; their child runs may still begin.

        Raises:
            UsageError: `usage.closed`.
        """
        if self._is_closing:
            raise UsageError("the engine is closed", kind="usage.closed")

    def _stay_on_loop(self) -> None:
        """Runs and their futures belong to the loop they were put to work on."""
        loop = asyncio.get_running_loop()
        if self.workers and self._loop is not loop:
            raise UsageError("the engine is at work on another event loop", hint="use one AsyncEngine per loop")
        self._loop = loop

    def begin(
        self,
        run_id: str,
        definition: Definition,
        created: Created,
        listener: Listener | None,
        *,
        deadline: int | None = None,
        children: Mapping[str, bytes] | None = None,
    ) -> Worker:
        """Put a new run to work; its first commit creates it.

        Args:
            run_id: free, as far as is known.
            definition: what it carries out.
            created: what it begins with.
            listener: told each record.
            deadline: of the run above it.
            children: definitions that it may start, by content hash.
        """
        self._stay_on_loop()
        fold = RunFold(run_id)
        now = self.clock.now()
        decider = self._decider(self.library.plan(created.definition, lambda: definition), fold)
        decider.begin(now, created, deadline)
        row = new_row(run_id, created, now, self.owner)
        # The worker puts its first write in the place of this empty one.
        new = NewRun(
            row=row,
            definition=encode_definition(definition),
            write=Write(run_id=run_id, epoch=1, seq=0, records=()),
            children=children or {},
        )
        self.ownership.begin()
        worker = self._put_to_work(decider, 1, new, listener)
        worker.start_clock()
        return worker

    def row(self, run_id: str) -> RunRow:
        """The run's row.

        Raises:
            NotFoundError: there is no such run.
        """
        row = self.store.row(run_id)
        if row is None:
            self.store.confirm_absent(run_id)
            raise NotFoundError(f"no run {run_id[:100]!r}", hint="`smf list --all` shows every run")
        return row

    def load(self, row: RunRow) -> tuple[Plan, RunFold]:
        """A run's plan and fold, from its stored definition and journal.

        Raises:
            StoreError: the journal or the definition is damaged.
        """
        plan = self.library.plan_of_run(row)
        fold = RunFold(row.id)
        # The row was read before the journal: records may have come since, but none may be missing.
        fold.replay(self.store.records(row.id))
        require_end(row.id, fold.seq, row.seq)
        return plan, fold

    def view(self, run_id: str) -> Run:
        """The run as the store has it."""
        row = self.row(run_id)
        plan, fold = self.load(row)
        return view_of(plan, fold, row, self.store)

    def take_hold(self, run_id: str, *, take_over: bool = False, listener: Listener | None = None) -> Worker:
        """This engine's worker for a run: the one it has, or a new one if the run has no living owner.

        Args:
            run_id: the run.
            take_over: its owner is said to be dead, see `Ownership.is_free`.
            listener: told each new record.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.owned`: another living process owns it.
        """
        self._stay_on_loop()
        if run_id in self.workers:
            return self.workers[run_id]
        row = self.row(run_id)
        epoch = self.ownership.claim(row, take_over=take_over)
        try:
            plan, fold = self.load(row)
        except BaseException:
            self.ownership.give_back(row, epoch)
            raise
        worker = self._put_to_work(self._decider(plan, fold), epoch, None, listener)
        killed, limit = row.owner is not None and was_killed(row.owner), self._poison_after
        left = what_left(row, take_over=take_over)
        worker.tell(lambda decider, now: decider.recover(now, left, killed=killed, poison_after=limit))
        self.watch.grant_all(worker)  # before anything begins that was asked to end
        return worker

    def go_on(self, worker: Worker, by: str | None, reason: str = "") -> None:
        """Let a run take up where it stopped."""
        if worker.fold.state == RunState.PENDING:
            worker.tell(Decider.start)
        if worker.fold.state == RunState.PAUSED:
            worker.tell(lambda decider, now: decider.resume(now, by, reason))
        if worker.fold.state == RunState.RUNNING:
            check_code(self.library, worker)
            worker.start_clock()
            worker.tell(Decider.catch_up)
            worker.tell(lambda decider, now: decider.pause_if_uncertain(now, verify=True))
        worker.tell(lambda decider, now: decider.advance(now))

    def do(self, worker: Worker, action: str, reason: str, by: str | None, data: bytes = b"") -> None:
        """Do to a run what was asked.

        Raises:
            SmfError: its state does not allow it.
        """
        carry_out(worker, action, reason, by, data)

    def try_out(self, run_id: str, action: str, reason: str, by: str | None, data: bytes) -> Seen:
        """Find out whether something could be done to a run, without doing it.

        Returns:
            What that rests on: it could not be done any more once that has changed.

        Raises:
            NotFoundError: no such run.
            SmfError: its state does not allow it.
        """
        row = self.row(run_id)
        plan, fold = self.load(row)
        requests = self.store.requests(run_id)
        seen = Seen(row.epoch, fold.seq, max((request.id for request in requests), default=0))
        trial = Trial(self._decider(plan, fold), self.clock)
        for request in requests:  # what was said before comes first
            with contextlib.suppress(SmfError):  # it will be dropped
                carry_out(trial, request.action, request.reason, request.by, request.data)
        carry_out(trial, action, reason, by, data)
        return seen

    def names_of(self, run_id: str) -> RunNames:
        """What keeps the secrets of a run out of what is asked of its owner, as far as they are known here.

        Raises:
            NotFoundError: no such run.
        """
        return self._names(*self.load(self.row(run_id)))

    def _names(self, plan: Plan, fold: RunFold) -> RunNames:
        return RunNames(plan, fold, self.unkept, self.env, self.secrets)

    def _decider(self, plan: Plan, fold: RunFold) -> Decider:
        return Decider(plan, fold, self._names(plan, fold), self._rng, max_records=self._max_records)

    def _put_to_work(self, decider: Decider, epoch: int, new: NewRun | None, listener: Listener | None) -> Worker:
        fold = decider.fold
        functions = self.library.functions_of(fold.created.definition)
        worker = Worker(self, decider, epoch, functions, new=new, on_record=listener)
        self.workers[fold.id] = worker
        self.changed(worker)
        self.watch.begin()
        return worker

    def waits_for_world(self, run_id: str) -> bool:
        """Whether only the world can bring on a run that nobody works on here, child runs included."""
        row = self.row(run_id)
        if row.state == RunState.PAUSED:
            return True
        if row.state in RUN_AT_REST or self.store.requests(run_id):
            return False  # somebody is about to hear of it
        decider = self._decider(*self.load(row))
        return decider.waits_for_world and all(map(self.waits_for_world, decider.child_runs()))

    # --- the end

    async def close(self) -> None:
        """Interrupt what is under way, so that every run can be resumed, and let go of everything."""
        self._is_closing = True
        if self._loop is not asyncio.get_running_loop():
            self.workers.clear()  # their loop is gone, and they with it; the store has what they did
        for worker in list(self.workers.values()):
            let_go(worker)
        waiting = [worker.finished for worker in self.workers.values()]
        if waiting:
            self._committer.hurry()
            await asyncio.wait(waiting)
        self.watch.end()
        self.threads.close()
        self.ownership.leave()
        self.store.close()
