"""Whatever clients of eight processes are told, one legal lifecycle per run explains it; and a lie would be noticed."""

from __future__ import annotations

import math
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from statemachine_flow.engine.sync import Engine
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.sqlite import SqliteStore
from tests.crash.clients import begin
from tests.crash.history import Call, Journal, explain, read_calls, read_journals
from tests.engine.harness import check_run

_CLIENTS = 8

RUNNING = ["run.create", "run.start"]
COMPLETED = [*RUNNING, "run.complete"]
PAUSED = [*RUNNING, "run.pause"]


def ok(operation: str, said: str = "", *, at: float, until: float | None = None, word: str = "") -> Call:
    return Call(operation, "r", at, at + 0.5 if until is None else until, "ok", said, word)


def refused(operation: str, kind: str, *, at: float, until: float | None = None) -> Call:
    return Call(operation, "r", at, at + 0.5 if until is None else until, "fail", kind)


@pytest.mark.parametrize(
    ("calls", "journal"),
    [
        ([ok("start", at=1), ok("get", "running", at=2), ok("wait", "completed", at=3)], Journal(COMPLETED)),
        # What overlaps may come in any order.
        ([ok("wait", "completed", at=1, until=9), ok("get", "running", at=2)], Journal(COMPLETED)),
        ([refused("get", "run.not_found", at=1, until=5), ok("start", at=2)], Journal(COMPLETED)),
        (
            [ok("pause", "paused", at=1, until=9), refused("resume", "run.owned", at=2)],
            Journal([*PAUSED, "run.resume"]),
        ),
        # What was not answered was done, or was not.
        ([Call("cancel", "r", 1), ok("get", "completed", at=2)], Journal(COMPLETED)),
        ([Call("cancel", "r", 1), ok("get", "cancelled", at=2)], Journal([*RUNNING, "run.cancel", "run.settle"])),
        ([Call("signal", "r", 1, word="w"), ok("get", "running", at=2)], Journal([*RUNNING, "run.signal"], ["w"])),
        ([Call("signal", "r", 1, word="w"), ok("get", "running", at=2)], Journal(RUNNING)),
        # A run that ends hears no more.
        ([ok("signal", at=1, word="w")], Journal(COMPLETED)),
    ],
)
def test_a_history_that_a_lifecycle_explains_is_accepted(calls: list[Call], journal: Journal) -> None:
    assert explain(calls, {"r": journal}) == []


@pytest.mark.parametrize(
    ("calls", "journal"),
    [
        # What was acknowledged is gone.
        ([ok("start", at=1), refused("get", "run.not_found", at=2)], Journal(RUNNING)),
        ([ok("wait", "completed", at=1), ok("get", "running", at=2)], Journal(COMPLETED)),
        ([ok("wait", "completed", at=1)], Journal(RUNNING)),
        ([ok("cancel", "cancelled", at=1)], Journal(COMPLETED)),
        ([ok("pause", "paused", at=1)], Journal(COMPLETED)),
        ([ok("pause", "paused", at=1), ok("get", "running", at=2)], Journal(PAUSED)),
        ([ok("signal", at=1, word="w")], Journal(RUNNING)),
        # It was refused by a state that the run was not in then.
        ([ok("get", "running", at=1), refused("pause", "run.state", at=2)], Journal(PAUSED)),
        ([refused("retry", "run.state", at=3), ok("get", "failed", at=1)], Journal([*RUNNING, "run.fail"])),
        ([ok("wait", "completed", at=1), refused("resume", "run.owned", at=2)], Journal(COMPLETED)),
        ([refused("cancel", "run.state", at=1)], Journal([*RUNNING, "run.cancel", "run.settle"])),
        # It was told what nobody may be told.
        ([refused("get", "internal", at=1)], Journal(RUNNING)),
        # A signal is heard once, and only if somebody said it.
        ([ok("signal", at=1, word="w")], Journal([*RUNNING, "run.signal", "run.signal"], ["w", "w"])),
        ([], Journal([*RUNNING, "run.signal"], ["w"])),
        # The journal itself breaks the lifecycle.
        ([], Journal([*COMPLETED, "run.resume"])),
        ([], Journal(["run.create", "run.complete"])),
    ],
)
def test_a_history_that_no_lifecycle_explains_is_refused(calls: list[Call], journal: Journal) -> None:
    assert len(explain(calls, {"r": journal})) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("seed", "kills", "runs"),
    [(0, 24, 12), *(pytest.param(seed, 300, 150, marks=[pytest.mark.soak]) for seed in range(1, 6))],
)
def test_one_lifecycle_per_run_explains_whatever_the_clients_of_many_processes_were_told(
    tmp_path: Path, seed: int, kills: int, runs: int
) -> None:
    path, rng = tmp_path / "runs.db", random.Random(seed)
    SqliteStore(path, durability="process").close()
    clients = [begin(f"{seed}.{number}.0", path, runs) for number in range(_CLIENTS)]
    try:
        for kill in range(1, kills + 1):
            number = rng.randrange(_CLIENTS)
            child, pipe = clients[number]
            for _ in range(rng.randint(1, 30)):
                assert os.read(pipe, 1) == b"\n", "a client has ended by itself"
            end(child, pipe)
            clients[number] = begin(f"{seed}.{number}.{kill}", path, runs)
    finally:
        for child, pipe in clients:
            end(child, pipe)
    calls = [*read_calls(sorted(tmp_path.glob("*.log"))), *bring_to_rest(path)]
    store = SqliteStore(path, readonly=True)
    try:
        for row in store.rows(RunFilter(limit=10_000)):
            check_run(store, row.id)
        assert explain(calls, read_journals(store)) == []
    finally:
        store.close()
    answers = Counter(call.answer for call in calls)
    assert answers["ok"] > kills
    assert answers["fail"] > 0
    assert answers["unknown"] > 0


def end(child: int, pipe: int) -> None:
    """Kill a client."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(pipe)


def bring_to_rest(path: Path) -> list[Call]:
    """Whoever comes last finds nothing that cannot go on; what it said to runs for that."""
    said = []
    with Engine(path, functions={"work": lambda: "done"}) as engine:
        engine.recover()
        for row in engine.list(states=["pending", "running", "paused", "cancelling"], limit=10_000):
            run = engine.resume(row.id)
            if run.waiting:
                said.append(Call("signal", row.id, math.inf, answer="ok", word=f"the last word to {row.id}"))
                engine.signal(row.id, "go", said[-1].word)
                run = engine.wait(row.id, until="rest")
            assert run.at_rest
    return said
