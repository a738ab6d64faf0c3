"""The full example of the language: the same in every format, and carried to its end through deaths at each wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.agents import AgentReply, AgentRequest
from statemachine_flow.stores.base import Store
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing import CrashStore, Died, ManualClock
from tests.engine.harness import check_run

CASES = Path(__file__).parents[2] / "dsl/conformance/v1/valid/whole"
RUN = "review-1"


class Kit:
    """The functions and agents of the example, and what they were asked."""

    def __init__(self) -> None:
        self.merged: list[str] = []
        self.posted: list[Any] = []
        self.prompts: list[str] = []
        self.scans: list[str] = []

    def check(self, files: list[str]) -> dict[str, Any]:
        return {"count": len(files)}

    def scan(self, repo: str) -> str:
        self.scans.append(repo)
        return "clean"

    def merge(self, context: smf.StepContext) -> dict[str, str]:
        self.merged.append(context.idempotency_key)
        return {"sha": "abc123"}

    def revert(self, sha: str) -> None:
        raise AssertionError(sha)

    def post(self) -> None:
        self.posted.append("posted")

    async def reviewer(self, request: AgentRequest) -> AgentReply:
        self.prompts.append(request.prompt)
        return AgentReply(json.dumps({"severity": "high", "at": request.context.path}), cost_usd=0.01, tokens=100)

    def functions(self) -> dict[str, Callable[..., Any]]:
        return {
            "reviewkit.lint:check": self.check,
            "reviewkit.git:merge": self.merge,
            "reviewkit.git:revert": self.revert,
            "reviewkit.chat:post": self.post,
            "scan": self.scan,
        }


def scan_workflow() -> smf.Workflow:
    workflow = smf.Workflow("security-scan")
    repo = workflow.input("repo")
    workflow.call("scan", "scan", with_={"repo": repo})
    workflow.output("verdict", workflow["scan"].output)
    return workflow


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "runs.db", durability="process")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Something that `git diff --name-only main` says two names in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    git = folder / "git"
    git.write_text("#!/bin/sh\nprintf 'a.py\\nb.py\\n'\n")
    git.chmod(0o755)
    return folder


class Stage:
    """Processes that work on one run, one after the other."""

    def __init__(self, store: Store, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", f"{repo}:/usr/bin:/bin")
        monkeypatch.setenv("WORK", str(repo / "work"))
        self.store = store
        self.repo = str(repo)
        self.kit = Kit()
        self.clock = ManualClock()

    def process(self, act: Callable[[smf.AsyncEngine], Any]) -> Any:
        """One process does something with the run, and then dies."""

        async def live() -> Any:
            handle = CrashStore(self.store)
            engine = smf.AsyncEngine(
                handle,
                functions=self.kit.functions(),
                agents={"reviewer": self.kit.reviewer},
                workflows={"security-scan": scan_workflow()},
                clock=self.clock,
                pass_env=["WORK"],
            )
            async with asyncio.timeout(30):
                result = await act(engine)
            handle.dead = True
            with contextlib.suppress(Died):
                await engine.close()
            return result

        return asyncio.run(live())

    def resume(self) -> smf.Run:
        found: smf.Run = self.process(lambda engine: engine.resume(RUN))
        return found


@pytest.mark.parametrize("form", ["toml", "yaml"])
def test_the_graph_example_comes_to_its_end_through_a_rejection_and_a_death_at_each_wait(
    store: Store, repo: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    stage = Stage(store, repo, monkeypatch)
    workflow = smf.load(CASES / f"graph.{form}")

    run = stage.process(lambda engine: engine.run(workflow, {"repo": stage.repo}, run_id=RUN))
    assert [(step.path, step.on) for step in run.waiting] == [("approve", "approval")]
    assert run.steps["security"].output == {"verdict": "clean"}

    run = stage.resume()
    assert [step.path for step in run.waiting] == ["approve"]
    stage.process(lambda engine: engine.reject(RUN, "approve", form={"comment": "b.py"}, by="lead", reason="again"))
    run = stage.resume()
    assert [(step.path, step.generation) for step in run.waiting] == [("approve", 2)]
    assert len(stage.kit.prompts) == 4
    with pytest.raises(smf.errors.ConflictError, match="may not decide"):
        stage.process(lambda engine: engine.approve(RUN, "approve", by="intern"))
    stage.process(lambda engine: engine.approve(RUN, "approve", form={"comment": "good"}, by="lead"))
    run = stage.resume()
    assert [(step.path, step.on, step.event, step.key) for step in run.waiting] == [
        ("settle", "event", "ci.done", stage.repo)
    ]

    run = stage.resume()
    stage.process(lambda engine: engine.signal(RUN, "ci.done", {"ok": True}, key=stage.repo, by="ci"))
    run = stage.resume()
    assert (run.state, run.outputs["sha"]) == ("completed", "abc123")
    assert [finding["at"] for finding in run.outputs["findings"]] == ["review[a.py]", "review[b.py]"]
    assert stage.kit.merged == [f"{RUN}/merge"]
    assert stage.kit.scans == [stage.repo]
    assert (stage.kit.posted, run.usage.tokens) == ([], 400)
    assert run.steps["approve"].output["by"] == "lead"
    assert run.steps["@finally/cleanup"].state == "completed"
    assert check_run(store, RUN).state == "completed"


@pytest.mark.parametrize("form", ["toml", "yaml"])
def test_the_states_example_loops_until_it_is_approved(
    store: Store, repo: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    stage = Stage(store, repo, monkeypatch)
    asked: list[str] = []

    def planner(request: AgentRequest) -> str:
        asked.append(request.prompt)
        return f"plan {len(asked)}"

    make = repo / "make"
    make.write_text(f"#!/bin/sh\ntest -e {repo}/built || {{ touch {repo}/built; exit 1; }}\n")
    make.chmod(0o755)
    workflow = smf.load(CASES / f"states.{form}")

    async def process(act: Callable[[smf.AsyncEngine], Any]) -> Any:
        handle = CrashStore(store)
        engine = smf.AsyncEngine(handle, agents={"planner": planner}, clock=stage.clock)
        result = await act(engine)
        handle.dead = True
        with contextlib.suppress(Died):
            await engine.close()
        return result

    def live(act: Callable[[smf.AsyncEngine], Any]) -> Any:
        return asyncio.run(process(act))

    run = live(lambda engine: engine.run(workflow, {"goal": "a house"}, run_id=RUN))
    assert run.steps["gate"].question["prompt"] == "plan 1"
    live(lambda engine: engine.approve(RUN, "gate", choice="edit", form={"feedback": "with a door"}))
    run = live(lambda engine: engine.resume(RUN))
    assert (run.steps["gate"].question["prompt"], run.steps["gate"].generation) == ("plan 2", 2)
    assert asked[1].endswith("Reviewer said: with a door")
    live(lambda engine: engine.approve(RUN, "gate"))
    run = live(lambda engine: engine.resume(RUN))
    assert run.steps["gate"].question["prompt"] == "plan 3"  # the first build failed, which leads back to the plan
    live(lambda engine: engine.approve(RUN, "gate"))
    run = live(lambda engine: engine.resume(RUN))
    assert (run.state, run.steps["build"].output["exit_code"], run.steps["build"].generation) == ("completed", 0, 2)
    assert workflow.plan.machine.get_triggers("gate") == ["plan", "build", "end"]


@pytest.mark.parametrize("name", ["graph", "states"])
def test_every_format_has_the_same_hash(name: str) -> None:
    hashes = {smf.load(CASES / f"{name}.{form}").content_hash for form in ("toml", "yaml", "json")}
    assert len(hashes) == 1
