"""Random histories of runs over a real store file, with the engine closed or killed between any two operations.

Guarantees G5 (one owner, epochs that only grow), G7 (journals without gaps that replay to the stored rows) and
G8 (only the published edges) are looked at after every operation.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError
from statemachine_flow.journal import Record, RunFold
from statemachine_flow.lifecycle import RUN, STEP
from statemachine_flow.model import RetryPolicy
from statemachine_flow.testing import ManualClock

#: Step -> the steps it needs. `b` is optional; `c` has two attempts.
NEEDS: Mapping[str, tuple[str, ...]] = {"a": (), "b": (), "c": ("a",), "d": ("b", "c")}
TERMINAL = ("completed", "cancelled", "quarantined")
MOST_RUNS = 3
#: Seconds until a test gives up on something that has to happen.
PATIENCE = 20
#: Longer than any delay between attempts.
DELAY = 6.0


OUTCOMES = st.sampled_from(["succeed", "succeed", "fail"])


class Desk:
    """Where the bodies of steps wait for what the test says becomes of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], asyncio.Future[str]] = {}
        self.begun: Counter[tuple[str, str]] = Counter()

    async def body(self, name: str, step: str) -> str:
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with self._lock:
            self.begun[name, step] += 1
            self._waiting[name, step] = outcome
        try:
            said = await outcome
        finally:
            with self._lock:
                if self._waiting.get((name, step)) is outcome:
                    del self._waiting[name, step]
        if said == "fail":
            raise ValueError(step)
        return f"{name} {step}"

    def waiting(self, name: str) -> set[str]:
        with self._lock:
            return {step for run, step in self._waiting if run == name}

    def say(self, name: str, step: str, outcome: str) -> None:
        with self._lock:
            future = self._waiting.pop((name, step))
        future.get_loop().call_soon_threadsafe(future.set_result, outcome)


def workflow() -> Workflow:
    made = Workflow("history")
    who = made.input("name")
    retry = RetryPolicy(max_attempts=2, delay=DELAY / 2, jitter="none")
    for step, needs in NEEDS.items():
        options: dict[str, Any] = {"needs": needs, "optional": step == "b", "retry": retry if step == "c" else None}
        made.call(step, "body", with_={"name": who, "step": step}, **options)
    return made


