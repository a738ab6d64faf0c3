"""One run at work: it holds the decider, has done what was decided, and feeds back what happened.

A worker never writes. It gives the committer its next write, and acts on a decision only once the store has kept
it: that is the whole of "recorded before its body begins" and "never told before it is durable".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import msgspec

from statemachine_flow.clock import Timer
from statemachine_flow.engine.attempts import Attempts, Means
from statemachine_flow.engine.commands import Decision, StartChild, StopChild
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.late import late_write
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.errors import SmfError
from statemachine_flow.functions import Functions
from statemachine_flow.journal import Record
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Node
from statemachine_flow.stores.base import NewRun, StepChange, Write


class Host(Means, Protocol):
    """What a worker needs of its engine."""

    def changed(self, worker: Worker) -> None:
        """The worker has something to be committed."""

    def done(self, worker: Worker) -> None:
        """The worker's run is at rest, or lost."""

    def reject(self, write: Write) -> None:
        """Keep beside the journal what comes too late for it."""

    def start_child(self, worker: Worker, command: StartChild) -> None:
        """A step of the worker's run waits for a run of its own."""

    def stop_child(self, worker: Worker, command: StopChild) -> None:
        """A child run of the worker's run is to be cancelled or paused."""

    def is_idle(self, run_id: str) -> bool:
        """Whether nothing happens to a child run by itself."""

    def idles(self, worker: Worker) -> None:
        """Only the world can bring the worker's run on."""

    def go_on(self, worker: Worker, by: str | None, reason: str) -> None:
        """Let the worker's run take up where it stopped."""

    def transact(self, worker: Worker, work: Callable[[Any], Outcome], report: Callable[[Outcome], None]) -> None:
        """Have an attempt done inside the transaction that keeps its result, and reported."""


