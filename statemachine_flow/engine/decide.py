"""The rules of a run: what follows from what has happened. Pure: no clock, no store, no tasks.

`Decider` takes events (an attempt ended, a timer fell due, somebody asked for something) with the time they
happened at, appends records to the run's fold, and leaves behind what has to be done: attempts to launch, timers
to set, attempts to give up. The caller stores the records first and acts on the rest only then.

The rules stand in modules of their own, as functions over `rules.Rules`, each using only those above it:
    rules        what they all stand on
    resets       how steps begin anew: loops, rewinds, retry; and how open ones are given up
    produced     what a step gives that is about to complete
    routes       where the token of a level of states goes
    endings      how a step ends: completion, failure, retries, rounds
    conclusions  how a group, a loop or a level of states ends
    outside      what the world has to say: signals, decisions, resolutions
    openings     how a step begins that has no body: groups, loops, waits, approvals, children
    unwind       how a run ends: compensations, handlers, outputs
    advance      what follows by itself: what ends, what is skipped, what begins
    recovery     what was cut off or left by an owner that is gone
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from statemachine_flow.engine import approvals, endings, openings, outside, recovery, resets, unwind
from statemachine_flow.engine.advance import advance
from statemachine_flow.engine.length import MAX_RECORDS
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.reasons import UNCERTAIN
from statemachine_flow.engine.rules import AT_WORK, CANCELLED, Names, Rules
from statemachine_flow.errors import ConflictError, NotFoundError
from statemachine_flow.journal import Created, ErrorInfo, Note, Reason, RunFold, RunRetried, RunStarted
from statemachine_flow.lifecycle import RUN, RUN_AT_REST
from statemachine_flow.plan import Node, Plan


@final
class Decider(Rules):
    """One run's rules, over its plan and fold.

    Args:
        plan: the run's plan.
        fold: the run's fold, changed in place.
        names: gives the names that expressions read.
        rng: for the jitter of retries.
        max_records: see `length`.
    """

    def __init__(self, plan: Plan, fold: RunFold, names: Names, rng: Any, *, max_records: int = MAX_RECORDS) -> None:
        super().__init__(plan, fold, names, rng, max_records=max_records)
        #: Why the run is to be set aside, while what is under way still ends.
        self.aside: Reason | None = None
        unwind.open_again(self)

    def look_again(self) -> None:
        """Build the run's place in its plan from the fold."""
        self.frontier = self.plan.frontier(self.fold)
        unwind.open_again(self)

    @property
    def has_records(self) -> bool:
        """Whether something was decided that nobody took yet."""
        return bool(self.decision.records)

    @property
    def at_rest(self) -> bool:
        """Nothing will happen to the run here unless somebody asks for it."""
        state = self.fold.state
        is_stopped = state == "paused" or (state == "cancelling" and self.is_leaving)
        return state in RUN_AT_REST or (is_stopped and self.is_still)

    @property
    def is_still(self) -> bool:
        """No attempt is under way, except of child runs."""
        return self.fold.alive_steps == self.fold.child_runs

    @property
    def waits_for_world(self) -> bool:
        """Nothing is under way and no timer is set: only people, signals or child runs can bring the run on."""
        fold = self.fold
        if fold.state not in AT_WORK or not self.is_still or self.decision.verifications:
            return False
        waits = False
        for step in fold.steps.values():
            if step.state == "backing_off" or (step.state == "pending" and step.due is not None):
                return False
            if step.state == "waiting" and step.waits is not None:
                on = step.waits.on
                if on == "timer" or (on in ("steps", "run") and step.due is not None):
                    return False
                waits = waits or on in ("event", "approval", "run")
        return waits and not any(self.frontier.ready.values())

    def child_runs(self) -> list[str]:
        """The ids of the child runs that are under way."""
        steps = self.fold.steps.values() if self.fold.child_runs else ()
        return [step.waits.run for step in steps if step.state == "waiting" and step.is_alive and step.waits]

    # --- events

    def begin(self, now: int, created: Created, deadline: int | None = None) -> None:
        """A new run is created and starts.

        Args:
            now: the time.
            created: what it begins with.
            deadline: of the run that started it.
        """
        self.decision.records.append(self.fold.add("run.create", created, now))
        self.start(now, deadline)

    def start(self, now: int, deadline: int | None = None) -> None:
        """A run that was created starts; see `begin`."""
        ends = [end for end in (self._deadline(now), deadline) if end is not None]
        self.add("run.start", RunStarted(deadline=min(ends, default=None)), now)
        advance(self, now)

    def recover(self, now: int, reason: str, *, killed: bool = False, poison_after: int | None = None) -> None:
        """An owner took over: attempts that the last owner left behind are interrupted, timers are set again.

        Args:
            now: the time.
            reason: what became of that owner.
            killed: its process died, perhaps of one of the attempts.
            poison_after: how often in a row that may happen to a step; None for any number.
        """
        recovery.recover(self, reason, now, killed=killed, poison_after=poison_after)

    def catch_up(self, now: int) -> None:
        """Hear of timers that fell due while nothing was heard, before anything begins that they would have stopped."""
        late = [step for step in self.fold.steps.values() if step.due is not None and step.due <= now]
        for path, due in sorted(((step.id, step.due) for step in late), key=lambda timer: timer[1] or 0):
            self.due(path, due or 0, now)

    def ended(self, path: str, attempt: int, outcome: Outcome, now: int) -> None:
        """An attempt ended. One that is no longer the step's current attempt changes nothing."""
        step = self.fold.steps.get(path)
        if step is None or step.state != "running" or step.attempt != attempt:
            return
        node = self.frontier.nodes[path]
        if outcome.status == "aborted" and not self.frontier.is_stopped(node):
            recovery.interrupted(self, node, f"the attempt was stopped{_left(outcome)}", now)
            self.pause_if_uncertain(now)
        else:
            self.frontier.ended(node)
            if outcome.status == "aborted":
                self.add("step.cancel", Reason(reason=f"{self.stop_reason(node)}{_left(outcome)}"), now, path)
                endings.settle(self, node, now)
            else:
                endings.finish(self, node, outcome, now)
        advance(self, now)
        if self.aside is not None:
            self._set_aside(now)

    def child_ended(self, path: str, run_id: str, outcome: Outcome, now: int, *, ended_at: int | None = None) -> None:
        """The child run of a step came to rest, when `ended_at` says; one that is not waited for changes nothing."""
        step = self.fold.steps.get(path)
        if step is None or step.state != "waiting" or step.waits is None or step.waits.run != run_id:
            return
        node = self.frontier.nodes[path]
        self.frontier.child_ended(node)
        # The process that stopped it may have died before it could say so.
        is_late = step.due is not None and ended_at is not None and ended_at >= step.due
        if (path in self.expired or is_late) and outcome.status != "completed":
            outcome = openings.timed_out_child(node)
        self.expired.discard(path)
        if self.frontier.is_stopped(node) and outcome.status != "completed":
            self.add("step.cancel", Reason(reason=self.stop_reason(node)), now, path)
            endings.settle(self, node, now)
        else:
            endings.finish(self, node, outcome, now)
        advance(self, now)

    def due(self, path: str, due: int, now: int) -> None:
        """A step's timer fell due; one that was set for something else meanwhile changes nothing."""
        step = self.fold.steps.get(path)
        if step is None or step.due != due or self.fold.state not in AT_WORK:
            return
        node = self.frontier.nodes.get(path)
        if node is None:
            return
        if step.state == "waiting":
            openings.fell_due(self, node, step, now)
        elif step.state in ("backing_off", "pending"):
            self.frontier.goes_on_with(node)
        # Of several timers that fall due together all are heard before anything begins.
        self.is_behind = True
        advance(self, now, begins=False)

    def deadline_passed(self, now: int) -> None:
        """The run's own deadline passed: stop what is alive, then fail."""
        if self.fold.state == "running" and self.fold.unwinding is None:
            timeout = self.plan.definition.timeout
            message = "the run took longer than " + (
                f"{timeout:g} s" if timeout is not None else "the run above it may"
            )
            self.frontier.give_up(self.frontier.root, ErrorInfo("run.timeout", "TimeoutError", message))
            self.abort_alive("deadline", "cancel")
            advance(self, now)

    def pause(self, now: int, reason: str, by: str | None, *, interrupt: bool) -> None:
        """No new attempt begins; those alive finish, or are interrupted."""
        self.add("run.pause", Reason(reason=reason, by=by), now)
        if interrupt:
            self.interrupt()
        else:
            self.pause_children()

    def interrupt(self) -> None:
        """Give up the attempts that a paused run still waits for."""
        self.abort_alive("interrupt", "interrupt")

    def leave(self) -> None:
        """Stop handlers of a cancelled run, and let nothing more of its end begin: that is up to the next owner."""
        self.is_leaving = True
        self.interrupt()

    def resume(self, now: int, by: str | None, reason: str = "") -> None:
        """A paused run goes on.

        Raises:
            ConflictError: `run.state`: it is about to be quarantined.
        """
        self._require_not_aside("resume")
        self.add("run.resume", Reason(reason=reason, by=by), now)
        # Every timer is set again, and a step whose timer fell due before the pause must not be in line twice.
        self.look_again()
        self.set_timers()
        recovery.follow_children(self, resumes=True)

    def cancel(self, now: int, reason: str, by: str | None) -> None:
        """End the run: what has not begun is cancelled now, what is alive is stopped; then come its handlers.

        Raises:
            ConflictError: `run.state`: it is about to be quarantined.
        """
        self._require_not_aside("cancel")
        was_paused = self.fold.state == "paused"
        self.add("run.cancel", Reason(reason=reason, by=by), now)
        if self.fold.state != "cancelling":
            return
        if was_paused:
            self.look_again()
            self.set_timers()
        if self.fold.unwinding is None:
            self.frontier.give_up(self.frontier.root, CANCELLED)
            resets.cancel_idle(self, self.frontier.root, "the run was cancelled", now)
            self.abort_alive("cancel", "cancel")
        elif was_paused:
            recovery.follow_children(self, resumes=True)  # those of handlers go on
        advance(self, now)

    def retry(self, now: int, by: str | None, only: str | None = None, *, reason: str = "") -> None:
        """A failed run goes on: what failed, was cancelled, or was skipped because of that, begins anew.

        Args:
            now: the time.
            by: who asked.
            only: the path of the one failed step or item that does; None for all.
            reason: why.
        """
        reason = "; ".join(filter(None, ["" if only is None else f"only {only}", reason]))
        self.add("run.retry", RunRetried(reason=reason, by=by, deadline=self._deadline(now)), now)
        resets.reset_for_retry(self, only, now)
        self.look_again()

    def quarantine(self, now: int, reason: str, by: str | None) -> None:
        """Set the run aside, once what is under way has ended; that is told to stop now.

        Raises:
            ConflictError: `run.state`.
        """
        if "quarantine" not in RUN.allowed(self.fold.state):
            raise ConflictError(f"the run is {self.fold.state}: it cannot be quarantined", run=self.fold.id)
        self.aside = Reason(reason=reason, by=by)
        if self.fold.state == "running" and not self.is_still:
            self.pause(now, f"to be quarantined: {reason}", by, interrupt=True)
        else:
            self.interrupt()
            self._set_aside(now)

    def _require_not_aside(self, what: str) -> None:
        if self.aside is not None:
            raise ConflictError(f"the run is being quarantined: it cannot {what}", run=self.fold.id)

    def _set_aside(self, now: int) -> None:
        """Let a run that is to be quarantined be so, if nothing of it is under way any more."""
        if self.aside is not None and self.is_still and "quarantine" in RUN.allowed(self.fold.state):
            reason, self.aside = self.aside, None
            self.add("run.quarantine", reason, now)

    def note(self, now: int, text: str, *, label: str = "", by: str | None = None) -> None:
        """Keep a remark in the journal, or mark this point with a label.

        Raises:
            ConflictError: `run.state`: the run is over.
        """
        if self.fold.state in RUN.terminal:
            raise ConflictError(f"the run is {self.fold.state}: nothing goes on from there", run=self.fold.id)
        self.add("run.note", Note(reason=text, by=by, label=label), now)

    # --- what the world has to say

    def signal(self, now: int, *, event: str, key: str | None, payload: bytes, by: str | None) -> None:
        """Something happened outside."""
        outside.signal(self, now, event=event, key=key, payload=payload, by=by)
        advance(self, now)

    def decide(
        self,
        now: int,
        path: str,
        *,
        choice: str,
        form: Mapping[str, Any],
        by: str,
        reason: str,
        digest: str | None,
    ) -> None:
        """A person decided an approval.

        Raises:
            ConflictError: `run.refused`.
            InputError: the form is not filled in as it has to be.
        """
        node = self.node(path)
        decision = approvals.answer(self, node, now, choice=choice, form=form, by=by, reason=reason, digest=digest)
        outside.decide(self, node, decision, now)
        advance(self, now)

    def resolve(self, now: int, path: str, as_: str, outcome: Outcome | None, by: str | None) -> None:
        """Somebody says what became of an attempt that was cut off.

        Raises:
            ConflictError: `run.refused`.
        """
        outside.resolve(self, self.node(path), as_, outcome, now, by)
        advance(self, now)

    def node(self, path: str) -> Node:
        """The step under a path, if it is open.

        Raises:
            NotFoundError: the run has no such step.
            ConflictError: `run.refused`: nothing is open there.
        """
        found = self.frontier.nodes.get(path)
        if found is not None:
            return found
        if path in self.fold.steps or path in self.plan.index:
            message = f"step '{path}' is {self.fold.state_of(path)}: nothing is to be decided there"
            raise ConflictError(message, kind="run.refused", run=self.fold.id)
        raise NotFoundError(f"the run has no step {path[:200]!r}", run=self.fold.id)

    # --- rules

    def advance(self, now: int, *, begins: bool = True) -> None:
        """Draw every conclusion that is due, see `advance`."""
        advance(self, now, begins=begins)

    def _deadline(self, now: int) -> int | None:
        timeout = self.plan.definition.timeout
        return None if timeout is None else now + round(timeout * 1e6)

    # --- attempts whose effect is not known

    def uncertain(self) -> list[Node]:
        """Steps that were cut off and are never begun again by themselves."""
        return recovery.uncertain(self)

    def pause_if_uncertain(self, now: int, *, verify: bool = False) -> None:
        """Have cut-off steps verified, or pause the run until somebody says what became of them."""
        nodes = self.uncertain() if self.fold.state == "running" else []
        if not nodes:
            return
        if verify and all(node.step.step.verify is not None for node in nodes):
            self.decision.verifications.extend(nodes)
        else:
            self.pause(now, f"{UNCERTAIN}: {', '.join(node.path for node in nodes)}", None, interrupt=False)


def _left(outcome: Outcome) -> str:
    """What is to be said of an attempt that was given up without its having ended; "" of one that did end."""
    return f"; {outcome.error.message}" if outcome.error is not None else ""
