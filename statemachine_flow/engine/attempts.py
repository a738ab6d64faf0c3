"""The attempts of one run: launched, timed, stopped, verified, and their ends told to the run's worker.

An attempt is launched only once the record of its start is durable; that, and whatever follows from its end, is the
worker's to see to.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, final

import msgspec

from statemachine_flow.agents import Agents
from statemachine_flow.clock import Clock, Timer
from statemachine_flow.engine.attempt import completed, run_attempt, run_in, timed_out
from statemachine_flow.engine.commands import Abort, Launch
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.left import leave, leave_for_good
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.reasons import UNCERTAIN
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.engine.unkept import Blobs, Unkept, UnkeptError
from statemachine_flow.engine.verify import verify_attempt
from statemachine_flow.errors import SmfError
from statemachine_flow.executors.orphans import mark_of
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.expressions.values import to_text
from statemachine_flow.functions import Functions
from statemachine_flow.journal import ErrorInfo, RunFold
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.plan import Node
from statemachine_flow.secrets import NO_SECRETS
from statemachine_flow.steps.base import Attempt, ExecutableVerb, StandIn, StepContext
from statemachine_flow.stores.base import Owner, Store

#: How long after its grace an attempt that does not end is left to itself.
_PATIENCE: Final = 2.0
#: How soon a loop that is ending has ended: it takes no timers then.
_LOOP_END: Final = 0.1


class Means(Protocol):
    """What attempts may use of the engine."""

    store: Store
    clock: Clock
    threads: ThreadExecutor
    env: Mapping[str, str]
    grace: float
    agents: Agents
    owner: Owner
    stand_in: StandIn | None
    unkept: Unkept


class Work(Protocol):
    """What attempts need of the work on their run."""

    decider: Decider
    fold: RunFold
    epoch: int
    functions: Functions
    finished: asyncio.Future[None]

    def hear(self, change: Callable[[Decider, int], None]) -> None:
        """Let the decider hear of something."""

    def transact(self, work: Callable[[Any], Outcome], report: Callable[[Outcome], None]) -> None:
        """Have an attempt done inside the transaction that keeps its result, and reported."""

    def hear_late(self, path: str, outcome: Outcome) -> bool:
        """An attempt ended after the work did; whether that is kept for people."""

    def goes_on(self) -> None:
        """Something is under way."""

    def look_idle(self) -> None:
        """Something is under way no longer."""

    def end(self, error: BaseException | None = None) -> None:
        """Stop working on the run; `error` says why it was lost."""


class _Alive(msgspec.Struct):
    """An attempt under way."""

    launch: Launch
    context: StepContext
    task: asyncio.Task[None]
    timers: list[Timer] = []
    #: Its own timeout passed, not that of a group around it.
    own_timeout: bool = False


@final
class Attempts:
    """What is under way of one run, on one event loop.

    Args:
        work: the work on the run.
        means: the engine.
    """

    def __init__(self, work: Work, means: Means) -> None:
        self._work = work
        self._means = means
        #: Path -> the step's attempt that is under way.
        self.alive: dict[str, _Alive] = {}
        self._verifying: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    @property
    def are_over(self) -> bool:
        """Whether nothing is under way, and nothing is verified."""
        return not self.alive and not self._verifying

    def give_up(self) -> None:
        """Stop everything, and wait for nothing: the run is at rest, or was lost."""
        given_up, self.alive = self.alive, {}
        for alive in given_up.values():
            _stop_timers(alive)
            alive.context.stop_reason = alive.context.stop_reason or "lost"
            alive.task.cancel()
            leave(alive.task)

    def launch(self, launch: Launch) -> None:
        """Begin an attempt whose record is durable."""
        node = launch.node
        is_transaction = getattr(node.step.verb, "transaction", False)
        # What a transaction gave is kept with it or not at all: to hold it would be to hold everybody up.
        blobs = Blobs(self._means.store, is_holding=not is_transaction)
        try:
            attempt = self._attempt(node, launch.attempt, blobs)
        except SmfError as error:  # a secret is missing, or its idempotency key cannot be made
            outcome = failed(error)
            self._work.hear(lambda decider, now: decider.ended(node.path, launch.attempt, outcome, now))
            return
        if is_transaction:
            names = self._work.decider.names(node)
            work = partial(run_in, planned=node.step, attempt=attempt, names=names)
            report = partial(self._report, launch)
            self._work.transact(lambda connection: self._run_in(launch, work, connection, blobs), report)
            return
        # What one step sets in a context variable is nothing to the next; all begin with the starter's.
        task = asyncio.get_running_loop().create_task(self._run(launch, attempt, blobs), context=self._context.copy())
        before = self.alive.get(node.path)
        if before is not None and not before.context.stop_reason:  # a rewind gave it up at the same time
            self._stop(before, "cancel")
        alive = self.alive[node.path] = _Alive(launch, attempt.context, task)
        self._work.goes_on()
        if node.step.timeout is not None:
            alive.timers.append(self._means.clock.call_later(node.step.timeout, lambda: self._time_out(alive)))

    def _attempt(self, node: Node, number: int, blobs: Blobs) -> Attempt:
        """What an attempt of a step may use.

        Args:
            node: the step.
            number: of the attempt.
            blobs: where its large outputs go.

        Raises:
            SmfError: a secret is missing, or its idempotency key cannot be made.
        """
        means, work = self._means, self._work
        fold, names = work.fold, work.decider.names
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
            epoch=self._work.epoch,
            **known,
        )
        return Attempt(
            context=context,
            functions=self._work.functions,
            threads=means.threads,
            cwd=fold.created.cwd,
            env=means.env,
            grace=means.grace,
            open_spill=blobs.open,
            agents=means.agents,
            stand_in=means.stand_in,
            output_schema=step.output_schema,
            mark=mark_of(means.owner.nonce, fold.id),
            redactor=names.redactor(tuple(names.known_secrets(node))) if names.has_secrets(node) else NO_SECRETS,
        )

    async def _run(self, launch: Launch, attempt: Attempt, blobs: Blobs) -> None:
        names = self._work.decider.names(launch.node)
        try:
            outcome = await run_attempt(launch.node.step, attempt, names)
        except UnkeptError as unkept:
            blobs.take_back()
            self._work.end(unkept.error)
            return
        if outcome is not None:
            self._ended(launch, outcome, blobs)
            return
        # If the loop is ending, this is never called, and the journal rightly says that the attempt is under way.
        itself = failed(asyncio.CancelledError("the step cancelled its own task"))
        asyncio.get_running_loop().call_later(_LOOP_END, self._ended, launch, itself)

    def _run_in(self, launch: Launch, work: Callable[[Any], Outcome], connection: Any, blobs: Blobs) -> Outcome:
        """Do an attempt inside the store's transaction, unless it was given up since it was recorded."""
        step = self._work.fold.steps[launch.node.path]
        if (step.state, step.attempt) != ("running", launch.attempt):
            return Outcome(status="aborted")
        try:
            return work(connection)
        except UnkeptError:
            blobs.take_back()
            raise

    def _report(self, launch: Launch, outcome: Outcome) -> None:
        """An attempt that was done inside a transaction ended."""
        self._work.hear(lambda decider, now: decider.ended(launch.node.path, launch.attempt, outcome, now))

    def verify(self, node: Node) -> None:
        """Ask the step's `verify` what became of the attempt that was cut off."""
        task = asyncio.get_running_loop().create_task(self._verified(node), context=self._context.copy())
        self._verifying.add(task)
        task.add_done_callback(self._verification_ended)

    def _verification_ended(self, task: asyncio.Task[None]) -> None:
        self._verifying.discard(task)
        if not self._work.finished.done():
            self._work.look_idle()

    async def _verified(self, node: Node) -> None:
        redactor = NO_SECRETS
        try:
            blobs = Blobs(self._means.store, is_holding=False)
            attempt = self._attempt(node, self._work.fold.steps[node.path].attempt, blobs)
            redactor = attempt.redactor
            verdict = await verify_attempt(node.step, attempt, self._work.decider.names(node))
            outcome = self.as_completed(node, verdict.output) if verdict.as_ == "completed" else None
        except asyncio.CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - whatever the function raises, a person has to say
            if self._work.fold.state == RunState.RUNNING:  # else it was stopped meanwhile, and is asked again on resume
                paths = ", ".join(each.path for each in self._work.decider.uncertain())
                told = failed(error, redactor).error
                reason = f"{UNCERTAIN}: {paths}" + (f": {told.message or told.name}" if told else "")
                self._work.hear(lambda decider, now: decider.pause(now, reason, None, interrupt=False))
            return
        if self._work.fold.state_of(node.path) == "interrupted":  # and nobody else said it first
            self._work.hear(
                lambda decider, now: decider.resolve(now, node.path, verdict.as_, outcome, "its verify function")
            )

    def as_completed(self, node: Node, output: Any) -> Outcome:
        """The outcome of an attempt of which somebody else says what it gave.

        Raises:
            SmfError: that cannot be the step's output.
        """
        blobs = Blobs(self._means.store, is_holding=False)
        attempt = self._attempt(node, self._work.fold.steps[node.path].attempt, blobs)
        verb = node.step.verb
        if not isinstance(verb, ExecutableVerb):
            raise SmfError(f"step '{node.path}' has no attempts", kind="internal")
        try:
            return completed(node.step, verb, output, attempt, self._work.decider.names(node))
        except UnkeptError as unkept:
            raise unkept.error from unkept

    def _ended(self, launch: Launch, outcome: Outcome, blobs: Blobs | None = None) -> None:
        path = launch.node.path
        alive = self.alive.get(path)
        if alive is None or alive.launch is not launch:
            if not self._late(launch, outcome) and blobs is not None:
                blobs.take_back()
            return
        del self.alive[path]
        _stop_timers(alive)
        if alive.own_timeout:
            late = timed_out(launch.node.step.timeout or 0, abandoned=outcome.abandoned)
            outcome = msgspec.structs.replace(late, usage=outcome.usage)
        if blobs is not None and outcome.status == "completed":
            self._means.unkept.hold(self._work.fold.id, blobs)
        elif blobs is not None:
            blobs.take_back()
        self._work.hear(lambda decider, now: decider.ended(path, launch.attempt, outcome, now))

    def _late(self, launch: Launch, outcome: Outcome) -> bool:
        """An attempt ended that was given up before: the journal has its end already, and gets only a remark.

        Returns:
            Whether what it gave is kept for people.
        """
        if outcome.status == "aborted":
            return False
        if self._work.finished.done():
            return self._work.hear_late(launch.node.path, outcome)
        if self._work.fold.state not in RUN_AT_REST:
            said = f"attempt {launch.attempt} of step '{launch.node.path}' {outcome.status} after it was given up"
            self._work.hear(lambda decider, now: decider.note(now, f"{said}: its result is dropped"))
        return False

    def _time_out(self, alive: _Alive) -> None:
        if not alive.context.stop_reason:
            alive.own_timeout = True
            self._stop(alive, "timeout")

    def abort(self, abort: Abort) -> None:
        """Stop an attempt that was given up."""
        alive = self.alive.get(abort.path)
        if alive is not None and alive.launch.attempt == abort.attempt:
            self._stop(alive, abort.reason)

    def _stop(self, alive: _Alive, reason: str) -> None:
        """Ask an attempt to end; some time after its grace stop waiting for it, whatever it does."""
        alive.context.stop_reason = reason
        alive.task.cancel()
        left = f"it did not end within {self._means.grace:g} s and was left to itself"
        # A task that is cancelled before its first turn never takes one, and so never says that it ended.
        begun = inspect.getcoroutinestate(alive.task.get_coro()) != inspect.CORO_CREATED  # type: ignore[arg-type]  # _run
        patience = self._means.grace + _PATIENCE if begun else 0.0
        give_up = Outcome(status="aborted", error=ErrorInfo("step.failed", "Abandoned", left) if begun else None)

        def abandon() -> None:
            leave_for_good(alive.task)
            self._ended(alive.launch, give_up)

        alive.timers.append(self._means.clock.call_later(patience, abandon))


def _stop_timers(alive: _Alive) -> None:
    for timer in alive.timers:
        timer.cancel()
