"""What is held against every write and every body, in the moment it happens, by one who knows the true time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from statemachine_flow.lifecycle import RUN, RUN_AT_REST, STEP
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import NewRun, Owner, RunFilter, RunRow, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import decode_value
from tests.crash.hosts import Time

#: Names of steps -> the timeout that the workflows here give them, in seconds.
TIMEOUTS: Final[Mapping[str, float]] = {"timed": 4.0}
#: Steps that are begun again only if a person says so.
ONCE: Final = "once"


@attrs.define
class Life:
    """One engine from its making to its death or its close, as it was in truth."""

    owner: Owner
    host: str
    #: When it last gave a sign of life that was kept.
    sign: float
    is_over: bool = False


class Referee:
    """Sees all that hosts do to the store and to the world.

    Args:
        time: the true time; told of what must not happen.
    """

    def __init__(self, time: Time) -> None:
        self._time = time
        #: Nonce -> the engine.
        self.lives: dict[str, Life] = {}
        #: Run -> its epoch and who holds it.
        self.holder: dict[str, tuple[int, str]] = {}
        #: Run -> its state; run and path -> state and attempt.
        self.runs: dict[str, str] = {}
        self.steps: dict[tuple[str, str], tuple[str, int]] = {}
        #: Attempts whose start is kept -> since when.
        self.started: dict[tuple[str, str, int], float] = {}
        #: Attempts whose body began.
        self.begun: Counter[tuple[str, str, int]] = Counter()
        #: What signals said that are in a journal.
        self.heard: Counter[str] = Counter()
        #: Runs that somebody may take over without asking.
        self.forced: set[str] = set()
        #: Run -> how often a person may have had a step of it begun again.
        self.again: Counter[str] = Counter()
        #: One line per write that was kept.
        self.trace: list[str] = []
        self.figures: Counter[str] = Counter()

    def _fail(self, message: str) -> None:
        self._time.violate(message)

    # --- owners

    def made(self, owner: Owner, host: str) -> None:
        """An engine begins."""
        self.lives[owner.nonce] = Life(owner, host, self._time.now)

    def beat(self, nonce: str) -> None:
        """A sign of life was kept."""
        self.lives[nonce].sign = self._time.now

    def claimed(self, before: RunRow, owner: Owner) -> None:
        """A run has another owner: was it there to be taken?"""
        run_id, last = before.id, before.owner
        self.trace.append(f"{self._time.now:.6f} {self.lives[owner.nonce].host} claims {run_id} {before.epoch + 1}")
        self.holder[run_id] = before.epoch + 1, owner.nonce
        if last is None or last == owner:
            return
        self.figures["takeovers"] += 1
        life = self.lives[last.nonce]
        silence = self._time.now - life.sign
        if not life.is_over and silence < last.lease - 1e-6 and run_id not in self.forced:
            self._fail(f"{run_id} was taken from {life.host}, which gave a sign of life {silence:.3f} s before")
        self.figures["takeovers from the living"] += not life.is_over

    # --- writes

    def committed(self, nonce: str, batch: Sequence[NewRun | Write], refused: Sequence[str]) -> None:
        """A commit was kept, but for what was refused."""
        for item in batch:
            write = item.write if isinstance(item, NewRun) else item
            if write.run_id in refused:
                self.figures["writes refused"] += not isinstance(item, NewRun)
                continue
            if isinstance(item, NewRun):
                self.holder[write.run_id] = 1, nonce
            self._written(nonce, write)

    def _written(self, nonce: str, write: Write) -> None:
        host, run_id = self.lives[nonce].host, write.run_id
        said = ",".join(f"{record.kind}:{record.step or ''}" for record in write.records)
        self.trace.append(f"{self._time.now:.6f} {host} {run_id} {write.epoch} {said}{' release' * write.release}")
        if self.holder[run_id] != (write.epoch, nonce):
            epoch, by = self.holder[run_id]
            by = self.lives[by].host
            self._fail(f"{host} wrote under epoch {write.epoch} of {run_id}, which {by} has in {epoch}")
        for record in write.records:
            self.figures["records"] += 1
            if record.step is None:
                self._run_changed(run_id, record)
            else:
                self._step_changed(write, record.step, record)

    def _run_changed(self, run_id: str, record: Any) -> None:
        kind, trigger = record.kind, record.kind.removeprefix("run.")
        if kind == "run.signal":
            self.heard[decode_value(record.decode().payload)] += 1
        if trigger in RUN.sources:
            before = self.runs.get(run_id, "pending")
            after = RUN.dest(before, trigger)
            if after is None:
                self._fail(f"{run_id} was {before}, and {trigger} was kept")
            self.runs[run_id] = after or "?"

    def _step_changed(self, write: Write, path: str, record: Any) -> None:
        run_id, trigger, data = write.run_id, record.kind.removeprefix("step."), record.decode()
        before, attempt = self.steps.get((run_id, path), ("pending", 0))
        after = STEP.dest(before, trigger)
        if after is None:
            self._fail(f"{run_id} {path} was {before}, and {trigger} was kept")
        if trigger == "start":
            attempt = data.attempt
            self.started[run_id, path, attempt] = self._time.now
        elif trigger == "complete" and bytes(data.output):
            self._check_output(write, path, attempt, decode_value(data.output))
        elif trigger in ("fail", "back_off") and data.error.kind == "step.timeout":
            self._check_timeout(run_id, path, attempt)
        self.steps[run_id, path] = after or "?", attempt

    def _check_output(self, write: Write, path: str, attempt: int, output: Any) -> None:
        """What a body gave may be kept by the owner that began it, and for the attempt that gave it."""
        if isinstance(output, str) and output.startswith("work "):
            _, by, epoch = output.split()
            if (int(by), int(epoch)) != (attempt, write.epoch):
                self._fail(f"{write.run_id} {path} {attempt}, epoch {write.epoch}: the late {output!r} was kept")

    def _check_timeout(self, run_id: str, path: str, attempt: int) -> None:
        limit = TIMEOUTS.get(path)
        if limit is not None:
            took = self._time.now - self.started[run_id, path, attempt]
            self.figures["timeouts"] += 1
            if took < limit - 1e-6:
                self._fail(f"{run_id} {path} timed out after {took:.3f} of {limit} s")

    # --- bodies

    def begins(self, context: StepContext) -> None:
        """A body begins."""
        key = context.run_id, context.path, context.attempt
        self.begun[key] += 1
        self.figures["bodies"] += 1
        if key not in self.started:
            self._fail(f"a body of {key} began before its start was kept")
        if self.begun[key] > 1:
            self._fail(f"the body of {key} began twice")
        state = self.steps.get(key[:2])
        if self.holder[context.run_id][0] == context.epoch and state != ("running", context.attempt):
            self._fail(f"a body of {key} began while the step was {state}")
        if context.step_id == ONCE:
            times = sum(count for begun, count in self.begun.items() if begun[:2] == key[:2])
            if times > 1 + self.again[context.run_id]:
                self._fail(f"the body of {key[:2]} began {times} times, and nobody said that it may")

    # --- the end

    def check_liveness(self, nonce: str, store: MemoryStore) -> None:
        """Nobody waits any more for an owner that has been dead for so long."""
        for row in _owned(store):
            above, dot, _ = row.id.partition(".")
            if dot and self.holder[above][1] != nonce and self.runs[above] not in RUN_AT_REST:
                continue  # whoever has the run above it follows it, for as long as he knows of it
            if row.owner is not None and row.owner.nonce == nonce:
                self._fail(f"{row.id} still belongs to {self.lives[nonce].host}, which died long ago")

    def check_rest(self, store: MemoryStore) -> None:
        """Every run is at rest, nobody owns one, and nothing is left to be answered."""
        for run_id, state in self.runs.items():
            if state not in RUN_AT_REST:
                self._fail(f"{run_id} was left {state}")
        for row in _owned(store):
            self._fail(f"{row.id} is {row.state} and still belongs to {row.owner}")
        if store.requests():
            self._fail(f"nobody answered {store.requests()}")
        if unrecorded := set(self.begun) - set(self.started):
            self._fail(f"bodies without a start: {unrecorded}")


def _owned(store: MemoryStore) -> list[RunRow]:
    return store.rows(RunFilter(owned=True, limit=10_000))