@final
class Worker:
    """The work on one run, on one event loop.

    Args:
        host: the engine.
        decider: the run's rules.
        epoch: the ownership it works under.
        functions: what its steps call.
        new: the run's row and definition, if the store does not have it yet.
        on_record: told each record once it is durable.
    """

    def __init__(
        self,
        host: Host,
        decider: Decider,
        epoch: int,
        functions: Functions,
        *,
        new: NewRun | None = None,
        on_record: Callable[[str, Record], None] | None = None,
    ) -> None:
        self.host = host
        self.decider = decider
        self.fold = decider.fold
        self.epoch = epoch
        self.functions = functions
        self.on_record = on_record
        loop = asyncio.get_running_loop()
        #: Resolved by the first commit: the run, or the change that was asked for, is durable.
        self.durable: asyncio.Future[None] = loop.create_future()
        #: Resolved when the run is at rest, or with the error that ended the work.
        self.finished: asyncio.Future[None] = loop.create_future()
        self.finished.add_done_callback(_retrieve)
        self.durable.add_done_callback(_retrieve)
        self._new = new
        self._seq = 0 if new is not None else self.fold.seq
        self._stored_steps = set(self.fold.steps) if new is None else set()
        self._uncommitted: list[Decision] = []
        #: Resolved as soon as only the world can bring the run on; another one when it goes on.
        self._idle: asyncio.Future[None] = loop.create_future()
        #: Who waits for the next write to be kept, and for the one that was taken.
        self._asking: list[asyncio.Future[None]] = []
        self._told: list[asyncio.Future[None]] = []
        #: Ownership is given up with the next write, whatever the run's state.
        self._released = False
        self._answered: list[int] = []
        self._heard: set[int] = set()
        self._timers: dict[str, Timer] = {}
        checkpoint = decider.plan.definition.checkpoint
        self._is_synced = checkpoint is None or checkpoint.durability == "power"
        self._attempts = Attempts(self, host)

    # --- events, each followed by a commit

    def tell(self, change: Callable[[Decider, int], None]) -> None:
        """Let the decider hear of something, and have what follows committed."""
        change(self.decider, self.host.clock.now())
        if self.decider.has_records or self.decider.is_behind:
            self.goes_on()  # who asks before the next commit must not be told that only the world can bring it on
        self.host.changed(self)

    def answer(self, request_id: int, *, later: bool = False) -> bool:
        """The next write answers this request, or, with `later`, the one that ends the run.

        Returns:
            False if it was heard before, and that write is still to come.
        """
        is_new = request_id not in self._heard
        self._heard.add(request_id)
        if is_new and not later:
            self._answered.append(request_id)
        return is_new

    def drop(self, request_id: int) -> None:
        """The next write answers a request that was heard before."""
        self._answered.append(request_id)

    async def kept(self) -> None:
        """Wait until everything decided so far is durable.

        Raises:
            SmfError: it was lost.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)
        self._asking.append(future)
        self.host.changed(self)
        await asyncio.shield(future)

    async def rest(self, *, idle: bool) -> None:
        """Wait until the run is at rest, or, with `idle`, until only the world can bring it on.

        Raises:
            SmfError: the run was lost.
        """
        while idle and not self.finished.done() and not self.is_idle:
            await asyncio.wait((self.finished, self._idle), return_when=asyncio.FIRST_COMPLETED)
        if not idle or self.finished.done():
            # Shielded: a caller that gives up waiting does not give up the run.
            await asyncio.shield(self.finished)

    def release(self) -> None:
        """Stop working on a run that waits for the world, and leave it to whoever comes next."""
        self._released = True
        self.host.changed(self)

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is under way on this loop."""
        return bool(self._attempts.alive)

    @property
    def is_over(self) -> bool:
        """Whether the work has ended: the run is at rest, or was lost."""
        return self.finished.done()

    @property
    def is_fenced(self) -> bool:
        """Whether another owner has taken the run."""
        error = self.finished.exception() if self.is_over else None
        return isinstance(error, SmfError) and error.kind == "run.fenced"

    @property
    def is_idle(self) -> bool:
        """Whether only the world can bring the run on, child runs included."""
        return self._idle.done()

    def look_idle(self) -> None:
        """Find out whether only the world can bring the run on."""
        is_still = self._attempts.are_over and not self.decider.has_records
        waits = is_still and self.decider.waits_for_world
        if not waits or not all(self.host.is_idle(run_id) for run_id in self.decider.child_runs()):
            self.goes_on()
        elif not self.is_idle:
            self._idle.set_result(None)
            self.host.idles(self)

    def goes_on(self) -> None:
        """Something is under way: the run no longer waits for the world alone."""
        if self.is_idle:
            self._idle = asyncio.get_running_loop().create_future()
            self.host.idles(self)  # what waits for this run no longer waits for the world alone

    # --- the commit

    def take(self) -> NewRun | Write | None:
        """The next write, if there is something to write; `committed` or `lost` must follow."""
        if self.durable.done() and self.durable.exception() is not None:
            return None  # another began the run, and may be as far in the same epoch: nothing of this may be written
        if self.decider.is_behind:
            self.decider.advance(self.host.clock.now())
        decision = self.decider.take()
        self._uncommitted.append(decision)
        self._told, self._asking = self._told + self._asking, []
        # A run that came to rest before this worker took hold of it has nothing to keep but its release.
        if not decision.records and not self._answered and not self.decider.at_rest and not self._released:
            self.committed()
            return None
        write = self._write(decision)
        self._seq = self.fold.seq
        self._answered = []
        if self._new is None:
            return write
        new, self._new = self._new, None
        return msgspec.structs.replace(new, write=write)

    def _write(self, decision: Decision) -> Write:
        fold = self.fold
        return Write(
            run_id=fold.id,
            epoch=self.epoch,
            seq=self._seq,
            records=decision.records,
            states=decision.states,
            steps=[self._change(*change) for change in decision.changes],
            steps_done=fold.created.steps - fold.open_steps,
            updated_at=fold.updated_at,
            started_at=fold.started_at,
            ended_at=fold.ended_at,
            message=fold.error.message if fold.error is not None else fold.reason,
            answered=self._answered,
            release=self.decider.at_rest or self._released,
            ends=fold.state in RUN_AT_REST,
            synced=self._is_synced,
        )

    def _change(self, step_id: str, state: str, attempt: int) -> StepChange:
        first = step_id not in self._stored_steps
        if first:
            self._stored_steps.add(step_id)
        return StepChange(step_id, state, attempt, first)

    # --- after the commit

    def committed(self) -> None:
        """What was taken is durable: act on it, and tell whoever listens."""
        decisions, self._uncommitted = self._uncommitted, []
        for future in (self.durable, *self._told):
            if not future.done():
                future.set_result(None)
        self._told = []
        if self.finished.done():
            return  # it was lost while that was written
        for decision in decisions:
            self._carry_out(decision)
        is_over = self.decider.at_rest and not self.decider.has_records
        if (is_over or self._released) and not self.finished.done():
            self.end()
        elif not self._attempts.alive:
            self.look_idle()

    def _carry_out(self, decision: Decision) -> None:
        self._announce(decision.records)
        for launch in decision.launches:
            self._attempts.launch(launch)
        for timer in decision.timers:
            self._set_timer(timer.path, timer.due)
        for abort in decision.aborts:
            self._attempts.abort(abort)
        for child in decision.children:
            self.host.start_child(self, child)
        for stop in decision.child_stops:
            self.host.stop_child(self, stop)
        for node in decision.verifications:
            self._attempts.verify(node)

    def _announce(self, records: Sequence[Record]) -> None:
        if self.on_record is None:
            return
        for record in records:
            try:
                self.on_record(self.fold.id, record)
            except BaseException as error:  # noqa: BLE001 - a listener is told; it has no say in the run
                report = {"message": "a listener of a run raised an error", "exception": error}
                asyncio.get_running_loop().call_exception_handler(report)

    def end(self, error: BaseException | None = None) -> None:
        """Stop working on the run: it is at rest, or `error` says why it was lost."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._attempts.give_up()
        asking, self._asking = self._asking, []
        for future in (self.durable, self.finished, *self._told, *asking):
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        self.host.done(self)

    # --- what attempts, timers and callers say

    def hear(self, change: Callable[[Decider, int], None]) -> None:
        """`tell`, where no caller is there to catch what a bug raises: whoever waits for the run is told then."""
        try:
            self.tell(change)
        except BaseException as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self.end(SmfError(f"the run is lost: {type(error).__name__}: {error}", kind="internal", run=self.fold.id))

    def hear_late(self, path: str, outcome: Outcome) -> bool:
        """An attempt ended after the work did; if another owner has the run now, people may want to know what it gave.

        Args:
            path: of its step.
            outcome: how it ended by itself.

        Returns:
            Whether it is kept for them.
        """
        if self.is_fenced:
            self.host.reject(late_write(self.fold.id, self.epoch, path, outcome, self.host.clock.now()))
        return self.is_fenced

    def go_on(self, by: str | None, reason: str) -> None:
        """See `asked.Target.go_on`."""
        self.host.go_on(self, by, reason)

    def as_completed(self, node: Node, output: Any) -> Outcome:
        """See `Attempts.as_completed`."""
        return self._attempts.as_completed(node, output)

    def transact(self, work: Callable[[Any], Outcome], report: Callable[[Outcome], None]) -> None:
        """See `attempts.Work.transact`."""
        self.host.transact(self, work, report)

    def start_clock(self) -> None:
        """Watch the deadline of a run that starts or goes on; if it passed meanwhile, nothing begins any more."""
        deadline = self.fold.deadline
        if deadline is None:
            return
        if "" in self._timers:
            self._timers[""].cancel()
        delay = (deadline - self.host.clock.now()) / 1e6
        if delay > 0:
            self._timers[""] = self.host.clock.call_later(delay, lambda: self.hear(Decider.deadline_passed))
        else:
            self.tell(Decider.deadline_passed)

    def _set_timer(self, path: str, due: int) -> None:
        delay = max(0.0, (due - self.host.clock.now()) / 1e6)
        if path in self._timers:
            self._timers[path].cancel()
        self._timers[path] = self.host.clock.call_later(delay, lambda: self._due(path, due))

    def _due(self, path: str, due: int) -> None:
        self._timers.pop(path, None)
        self.hear(lambda decider, now: decider.due(path, due, now))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark a future's error as seen: nobody has to wait for every run."""
    if not future.cancelled():
        future.exception()
