"""`isolation`: in a thread, on the engine's loop, or in a process whose end is nobody else's."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.engine.view import StepView
from statemachine_flow.errors import DefinitionError
from tests.steps import isolated_functions as functions

posix = pytest.mark.skipif(os.name == "nt", reason="processes of steps need a POSIX system")
PATIENCE = 60.0


def isolated(function: Callable[..., Any], engine: dict[str, Any] | None = None, **options: Any) -> StepView:
    """How a step of one attempt ends that calls a function in a process of its own."""
    workflow = smf.Workflow("isolated")
    workflow.call("step", function, isolation="process", optional=True, **options)
    with smf.Engine("memory://", grace=0.5, **(engine or {})) as opened:
        return opened.run(workflow, run_id="r").steps["step"]


def error_of(step: StepView) -> tuple[str, str, str]:
    assert step.error is not None
    return step.error.kind, step.error.name, step.error.message


# --- in a process


@posix
def test_arguments_and_results_come_across_exactly() -> None:
    workflow = smf.Workflow("isolated")
    values = workflow.call("values", functions.values, isolation="process")
    workflow.call("echo", functions.echo, with_={"value": values.output}, isolation="process")
    with smf.Engine("memory://") as engine:
        steps = engine.run(workflow).steps
    for step in (steps["values"], steps["echo"]):
        assert step.output == functions.values()
        assert [type(value) for value in step.output] == [type(value) for value in functions.values()]


@posix
def test_it_is_another_process_and_another_for_each_attempt() -> None:
    pids = isolated(functions.pid, for_each=[1, 2, 3]).output
    assert len({*pids, os.getpid()}) == 4


@posix
def test_the_context_is_the_attempts() -> None:
    output = isolated(functions.about, for_each={"items": ["x"], "key": "${{ item }}"}).output[0]
    assert output == {
        "run_id": "r",
        "workflow": "isolated",
        "step_id": "step",
        "path": "step[x]",
        "attempt": 1,
        "generation": 1,
        "key": "x",
        "idempotency_key": "r/step[x]",
        "epoch": 1,
        "cancelled": False,
    }


@posix
@pytest.mark.parametrize("function", [functions.wait_a_turn, functions.promise])
def test_what_has_to_be_awaited_is_awaited_there(function: Callable[..., Any]) -> None:
    assert isolated(function, with_={"value": 7}).output == 7


@posix
def test_a_secret_is_in_the_context_and_neither_in_the_arguments_nor_in_the_environment() -> None:
    engine = {"secrets": {"TOKEN": "hush-hush"}}
    output = isolated(functions.where_the_secret_is, engine, secrets=["TOKEN"]).output
    assert output == {"context": True, "argv": False, "environ": False}


@posix
def test_its_logger_is_the_engines_and_what_it_prints_goes_to_stderr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    step = isolated(functions.talk, {"secrets": {"TOKEN": "hush-hush"}}, secrets=["TOKEN"])
    assert step.state == "completed", step.error
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("statemachine_flow.step", "WARNING")
    assert record.getMessage() == "half of it, ***"
    assert (record.__dict__["run"], record.__dict__["step"], record.__dict__["attempt"]) == ("r", "step", 1)
    printed = capfd.readouterr()
    assert (printed.out, "printed" in printed.err) == ("", True)


@posix
def test_an_error_comes_across_with_its_name_bases_text_and_place() -> None:
    step = isolated(
        functions.fail, with_={"message": "low"}, retry={"max_attempts": 2, "delay": "1ms", "retry_on": ["ValueError"]}
    )
    assert error_of(step) == ("step.failed", "TideError", "low")
    assert step.attempt == 2
    assert step.error is not None
    assert step.error.where is not None
    assert step.error.where.endswith(" in fail")
    assert "isolated_functions.py:" in step.error.where


@posix
def test_a_fork_that_comes_back_too_says_nothing() -> None:
    step = isolated(functions.come_back_twice)
    assert (step.state, step.output) == ("completed", "from True")


@posix
def test_an_error_whose_text_is_no_unicode_is_told_as_that_of_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ("step.failed", "FileNotFoundError", "caf?")
    logger, heard = logging.getLogger("statemachine_flow.step"), list[str]()
    # Not by `caplog`: what pytest captures of a log has to be text that can be sent from one process to another.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handle", lambda record: heard.append(record.getMessage()))
    assert error_of(isolated(functions.raise_no_unicode)) == told
    assert heard == ["no such file: caf\udce9"]


@posix
@pytest.mark.parametrize(
    ("function", "kind", "name"),
    [
        (functions.fail_as_step, "step.route", "Lost"),
        (functions.unkeepable, "step.unserializable", "Unserializable"),
        (functools.partial(functions.leave, "raise").func, "step.failed", "SystemExit"),
    ],
)
def test_kinds_of_errors_are_those_of_a_thread(function: Callable[..., Any], kind: str, name: str) -> None:
    options = {"with_": {"how": "raise"}} if function is functions.leave else {}
    assert error_of(isolated(function, **options))[:2] == (kind, name)


@posix
@pytest.mark.parametrize(
    ("how", "said"),
    [("exit", "ended with status 3"), ("kill", "by SIGKILL"), ("segfault", "by SIGSEGV"), ("babble", "no message")],
)
def test_its_death_is_the_end_of_its_attempt_alone(how: str, said: str) -> None:
    workflow = smf.Workflow("isolated")
    workflow.call("dies", functions.leave, with_={"how": how}, isolation="process", optional=True)
    workflow.call("lives", functions.echo, with_={"value": 1}, isolation="process")
    with smf.Engine("memory://") as engine:
        run = engine.run(workflow)
    assert (run.state, run.steps["lives"].output) == ("completed", 1)
    kind, name, message = error_of(run.steps["dies"])
    assert (kind, name) == ("step.died", "ProcessDied")
    assert said in message


@posix
@pytest.mark.parametrize("how", ["return", "raise"])
def test_one_that_closes_the_way_back_dies_without_a_word_and_leaves_files_of_its_own_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    step = isolated(functions.close_all, with_={"place": str(tmp_path / "file"), "first": 3, "how": how})
    assert step.error is not None
    assert (step.error.kind, step.error.name) == ("step.died", "ProcessDied")
    assert "did it close descriptors that it did not open" in step.error.message
    assert (tmp_path / "file").read_bytes() == b""
    assert capfd.readouterr() == ("", "some words")


@posix
def test_one_that_closes_what_it_prints_to_still_tells_what_it_gave(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    step = isolated(functions.close_printing)
    assert (step.state, step.output) == ("completed", 1)
    assert capfd.readouterr() == ("", "")


@posix
def test_a_death_is_tried_again_where_the_policy_says_so(tmp_path: Path) -> None:
    retry = {"max_attempts": 3, "delay": "1ms", "retry_on": ["ProcessDied"]}
    assert isolated(functions.die_once, with_={"place": str(tmp_path / "x")}, retry=retry).output == 2


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


@posix
@pytest.mark.parametrize("function", [functions.hang, functions.hang_on, functions.tidy])
def test_one_that_takes_too_long_is_dead_with_all_it_started_when_that_is_told(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    """The timeout comes by the engine's own clock once the function has said that it began."""
    clock, place = smf.testing.ManualClock(), tmp_path / "pids"
    workflow = smf.Workflow("isolated")
    workflow.call("step", function, with_={"place": str(place)}, isolation="process", timeout=5)
    with smf.Engine("memory://", grace=0.5, clock=clock) as engine:
        run_id = engine.start(workflow)
        pids = numbers(place)
        assert all(map(is_running, pids))
        clock.advance(5)
        step = engine.wait(run_id).steps["step"]
        assert error_of(step)[:2] == ("step.timeout", "TimeoutError")
        assert "background" not in error_of(step)[2]
        assert not any(map(is_running, pids))
        assert engine.abandoned == 0
    if function is functions.tidy:
        assert place.with_suffix(".tidy").read_text(encoding="ascii") == "cancel"


