"""What all rules of a run stand on: its plan, its fold, its place in the plan, and what the tick decided so far."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from statemachine_flow.engine.commands import Abort, Decision, StopChild, Timer
from statemachine_flow.engine.results import Results
from statemachine_flow.journal import Data, ErrorInfo, Reason, RunFold, StepFold
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.plan import Frontier, Node, Plan
from statemachine_flow.steps.wait import Wait

#: Run states in which steps may begin.
AT_WORK: Final = ("running", "cancelling")
#: What ends everything of a run that is cancelled.
CANCELLED: Final = ErrorInfo("run.state", "Cancelled", "the run was cancelled")
_WITHOUT_STATE: Final = frozenset({"run.note", "run.signal", "run.unwind"})


class Names(Protocol):
    """Gives what expressions read, see `scope.RunNames`."""

    results: Results

    def __call__(
        self, node: Node | None = None, extra: Mapping[str, Any] | None = None, own: StepFold | None = None
    ) -> Mapping[str, Any]:
        """The names that an expression sees."""
        ...

    def hide(self, value: Any) -> Any:
        """A value without the secret inputs of the run."""
        ...

    def hide_encoded(self, data: bytes) -> bytes:
        """`hide`, for a value that is encoded already."""
        ...


class Rules:
    """The state that the rules of one run share.

    Args:
        plan: the run's plan.
        fold: the run's fold, changed in place.
        names: gives the names that expressions read.
        rng: for the jitter of retries.
        max_records: how many records the journal may have before the run is paused.
    """

    def __init__(
        self, plan: Plan, fold: RunFold, names: Names, rng: random.Random, *, max_records: int = sys.maxsize
    ) -> None:
        self.plan = plan
        self.fold = fold
        self.names = names
        self.rng = rng
        self.decision = Decision()
        self.frontier: Frontier = plan.frontier(fold)
        #: The handlers that the end of the run asks for, once that is known.
        self.phases: list[str] | None = None
        #: See `length`: how many records the journal may have, and whether it was noted that it is long.
        self.max_records = max_records
        self.is_told = False
        #: Steps whose child run is being stopped because it took too long.
        self.expired: set[str] = set()
        #: A timer fell due, and what follows from it has not begun yet.
        self.is_behind = False
        #: Nothing begins for now; it does with the next `advance` after that.
        self.holds = False
        #: The end of a cancelled run is left to whoever takes it up: nothing of it begins here any more.
        self.is_leaving = False

    def take(self) -> Decision:
        """What was decided since the last call."""
        decision, self.decision = self.decision, Decision()
        return decision

    def add(self, kind: str, data: Data, now: int, path: str | None = None) -> None:
        """Append a record."""
        if isinstance(data, Reason) and (data.reason or data.by):  # people may say anything
            data = msgspec.structs.replace(data, reason=self.names.hide(data.reason), by=self.names.hide(data.by))
        decision = self.decision
        decision.records.append(self.fold.add(kind, data, now, path))
        if path is not None:
            step = self.fold.steps[path]
            decision.changes.append((path, step.state, step.attempt))
        elif kind not in _WITHOUT_STATE:
            decision.states.append(self.fold.state)

    def wake(self, path: str, due: int) -> None:
        """Have a step woken."""
        self.decision.timers.append(Timer(path, due))

    def abort(self, step: StepFold, reason: str, action: str = "cancel") -> None:
        """Give up what is under way of one step: its attempt, or its child run by `action`."""
        if step.state == "running":
            self.decision.aborts.append(Abort(step.id, step.attempt, reason))
        elif step.waits is not None:
            self.decision.child_stops.append(StopChild(step.waits.run, action))

    def abort_alive(self, reason: str, action: str) -> None:
        """Give up attempts, and child runs by `action`; handlers of a run that is being stopped go on."""
        for step in self.fold.steps.values():
            if step.is_alive and (reason == "interrupt" or not step.id.startswith("@")):
                self.abort(step, reason, action)

    def pause_children(self) -> None:
        """Have the child runs under way paused."""
        for step in self.fold.steps.values():
            if step.state == "waiting" and step.is_alive:
                self.abort(step, "pause", "pause")

    def stop_reason(self, node: Node) -> str:
        """Why nothing of a node goes on."""
        if self.fold.state == "cancelling":
            return "the run was cancelled"
        scope = node.scope
        while scope.end is None and scope.node is not None:
            scope = scope.node.scope
        if scope.end is not None:
            return "the run took too long" if scope.node is None else f"step '{scope.node.path}' took too long"
        return (
            "too many items failed" if node.scope.kind == "items" and node.scope.stopping else "a required step failed"
        )

    def set_timers(self) -> None:
        """Set a timer for each step that goes on by itself."""
        if self.fold.state not in AT_WORK:
            return
        for step in self.fold.steps.values():
            if step.due is not None and step.state not in STEP_AT_REST and step.id in self.frontier.nodes:
                self.wake(step.id, step.due)

    def set_moments(self) -> None:
        """Set the timer of each step anew that waits for a moment of the wall clock, which was set."""
        if self.fold.state not in AT_WORK:
            return
        for step in self.fold.steps.values():
            if step.state == "waiting" and step.due is not None and self.waits_for_moment(step.id):
                self.wake(step.id, step.due)

    def waits_for_moment(self, path: str) -> bool:
        """Whether a step waits until a moment, not for a time."""
        node = self.frontier.nodes.get(path)
        return node is not None and isinstance(node.step.verb, Wait) and node.step.verb.wait.until is not None
