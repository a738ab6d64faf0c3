"""The rules of a run: what follows from what has happened. Pure: no clock, no store, no tasks.

`Decider` takes events (an attempt ended, a timer fell due, somebody asked for something) with the time they
happened at, appends records to the run's fold, and leaves behind what has to be done: attempts to launch, timers
to set, attempts to give up. The caller stores the records first and acts on the rest only then.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from typing import Any, final

import msgspec

from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.errors import SmfError
from statemachine_flow.journal import (
    ABSENT,
    BackedOff,
    Created,
    Data,
    ErrorInfo,
    Failed,
    Reason,
    Record,
    RunCompleted,
    RunFold,
    RunRetried,
    RunStarted,
    StepCompleted,
    StepFold,
    StepStarted,
)
from statemachine_flow.lifecycle import RUN_AT_REST, STEP_AT_REST
from statemachine_flow.plan import Frontier, Plan, PlannedStep, backoff_delay
from statemachine_flow.values import encode_value


class Launch(msgspec.Struct, frozen=True):
    """Begin an attempt."""

    step: PlannedStep
    attempt: int


class Timer(msgspec.Struct, frozen=True):
    """Wake a step that is backing off."""

    step_id: str
    #: Microseconds UTC.
    due: int


class Abort(msgspec.Struct, frozen=True):
    """Give up the attempt under way of a step."""

    step_id: str
    reason: str


class Decision(msgspec.Struct):
    """What one tick decided: records to store, then commands to carry out."""

    records: list[Record] = []
    #: Run states passed through.
    states: list[str] = []
    #: Step, the state it entered, attempts begun.
    changes: list[tuple[str, str, int]] = []
    launches: list[Launch] = []
    timers: list[Timer] = []
    aborts: list[Abort] = []


@final
class Decider:
    """One run's rules, over its plan and fold.

    Args:
        plan: the run's plan.
        fold: the run's fold, changed in place.
        names: gives the names that `when` and the run's outputs read.
        rng: for the jitter of retries.
    """

    def __init__(self, plan: Plan, fold: RunFold, names: Callable[[], Mapping[str, Any]], rng: random.Random) -> None:
        self.plan = plan
        self.fold = fold
        self.frontier = Frontier(plan, fold)
        self.names = names
        self._rng = rng
        #: Why the run is going to fail, once that is settled and attempts are still being stopped.
        self._ending: ErrorInfo | None = None
        self._decision = Decision()

    def take(self) -> Decision:
        """What was decided since the last call."""
        decision, self._decision = self._decision, Decision()
        return decision

    @property
    def has_records(self) -> bool:
        """Whether something was decided that nobody took yet."""
        return bool(self._decision.records)

    @property
    def at_rest(self) -> bool:
        """Nothing will happen to the run unless somebody asks for it."""
        return self.fold.state in RUN_AT_REST or (self.fold.state == "paused" and self.fold.alive_steps == 0)

    # --- events

    def begin(self, now: int, created: Created) -> None:
        """A new run is created and starts."""
        self._decision.records.append(self.fold.add("run.create", created, now))
        self._add("run.start", RunStarted(deadline=self._deadline(now)), now)
        self.advance(now)

    def recover(self, now: int, reason: str) -> None:
        """An owner took over: attempts that the last owner left behind are interrupted, timers are set again."""
        for step in list(self.fold.steps.values()):
            if step.state == "running":
                self._interrupt(step, reason, now)
        if self.fold.state == "cancelling":
            self._cancel_open(now, self._stop_reason())
            self.advance(now)
        self._set_timers()

    def ended(self, step_id: str, attempt: int, outcome: Outcome, now: int) -> None:
        """An attempt ended. One that is no longer the step's current attempt changes nothing."""
        step = self.fold.steps.get(step_id)
        if step is None or step.state != "running" or step.attempt != attempt:
            return
        planned = self.plan[step_id]
        if outcome.status == "aborted" and not self._is_stopping():
            self._interrupt(step, "the attempt was stopped", now)
        else:
            self.frontier.ended(planned)
            if outcome.status == "completed":
                outputs = ABSENT if outcome.outputs is None else msgspec.Raw(outcome.outputs)
                output = ABSENT if outcome.blob is not None else msgspec.Raw(outcome.output)
                self._add(
                    "step.complete", StepCompleted(output=output, outputs=outputs, blob=outcome.blob), now, step_id
                )
            elif outcome.status == "aborted":
                self._add("step.cancel", Reason(reason=self._stop_reason()), now, step_id)
            else:
                self._failed(planned, step, outcome, now)
            self._settle(planned, step)
        self.advance(now)

    def due(self, step_id: str, now: int) -> None:
        """The timer of a step that backs off fell due."""
        if self.fold.state_of(step_id) == "backing_off" and self.fold.state == "running":
            self.frontier.enqueue(self.plan[step_id])
            self.advance(now)

    def deadline_passed(self, now: int) -> None:
        """The run's own deadline passed: stop what is alive, then fail."""
        if self.fold.state == "running":
            timeout = self.plan.definition.timeout or 0
            self._ending = ErrorInfo("run.timeout", "TimeoutError", f"the run took longer than {timeout:g} s")
            self._abort_alive("deadline")
            self.advance(now)

    def pause(self, now: int, reason: str, by: str | None, *, interrupt: bool) -> None:
        """No new attempt begins; those alive finish, or are interrupted."""
        self._add("run.pause", Reason(reason=reason, by=by), now)
        if interrupt:
            self.interrupt()

    def interrupt(self) -> None:
        """Give up the attempts that a paused run still waits for."""
        self._abort_alive("interrupt")

    def resume(self, now: int, by: str | None) -> None:
        """A paused run goes on."""
        self._add("run.resume", Reason(by=by), now)
        # Every timer is set again, and a step whose timer fell due before the pause must not be in line twice.
        self.frontier = Frontier(self.plan, self.fold)
        self._set_timers()

    def cancel(self, now: int, reason: str, by: str | None) -> None:
        """End the run: what has not begun is cancelled now, what is alive is stopped."""
        self._add("run.cancel", Reason(reason=reason, by=by), now)
        if self.fold.state == "cancelling":
            self._cancel_open(now, "the run was cancelled")
            self._abort_alive("cancel")
            self.advance(now)

    def retry(self, now: int, by: str | None) -> None:
        """A failed run goes on: what failed, was cancelled, or was skipped because of that, begins anew."""
        self._add("run.retry", RunRetried(by=by, deadline=self._deadline(now)), now)
        for step_id in self._to_reset():
            self._add("step.reset", Reason(reason="retry"), now, step_id)
        self.frontier = Frontier(self.plan, self.fold)

    def quarantine(self, now: int, reason: str, by: str | None) -> None:
        """Set the run aside; nothing may be alive."""
        self._add("run.quarantine", Reason(reason=reason, by=by), now)

    def note(self, now: int, text: str) -> None:
        """Keep a remark in the journal."""
        self._add("run.note", Reason(reason=text), now)

    # --- rules

    def advance(self, now: int) -> None:
        """Draw every conclusion that is due: skip, start, end."""
        if self.fold.state == "running":
            while True:
                self._skip_blocked(now)
                step = None if self._is_stopping() else self.frontier.next_ready()
                if step is None:
                    break
                self._start(step, now)
            self._finish(now)
        elif self.fold.state == "cancelling" and self.fold.alive_steps == 0:
            self._add("run.settle", Reason(), now)

    def _deadline(self, now: int) -> int | None:
        timeout = self.plan.definition.timeout
        return None if timeout is None else now + round(timeout * 1e6)

    def _is_stopping(self) -> bool:
        return self.fold.failed_steps > 0 or self._ending is not None or self.fold.state == "cancelling"

    def _stop_reason(self) -> str:
        if self.fold.state == "cancelling":
            return "the run was cancelled"
        return "the run took too long" if self._ending is not None else "a required step failed"

    def _skip_blocked(self, now: int) -> None:
        """Skips propagate: each may block further steps, which join the same list."""
        frontier = self.frontier
        while frontier.skips:
            step = self.plan.steps[heapq.heappop(frontier.skips)]
            need, state = frontier.blocked[step.index]
            self._skip(step, f"needs '{need}', which is {state}", now)

    def _skip(self, step: PlannedStep, reason: str, now: int) -> None:
        self._add("step.skip", Reason(reason=reason), now, step.id)
        self._settle(step, self.fold.step(step.id))

    def _start(self, step: PlannedStep, now: int) -> None:
        fold = self.fold.step(step.id)
        error: Outcome | None = None
        if step.when is not None and fold.state == "pending":
            try:
                if not step.when.test(self.names()):
                    self._skip(step, "its condition is false", now)
                    return
            except SmfError as caught:
                # Never retried: the condition is asked before the first attempt only.
                error = msgspec.structs.replace(failed(caught), retryable=False)
        attempt = fold.attempt + 1
        self._add("step.start", StepStarted(attempt=attempt), now, step.id)
        if error is None:
            self.frontier.began(step)
            self._decision.launches.append(Launch(step, attempt))
        else:
            self._failed(step, fold, error, now)
            self._settle(step, fold)

    def _failed(self, planned: PlannedStep, step: StepFold, outcome: Outcome, now: int) -> None:
        error = outcome.error
        if error is None:
            raise SmfError("an attempt failed without an error", kind="internal", step=step.id)
        if self.fold.state == "cancelling":
            self._add(
                "step.cancel", Reason(reason=f"{self._stop_reason()}; {error.name}: {error.message}"), now, step.id
            )
        elif outcome.retryable and self._may_retry(planned, step, outcome.names):
            delay = backoff_delay(planned.retry, step.failures + 1, self._rng)
            due = now + round(delay * 1e6)
            self._add("step.back_off", BackedOff(error=error, due=due), now, step.id)
            self._decision.timers.append(Timer(step.id, due))
        else:
            self._add("step.fail", Failed(error=error, optional=planned.optional), now, step.id)

    def _may_retry(self, planned: PlannedStep, step: StepFold, names: tuple[str, ...]) -> bool:
        policy = planned.retry
        if step.failures + 1 >= policy.max_attempts or any(name in policy.abort_on for name in names):
            return False
        return not policy.retry_on or any(name in policy.retry_on for name in names)

    def _settle(self, planned: PlannedStep, step: StepFold) -> None:
        if step.state in STEP_AT_REST:
            self.frontier.settle(planned, step.state, step.forgiven, self.fold)

    def _finish(self, now: int) -> None:
        fold = self.fold
        if self._is_stopping():
            if fold.alive_steps == 0:
                self._cancel_open(now, self._stop_reason())
                self._add("run.fail", Failed(error=self._ending or self._first_error()), now)
                self._ending = None
        elif fold.open_steps == 0:
            try:
                outputs = encode_value(self.plan.outputs.render(self.names()))
            except SmfError as error:
                info = ErrorInfo("run.outputs", type(error).__name__, f"the run's outputs cannot be computed: {error}")
                self._add("run.fail", Failed(error=info), now)
            else:
                self._add("run.complete", RunCompleted(outputs=msgspec.Raw(outputs)), now)

    def _first_error(self) -> ErrorInfo:
        """The error of the required step that failed first."""
        broken = [step for step in self.fold.steps.values() if step.state == "failed" and not step.forgiven]
        step = min(broken, key=lambda step: step.ended_at or 0)
        cause = step.error or ErrorInfo("internal", "Unknown", "no error was kept")
        return ErrorInfo(
            "run.failed", cause.name, f"step '{step.id}' failed: {cause.message or cause.name}", cause.where, step.id
        )

    def _cancel_open(self, now: int, reason: str) -> None:
        """Cancel every step that is neither at rest nor alive."""
        for step in self.plan.steps:
            state = self.fold.state_of(step.id)
            if state != "running" and state not in STEP_AT_REST:
                self._add("step.cancel", Reason(reason=reason), now, step.id)

    def _abort_alive(self, reason: str) -> None:
        alive = (step.id for step in self.fold.steps.values() if step.state == "running")
        self._decision.aborts.extend(Abort(step_id, reason) for step_id in alive)

    def _interrupt(self, step: StepFold, reason: str, now: int) -> None:
        planned = self.plan[step.id]
        self._add("step.interrupt", Reason(reason=reason), now, step.id)
        self.frontier.ended(planned)
        self.frontier.enqueue(planned)

    def _set_timers(self) -> None:
        if self.fold.state == "running":
            waiting = (step for step in self.fold.steps.values() if step.state == "backing_off")
            self._decision.timers.extend(Timer(step.id, step.due or 0) for step in waiting)

    def _to_reset(self) -> list[str]:
        """Failed and cancelled steps, and the skipped ones downstream of them, in the plan's order."""
        fold, found = self.fold, set()
        queue = [
            self.plan.index[step.id]
            for step in fold.steps.values()
            if step.state == "cancelled" or (step.state == "failed" and not step.forgiven)
        ]
        while queue:
            index = queue.pop()
            if index not in found:
                found.add(index)
                steps = (self.plan.steps[dependent] for dependent in self.plan.steps[index].dependents)
                queue.extend(step.index for step in steps if fold.state_of(step.id) == "skipped")
        return [self.plan.steps[index].id for index in sorted(found)]

    def _add(self, kind: str, data: Data, now: int, step_id: str | None = None) -> None:
        decision = self._decision
        decision.records.append(self.fold.add(kind, data, now, step_id))
        if step_id is not None:
            step = self.fold.steps[step_id]
            decision.changes.append((step_id, step.state, step.attempt))
        elif kind != "run.note":
            decision.states.append(self.fold.state)
