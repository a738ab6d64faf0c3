"""The rules of a run: what follows from what has happened. Pure: no clock, no store, no tasks.

`Decider` takes events (an attempt ended, a timer fell due, somebody asked for something) with the time they
happened at, appends records to the run's fold, and leaves behind what has to be done: attempts to launch, timers
to set, attempts to give up. The caller stores the records first and acts on the rest only then.

The rules stand in modules of their own, as functions over `rules.Rules`, each using only those above it:
    rules      what they all stand on
    resets     how steps begin anew: loops, rewinds, retry; and how open ones are given up
    endings    how a body, a group or a loop ends: rounds, routes, retries
    outside    what the world has to say: signals, decisions, resolutions
    openings   how a step begins that has no body: groups, loops, waits, approvals, children
    unwind     how a run ends: compensations, handlers, outputs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from statemachine_flow.engine import approvals, endings, openings, outside, resets, unwind
from statemachine_flow.engine.commands import Launch, StartChild
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.rules import AT_WORK, Names, Rules
from statemachine_flow.errors import ConflictError, NotFoundError, SmfError
from statemachine_flow.journal import Created, ErrorInfo, Reason, RunFold, RunRetried, RunStarted, StepStarted
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.plan import Node, Plan

_CANCELLED: Final = ErrorInfo("run.state", "Cancelled", "the run was cancelled")


@final
class Decider(Rules):
    """One run's rules, over its plan and fold.

    Args:
        plan: the run's plan.
        fold: the run's fold, changed in place.
        names: gives the names that expressions read.
        rng: for the jitter of retries.
    """

    def __init__(self, plan: Plan, fold: RunFold, names: Names, rng: Any) -> None:
        super().__init__(plan, fold, names, rng)
        #: A timer fell due, and what follows from it has not begun yet.
        self.is_behind = False
        #: Nothing begins for now; it does with the next `advance` after that.
        self.holds = False
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
        """Nothing will happen to the run unless somebody asks for it."""
        return self.fold.state in RUN_AT_REST or (self.fold.state == "paused" and self.is_still)

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
        ends = [end for end in (self._deadline(now), deadline) if end is not None]
        self.add("run.start", RunStarted(deadline=min(ends, default=None)), now)
        self.advance(now)

    def recover(self, now: int, reason: str) -> None:
        """An owner took over: attempts that the last owner left behind are interrupted, timers are set again."""
        for step in list(self.fold.steps.values()):
            if step.state == "running":
                self._interrupt(self.frontier.nodes[step.id], reason, now)
        if self.fold.state == "cancelling":
            if self.fold.unwinding is None:
                self.frontier.give_up(self.frontier.root, _CANCELLED)
            self.advance(now)
        self.set_timers()
        self._follow_children()

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
            self._interrupt(node, "the attempt was stopped", now)
            self.pause_if_uncertain(now)
        else:
            self.frontier.ended(node)
            if outcome.status == "aborted":
                self.add("step.cancel", Reason(reason=self.stop_reason(node)), now, path)
                endings.settle(self, node, now)
            else:
                endings.finish(self, node, outcome, now)
        self.advance(now)

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
        self.advance(now)

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
        self.advance(now, begins=False)

    def deadline_passed(self, now: int) -> None:
        """The run's own deadline passed: stop what is alive, then fail."""
        if self.fold.state == "running" and self.fold.unwinding is None:
            timeout = self.plan.definition.timeout
            message = "the run took longer than " + (
                f"{timeout:g} s" if timeout is not None else "the run above it may"
            )
            self.frontier.give_up(self.frontier.root, ErrorInfo("run.timeout", "TimeoutError", message))
            self._abort_alive("deadline", "cancel")
            self.advance(now)

    def pause(self, now: int, reason: str, by: str | None, *, interrupt: bool) -> None:
        """No new attempt begins; those alive finish, or are interrupted."""
        self.add("run.pause", Reason(reason=reason, by=by), now)
        if interrupt:
            self.interrupt()
        else:
            for step in self.fold.steps.values():
                if step.state == "waiting" and step.is_alive:
                    self.abort(step, "pause", "pause")

    def interrupt(self) -> None:
        """Give up the attempts that a paused run still waits for."""
        self._abort_alive("interrupt", "interrupt")

    def resume(self, now: int, by: str | None) -> None:
        """A paused run goes on."""
        self.add("run.resume", Reason(by=by), now)
        # Every timer is set again, and a step whose timer fell due before the pause must not be in line twice.
        self.look_again()
        self.set_timers()
        self._follow_children()

    def cancel(self, now: int, reason: str, by: str | None) -> None:
        """End the run: what has not begun is cancelled now, what is alive is stopped; then come its handlers."""
        was_paused = self.fold.state == "paused"
        self.add("run.cancel", Reason(reason=reason, by=by), now)
        if self.fold.state != "cancelling":
            return
        if was_paused:
            self.look_again()
            self.set_timers()
        if self.fold.unwinding is None:
            self.frontier.give_up(self.frontier.root, _CANCELLED)
            resets.cancel_idle(self, self.frontier.root, "the run was cancelled", now)
            self._abort_alive("cancel", "cancel")
        elif was_paused:
            self._follow_children()  # those of handlers go on
        self.advance(now)

    def retry(self, now: int, by: str | None, only: str | None = None) -> None:
        """A failed run goes on: what failed, was cancelled, or was skipped because of that, begins anew.

        Args:
            now: the time.
            by: who asked.
            only: the path of the one failed step or item that does; None for all.
        """
        reason = "" if only is None else f"only {only}"
        self.add("run.retry", RunRetried(reason=reason, by=by, deadline=self._deadline(now)), now)
        resets.reset_for_retry(self, only, now)
        self.look_again()

    def quarantine(self, now: int, reason: str, by: str | None) -> None:
        """Set the run aside; nothing may be alive."""
        self.add("run.quarantine", Reason(reason=reason, by=by), now)

    def note(self, now: int, text: str) -> None:
        """Keep a remark in the journal."""
        self.add("run.note", Reason(reason=text), now)

    # --- what the world has to say

    def signal(self, now: int, *, event: str, key: str | None, payload: bytes, by: str | None) -> None:
        """Something happened outside."""
        outside.signal(self, now, event=event, key=key, payload=payload, by=by)
        self.advance(now)

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
        self.advance(now)

    def resolve(self, now: int, path: str, as_: str, outcome: Outcome | None, by: str | None) -> None:
        """Somebody says what became of an attempt that was cut off.

        Raises:
            ConflictError: `run.refused`.
        """
        outside.resolve(self, self.node(path), as_, outcome, now, by)
        self.advance(now)

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
        """Draw every conclusion that is due: first what has ended, then what begins, one step at a time.

        Args:
            now: the time.
            begins: whether anything may begin by now; if not, it has to be called again.
        """
        begins = begins and not self.holds
        self.is_behind = (self.is_behind or self.holds) and not begins
        while self.fold.state in AT_WORK:
            frontier = self.frontier
            if frontier.over:
                endings.conclude(self, frontier.over.pop(0), now)
            elif (node := frontier.next_skip()) is not None:
                self._skip_blocked(node, now)
            elif frontier.stopping and (swept := frontier.to_sweep()) is not None:
                resets.sweep(self, swept, now)
            elif not begins:
                return
            elif (node := frontier.next_ready()) is not None:
                self._start(node, now)
            elif not unwind.go_on(self, now):
                return

    def _deadline(self, now: int) -> int | None:
        timeout = self.plan.definition.timeout
        return None if timeout is None else now + round(timeout * 1e6)

    def _skip_blocked(self, node: Node, now: int) -> None:
        found = node.scope.blocked.get(node.step.index)
        rule = node.step.step.trigger_rule
        if rule == "all_success" and found is not None:
            reason = f"needs '{found[0]}', which is {found[1]}"
        else:
            reason = f"its trigger_rule {rule} does not hold"
        endings.skip(self, node, reason, now)

    def _start(self, node: Node, now: int) -> None:
        planned, fold = node.step, self.fold.step(node.path)
        error: Outcome | None = None
        if planned.step.when is not None and fold.state == "pending" and self._asks(node):
            try:
                if not planned.expression("when", planned.step.when).test(self.names(node)):
                    endings.skip(self, node, "its condition is false", now)
                    return
            except SmfError as caught:
                error = failed(caught)
        attempt, was_backing_off = fold.attempt + 1, fold.state == "backing_off"
        self.add("step.start", StepStarted(attempt=attempt), now, node.path)
        if error is not None:
            # Never retried: the condition is asked before the first attempt only.
            endings.fail(self, node, error, now, may_retry=False)
        elif node.is_loop or not planned.verb.is_body:
            openings.begin(self, node, now, anew=was_backing_off)
        elif (spent := self._spent(node)) is not None:
            endings.fail(self, node, spent, now, may_retry=False)
        else:
            self.frontier.began(node)
            self.decision.launches.append(Launch(node, attempt))

    def _asks(self, node: Node) -> bool:
        """Whether a condition is asked: not for an item of a loop, and not again for a later round."""
        return node.place < 0 and (node.step.step.repeat is None or self.fold.step(node.path).round == 1)

    def _spent(self, node: Node) -> Outcome | None:
        """The outcome of an agent that is not asked, because the budget is used up."""
        budget, usage = self.plan.definition.budget, self.fold.usage
        if budget is None or node.step.verb.key != "agent":
            return None
        if budget.cost_usd is not None and usage.cost_usd >= budget.cost_usd:
            return openings.over_budget(f"{usage.cost_usd:g} of {budget.cost_usd:g} USD are spent")
        if budget.tokens is not None and usage.tokens >= budget.tokens:
            return openings.over_budget(f"{usage.tokens:,} of {budget.tokens:,} tokens are spent")
        return None

    def _abort_alive(self, reason: str, action: str) -> None:
        """Give up attempts, and child runs by `action`; handlers of a run that is being stopped go on."""
        for step in self.fold.steps.values():
            if step.is_alive and (reason == "interrupt" or not step.id.startswith("@")):
                self.abort(step, reason, action)

    def _interrupt(self, node: Node, reason: str, now: int) -> None:
        self.add("step.interrupt", Reason(reason=reason), now, node.path)
        self.frontier.ended(node)
        if not node.step.is_once:
            self.frontier.enqueue(node)

    def _follow_children(self) -> None:
        """Take up the child runs that are under way."""
        if self.fold.state not in AT_WORK:
            return
        for step in self.fold.steps.values():
            if step.state == "waiting" and step.is_alive and step.waits is not None:
                node = self.frontier.nodes[step.id]
                self.decision.children.append(StartChild(node, step.waits.run))
                if self.frontier.is_stopped(node):
                    self.abort(step, "cancel")

    # --- attempts whose effect is not known

    def uncertain(self) -> list[Node]:
        """Steps that were cut off and are never begun again by themselves."""
        steps = [step for step in self.fold.steps.values() if step.state == "interrupted"]
        nodes = [self.frontier.nodes[step.id] for step in steps if step.id in self.frontier.nodes]
        return [node for node in nodes if node.step.is_once]

    def pause_if_uncertain(self, now: int, *, verify: bool = False) -> None:
        """Have cut-off steps verified, or pause the run until somebody says what became of them."""
        nodes = self.uncertain() if self.fold.state == "running" else []
        if not nodes:
            return
        if verify and all(node.step.step.verify is not None for node in nodes):
            self.decision.verifications.extend(nodes)
        else:
            self.pause(now, f"uncertain: {', '.join(node.path for node in nodes)}", None, interrupt=False)
