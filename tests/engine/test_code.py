"""G16: a run executes the definition it began with, and is told when the functions it calls are gone or changed.

Real modules on disk; a new engine after `importlib.reload` stands for a new process, and some cases start one.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import DefinitionError
from tests.engine.harness import Driver, Gate, World, add, kinds, states

Write = Callable[[str | None], None]

WORK = """
def first():
    return 1

def second(x):
    return x + 1

def unrelated():
    return 0
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes, rewrites or (None) deletes the module `worksite`, as a deployment does between two processes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str | None) -> None:
        file = tmp_path / "worksite.py"
        sys.modules.pop("worksite", None)
        if text is None:
            file.unlink()
        else:
            file.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("worksite", None)


def paused_between(engine: Driver) -> str:
    """A run of `worksite` that completed its first step and was paused before its second."""
    gate = Gate()
    workflow = Workflow("site")
    first = workflow.call("first", "worksite:first")
    workflow.call("hold", "hold", needs=["first"])
    workflow.call("second", "worksite:second", with_={"x": first.output}, needs=["hold"])
    engine.register("hold", gate.ahold)
    run_id: str = engine.start(workflow)
    gate.begun()
    paused = engine.later("pause", run_id)
    engine.quiet()
    gate.open(1)
    assert paused.result(10).state == "paused"
    return run_id


# --- a definition that names what cannot be called


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("absent:work", "cannot be imported"),
        ("worksite:absent", "no function"),
        ("nobody", "registered"),
        ("os:system", "standard library"),
        ("builtins:eval", "standard library"),
    ],
)
def test_case_22_a_function_that_cannot_be_called_is_told_before_a_run_exists(
    engine: Driver, write: Write, name: str, word: str
) -> None:
    write(WORK)
    workflow = Workflow("wrong")
    workflow.call("a", name)
    workflow.call("b", "worksite:first")
    with pytest.raises(DefinitionError) as caught:
        engine.start(workflow)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.path, caught.value.exit_code) == ("definition.callable", "steps.a.call", 3)
    assert word in problem.message
    assert engine.list() == []


def test_every_function_that_cannot_be_called_is_told_at_once(engine: Driver) -> None:
    workflow = Workflow("wrong")
    for index in range(3):
        workflow.call(f"s{index}", f"absent{index}:work")
    with pytest.raises(DefinitionError) as caught:
        engine.start(workflow)
    assert [problem.path for problem in caught.value.problems] == [f"steps.s{index}.call" for index in range(3)]


# --- what happened to the code while the run was paused: (new text, what the note or the reason says, outcome)


EDITS: dict[str, tuple[str | None, str, str]] = {
    "nothing": (WORK, "", "completed"),
    "a remark above": ("# remark\n" + WORK, "", "completed"),
    "another function edited": (WORK.replace("return 0", "return 9"), "", "completed"),
    "another function deleted": (WORK.partition("def unrelated")[0], "", "completed"),
    "the next function edited": (WORK.replace("x + 1", "x + 100"), "worksite:second", "changed"),
    "the done function edited": (WORK.replace("return 1", "return 7"), "worksite:first", "changed"),
    "both edited": (WORK.replace("return 1", "return 7").replace("x + 1", "x + 2"), "worksite:first", "changed"),
    "a remark inside": (WORK.replace("return x", "# remark\n    return x"), "worksite:second", "changed"),
    "the next function renamed": (WORK.replace("def second", "def third"), "'second'", "missing"),
    "the next function deleted": (WORK.partition("def second")[0], "second", "missing"),
    "the done function deleted": ("def second" + WORK.partition("def second")[2], "first", "missing"),
    "the file deleted": (None, "worksite", "missing"),
    "the file broken": ("def first(:\n", "SyntaxError", "missing"),
    "the file fails": ("1 / 0\n", "ZeroDivisionError", "missing"),
    "a value in its place": (WORK.replace("def second(x):\n    return x + 1", "second = 5"), "second", "missing"),
}


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_paused_run_meets_changed_code(one_world: World, write: Write, edit: str, strict: bool) -> None:
    text, word, what = EDITS[edit]
    write(WORK)
    first = one_world.open()
    run_id = paused_between(first)
    first.close()
    write(text)
    engine = one_world.open(functions={"hold": Gate().ahold}, strict_code=strict)
    run = engine.resume(run_id)
    if what == "completed":
        assert (run.state, run.notes) == ("completed", ())
    elif what == "changed" and not strict:
        assert run.state == "completed"
        assert word in run.notes[0]
        assert "run.note" in kinds(engine, run_id)
    else:
        assert (run.state, states(run)["second"]) == ("paused", "pending")
        assert run.reason.startswith(f"code_{what}: ")
        assert word in run.reason
    if run.state == "paused":
        engine.close()
        write(WORK)
        again = one_world.open(functions={"hold": Gate().ahold}, strict_code=strict).resume(run_id)
        assert (again.state, again.steps["second"].output) == ("completed", 2)