class History(RuleBasedStateMachine):
    """What operators, steps and crashes do to a few runs."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="smf-history-"))
        self.pool = ThreadPoolExecutor(MOST_RUNS)
        self.clock = ManualClock()
        self.folders = 0
        self.runs: list[str] = []
        #: Runs at work in the present engine, and who waits for them.
        self.held: dict[str, Future[Run] | None] = {}
        self.epochs: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.begun: Counter[tuple[str, str]] = Counter()
        self._open(self.root / "0")

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self._let_go()
            self.pool.shutdown()
            shutil.rmtree(self.root)

    # --- the engine

    def _open(self, folder: Path) -> None:
        self.folder = folder
        self.desk = Desk()
        self.engine = Engine(folder / "runs.db", functions={"body": self.desk.body}, clock=self.clock)
        self.raw = apsw.Connection(str(folder / "runs.db"), flags=apsw.SQLITE_OPEN_READONLY)

    def _let_go(self) -> None:
        """Close the engine in order; whoever waits for a run sees it paused."""
        self.begun += self.desk.begun
        self.engine.close()
        for future in self.held.values():
            if future is not None:
                future.result(timeout=PATIENCE)
        self.held.clear()
        self.raw.close()

    def _settle(self, name: str) -> Run:
        """The run, once everything that follows from the last operation has happened."""
        deadline = time.monotonic() + PATIENCE
        while True:
            future = self.held[name]
            if future is not None and future.done():
                future.result()
            run = self.engine.get(name)
            running = {step.id for step in run.steps.values() if step.state == "running"}
            due = [step.due_at for step in run.steps.values() if step.state == "backing_off" and step.due_at]
            late = any(moment.timestamp() * 1e6 <= self.clock.now() for moment in due)
            if run.at_rest and run.owner is None:
                del self.held[name]
                return run
            if running == self.desk.waiting(name) and not late and (running or due):
                return run
            assert time.monotonic() < deadline, f"{run} does not settle: {run.steps}, waiting {self.desk.waiting(name)}"

    def _states(self) -> dict[str, Run]:
        return {name: self.engine.get(name) for name in self.runs}

    def _draw(self, data: st.DataObject, names: list[str]) -> str:
        return data.draw(st.sampled_from(sorted(names)), label="run")

    def _in(self, *states: str) -> list[str]:
        return [name for name, run in self._states().items() if run.state in states]

    # --- operations

    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    @rule()
    def start(self) -> None:
        name = f"run-{len(self.runs)}"
        assert self.engine.start(workflow(), {"name": name}, run_id=name) == name
        self.runs.append(name)
        self.held[name] = None
        self._settle(name)

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), outcomes=st.lists(OUTCOMES, min_size=1, max_size=6))
    def end_steps(self, data: st.DataObject, outcomes: list[str]) -> None:
        for outcome in outcomes:
            if not self._busy():
                return
            name = self._draw(data, self._busy())
            step = data.draw(st.sampled_from(sorted(self.desk.waiting(name))), label="step")
            self.desk.say(name, step, outcome)
            run = self._settle(name)

            after = {"succeed": ("completed",), "fail": ("failed", "backing_off", "cancelled")}[outcome]
            assert run.steps[step].state in after
            assert run.steps[step].output == (f"{name} {step}" if outcome == "succeed" else None)

    def _busy(self) -> list[str]:
        return [name for name in self.runs if self.desk.waiting(name)]

    @precondition(lambda self: self._in("running", "paused"))
    @rule(data=st.data(), again=st.booleans())
    def pause(self, data: st.DataObject, again: bool) -> None:
        name = self._draw(data, self._in("running", "paused"))
        assert self.engine.pause(name, interrupt=True, by="test").state == "paused"
        self.held.setdefault(name, None)
        self._settle(name)
        if again:
            self._resume(name)

    @precondition(lambda self: self._in("running", "paused"))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self._resume(self._draw(data, self._in("running", "paused")))

    def _resume(self, name: str) -> None:
        if name not in self.held:
            self._go_on(name, self.engine.resume)
        self._settle(name)

    @precondition(lambda self: self._in("failed"))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        name = self._draw(data, self._in("failed"))
        before = self.engine.get(name)
        self._go_on(name, self.engine.retry)
        run = self._settle(name)

        kept = {step.id: step.attempt for step in before.steps.values() if step.state == "completed"}
        assert {step: run.steps[step].attempt for step in kept} == kept

    def _go_on(self, name: str, operation: Callable[..., Run]) -> None:
        """Have another thread wait for the run, and return once the engine has begun with it."""
        before = self.engine.get(name)
        future = self.held[name] = self.pool.submit(operation, name, by="test")
        deadline = time.monotonic() + PATIENCE
        while not future.done():
            ((epoch, seq),) = self.raw.execute("SELECT epoch, seq FROM runs WHERE id = ?", (name,)).fetchall()
            if epoch != self.epochs[name] and (seq != before.seq or before.state == "running"):
                break
            assert time.monotonic() < deadline, f"nobody took {name}"

    @precondition(lambda self: self._in("pending", "running", "paused", "failed", "cancelled"))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = self._draw(data, self._in("pending", "running", "paused", "failed", "cancelled"))
        assert self.engine.cancel(name, by="test").state == "cancelled"
        self.held.setdefault(name, None)
        self._settle(name)

    @precondition(lambda self: self._in("completed", "cancelled"))
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """What is over stays so."""
        name = self._draw(data, self._in("completed", "cancelled"))
        operations: list[Any] = [self.engine.pause, self.engine.resume, self.engine.retry]
        if self.engine.get(name).state == "completed":
            operations.append(self.engine.cancel)
        for operation in operations:
            with pytest.raises(ConflictError):
                operation(name)

    @rule()
    def let_time_pass(self) -> None:
        self.clock.advance(DELAY)
        for name in list(self.held):
            self._settle(name)

    @rule(kill=st.booleans(), again=st.booleans())
    def reopen(self, kill: bool, again: bool) -> None:
        """Close the engine, or go on from the files as they lie on the disk at this moment."""
        folder = self.folder
        if kill:
            self.folders += 1
            folder = self.root / str(self.folders)
            shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*-shm"))
        self._let_go()
        self._open(folder)
        for name in self._in("running", "paused") if again else ():
            self._resume(name)

    # --- what always holds

    @invariant()
    def everything_is_in_order(self) -> None:
        if not hasattr(self, "engine"):
            return
        for name in self.runs:
            columns = "no, state, seq, epoch, updated_at, started_at, ended_at, steps_done, message"
            ((number, *row),) = self.raw.execute(f"SELECT {columns} FROM runs WHERE id = ?", (name,)).fetchall()
            records = self.raw.execute("SELECT seq, kind, at, step, data, digest FROM journal WHERE run = ?", (number,))
            journal = [Record(*values) for values in records.fetchall()]  # type: ignore[arg-type]  # as stored
            steps = self.raw.execute("SELECT step, state, attempt FROM steps WHERE run = ?", (number,)).fetchall()
            fold = RunFold(name)
            fold.replay(journal)
            state, seq, epoch, *rest = row
            self._check_row(fold, (state, seq, *rest), sorted(steps))
            assert isinstance(epoch, int)
            self._check_epoch(name, epoch)
            self._check_end(name, fold)
            check_trace(journal)
            for step in NEEDS:  # G3: no body without an attempt that was durable before
                assert (self.begun + self.desk.begun)[name, step] <= fold.step(step).attempt

    def _check_row(self, fold: RunFold, row: tuple[Any, ...], steps: list[Any]) -> None:
        """G7: the tables are what the journal adds up to."""
        message = fold.error.message if fold.error is not None else fold.reason
        done = fold.created.steps - fold.open_steps
        expected = (fold.state, fold.seq, fold.updated_at, fold.started_at, fold.ended_at, done, message)
        assert row == expected
        assert steps == sorted((step.id, step.state, step.attempt) for step in fold.steps.values())

    def _check_epoch(self, name: str, epoch: int) -> None:
        """G5."""
        assert epoch >= self.epochs.get(name, 1)
        self.epochs[name] = epoch

    def _check_end(self, name: str, fold: RunFold) -> None:
        """A run that ended gets no further record."""
        if name in self.ended:
            assert fold.seq == self.ended[name]
        if fold.state in TERMINAL:
            self.ended[name] = fold.seq


def check_trace(journal: list[Record]) -> None:
    """G7 and G8, read off the records alone."""
    run, last = "pending", ""
    steps = dict.fromkeys(NEEDS, "pending")
    attempts = dict.fromkeys(NEEDS, 0)
    for seq, record in enumerate(journal, start=1):
        assert record.seq == seq
        machine, trigger = record.kind.split(".")
        if machine == "run" and trigger not in ("create", "note"):
            after = RUN.dest(run, trigger)
            assert after is not None, f"{run} {trigger}"
            run, last = after, trigger
        elif record.step is not None:
            before, after = steps[record.step], STEP.dest(steps[record.step], trigger)
            assert after is not None, f"{record.step} {before} {trigger}"
            steps[record.step] = after
            if trigger == "start":
                attempts[record.step] += 1
                assert getattr(record.decode(), "attempt", None) == attempts[record.step]
                assert run == "running"
                assert all(
                    steps[need] == "completed" or (need, steps[need]) == ("b", "failed") for need in NEEDS[record.step]
                )
            elif trigger == "reset":
                assert last == "retry"


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestLongHistory(History.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    settings = settings(max_examples=1000, stateful_step_count=40, deadline=None)
