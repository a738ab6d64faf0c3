"""G1, G3: real processes that SIGKILL themselves at a chosen write or inside a body, on a real file.

The oracle is outside: every body appends its step and attempt to a file. `test_boundaries.py` visits every write
of every workflow in one process; this samples them with processes that really die.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.stores.sqlite import SqliteStore
from tests.crash.scenarios import RUN_ID, SCENARIOS
from tests.engine.harness import check_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

ROOT = Path(__file__).resolve().parents[2]
#: Workflows whose writes are the same in every execution of the process.
NAMES = sorted(set(SCENARIOS) - {"commands", "pause", "cancel"})


class Site:
    """A store, the effects of the bodies, and the processes that come and go."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "runs.db"
        self.effects = folder / "effects.txt"
        self.effects.touch()

    def process(self, scenario: str, write: int = 0, when: str = "before", body: str = "-") -> Any:
        """What the process printed; None if it died, as it then must, by SIGKILL."""
        words = [self.store, scenario, write, when, body, self.effects]
        command = [sys.executable, str(ROOT / "tests" / "crash" / "child.py"), *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == -signal.SIGKILL:
            return None
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def bodies(self, step: str) -> list[int]:
        """The attempts of a step whose bodies began."""
        lines = self.effects.read_text(encoding="utf-8").splitlines()
        assert max(Counter(lines).values(), default=1) == 1, "the body of one attempt began twice"
        return [int(line.split()[1]) for line in lines if line.split()[0] == step]

    def journal(self, step: str | None = None) -> list[str]:
        """The kinds of the run's records, or of those of one step, after a check of the whole."""
        store = SqliteStore(self.store)
        try:
            if store.row(RUN_ID) is None:
                return []
            check_run(store, RUN_ID)
            return [record.kind for record in store.records(RUN_ID) if step in (None, record.step)]
        finally:
            store.close()


@cache
def undisturbed(folder: Path, name: str) -> Any:
    folder.mkdir()
    return Site(folder).process(name)


@pytest.mark.parametrize(
    "rounds",
    [5, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=lambda rounds: f"{rounds} rounds",
)
def test_a_process_that_dies_at_a_random_write_is_followed_by_one_that_ends_the_run_as_if_it_had_not(
    tmp_path: Path, rounds: int
) -> None:
    rng = random.Random(f"processes {rounds}")
    for number in range(rounds):
        name = rng.choice(NAMES)
        expected, writes = undisturbed(tmp_path / f"undisturbed-{name}", name)
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder)
        deaths: list[tuple[int, str]] = []
        while True:
            point = (rng.randint(1, writes), rng.choice(["before", "after"])) if len(deaths) < 2 else (0, "before")
            found = site.process(name, *point)
            site.journal()
            if found is not None:
                break
            deaths.append(point)
        assert found[0] == expected, f"{name} differs after deaths at {deaths}"


# --- the kill table: the second step of a chain. Its records are in these writes: 1 creates the run and starts s0,
# --- 2 completes s0 and starts s1, 3 completes s1 and starts s2.

KILL_TABLE: dict[str, tuple[dict[str, Any], list[int], list[str]]] = {
    "K0 before its start is kept": ({"write": 2}, [1], ["start", "complete"]),
    "K1 its start is kept, its body has not begun": (
        {"write": 2, "when": "after"},
        [2],
        ["start", "interrupt", "start", "complete"],
    ),
    "K2 inside its body": ({"body": "s1"}, [1, 2], ["start", "interrupt", "start", "complete"]),
    "K3 its body has ended, its completion is not kept": (
        {"write": 3},
        [1, 2],
        ["start", "interrupt", "start", "complete"],
    ),
    "K4 its completion is kept": ({"write": 3, "when": "after"}, [1], ["start", "complete"]),
}


@pytest.mark.parametrize("point", KILL_TABLE)
@pytest.mark.parametrize(
    "rounds",
    [1, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=lambda rounds: f"{rounds} rounds",
)
def test_the_kill_table(tmp_path: Path, point: str, rounds: int) -> None:
    where, attempts, journal = KILL_TABLE[point]
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder)
        assert site.process("linear", **where) is None
        found = site.process("linear")
        assert found[0]["state"] == "completed"
        assert site.bodies("s1") == attempts
        assert site.journal("s1") == [f"step.{kind}" for kind in journal]


@pytest.mark.parametrize(("when", "records"), [("before", 0), ("after", 3)])
def test_a_process_that_dies_in_its_start_leaves_no_run_or_a_whole_one(tmp_path: Path, when: str, records: int) -> None:
    site = Site(tmp_path)
    assert site.process("linear", 1, when) is None
    assert len(site.journal()) == records
    assert site.bodies("s0") == []
    assert site.process("linear")[0]["state"] == "completed"
    assert site.bodies("s0") == [1 if when == "before" else 2]


COMMANDS = """
import sys
from statemachine_flow import Engine, Workflow
workflow = Workflow("commands")
for index in range(4):
    workflow.run(f"s{index}", sys.argv[2].replace("STEP", f"s{index}"), needs=[f"s{index - 1}"] if index else None)
with Engine(sys.argv[1]) as engine:
    print(engine.run(workflow, run_id="r").state)
"""
KILL = "[ $SMF_ATTEMPT -gt 1 ] || { kill -9 $PPID; exit; }"
EFFECT = "echo STEP $SMF_ATTEMPT >> effects.txt"


@pytest.mark.parametrize(
    ("command", "attempts"),
    [(f"{EFFECT}; {KILL}", [1, 2]), (f"{KILL}; {EFFECT}", [2])],
    ids=["after its effect", "before its effect"],
)
def test_commands_that_kill_their_engine_once_each_end_in_a_completed_run(
    tmp_path: Path, command: str, attempts: list[int]
) -> None:
    site = Site(tmp_path)
    words = [sys.executable, "-c", COMMANDS, str(site.store), command]
    deaths = 0
    while True:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        site.journal()
        if done.returncode == 0:
            break
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        deaths += 1
    assert (done.stdout, deaths) == ("completed\n", 4)
    for index in range(4):
        assert site.bodies(f"s{index}") == attempts