@posix
def test_one_that_left_a_thread_ends_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Python waits for that thread, and is asked to end meanwhile."""
    clock, place = smf.testing.ManualClock(), tmp_path / "pids"
    workflow = smf.Workflow("isolated")
    workflow.call("step", functions.leave_a_thread, with_={"place": str(place)}, isolation="process", timeout=5)
    with smf.Engine("memory://", grace=5, clock=clock) as engine:
        run_id = engine.start(workflow)
        pids = numbers(place)
        clock.advance(5)
        assert error_of(engine.wait(run_id).steps["step"])[0] == "step.timeout"
        assert not any(map(is_running, pids))
    assert capfd.readouterr().err == ""


def numbers(place: Path) -> list[int]:
    """What a function wrote, once it is whole."""
    wait = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if place.exists() and len(found := place.read_text(encoding="ascii").split()) == 2:
            return [int(number) for number in found]
        wait.wait(0.01)
    raise AssertionError("the function never began")


@posix
def test_a_cancelled_run_ends_it(tmp_path: Path) -> None:
    place = tmp_path / "pids"
    workflow = smf.Workflow("isolated")
    workflow.call("step", functions.hang, with_={"place": str(place)}, isolation="process")
    with smf.Engine("memory://", grace=5) as engine:
        run_id = engine.start(workflow)
        pids = numbers(place)
        assert engine.cancel(run_id).steps["step"].state == "cancelled"
        assert not any(map(is_running, pids))


@posix
def test_a_function_of_the_script_itself_is_found(tmp_path: Path) -> None:
    script = tmp_path / "tides.py"
    script.write_text(
        "import os\nfrom statemachine_flow import Engine, Workflow\n"
        "def pid(): return os.getpid()\n"
        "workflow = Workflow('w')\nworkflow.call('pid', pid, isolation='process')\n"
        "if __name__ == '__main__':\n"
        "    with Engine('memory://') as engine:\n"
        "        print(engine.run(workflow).steps['pid'].output != os.getpid())\n",
        encoding="ascii",
    )
    command = [sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("True\n", "")


def local() -> Callable[[], int]:
    def inside() -> int:
        return 1

    return inside


@pytest.mark.parametrize(
    "function",
    [lambda: 1, local(), functools.partial(functions.pid), [].copy],
    ids=["lambda", "local", "partial", "method"],
)
def test_what_cannot_be_imported_is_refused_before_the_run_begins(function: Callable[..., Any]) -> None:
    workflow = smf.Workflow("isolated")
    workflow.call("step", function, isolation="process")
    with smf.Engine("memory://") as engine:
        with pytest.raises(DefinitionError) as caught:
            engine.run(workflow)
        assert engine.list() == []
    (problem,) = caught.value.problems
    assert (problem.kind, problem.path) == ("definition.callable", "steps.step.call")
    assert "a process of its own" in problem.message
    assert problem.hint is not None


# --- inline


def test_an_inline_function_is_called_on_the_loop_and_another_in_a_thread() -> None:
    async def main() -> None:
        async with smf.AsyncEngine("memory://") as engine:
            run = await engine.run(workflow)
        here = threading.get_ident()
        assert (run.steps["inline"].output == here, run.steps["thread"].output == here) == (True, False)

    workflow = smf.Workflow("inline")
    workflow.call("inline", threading.get_ident, isolation="inline")
    workflow.call("thread", threading.get_ident, isolation="thread")
    asyncio.run(main())


@pytest.mark.parametrize(
    "error", [KeyError("k"), SystemExit(3), KeyboardInterrupt(), StopIteration(5), asyncio.CancelledError()]
)
def test_whatever_an_inline_function_raises_is_the_outcome_of_its_attempt(error: BaseException) -> None:
    def fail() -> None:
        raise error

    workflow = smf.Workflow("inline")
    workflow.call("step", fail, isolation="inline", optional=True)
    workflow.call("other", functions.wait_a_turn, with_={"value": 3}, isolation="inline")
    with smf.Engine("memory://") as engine:
        run = engine.run(workflow)
    assert error_of(run.steps["step"])[:2] == ("step.failed", type(error).__name__)
    assert run.steps["other"].output == 3
