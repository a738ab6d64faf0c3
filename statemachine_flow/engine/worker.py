"""One run at work: it holds the decider, launches what was decided, and feeds back what happened.

A worker never writes. It gives the committer its next write, and acts on a decision only once the store has kept
it: that is the whole of "recorded before its body begins" and "never told before it is durable".
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, final

import msgspec

from statemachine_flow.agents import Agents
from statemachine_flow.clock import Clock, Timer
from statemachine_flow.engine.attempt import completed, run_attempt, run_in, timed_out
from statemachine_flow.engine.commands import Abort, Decision, Launch, StartChild, StopChild
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.engine.verify import verify_attempt
from statemachine_flow.errors import SmfError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.expressions.values import to_text
from statemachine_flow.functions import Functions
from statemachine_flow.journal import Record
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.plan import Node
from statemachine_flow.secrets import NO_SECRETS
from statemachine_flow.steps.base import Attempt, ExecutableVerb, StepContext
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
    agents: Agents

    def changed(self, worker: Worker) -> None:
        """The worker has something to be committed."""

    def done(self, worker: Worker) -> None:
        """The worker's run is at rest, or lost."""

    def start_child(self, worker: Worker, command: StartChild) -> None:
        """A step of the worker's run waits for a run of its own."""

    def stop_child(self, worker: Worker, command: StopChild) -> None:
        """A child run of the worker's run is to be cancelled or paused."""

    def is_idle(self, run_id: str) -> bool:
        """Whether nothing happens to a child run by itself."""

    def idles(self, worker: Worker) -> None:
        """Only the world can bring the worker's run on."""

    def transact(self, worker: Worker, work: Callable[[Any], Outcome], report: Callable[[Outcome], None]) -> None:
        """Have an attempt done inside the transaction that keeps its result, and reported."""


