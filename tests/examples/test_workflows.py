"""Every document of the examples is proven, and every example carried to its end: undisturbed, and through deaths."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

import statemachine_flow as smf
from tests.examples.actor import engine_of, workflow_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DOCUMENTS = sorted(
    path.relative_to(EXAMPLES).as_posix()
    for path in EXAMPLES.rglob("*")
    if path.suffix in {".toml", ".yaml", ".yml", ".json"}
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")


@attrs.frozen
class Example:
    """How an example goes."""

    inputs: Mapping[str, Any]
    #: What a person answers, one after the other.
    answers: Sequence[Mapping[str, Any]]
    state: str
    outputs: Mapping[str, Any]
    #: Files it leaves behind, under the directory of the run.
    files: Mapping[str, str]
    #: Where it is killed: the kind of a record, and its step.
    deaths: Sequence[tuple[str, str]]


WEATHER = """# The weather

| station | mean, celsius |
|---|--:|
| oslo | -1.8 |
| cairo | 22.8 |

| station | mean, fahrenheit |
|---|--:|
| oslo | 28.7 |
| cairo | 73.1 |

| station | highest, celsius |
|---|--:|
| oslo | 1.0 |
| cairo | 27.0 |

| station | highest, fahrenheit |
|---|--:|
| oslo | 33.8 |
| cairo | 80.6 |

