"""A step that kills its process is begun so often and no more (G12), and the other runs of the store finish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import statemachine_flow as smf

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process that kills itself needs POSIX")

PROGRAM = """
import functools, json, os, signal, sys
import statemachine_flow as smf

def note(context):
    with open("effects.txt", "a") as file:
        file.write(f"{context.run_id} {context.path}\\n")

def work(context: smf.StepContext):
    note(context)

def deadly(context: smf.StepContext):
    note(context)
    os.kill(os.getpid(), signal.SIGKILL)

def workflow(run_id):
    made = smf.Workflow("deadly" if run_id == "r30" else "fine")
    made.call("first", functools.partial(work))
    made.call("second", functools.partial(deadly if run_id == "r30" else work), needs=["first"])
    made.call("last", functools.partial(work), needs=["second"])
    return made

with smf.Engine("runs.db", **json.loads(sys.argv[1])) as engine:
    for number in range(100):
        engine.run(workflow(f"r{number}"), run_id=f"r{number}")
"""


def process(folder: Path, **options: int | None) -> int:
    """One process that carries all runs as far as they go; its exit status."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


def executions(folder: Path) -> Counter[str]:
    return Counter((folder / "effects.txt").read_text(encoding="ascii").splitlines())


def test_a_step_that_kills_its_process_is_executed_three_times_and_99_other_runs_finish(tmp_path: Path) -> None:
    deaths = 0
    while process(tmp_path) != 0:
        deaths += 1
        assert deaths <= 3
    done = executions(tmp_path)
    assert (deaths, done.pop("r30 second")) == (3, 3)
    assert set(done.values()) == {1}
    assert len(done) == 3 * 99 + 1
    with smf.Engine(tmp_path / "runs.db") as engine:
        runs = {row.id: str(row.state) for row in engine.list(limit=200)}
        assert Counter(runs.values()) == {"completed": 99, "quarantined": 1}
        run = engine.get("r30")
        events = [event.kind for event in engine.events("r30") if event.step == "second"]
        assert engine.get("r30").reason == (
            "poison: second: its process died 3 times in a row while the step was under way"
        )
    second = run.steps["second"]
    assert second.error is not None
    assert (second.state, second.error.kind, second.error.name) == ("failed", "step.poison", "Poison")
    assert run.steps["last"].state == "pending"
    assert events == [*["step.start", "step.interrupt"] * 3, "step.fail"]


@pytest.mark.parametrize(("after", "deaths"), [(1, 1), (None, 5)])
def test_how_often_is_up_to_the_engine(tmp_path: Path, after: int | None, deaths: int) -> None:
    codes = [process(tmp_path, poison_after=after) for _ in range(5)]
    assert codes == [-signal.SIGKILL] * deaths + [0] * (5 - deaths)
    assert executions(tmp_path)["r30 second"] == deaths


def test_the_command_line_can_say_it_too(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(
        'dsl = "1"\nname = "w"\n'
        'steps.a = { run = "echo $SMF_ATTEMPT >> tries; [ $SMF_ATTEMPT -gt 4 ] || kill -9 $PPID" }\n',
        encoding="ascii",
    )

    def smf_command(*words: str) -> int:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "statemachine_flow", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode

    codes = [smf_command("run", "w.toml", "--run-id", "r")]
    codes += [smf_command("resume", "r", "--poison-after", "0") for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 4 + [0]

    codes = [smf_command("run", "w.toml", "--run-id", "s", "--poison-after", "2")]
    codes += [smf_command("resume", "s", "--poison-after", "2") for _ in range(2)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 1]
    assert smf_command("resume", "s") == 5