class _Alive(msgspec.Struct):
    """An attempt under way."""

    launch: Launch
    context: StepContext
    task: asyncio.Task[None]
    timers: list[Timer] = []
    #: Its own timeout passed, not that of a group around it.
    own_timeout: bool = False


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
        self._alive: dict[str, _Alive] = {}
        self._timers: dict[str, Timer] = {}
        checkpoint = decider.plan.definition.checkpoint
        self._is_synced = checkpoint is None or checkpoint.durability == "power"
        self._verifying: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    # --- events, each followed by a commit

    def tell(self, change: Callable[[Decider, int], None]) -> None:
        """Let the decider hear of something, and have what follows committed."""
        change(self.decider, self.host.clock.now())
        self.host.changed(self)

    def answer(self, request_id: int) -> bool:
        """The next write answers this request; False if it was answered before, and that write is still to come."""
        is_new = request_id not in self._heard
        self._heard.add(request_id)
        if is_new:
            self._answered.append(request_id)
        return is_new

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
    def is_idle(self) -> bool:
        """Whether only the world can bring the run on, child runs included."""
        return self._idle.done()

    def look_idle(self) -> None:
        """Find out whether only the world can bring the run on."""
        is_still = not self._alive and not self._verifying and not self.decider.has_records
        waits = is_still and self.decider.waits_for_world
        if not waits or not all(self.host.is_idle(run_id) for run_id in self.decider.child_runs()):
            self._is_at_work()
        elif not self.is_idle:
            self._idle.set_result(None)
            self.host.idles(self)

    def _is_at_work(self) -> None:
        if self.is_idle:
            self._idle = asyncio.get_running_loop().create_future()
            self.host.idles(self)  # what waits for this run no longer waits for the world alone

    def take(self) -> NewRun | Write | None:
        """The next write, if there is something to write; `committed` or `lost` must follow."""
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
        elif not self._alive:
            self.look_idle()

    def _carry_out(self, decision: Decision) -> None:
        self._announce(decision.records)
        for launch in decision.launches:
            self._launch(launch)
        for timer in decision.timers:
            self._set_timer(timer.path, timer.due)
        for abort in decision.aborts:
            self._abort(abort)
        for child in decision.children:
            self.host.start_child(self, child)
        for stop in decision.child_stops:
            self.host.stop_child(self, stop)
        for node in decision.verifications:
            self._verify(node)

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
        asking, self._asking = self._asking, []
        for future in (self.durable, self.finished, *self._told, *asking):
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
            self._timers[""] = self.host.clock.call_later(delay, lambda: self.hear(Decider.deadline_passed))
        else:
            self.tell(Decider.deadline_passed)

    def _launch(self, launch: Launch) -> None:
        node = launch.node
        try:
            attempt = self._attempt(node, launch.attempt)
        except SmfError as error:  # a secret is missing, or its idempotency key cannot be made
            outcome = failed(error)
            self.hear(lambda decider, now: decider.ended(node.path, launch.attempt, outcome, now))
            return
        if getattr(node.step.verb, "transaction", False):
            names = self.decider.names(node)
            work = partial(run_in, planned=node.step, attempt=attempt, names=names)
            report = partial(self._report, launch)
            self.host.transact(self, lambda connection: self._run_in(launch, work, connection), report)
            return
        # What one step sets in a context variable is nothing to the next; all begin with the starter's.
        task = asyncio.get_running_loop().create_task(self._run(launch, attempt), context=self._context.copy())
        before = self._alive.get(node.path)
        if before is not None and not before.context.stop_reason:  # a rewind gave it up at the same time
            self._stop(before, "cancel")
        alive = self._alive[node.path] = _Alive(launch, attempt.context, task)
        self._is_at_work()
        if node.step.timeout is not None:
            alive.timers.append(self.host.clock.call_later(node.step.timeout, lambda: self._time_out(alive)))

    def _attempt(self, node: Node, number: int) -> Attempt:
        """What an attempt of a step may use.

        Raises:
            SmfError: a secret is missing, or its idempotency key cannot be made.
        """
        host, fold, names = self.host, self.fold, self.decider.names
        assert isinstance(names, RunNames)  # noqa: S101 - the engine made it
        step = node.step.step
        known = {}
        if step.idempotency_key is not None:
            template = node.step.template("idempotency_key", step.idempotency_key)
            known["idempotency_key"] = to_text(template.render(names(node)))
        context = StepContext(
            run_id=fold.id,
            workflow=fold.created.workflow,
            step_id=node.step.id,
            path=node.path,
            attempt=number,
            generation=fold.steps[node.path].generation,
            key=node.scope.keys[node.place] if node.place >= 0 else None,
            secrets=names.secrets_of(node) if step.secrets else {},
            epoch=self.epoch,
            **known,
        )
        return Attempt(
            context=context,
            functions=self.functions,
            threads=host.threads,
            cwd=fold.created.cwd,
            env=host.env,
            grace=host.grace,
            open_spill=host.store.open_blob,
            agents=host.agents,
            output_schema=step.output_schema,
            redactor=names.redactor(tuple(names.known_secrets(node))) if names.has_secrets(node) else NO_SECRETS,
        )

    async def _run(self, launch: Launch, attempt: Attempt) -> None:
        names = self.decider.names(launch.node)
        outcome = await run_attempt(launch.node.step, attempt, names)
        if outcome is not None:
            self._ended(launch, outcome)
            return
        # If the loop is ending, this is never called, and the journal rightly says that the attempt is under way.
        itself = failed(asyncio.CancelledError("the step cancelled its own task"))
        asyncio.get_running_loop().call_later(_LOOP_END, self._ended, launch, itself)

    def _run_in(self, launch: Launch, work: Callable[[Any], Outcome], connection: Any) -> Outcome:
        """Do an attempt inside the store's transaction, unless it was given up since it was recorded."""
        step = self.fold.steps[launch.node.path]
        is_current = (step.state, step.attempt) == ("running", launch.attempt)
        return work(connection) if is_current else Outcome(status="aborted")

    def _report(self, launch: Launch, outcome: Outcome) -> None:
        """An attempt that was done inside a transaction ended."""
        self.hear(lambda decider, now: decider.ended(launch.node.path, launch.attempt, outcome, now))

    def _verify(self, node: Node) -> None:
        """Ask the step's `verify` what became of the attempt that was cut off."""
        task = asyncio.get_running_loop().create_task(self._verified(node), context=self._context.copy())
        self._verifying.add(task)
        task.add_done_callback(self._verification_ended)

    def _verification_ended(self, task: asyncio.Task[None]) -> None:
        self._verifying.discard(task)
        if not self.finished.done():
            self.look_idle()

    async def _verified(self, node: Node) -> None:
        redactor = NO_SECRETS
        try:
            attempt = self._attempt(node, self.fold.steps[node.path].attempt)
            redactor = attempt.redactor
            verdict = await verify_attempt(node.step, attempt, self.decider.names(node))
            outcome = self.as_completed(node, verdict.output) if verdict.as_ == "completed" else None
        except asyncio.CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - whatever the function raises, a person has to say
            if self.fold.state == RunState.RUNNING:  # else it was stopped meanwhile, and is asked again on resume
                paths = ", ".join(each.path for each in self.decider.uncertain())
                told = failed(error, redactor).error
                reason = f"uncertain: {paths}: {told.message or told.name}" if told else f"uncertain: {paths}"
                self.hear(lambda decider, now: decider.pause(now, reason, None, interrupt=False))
            return
        if self.fold.state_of(node.path) == "interrupted":  # and nobody else said it first
            self.hear(lambda decider, now: decider.resolve(now, node.path, verdict.as_, outcome, "its verify function"))

    def as_completed(self, node: Node, output: Any) -> Outcome:
        """The outcome of an attempt of which somebody else says what it gave.

        Raises:
            SmfError: that cannot be the step's output.
        """
        attempt = self._attempt(node, self.fold.steps[node.path].attempt)
        verb = node.step.verb
        if not isinstance(verb, ExecutableVerb):
            raise SmfError(f"step '{node.path}' has no attempts", kind="internal")
        return completed(node.step, verb, output, attempt, self.decider.names(node))

    def _ended(self, launch: Launch, outcome: Outcome) -> None:
        path = launch.node.path
        alive = self._alive.get(path)
        if alive is None or alive.launch is not launch:
            return  # given up long ago; the journal has its end already
        del self._alive[path]
        self._stop_timers(alive)
        if alive.own_timeout:
            outcome = msgspec.structs.replace(timed_out(launch.node.step.timeout or 0), usage=outcome.usage)
        self.hear(lambda decider, now: decider.ended(path, launch.attempt, outcome, now))

    def hear(self, change: Callable[[Decider, int], None]) -> None:
        """`tell`, where no caller is there to catch what a bug raises: whoever waits for the run is told then."""
        try:
            self.tell(change)
        except BaseException as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
            self.end(SmfError(f"the run is lost: {type(error).__name__}: {error}", kind="internal", run=self.fold.id))

    def _time_out(self, alive: _Alive) -> None:
        if not alive.context.stop_reason:
            alive.own_timeout = True
            self._stop(alive, "timeout")

    def _abort(self, abort: Abort) -> None:
        alive = self._alive.get(abort.path)
        if alive is not None and alive.launch.attempt == abort.attempt:
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

    def _set_timer(self, path: str, due: int) -> None:
        delay = max(0.0, (due - self.host.clock.now()) / 1e6)
        if path in self._timers:
            self._timers[path].cancel()
        self._timers[path] = self.host.clock.call_later(delay, lambda: self._due(path, due))

    def _due(self, path: str, due: int) -> None:
        self._timers.pop(path, None)
        self.hear(lambda decider, now: decider.due(path, due, now))

    @staticmethod
    def _stop_timers(alive: _Alive) -> None:
        for timer in alive.timers:
            timer.cancel()


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Mark a future's error as seen: nobody has to wait for every run."""
    if not future.cancelled():
        future.exception()