Missing: nowhere
"""
CODE = 'def double(number):\n    """Twice the number."""\n    return 2 * number\n'

GOES = {
    "deployment.toml": Example(
        {"server": "server"},
        [{"form": {"note": "fine"}, "by": "lead"}],
        "completed",
        {"version": "1.1.0", "before": "nothing", "note": "fine"},
        {"server/current.txt": "1.1.0"},
        [("step.complete", "test"), ("step.start", "migrate"), ("step.start", "switch"), ("run.unwind", "")],
    ),
    "deployment.toml, undone": Example(
        {"server": "server", "healthy": False},
        [{}],
        "failed",
        {},
        {"server/current.txt": "nothing"},
        [("step.start", "@compensate/switch"), ("step.start", "@on_failure/tell")],
    ),
    "deployment.toml, refused": Example(
        {"server": "server"}, [{"choice": "reject", "reason": "not today"}], "failed", {}, {}, [("step.fail", "agree")]
    ),
    "data_pipeline.yaml": Example(
        {"stations": ["oslo", "nowhere", "cairo"], "page": "weather.md"},
        [],
        "completed",
        {"missing": ["nowhere"], "stations": ["oslo", "cairo"]},
        {"weather.md": WEATHER},
        [("step.reset", "order"), ("step.back_off", "fetch[cairo]"), ("step.wait", "clean[cairo]")],
    ),
    "children/clean.yaml": Example(
        {"station": "oslo", "readings": [1.5, None, 400]},
        [],
        "completed",
        {"station": "oslo", "readings": [1.5], "dropped": 2},
        {},
        [("step.start", "possible")],
    ),
    "agent_loop.py": Example(
        {},
        [{"choice": "change", "form": {"wish": "Test it."}}, {"choice": "build"}],
        "completed",
        {"code": CODE, "rounds": 2},
        {},
        [("step.wait", "agree"), ("step.start", "check"), ("step.reset", "build")],
    ),
    "agent_loop.py, stopped": Example({}, [{"choice": "stop"}], "completed", {"code": None, "rounds": 0}, {}, []),
}
#: Carried out and killed by `test_code_review.py`, by `tests/docs/test_transcript.py`, and by `test_demo.py`.
ELSEWHERE = {"code_review.toml", "code_review.yaml", "code_review.py", "hello.toml", "transcript.py", "demo.py"}
CASES = [(name, death) for name, example in GOES.items() for death in (None, *example.deaths)]


@pytest.mark.parametrize("name", [*DOCUMENTS, "agent_loop.py"])
def test_it_is_without_warnings_and_proven(name: str) -> None:
    workflow = workflow_of(name)
    proof = smf.prove(workflow)

    assert workflow.warnings == ()
    assert (proof.method, [one.name for one in proof.properties if not one.holds]) == ("exhaustive", [])


@pytest.mark.parametrize(("name", "death"), CASES, ids=[f"{name}-{death and '_'.join(death)}" for name, death in CASES])
def test_it_goes_to_its_end_wherever_it_is_killed(
    name: str, death: tuple[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = GOES[name]
    carried = Carried(name.partition(",")[0], example, tmp_path)
    run = carried.to_the_end(death)

    assert run.state == example.state, run.error
    assert {name: run.outputs.get(name) for name in example.outputs} == example.outputs
    assert {path: Path(path).read_text(encoding="utf-8") for path in example.files} == example.files
    assert carried.deaths == (death is not None)
    if death is not None:
        assert carried.twice() == []


class Carried:
    """One run of an example, carried on by one engine after the other."""

    def __init__(self, name: str, example: Example, folder: Path) -> None:
        self.name = name
        self.example = example
        self.store = str(folder / "runs.db")
        self.folder = folder
        self.deaths = 0

    def to_the_end(self, death: tuple[str, str] | None) -> smf.Run:
        answers = iter(self.example.answers)
        while True:
            if death is not None and not self.deaths:
                self.until(death)
            run = self.on()
            if not run.waiting:
                assert list(answers) == []
                return run
            with engine_of(self.store) as engine:
                engine.approve("r", run.waiting[0].path, **next(answers))

    def on(self) -> smf.Run:
        """As far as it waits or ends."""
        with engine_of(self.store) as engine:
            return engine.run(workflow_of(self.name), self.example.inputs, run_id="r")

    def until(self, death: tuple[str, str]) -> None:
        """The same in a process of its own, which dies at that record if it comes."""
        command = [sys.executable, str(Path(__file__).with_name("actor.py")), self.name, "r", self.store]
        done = subprocess.run(
            [*command, json.dumps(self.example.inputs), *death],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLES)])},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        self.deaths += done.returncode == -signal.SIGKILL
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr

    def twice(self) -> list[str]:
        """Steps that began again although nothing had reset them since they completed."""
        done: set[str | None] = set()
        again = []
        with engine_of(self.store) as engine:
            events = engine.events("r")
        for event in events:
            if event.kind == "step.start" and event.step in done:
                again.append(str(event.step))
            if event.kind in {"step.complete", "step.reset"}:
                (done.add if event.kind == "step.complete" else done.discard)(event.step)
        return again


# --- what is particular about them


def run_of(name: str, tmp_path: Path, **inputs: Any) -> tuple[smf.Run, smf.Engine]:
    engine = engine_of(str(tmp_path / "runs.db"))
    return engine.run(workflow_of(name), inputs, run_id="r"), engine


def server_log(tmp_path: Path) -> list[str]:
    return [line.partition(": ")[2] for line in (tmp_path / "server/log.txt").read_text(encoding="utf-8").splitlines()]


def test_a_deployment_that_fails_is_undone_in_reverse_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, engine = run_of("deployment.toml", tmp_path, server="server", version="2.0", healthy=False)
    with engine:
        engine.approve("r", "agree")
        run = engine.wait("r")

    assert run.state == "failed"
    assert server_log(tmp_path) == [
        "migrated to 2.0",
        "switched from nothing to 2.0",
        "switched from 2.0 to nothing",
        "migrated back from 2.0",
        "not deployed: step 'check' failed: 2.0 does not answer",
    ]
    assert sorted(path.name for path in (tmp_path / "server").iterdir()) == ["current.txt", "log.txt"]


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_migration_that_was_cut_off_is_looked_for_before_it_begins_again(
    took_effect: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    carried = Carried("deployment.toml", GOES["deployment.toml"], tmp_path)
    carried.on()
    with engine_of(carried.store) as engine:
        engine.approve("r", "agree")
    carried.until(("step.start", "migrate"))
    log = tmp_path / "server/log.txt"
    log.write_text("r/migrate attempt 1: migrated to 1.1.0\n" if took_effect else "", encoding="utf-8")
    run = carried.on()

    assert (run.state, run.steps["migrate"].attempt) == ("completed", 1 if took_effect else 2)
    assert server_log(tmp_path) == ["migrated to 1.1.0", "switched from nothing to 1.1.0"]


def test_a_pipeline_with_too_many_missing_stations_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, engine = run_of("data_pipeline.yaml", tmp_path, stations=["oslo", "a", "b"])
    engine.close()

    assert run.error is not None
    assert run.error.message == "step 'fetch' failed: 2 of 3 items failed; first 'fetch[a]': there is no station 'a'"


def test_the_stations_of_a_pipeline_are_cleaned_in_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, engine = run_of("data_pipeline.yaml", tmp_path, stations=["oslo", "rome"])
    with engine:
        children = {path: engine.get(child) for path, child in run.children.items()}

    assert {path: (child.workflow, child.outputs["dropped"]) for path, child in children.items()} == {
        "clean[oslo]": ("clean", 1),
        "clean[rome]": ("clean", 1),
    }


def talk(said: str, folder: Path) -> tuple[int, str]:
    """The exit status and the output of `agent_loop.py` for somebody who types this."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "agent_loop.py")],
        cwd=folder,
        input=said,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_agent_loop_waits_for_whoever_comes_back(tmp_path: Path) -> None:
    first = talk("Test it.\n", tmp_path)
    second = talk("\n", tmp_path)

    assert first[0] == 8
    assert first[1].count("Build this?") == 2
    assert first[1].endswith("The run agent-loop waits; the same command goes on with it.\n")
    assert second[0] == 0
    assert "Build this?\n1. Write it.\n2. Test it.\n" in second[1]
    assert second[1].endswith(f"{CODE}\nafter 2 rounds, for $0.06\n")


def test_the_agent_loop_can_be_stopped(tmp_path: Path) -> None:
    assert talk("stop\n", tmp_path)[1].endswith("nothing\nafter 0 rounds, for $0.01\n")


# --- nothing is left out


def test_every_file_of_the_examples_is_executed_or_checked() -> None:
    """A new document is proven above by itself; how it goes, somebody has to say."""
    files = {
        path.relative_to(EXAMPLES).as_posix(): path.read_text(encoding="utf-8")
        for path in EXAMPLES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    carried = ELSEWHERE | {name.partition(",")[0] for name in GOES}
    modules = {name for name in files if name.endswith(".py")} - carried
    unused = [name for name in modules if not is_used(name, files)]

    assert [name for name in DOCUMENTS if name not in carried] == [], "say in GOES how the document goes"
    assert unused == [], "no example uses the module"
    assert files.keys() - set(DOCUMENTS) - modules - carried == {"README.md"}  # tests/docs checks its fences


def is_used(module: str, files: Mapping[str, str]) -> bool:
    """Whether another file imports the module, or names a function of it."""
    name = module.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]
    use = re.compile(rf"\b{name}[:.]\w|\b{name} import |\bimport .*\b{name}\b")
    return any(use.search(text) for other, text in files.items() if other != module)
