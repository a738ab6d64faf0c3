"""G5 with real processes: of many that want a run one gets it, and who was stopped and woke up again writes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import ConflictError
from statemachine_flow.stores.sqlite import SqliteStore
from tests.crash import owner
from tests.engine.harness import check_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes cannot be stopped and continued there")


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.crash.owner", *map(str, words)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def holding(mode: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun its runs."""
    with start(mode, *words) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("processes", "count"),
    [(8, 24), pytest.param(8, 300, marks=[pytest.mark.soak])],
)
def test_case_71_of_many_processes_that_resume_one_run_one_wins(tmp_path: Path, processes: int, count: int) -> None:
    path, effects = tmp_path / "runs.db", tmp_path / "effects"
    effects.touch()
    with holding("hold", path, 30, count, tmp_path / "never"):
        pass  # and it is dead
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(start("race", path, seed, count, effects)) for seed in range(processes)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = Counter(line.split()[1] for racer in racers for line in racer.communicate()[0].splitlines())
    assert said["won"] == count
    # Others met its owner, or came when it was done.
    assert said["won"] + said["run.owned"] + said["run.state"] == processes * count
    assert effects.read_text() == "x" * count, "a body was begun twice"
    store = SqliteStore(path, readonly=True)
    for run_id in owner.run_ids(str(count)):
        check_run(store, run_id)
    store.close()


@pytest.mark.parametrize("trial", [0, *(pytest.param(n, marks=[pytest.mark.soak]) for n in range(1, 50))])
def test_case_72_an_owner_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes(
    tmp_path: Path, trial: int
) -> None:
    """Ten runs a trial; the owner wakes with all of its bodies done, or about to be, and what they gave is kept aside.

    But for what is cut off on waking: a coroutine that has not returned yet.
    """
    path, gate, count = tmp_path / "runs.db", tmp_path / "gate", 10
    with holding("hold", path, 0.3, count, gate) as process:
        if trial % 2:
            gate.touch()  # it is stopped somewhere in its last commits, or before them
        process.send_signal(signal.SIGSTOP)
        with Engine(path, functions=dict.fromkeys(owner.BODIES, lambda: "of the second owner")) as engine:
            taken: set[str] = set()
            while len(taken | _completed(engine)) < count:
                taken |= set(engine.recover().taken)
            for run_id in taken:
                engine.wait(run_id)
            journals = {run_id: engine.events(run_id) for run_id in owner.run_ids(str(count))}
            gate.touch()
            process.send_signal(signal.SIGCONT)
            threads = {run_id for run_id in taken if owner.body_of(run_id) == "thread"}
            while not all(map(engine.rejected, threads)):
                assert process.poll() is None
            said = dict(line.split() for line in process.communicate("\n")[0].splitlines())
            for run_id, journal in journals.items():
                assert engine.events(run_id) == journal, "the first owner wrote something after it was stopped"
                by = "second" if run_id in taken else "first"
                assert engine.get(run_id).steps["a"].output == f"of the {by} owner"
                assert said[run_id] == ("run.fenced" if run_id in taken else "completed")
                late = [event for event in engine.rejected(run_id) if event.kind == "step.complete"]
                assert [event.data["output"] for event in late] == ["of the first owner"] * len(late)
                assert len(late) == 1 if run_id in threads else len(late) <= (run_id in taken)
    if not trial % 2:
        assert len(taken) == count
    store = SqliteStore(path, readonly=True)
    for run_id in journals:
        check_run(store, run_id)
    store.close()


def _completed(engine: Engine) -> set[str]:
    return {row.id for row in engine.list(states=["completed"])}


def test_a_living_owner_that_beats_is_left_alone(tmp_path: Path) -> None:
    path, gate = tmp_path / "runs.db", tmp_path / "gate"
    bodies = dict.fromkeys(owner.BODIES, lambda: 2)
    with holding("hold", path, 0.3, 1, gate) as process, Engine(path, functions=bodies) as engine:
        first = engine.list(owned=True)[0].owner
        assert first is not None
        store = SqliteStore(path, readonly=True)
        while (beat := store.last_beat(first.nonce)) is None or beat.count < 4:  # longer than its lease
            with pytest.raises(ConflictError) as caught:
                engine.resume("run-0")
            assert caught.value.kind == "run.owned"
        store.close()
        gate.touch()
        assert process.communicate("\n")[0] == "run-0 completed\n"


def test_a_living_owner_whose_loop_is_held_up_for_longer_than_its_lease_keeps_its_run(tmp_path: Path) -> None:
    path, gate = tmp_path / "runs.db", tmp_path / "gate"
    bodies = dict.fromkeys(owner.BODIES, lambda: "of the second owner")
    with holding("block", path, 0.6, gate) as process, Engine(path, functions=bodies) as engine:
        (row,) = engine.list(owned=True)
        assert row.owner is not None
        store = SqliteStore(path, readonly=True)
        while (beat := store.last_beat(row.owner.nonce)) is None or beat.count < 8:  # more than two leases
            assert engine.recover().taken == []
            with pytest.raises(ConflictError) as caught:
                engine.resume("run-0")
            assert caught.value.kind == "run.owned"
        assert store.row("run-0") == row, "nothing was written meanwhile: the loop was held up"
        store.close()
        gate.touch()
        assert process.communicate("\n")[0] == "run-0 completed\n"
        step = engine.get("run-0").steps["a"]
        assert (step.output, step.attempt) == ("of the first owner", 1)
        assert engine.rejected("run-0") == []
