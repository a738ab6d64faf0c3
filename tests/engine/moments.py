"""One run at the level of its rules, everything that may happen to it at any moment, and what must hold then.

Bodies, timers, people and operators are a source of random numbers: an attempt ends, fails or is given up; a timer
falls due; somebody decides, sends a signal, pauses, resumes, cancels, retries; the process dies. After each event the
run's place in its plan is compared with the one that its journal gives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from statemachine_flow.builder import load
from statemachine_flow.engine.decide import Decider
from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.journal import Created, Record, RunFold, StepFold
from statemachine_flow.lifecycle import RUN_AT_REST, STEP_AT_REST
from statemachine_flow.plan import Frontier, Plan, Scope
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import encode_value
from tests.engine.harness import check_order

#: After so many events nothing disturbs the run any more, and after so many more it hangs.
_DISTURBED: Final = 60
_PATIENCE: Final = 1500
_COUNTED: Final = ("state", "open_steps", "alive_steps", "child_runs", "failed_steps", "tokens", "visits")


class Moments:
    """A run of a document.

    Args:
        tree: the document.
        rng: what happens.
    """

    def __init__(self, tree: Mapping[str, Any], rng: random.Random) -> None:
        self.rng = rng
        self.definition = load(tree).definition
        self.plan = Plan(self.definition)
        self.store = MemoryStore()
        self.records: list[Record] = []
        #: Attempts under way, and those of them that were told to end.
        self.alive: dict[str, int] = {}
        self.told: set[tuple[str, int]] = set()
        self.timers: dict[str, int] = {}
        self.now = 1_000_000
        self.retries = 0
        self.fold = RunFold("r")
        self.decider = self._decider(self.fold)
        #: What happened, for people.
        self.story: list[str] = []

    def _decider(self, fold: RunFold) -> Decider:
        return Decider(self.plan, fold, RunNames(self.plan, fold, self.store, {}, None), random.Random(0))

    def live(self) -> None:
        """Carry the run to its end.

        Raises:
            AssertionError: something does not hold.
        """
        self._begin()
        for count in range(_PATIENCE):
            if self.fold.state in RUN_AT_REST and not self._retry():
                check_order(self.plan, self.records)
                return
            if self.fold.state not in RUN_AT_REST:
                what = self._possible(is_disturbed=count < _DISTURBED)
                assert what, f"nothing can happen any more: {self._open()}"
                self.rng.choice(what)()
        raise AssertionError("it has no end")

    def _happens(self, what: str, change: Callable[[], None]) -> None:
        """Let something happen, carry out what follows, and see whether all is well."""
        self.story.append(what)
        change()
        if self.decider.is_behind:
            self.decider.advance(self.now)
        decision = self.decider.take()
        self.records += decision.records
        for abort in decision.aborts:
            if self.alive.get(abort.path) == abort.attempt:
                self.told.add((abort.path, abort.attempt))
                if self.fold.state_of(abort.path) != "running":  # a rewind does not wait for it
                    del self.alive[abort.path]
        for launch in decision.launches:
            assert launch.node.path not in self.alive, f"{launch.node.path} was begun twice"
            self.alive[launch.node.path] = launch.attempt
        for abort in decision.aborts:
            if self.alive.get(abort.path) == abort.attempt:
                self.told.add((abort.path, abort.attempt))
        self.timers.update({timer.path: timer.due for timer in decision.timers})
        self._check()

    # --- what may happen

    def _possible(self, *, is_disturbed: bool) -> list[Callable[[], None]]:
        state, acts = self.fold.state, [self._ends] * (12 if self.alive else 0)
        if state in ("running", "cancelling"):
            acts += [self._falls_due] * (3 if self.timers else 0)
        for step in self.fold.steps.values():
            acts += self._said_to(step)
        if state == "paused":
            acts += [self._resume, self._resume, self._resume, self._cancel]
        if is_disturbed:
            acts.append(self._die)
            if state == "running":
                acts += [lambda: self._pause(interrupt=True), lambda: self._pause(interrupt=False)]
                acts += [self._cancel, self._too_late] if self.rng.random() < 0.1 else []
        return acts

    def _said_to(self, step: StepFold) -> list[Callable[[], None]]:
        """What people and children have to say to a step."""
        node = self.decider.frontier.nodes.get(step.id)
        if node is None:
            return []
        if step.state == "interrupted" and node.step.is_once and self.fold.state != "cancelling":
            return [lambda: self._resolve(step.id)] * 4
        if step.state != "waiting" or step.waits is None:
            return []
        is_child = step.waits.on == "run"
        if is_child and self.fold.state == "paused":
            return []
        said: Mapping[str, Callable[[StepFold], None]] = {
            "approval": self._decide,
            "event": self._signal,
            "run": self._child_ends,
        }
        act = said.get(step.waits.on)
        return [lambda: act(step)] * (4 if is_child else 2) if act is not None else []

    def _begin(self) -> None:
        inputs = msgspec.Raw(encode_value({"n": 2}))
        steps = len(self.definition.steps)
        created = Created(
            workflow=self.definition.name, version="1", definition="x", inputs=inputs, steps=steps, cwd="/", children={}
        )
        self._happens("begins", lambda: self.decider.begin(self.now, created))

    def _outcome(self) -> Outcome:
        if self.rng.random() < 0.3:
            return failed(self.rng.choice([ValueError, KeyError, ConnectionError])("x"))
        output = encode_value({"n": self.rng.randrange(5)})
        return Outcome(status="completed", output=output, outputs=encode_value({"n": 1}))

    def _ends(self) -> None:
        path = self.rng.choice(sorted(self.alive))
        attempt = self.alive.pop(path)
        is_heeded = (path, attempt) in self.told and self.rng.random() < 0.7
        outcome = Outcome(status="aborted") if is_heeded else self._outcome()
        self._happens(
            f"{path} ends its attempt {attempt}: {outcome.status}",
            lambda: self.decider.ended(path, attempt, outcome, self.now),
        )

    def _falls_due(self) -> None:
        path, due = min(self.timers.items(), key=lambda timer: timer[1])
        self.now = max(self.now, due)
        del self.timers[path]
        self._happens(f"{path} is due", lambda: self.decider.due(path, due, self.now))

    def _decide(self, step: StepFold) -> None:
        choice = self.rng.choice(list(self.decider.frontier.nodes[step.id].step.verb.choices))  # type: ignore[attr-defined]  # an approval

        def change() -> None:
            self.decider.decide(self.now, step.id, choice=choice, form={}, by="x", reason="", digest=None)

        self._happens(f"{step.id}: {choice}", change)

    def _signal(self, step: StepFold) -> None:
        assert step.waits is not None
        event, key, payload = step.waits.event, step.waits.key, encode_value({"n": self.rng.randrange(4)})
        self._happens(
            f"signal {event} {key}",
            lambda: self.decider.signal(self.now, event=event, key=key, payload=payload, by=None),
        )

    def _child_ends(self, step: StepFold) -> None:
        assert step.waits is not None
        run, outcome = step.waits.run, self._outcome()
        if outcome.status == "completed":
            outcome = Outcome(status="completed", output=outcome.output)
        self._happens(
            f"the child of {step.id} ends: {outcome.status}",
            lambda: self.decider.child_ended(step.id, run, outcome, self.now),
        )

    def _resolve(self, path: str) -> None:
        said = self.rng.choice(["completed", "failed", "retry"])
        outcome = Outcome(status="completed", output=encode_value({"n": 1}), outputs=encode_value({"n": 1}))
        known = outcome if said == "completed" else None
        self._happens(f"{path} has {said}", lambda: self.decider.resolve(self.now, path, said, known, None))

    # --- what may be done to the run

    def _pause(self, *, interrupt: bool) -> None:
        self._happens(f"paused {interrupt}", lambda: self.decider.pause(self.now, "", None, interrupt=interrupt))

    def _resume(self) -> None:
        uncertain = self.decider.uncertain()
        if uncertain:
            self._resolve(uncertain[0].path)
            return
        self.timers = {}

        def change() -> None:
            self.decider.resume(self.now, None)
            self._go_on()

        self._happens("resumed", change)

    def _go_on(self) -> None:
        """As `Core.go_on` does."""
        self.decider.catch_up(self.now)
        self.decider.pause_if_uncertain(self.now)
        self.decider.advance(self.now)

    def _cancel(self) -> None:
        self._happens("cancelled", lambda: self.decider.cancel(self.now, "", None))

    def _too_late(self) -> None:
        self._happens("its time is over", lambda: self.decider.deadline_passed(self.now))

    def _die(self) -> None:
        fold = self._replayed()

        def change() -> None:
            self.fold, self.decider = fold, self._decider(fold)
            self.alive, self.told, self.timers = {}, set(), {}
            self.decider.recover(self.now, "its owner is gone")
            if fold.state != "paused":
                self._go_on()

        self._happens("another process", change)

    def _retry(self) -> bool:
        """Retry a run that failed, or one step of it; whether that was done."""
        if self.fold.state != "failed" or self.retries == 3 or self.rng.random() < 0.2:
            return False
        self.retries += 1
        steps = sorted(step.id for step in self.fold.steps.values() if step.state in ("failed", "cancelled"))
        only = self.rng.choice([None, *(path for path in steps if not path.startswith("@"))])
        self.timers = {}

        def change() -> None:
            self.decider = self._decider(self.fold)
            self.decider.retry(self.now, None, only)
            self.decider.advance(self.now)

        self._happens(f"retried {only or ''}", change)
        return True

    # --- what must hold

    def _replayed(self) -> RunFold:
        fold = RunFold("r")
        fold.replay(self.records)
        return fold

    def _open(self) -> list[tuple[str, str]]:
        return [(step.id, step.state) for step in self.fold.steps.values() if step.state not in STEP_AT_REST]

    def _check(self) -> None:
        fold, most = self.fold, self.definition.max_parallel
        assert {step.id: step.attempt for step in fold.steps.values() if step.state == "running"} == self.alive
        assert not most or len(self.alive) <= most
        replayed = self._replayed()
        for name in _COUNTED:
            assert getattr(replayed, name) == getattr(fold, name), name
        if fold.state in RUN_AT_REST:
            assert not fold.open_steps, f"{fold.state} with {self._open()}"
            assert all(state == "pending" for _, state in self._open()), f"{fold.state} with {self._open()}"
        elif fold.state != "paused":
            self._compare(self.decider.frontier, self._decider(replayed).frontier)

    def _compare(self, known: Frontier, fresh: Frontier) -> None:
        """A run's place in its plan is the one that its journal gives, but for why something was given up."""
        ours, theirs = self._scopes(known), self._scopes(fresh)
        assert ours.keys() == theirs.keys()
        for place, scope in ours.items():
            other = theirs[place]
            assert (scope.open, scope.alive, scope.state) == (other.open, other.alive, other.state), place
            assert scope.kind == "queue" or scope.failed == other.failed, place
            assert scope.stopping == other.stopping or scope.end is not None, place
            assert scope.stopping == (scope in known.stopping), place
            assert scope.missing == other.missing, place
        assert known.busy == fresh.busy
        assert self._in_line(known, known) == self._in_line(fresh, known)

    def _scopes(self, frontier: Frontier) -> dict[tuple[str, str], Scope]:
        found: dict[tuple[str, str], Scope] = {}

        def walk(scope: Scope) -> None:
            found[scope.prefix, scope.kind] = scope
            for node in scope.nodes.values():
                assert not node.dead, node.path
                if node.inner is not None:
                    walk(node.inner)

        for scope in frontier.handlers.values() if self.fold.unwinding is not None else [frontier.root]:
            walk(scope)
        return found

    def _in_line(self, frontier: Frontier, known: Frontier) -> set[str]:
        """The steps that may begin; those whose timer fell due are put in line by another."""
        nodes = (node for queue in frontier.ready.values() for _, _, node in queue if not node.dead)
        paths = {node.path for node in nodes if not known.is_stopped(known.nodes.get(node.path, node))}
        late = {step.id for step in self.fold.steps.values() if step.due is not None and step.due <= self.now}
        return paths - late
