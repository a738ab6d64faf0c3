"""One run at work: it holds the decider, launches what was decided, and feeds back what happened.

A worker never writes. It gives the committer its next write, and acts on a decision only once the store has kept
it: that is the whole of "recorded before its body begins" and "never told before it is durable".
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, final

import msgspec

from statemachine_flow.clock import Clock, Timer
from statemachine_flow.engine.attempt import run_attempt, timed_out
from statemachine_flow.engine.decide import Abort, Decider, Decision, Launch
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.errors import SmfError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.journal import Record
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.stores.base import NewRun, StepChange, Store, Write

#: How long after its grace an attempt that does not end is left to itself.
_PATIENCE: Final = 2.0
#: How soon a loop that is ending has ended: it takes no timers then.
_LOOP_END: Final = 0.1


class Host(Protocol):
    """What a worker needs of its engine."""

    store: Store
    clock: Clock
    threads: ThreadExecutor
    env: Mapping[str, str]
    grace: float

    def changed(self, worker: Worker) -> None:
        """The worker has something to be committed."""

    def done(self, worker: Worker) -> None:
        """The worker's run is at rest, or lost."""


class _Alive(msgspec.Struct):
    """An attempt under way."""

    launch: Launch
    context: StepContext
    task: asyncio.Task[None]
    timers: list[Timer] = []


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
        self._answered: list[int] = []
        self._alive: dict[str, _Alive] = {}
        self._timers: dict[str, Timer] = {}
        self._context = contextvars.copy_context()

    # --- events, each followed by a commit

    def tell(self, change: Callable[[Decider, int], None]) -> None:
        """Let the decider hear of something, and have what follows committed."""
        change(self.decider, self.host.clock.now())
        self.host.changed(self)

    def answer(self, request_id: int) -> None:
        """The next write answers this request."""
        self._answered.append(request_id)

    def take(self) -> NewRun | Write | None:
        """The next write, if there is something to write; `committed` or `lost` must follow."""
        decision = self.decider.take()
        self._uncommitted.append(decision)
        # A run that came to rest before this worker took hold of it has nothing to keep but its release.
        if not decision.records and not self._answered and not self.decider.at_rest:
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
            release=self.decider.at_rest,
            ends=fold.state in RUN_AT_REST,
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
        if not self.durable.done():
            self.durable.set_result(None)
        for decision in decisions:
            self._announce(decision.records)
            for launch in decision.launches:
                self._launch(launch)
            for timer in decision.timers:
                self._set_timer(timer.step_id, timer.due)
            for abort in decision.aborts:
                self._abort(abort)
        if self.decider.at_rest and not self.decider.has_records and not self.finished.done():
            self.end()

    def _announce(self, records: Sequence[Record]) -> None:
        if self.on_record is None:
            return
        for record in records:
            try:
                self.on_record(self.fold.id, record)
            except BaseException as error:  # noqa: BLE001 - a listener is told; it has no say in the run
                report = {"message": "a listener of a run raised an error", "exception": error}
                asyncio.get_running_loop().call_exception_handler(report)

    def end(self, error: SmfError | None = None) -> None:
        """Stop working on the run: it is at rest, or `error` says why it was lost."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        given_up, self._alive = self._alive, {}
        for alive in given_up.values():
            self._stop_timers(alive)
            alive.context.stop_reason = alive.context.stop_reason or "lost"
            alive.task.cancel()
        for future in (self.durable, self.finished):
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        self.host.done(self)

    # --- attempts

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is under way on this loop."""
        return bool(self._alive)

    def start_clock(self) -> None:
        """Watch the deadline of a run that starts or goes on; if it passed meanwhile, nothing begins any more."""
        deadline = self.fold.deadline
        if deadline is None:
            return
        if "" in self._timers:
            self._timers[""].cancel()
        delay = (deadline - self.host.clock.now()) / 1e6
        if delay > 0:
            self._timers[""] = self.host.clock.call_later(delay, lambda: self._hear(Decider.deadline_passed))
        else:
            self.tell(Decider.deadline_passed)

    def _launch(self, launch: Launch) -> None:
        host, fold, planned = self.host, self.fold, launch.step
        context = StepContext(
            run_id=fold.id, workflow=fold.created.workflow, step_id=planned.id, attempt=launch.attempt
        )
        attempt = Attempt(
            context=context,
            functions=self.functions,
            threads=host.threads,
            cwd=fold.created.cwd,
            env=host.env,
            grace=host.grace,
            open_spill=host.store.open_blob,
        )
        # What one step sets in a context variable is nothing to the next; all begin with the starter's.
        task = asyncio.get_running_loop().create_task(self._run(launch, attempt), context=self._context.copy())
        alive = self._alive[planned.id] = _Alive(launch, context, task)
        if planned.timeout is not None:
            alive.timers.append(host.clock.call_later(planned.timeout, lambda: self._time_out(alive)))

    async def _run(self, launch: Launch, attempt: Attempt) -> None:
        names = self.decider.names()
        outcome = await run_attempt(launch.step, attempt, names)
        if outcome is not None:
            self._ended(launch, outcome)
            return
        # If the loop is ending, this is never called, and the journal rightly says that the attempt is under way.
        itself = failed(asyncio.CancelledError("the step cancelled its own task"))
        asyncio.get_running_loop().call_later(_LOOP_END, self._ended, launch, itself)

    def _ended(self, launch: Launch, outcome: Outcome) -> None:
        alive = self._alive.get(launch.step.id)
        if alive is None or alive.launch is not launch:
            return  # given up long ago; the journal has its end already
        del self._alive[launch.step.id]
        self._stop_timers(alive)
        if alive.context.stop_reason == "timeout":
            outcome = timed_out(launch.step.timeout or 0)
        self._hear(lambda decider, now: decider.ended(launch.step.id, launch.attempt, outcome, now))

    def _hear(self, change: Callable[[Decider, int], None]) -> None:
        """`tell`, where no caller is there to catch what a bug raises: whoever waits for the run is told then."""
        try:
            self.tell(change)
        except BaseException as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self.end(SmfError(f"the run is lost: {type(error).__name__}: {error}", kind="internal", run=self.fold.id))

    def _time_out(self, alive: _Alive) -> None:
        if not alive.context.stop_reason:
            self._stop(alive, "timeout")

    def _abort(self, abort: Abort) -> None:
        alive = self._alive.get(abort.step_id)
        if alive is not None:
            self._stop(alive, abort.reason)

    def _stop(self, alive: _Alive, reason: str) -> None:
        """Ask an attempt to end; some time after its grace stop waiting for it, whatever it does."""
        alive.context.stop_reason = reason
        alive.task.cancel()
        give_up = Outcome(status="aborted")
        # A task that is cancelled before its first turn never takes one, and so never says that it ended.
        begun = inspect.getcoroutinestate(alive.task.get_coro()) != inspect.CORO_CREATED  # type: ignore[arg-type]  # _run
        patience = self.host.grace + _PATIENCE if begun else 0.0
        alive.timers.append(self.host.clock.call_later(patience, lambda: self._ended(alive.launch, give_up)))

    def _set_timer(self, step_id: str, due: int) -> None:
        delay = max(0.0, (due - self.host.clock.now()) / 1e6)
        if step_id in self._timers:
            self._timers[step_id].cancel()
        self._timers[step_id] = self.host.clock.call_later(delay, lambda: self._due(step_id))

    def _due(self, step_id: str) -> None:
        self._timers.pop(step_id, None)
        self._hear(lambda decider, now: decider.due(step_id, now))

    @staticmethod
    def _stop_timers(alive: _Alive) -> None:
        for timer in alive.timers:
            timer.cancel()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark a future's error as seen: nobody has to wait for every run."""
    if not future.cancelled():
        future.exception()
