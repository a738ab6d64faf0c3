"""What an engine that was killed left running has ended before the step begins again (G23)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import statemachine_flow as smf
from statemachine_flow.errors import ConflictError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others hide the environment of `sh` and `sleep`")

PATIENCE = 60.0

#: The first attempt writes who it and what it started are, and sleeps; the next looks whether any of them is alive.
BODY = """
if [ $SMF_ATTEMPT -gt 1 ]; then ps -o stat= -p $(tr '\\n' , < pids)0 | grep -v Z > alive; exit 0; fi
START
echo $$ >> pids
exec sleep 600
"""
PLAIN = "sleep 600 & echo $! >> pids"
#: In a session, and so a group, of its own.
ESCAPE = "import os; os.setsid(); print(os.getpid(), flush=True); os.execvp('sleep', ['sleep', '600'])"
ESCAPED = f'"{sys.executable}" -c "{ESCAPE}" >> pids &'

PROGRAM = """
import sys
import statemachine_flow as smf
from tests.crash.test_orphans import workflow_of
if __name__ == "__main__":
    with smf.Engine("runs.db", grace=0.5) as engine:
        print(engine.run(workflow_of(sys.argv[1], sys.argv[2]), run_id="r").state)
"""


def sleeper(context: smf.StepContext, start: str) -> None:
    """A function that has a shell do what a command would do."""
    environment = os.environ | {"SMF_ATTEMPT": str(context.attempt)}
    subprocess.run(["/bin/sh", "-c", BODY.replace("START", start)], env=environment, check=False)


def workflow_of(verb: str, start: str) -> smf.Workflow:
    """A workflow with one step that never ends in its first attempt."""
    workflow = smf.Workflow(verb)
    if verb == "call":
        workflow.call("step", sleeper, with_={"start": start}, isolation="process")
    elif verb == "child":
        inner = smf.Workflow("inner")
        inner.run("step", ["/bin/sh", "-c", BODY.replace("START", start)])
        workflow.child("step", inner)
    else:
        workflow.run("step", ["/bin/sh", "-c", BODY.replace("START", start)])
    return workflow


def begin(folder: Path, verb: str, start: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, verb, start]
    with (folder / "stderr").open("ab") as errors:  # a file: what outlives the engine has it, too
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)


def pids_in(place: Path) -> list[int]:
    """Two numbers, once they are there."""
    wait = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if place.exists() and len(found := place.read_text(encoding="ascii").split()) == 2:
            return [int(number) for number in found]
        wait.wait(0.01)
    raise AssertionError("the step never began")


def is_alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


@pytest.mark.parametrize("verb", ["run", "call", "child"])
@pytest.mark.parametrize("start", [PLAIN, ESCAPED], ids=["plain", "escaped"])
def test_nothing_of_the_attempt_that_was_cut_off_lives_when_the_next_begins(
    tmp_path: Path, verb: str, start: str
) -> None:
    engine = begin(tmp_path, verb, start)
    pids = pids_in(tmp_path / "pids")
    engine.kill()
    engine.communicate(timeout=PATIENCE)
    with subprocess.Popen(["sleep", "600"], env=os.environ | {"SMF_MARK": "somebody:r"}) as stranger:
        try:
            assert all(map(is_alive, pids))
            out, _ = begin(tmp_path, verb, start).communicate(timeout=PATIENCE)
            assert out == "completed\n", (tmp_path / "stderr").read_text(encoding="utf-8")
            assert (tmp_path / "alive").read_text(encoding="ascii") == ""
            assert not any(map(is_alive, pids))
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_run_that_is_cancelled_after_the_death_of_its_engine_leaves_nothing_running(tmp_path: Path) -> None:
    engine = begin(tmp_path, "run", PLAIN)
    pids = pids_in(tmp_path / "pids")
    engine.kill()
    engine.communicate(timeout=PATIENCE)
    with smf.Engine(tmp_path / "runs.db", grace=0.5) as opened:
        assert opened.cancel("r").state == "cancelled"
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("take_over", [False, True])
def test_another_process_that_is_refused_the_run_ends_nothing_of_it(tmp_path: Path, take_over: bool) -> None:
    engine = begin(tmp_path, "run", PLAIN)
    pids = pids_in(tmp_path / "pids")
    with smf.Engine(tmp_path / "runs.db", grace=0.5) as opened:
        before = opened.events("r"), opened.get("r").owner
        with pytest.raises(ConflictError) as caught:
            opened.resume("r", take_over=take_over)
        assert caught.value.kind == "run.owned"
        assert opened.recover().taken == []
        assert (opened.events("r"), opened.get("r").owner) == before
    assert all(map(is_alive, pids))
    engine.send_signal(signal.SIGINT)
    engine.communicate(timeout=PATIENCE)
    assert not any(map(is_alive, pids))