def test_a_run_that_is_paused_for_missing_code_may_be_cancelled_instead(one_world: World, write: Write) -> None:
    write(WORK)
    first = one_world.open()
    run_id = paused_between(first)
    first.close()
    write(None)
    engine = one_world.open()
    assert engine.resume(run_id).state == "paused"
    assert engine.cancel(run_id).state == "cancelled"


def test_a_failed_run_whose_code_is_gone_is_paused_by_its_retry(one_world: World, write: Write) -> None:
    write("def first():\n    raise ValueError\n")
    first = one_world.open()
    workflow = Workflow("site")
    workflow.call("first", "worksite:first")
    run = first.run(workflow)
    assert run.state == "failed"
    first.close()
    write(None)
    second = one_world.open()
    again = second.retry(run.id)
    assert (again.state, again.reason[:13]) == ("paused", "code_missing:")
    second.close()
    write("def first():\n    return 5\n")
    assert one_world.open().resume(run.id).steps["first"].output == 5


def test_a_function_that_a_process_has_not_registered_is_missing_until_it_is(world: World) -> None:
    first = world.open()
    gate = Gate()
    workflow = Workflow("registered")
    add(workflow, "a", gate.ahold)
    run_id = first.start(workflow)
    gate.begun()
    first.kill()
    second = world.open()
    assert second.resume(run_id).reason.startswith("code_missing: ")
    second.register("a", gate.ahold)
    gate.open(1)
    assert second.resume(run_id).state == "completed"


# --- the definition


def test_editing_or_deleting_the_file_of_a_definition_changes_nothing(one_world: World, tmp_path: Path) -> None:
    document = tmp_path / "flow.toml"
    document.write_text(
        'dsl = "1"\nname = "pinned"\n[steps]\nhold = { call = "hold" }\n'
        'last = { needs = ["hold"], run = ["echo", "as it was"], outputs = { text = "strip(stdout)" } }\n'
        '[outputs]\ntext = "${{ steps.last.outputs.text }}"\n',
        encoding="utf-8",
    )
    gate = Gate()
    first = one_world.open(functions={"hold": gate.ahold})
    run_id = first.start(document)
    gate.begun()
    document.write_text(document.read_text().replace("as it was", "changed"), encoding="utf-8")
    first.kill()
    document.unlink()
    gate.open(1)
    run = one_world.open(functions={"hold": gate.ahold}).resume(run_id)
    assert (run.state, run.outputs, run.origin) == ("completed", {"text": "as it was"}, str(document))


def test_a_builder_that_is_built_on_after_the_start_changes_nothing(engine: Driver) -> None:
    gate = Gate()
    workflow = Workflow("growing")
    add(workflow, "a", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    before = engine.get(run_id).definition_hash
    add(workflow, "b", lambda: 1, needs=["a"])
    gate.open(1)
    run = engine.wait(run_id)
    assert (list(run.steps), run.definition_hash) == (["a"], before)
    assert list(engine.run(workflow).steps) == ["a", "b"]


# --- real processes


CHILD = """
import json, sys
from statemachine_flow import Engine
with Engine(sys.argv[1], functions={"hold": print}) as engine:
    run = engine.resume(sys.argv[2])
    print(json.dumps([str(run.state), run.reason, list(run.notes), str(run.steps["second"].output)]))
"""


@pytest.mark.parametrize("edit", ["the next function edited", "the next function renamed", "the file deleted"])
def test_another_process_meets_the_code_it_finds(one_world: World, write: Write, tmp_path: Path, edit: str) -> None:
    text, _, what = EDITS[edit]
    write(WORK)
    engine = one_world.open()
    run_id = paused_between(engine)
    engine.close()
    write(text)
    command = [sys.executable, "-c", CHILD, str(one_world.path), run_id]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    state, reason, notes, output = json.loads(done.stdout)
    if what == "changed":
        assert (state, output) == ("completed", "101")
        assert "worksite:second" in notes[0]
    else:
        assert (state, reason[:13]) == ("paused", "code_missing:")
