"""What must hold of a store whenever somebody looks, and of the world outside at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from statemachine_flow.engine.view import Run
from statemachine_flow.journal import Record, RunFold
from statemachine_flow.lifecycle import RUN_AT_REST
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.values import decode_value
from tests.crash.scene import RUN_ID, Scene
from tests.engine.harness import check_run

_MANY = RunFilter(limit=10_000)


class Books:
    """A store and what was found in it so far."""

    def __init__(self, store: Store, scene: Scene) -> None:
        self.store = store
        self.scene = scene
        #: Run -> its journal when somebody last looked.
        self.seen: dict[str, list[Record]] = {}

    def check(self) -> None:
        """Every run is legal and goes on where it was; no attempt begins twice, no word is lost or heard twice."""
        journals = {row.id: self.store.records(row.id) for row in self.store.rows(_MANY)}
        folds = {run_id: check_run(self.store, run_id) for run_id in journals}
        for run_id, before in self.seen.items():
            # What was kept stays: outputs, decisions and signals change by further records alone.
            assert journals[run_id][: len(before)] == before
        self.seen = journals
        self._check_bodies()
        self._check_retries()
        self._check_children(folds)
        self._check_words()

    def _check_bodies(self) -> None:
        starts = [
            f"{record.step if run_id == RUN_ID else f'{run_id}:{record.step}'} {record.decode().attempt}"  # type: ignore[attr-defined]
            for run_id, journal in self.seen.items()
            for record in journal
            if record.kind == "step.start"
        ]
        assert max(Counter(starts).values(), default=1) == 1, "the number of an attempt was used twice"
        begun = self.scene.begun
        assert set(begun) <= set(starts), "a body began before its start was kept"
        assert max(Counter(begun).values(), default=1) == 1, "the body of one attempt began twice"

    def _check_retries(self) -> None:
        """A retry keeps what completed, but for what was undone and what holds a step that did not complete."""
        for journal in self.seen.values():
            paths = {record.step for record in journal if record.step is not None}
            ended: dict[str | None, str] = {}
            for record in journal:
                if record.kind == "step.reset" and record.decode().reason == "retry":  # type: ignore[attr-defined]
                    holds = any(path.startswith((f"{record.step}/", f"{record.step}[")) for path in paths)
                    is_undone = f"@compensate/{record.step}" in paths or f"{record.step}".startswith("@")
                    assert holds or is_undone or ended[record.step] != "step.complete", f"{record.step} began again"
                ended[record.step] = record.kind

    def _check_children(self, folds: Mapping[str, RunFold]) -> None:
        """Each child run belongs to one attempt of one step, which knows of it, and outlives its parent never."""
        asked = Counter(
            (run_id, record.step, record.decode().run)  # type: ignore[attr-defined]
            for run_id, journal in self.seen.items()
            for record in journal
            if record.kind == "step.wait" and record.decode().on == "run"  # type: ignore[attr-defined]
        )
        assert max(asked.values(), default=1) == 1, "two attempts share a child run"
        for run_id, fold in folds.items():
            if fold.created.parent is not None:
                above, step = fold.created.parent
                assert (above, step, run_id) in asked
                assert folds[above].state not in RUN_AT_REST or fold.state in RUN_AT_REST, f"{run_id} is an orphan"

    def _check_words(self) -> None:
        heard: Counter[str] = Counter()
        for journal in self.seen.values():
            signals: set[int] = set()
            taken: set[int] = set()
            decisions: set[tuple[str, str] | None] = set()
            for record in journal:
                data: Any = record.decode()
                if record.kind == "run.signal":
                    signals.add(record.seq)
                    heard[decode_value(data.payload)] += 1
                elif record.kind == "step.complete" and data.signal is not None:
                    assert data.signal in signals - taken, "a signal was taken twice, or before it came"
                    taken.add(data.signal)
                decisions.add(_decision(record, data))
            heard.update(decision[0] for decision in decisions if decision is not None)
        for request in self.store.requests():
            data = decode_value(request.data) if request.data else {}
            heard.update([data["payload"]] if request.action == "signal" else [request.reason])
        assert all(heard[word] == 1 for word in self.scene.kept), "what was said to a run is lost, or heard twice"
        assert all(heard[word] <= 1 for word in self.scene.tried), "what was said to a run is heard twice"

    def check_end(self) -> None:
        """Nobody owns anything, nothing is left to be answered, and no run is left behind."""
        assert not self.store.requests()
        for row in self.store.rows(_MANY):
            assert row.owner is None, row
            assert row.state in RUN_AT_REST, f"{row.id} was left {row.state}"

    def changes(self) -> Counter[tuple[str, str, str | None]]:
        """What happened to which step of which run, but for what an interruption adds: more attempts."""
        return Counter(
            (run_id, record.kind, record.step)
            for run_id, journal in self.seen.items()
            for record in journal
            if record.kind not in ("step.start", "step.interrupt", "step.back_off")
        )


def _decision(record: Record, data: Any) -> tuple[str, str] | None:
    """Why and when a person decided what ended a step, where one did; that a decision still holds is not another."""
    if record.kind == "step.complete" and bytes(data.output):
        value = decode_value(data.output)
        is_decision = isinstance(value, dict) and "decision" in value
        return (value["reason"], value["at"]) if is_decision else None
    said = data.error.message if record.kind == "step.fail" else data.reason if record.kind == "step.skip" else ""
    return (said.rpartition(": ")[2], str(record.seq)) if "rejected by" in said else None


def outcome(run: Run) -> dict[str, Any]:
    """States and outputs, without what depends on the time of a decision, or on how often a person had to say it."""
    steps = {step.id: [str(step.state), step.output, step.outputs] for step in run.steps.values()}
    found = {"state": str(run.state), "outputs": run.outputs, "steps": steps}
    return {key: _timeless(value) for key, value in found.items()}


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        passing = ("at", "reason", "digest") if "decision" in value else ()
        return {name: _timeless(item) for name, item in value.items() if name not in passing}
    if isinstance(value, list | tuple):
        return [_timeless(item) for item in value]
    return re.sub(r" #\d+$", "", value) if isinstance(value, str) else value
