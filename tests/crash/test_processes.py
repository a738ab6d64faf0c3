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

import apsw
import pytest

from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.sqlite import SqliteStore
from tests.crash.scenarios import SCENARIOS
from tests.crash.scene import RUN_ID
from tests.engine.harness import check_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

ROOT = Path(__file__).resolve().parents[2]
#: Workflows whose end does not depend on how far they are when they are told to stop.
NAMES = sorted(set(SCENARIOS) - {"commands", "pause", "cancel", "paused_parent"})


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

    def journal(self, step: str | None = None, run_id: str = RUN_ID) -> list[str]:
        """The kinds of the run's records, or of those of one step, after a check of every run."""
        store = SqliteStore(self.store)
        try:
            for row in store.rows(RunFilter()):
                check_run(store, row.id)
            return [record.kind for record in store.records(run_id) if step in (None, record.step)]
        finally:
            store.close()

    def counted(self) -> list[str]:
        """The steps whose transactions are there."""
        connection = apsw.Connection(str(self.store), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return [step for (step,) in connection.execute("SELECT step FROM counter ORDER BY rowid")]
        except apsw.SQLError:  # there is no such table yet
            return []
        finally:
            connection.close()


@cache
def undisturbed(folder: Path, name: str) -> Any:
    folder.mkdir()
    return Site(folder).process(name)


@pytest.mark.parametrize(
    "rounds",
    [8, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
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
with Engine(sys.argv[1], poison_after=None) as engine:
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


def test_a_process_that_dies_inside_a_child_run_is_followed_by_one_that_goes_on_with_that_child(tmp_path: Path) -> None:
    site = Site(tmp_path)
    deep = "r.one.below:deep"
    assert site.process("children", body=deep) is None
    found = site.process("children")
    assert found[0]["state"] == "completed"
    assert site.bodies(deep) == [1, 2]
    assert site.journal("deep", "r.one.below") == [
        f"step.{kind}" for kind in ("start", "interrupt", "start", "complete")
    ]
    assert site.journal("one") == site.journal("below", "r.one") == ["step.start", "step.wait", "step.complete"]
    store = SqliteStore(site.store)
    assert sorted(row.id for row in store.rows(RunFilter()) if row.id.startswith("r.one")) == ["r.one", "r.one.below"]
    store.close()


# --- a person's decision


WAITING = """
import sys
from statemachine_flow import Engine, Workflow
workflow = Workflow("waiting")
first = workflow.run("first", "echo first $SMF_ATTEMPT >> effects.txt")
workflow.approval("gate", "Go on?", needs=[first])
workflow.run("last", "echo last $SMF_ATTEMPT >> effects.txt", needs=["gate"])
with Engine(sys.argv[1], poison_after=None) as engine:
    say = lambda event: print(event.kind, event.step, flush=True)
    print(engine.run(workflow, run_id="r", until="rest", on_event=say).state, flush=True)
"""


class Desk(Site):
    """A workflow that waits for a decision, in a process of its own, and the shell of the person who decides."""

    def begin(self) -> subprocess.Popen[str]:
        """A process that waits; it never ends by itself before somebody decides."""
        words = [sys.executable, "-c", WAITING, str(self.store)]
        return subprocess.Popen(words, cwd=self.store.parent, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def until(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdout is not None
        assert any(found.strip() == line for found in process.stdout), f"{line} never came"

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL

    def smf(self, *words: str, exits: int = 0) -> None:
        command = [sys.executable, "-m", "statemachine_flow", *words, "--db", str(self.store)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env=environment, cwd=self.store.parent, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == exits, done.stdout + done.stderr

    def check(self) -> None:
        assert self.bodies("first") == self.bodies("last") == [1]
        assert self.journal("gate") == ["step.start", "step.wait", "step.complete"]


@pytest.mark.parametrize("order", ["approve, resume", "resume, approve, resume", "resume killed, approve, resume"])
def test_a_run_that_is_killed_while_it_waits_for_a_person_waits_on_in_the_next_process(
    tmp_path: Path, order: str
) -> None:
    desk = Desk(tmp_path)
    process = desk.begin()
    desk.until(process, "step.wait gate")
    desk.kill(process)
    if order.startswith("resume killed"):
        process = desk.begin()
        process.kill()
        process.communicate(timeout=60)
    elif order.startswith("resume"):
        desk.smf("resume", "r", exits=8)
    desk.smf("approve", "r", "gate", "--by", "ann")
    desk.smf("resume", "r")
    desk.check()


@pytest.mark.parametrize("line", ["step.complete gate", "step.start last", "step.complete last"])
def test_a_decision_that_a_living_process_was_told_of_survives_its_death(tmp_path: Path, line: str) -> None:
    """The decision is made in another process, and kept whether or not its owner has heard of it."""
    desk = Desk(tmp_path)
    process = desk.begin()
    desk.until(process, "step.wait gate")
    desk.smf("approve", "r", "gate", "--by", "ann")
    desk.until(process, line)
    desk.kill(process)
    desk.smf("status", "r")
    if "run.complete" not in desk.journal():
        desk.smf("resume", "r")
    assert desk.bodies("first") == [1]
    assert desk.bodies("last") in ([1], [1, 2], [2])
    assert desk.journal("gate") == ["step.start", "step.wait", "step.complete"]
    assert desk.journal()[-1] == "run.complete"


# --- a loop of commands

ITEMS = """
import sys
from statemachine_flow import Engine, Workflow
workflow = Workflow("items")
workflow.input("killers")
items = {"items": list(range(30)), "max_parallel": 4}
effect = "echo ${{ index }} $SMF_ATTEMPT >> effects.txt"
kill = "case ' ${{ raw(inputs.killers) }} ' in *' '${{ index }}' '*) " + sys.argv[3] + ";; esac"
each = workflow.run("each", f"{effect}; {kill}", for_each=items)
workflow.output("n", "${{ len(steps.each.output) }}")
with Engine(sys.argv[1], poison_after=None) as engine:
    say = lambda event: print(event.kind, event.step, flush=True)
    print(engine.run(workflow, {"killers": sys.argv[2]}, run_id="r", on_event=say).outputs, flush=True)
"""


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(seed, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]) for seed in range(1, 21))],
)
def test_no_item_of_a_loop_that_was_reported_complete_runs_again(tmp_path: Path, seed: int) -> None:
    """Five items kill their engine in their first attempt, with others of them under way."""
    site, rng = Site(tmp_path), random.Random(f"items {seed}")
    killers = " ".join(map(str, rng.sample(range(30), 5)))
    words = [sys.executable, "-c", ITEMS, str(site.store), killers, KILL]
    reported: dict[str, list[int]] = {}
    deaths = 0
    while True:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        site.journal()
        for item, attempts in reported.items():
            assert site.bodies(item) == attempts, f"item {item} ran again"
        completed = [line for line in done.stdout.splitlines() if line.startswith("step.complete each[")]
        reported |= {item: site.bodies(item) for line in completed if (item := line[len("step.complete each[") : -1])}
        if done.returncode == 0:
            break
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        deaths += 1
    assert done.stdout.endswith("{'n': 30}\n")
    assert 2 <= deaths <= 5  # two of them may be under way together
    assert all(site.bodies(str(item)) for item in range(30))


# --- transactions

COUNTING = """
import functools, os, signal, sys
from statemachine_flow import Engine, StepContext, Workflow
killers = dict(word.split(":") for word in sys.argv[2].split())

def die(context, when):
    if context.attempt == 1 and killers.get(context.path) == when:
        os.kill(os.getpid(), signal.SIGKILL)

def count(connection, context: StepContext):
    die(context, "before")
    connection.execute("CREATE TABLE IF NOT EXISTS counter (step TEXT, attempt INTEGER)")
    connection.execute("INSERT INTO counter VALUES (?, ?)", (context.path, context.attempt))
    die(context, "inside")

def later(event):
    if event.kind == "step.complete" and killers.get(event.step) == "after":
        os.kill(os.getpid(), signal.SIGKILL)

workflow = Workflow("counting")
for index in range(12):
    needs = [f"s{index - 1}"] if index else None
    workflow.call(f"s{index}", functools.partial(count), transaction=True, needs=needs)
with Engine(sys.argv[1], poison_after=None) as engine:
    print(engine.run(workflow, run_id="r", on_event=later).state)
"""


@pytest.mark.parametrize(
    "seed",
    [0, *(pytest.param(seed, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]) for seed in range(1, 21))],
)
def test_a_transaction_is_there_exactly_if_its_step_completed(tmp_path: Path, seed: int) -> None:
    """Killed before the effect, between the effect and the commit, and right after the commit."""
    site, rng = Site(tmp_path), random.Random(f"counting {seed}")
    killers = " ".join(f"s{step}:{rng.choice(['before', 'inside', 'after'])}" for step in rng.sample(range(12), 5))
    words = [sys.executable, "-c", COUNTING, str(site.store), killers]
    deaths = 0
    while True:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert site.counted() == [f"s{index}" for index in range(site.journal().count("step.complete"))]
        if done.returncode == 0:
            break
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        deaths += 1
    assert (done.stdout, len(site.counted())) == ("completed\n", 12)
    assert 2 <= deaths <= 5  # a death after a step is one at the start of the next
