"""Child runs: what they are given, what becomes of them, and who hears of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from statemachine_flow.builder import Workflow, load
from statemachine_flow.engine.view import Run
from statemachine_flow.engine.watch import WATCH_SECONDS
from statemachine_flow.errors import DefinitionError, SmfError, StoreError
from tests.engine.harness import Driver, Events, Gate, Outcomes, World, add, kinds, states

RUN = "parent"
CHILD = "parent.sub"


def inner(**options: Any) -> Workflow:
    """A child that waits for a signal."""
    workflow = Workflow("inner")
    workflow.wait("ear", event="go", **options)
    workflow.output("heard", workflow["ear"].output)
    return workflow


def outer(child: Any = None, **options: Any) -> Workflow:
    """A workflow of one child."""
    workflow = Workflow("outer")
    workflow.child("sub", child or inner(), **options)
    return workflow


def error_of(run: Run, step: str = "sub") -> tuple[str, str, str]:
    """Kind, name and message of a step's error."""
    error = run.steps[step].error
    assert error is not None
    return error.kind, error.name, error.message


def ended(engine: Driver, run_id: str = RUN) -> Run:
    """The run once it is at rest."""
    run: Run = engine.wait(run_id, until="rest")
    return run


# --- what is started


def test_a_child_is_a_run_of_its_own_and_its_outputs_are_the_steps_output(world: World) -> None:
    engine = world.open()
    run = engine.run(outer(), run_id=RUN)
    assert (run.state, run.children, run.waiting) == ("running", {"sub": CHILD}, ())
    child = engine.get(CHILD)
    assert (child.parent, child.workflow, [step.path for step in child.waiting]) == ((RUN, "sub"), "inner", ["ear"])
    engine.signal(CHILD, "go", 7)
    assert ended(engine).steps["sub"].output == {"heard": 7}
    assert [row.id for row in engine.list()] == [CHILD, RUN]
    assert kinds(engine, RUN)[2:] == ["step.start:sub", "step.wait:sub", "step.complete:sub", "run.complete"]
    assert engine.find("@last") == RUN


def test_a_listener_hears_the_records_of_children_and_of_theirs(world: World) -> None:
    engine, events = world.open(), Events()
    engine.run(outer(outer()), run_id=RUN, on_event=events)
    child, grandchild = CHILD, f"{CHILD}.sub"
    assert {event.run_id for event in events.seen} == {RUN, child, grandchild}
    engine.pause(child)
    engine.cancel(RUN)
    heard = {(event.run_id, event.kind) for event in events.seen}
    assert {(child, "run.pause"), (child, "run.cancel"), (grandchild, "run.pause")} <= heard


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "input.missing"),
        ({"n": "3"}, "input.type"),
        ({"n": "${{ 'x' }}"}, "input.type"),
        ({"n": 9}, "input.value"),
        ({"n": 1, "m": 1}, "input.unknown"),
    ],
)
def test_inputs_that_do_not_fit_fail_the_step_and_start_no_run(one_world: World, given: Any, kind: str) -> None:
    child = Workflow("inner")
    child.input("n", "integer", enum=[1, 2])
    add(child, "work", lambda: 1)
    engine = one_world.open(workflows={"helper": child})
    run = engine.run(outer("helper", with_=given), run_id=RUN)
    assert (run.state, error_of(run)[0]) == ("failed", kind)
    assert [row.id for row in engine.list()] == [RUN]
    assert kinds(engine, RUN)[2:] == ["step.start:sub", "step.wait:sub", "step.fail:sub", "run.fail"]


def test_a_child_of_each_item_has_an_id_of_its_own(world: World) -> None:
    engine = world.open()
    run = engine.run(outer(for_each={"items": ["a", "b c"], "key": "${{ item }}"}), run_id=RUN)
    children = dict(run.children)
    assert list(children) == ["sub[a]", "sub[b c]"]
    for path, run_id in children.items():
        engine.signal(run_id, "go", path)
    run = ended(engine)
    assert run.steps["sub"].output == [{"heard": "sub[a]"}, {"heard": "sub[b c]"}]


def test_children_are_nested_sixteen_deep_and_no_deeper(quick_world: World) -> None:
    child = Workflow("self")
    child.child("sub", "self")
    engine = quick_world.open(workflows={"self": child})
    run = engine.run(child, run_id="r")
    assert (run.state, len(engine.list())) == ("failed", 17)
    deepest = engine.get("r" + ".sub" * 16)
    assert error_of(deepest)[:2] == ("step.limit", "LimitError")
    assert error_of(run)[0] == "step.child"


def test_a_child_that_fails_fails_the_step_and_another_attempt_is_another_run(world: World) -> None:
    body, engine = Outcomes(ValueError("broken"), "well"), world.open()
    child = Workflow("inner")
    add(child, "work", body)
    workflow = outer(child, retry={"max_attempts": 2, "delay": "1s", "jitter": "none", "retry_on": ["ValueError"]})
    events = Events()
    run_id = engine.start(workflow, run_id=RUN, on_event=events)
    failed = events.wait("step.back_off", "sub").data["error"]
    assert (failed["kind"], failed["message"]) == (
        "step.child",
        f"run {CHILD} failed: step 'work' failed: broken",
    )
    engine.quiet()
    world.clock.advance(1)
    run = ended(engine, run_id)
    assert (run.state, run.children) == ("completed", {"sub": f"{CHILD}.2"})
    assert engine.get(CHILD).state == "failed"


# --- functions


def helpers() -> tuple[Workflow, Workflow]:
    """A workflow that asks before it starts a child by its name, and that child, which brings a function of its own."""
    child = Workflow("helper")
    add(child, "work", lambda: 5)
    child.output("n", child["work"].output)
    parent = Workflow("outer")
    parent.approval("gate", prompt="?")
    parent.child("sub", "helper", needs=["gate"])
    return parent, child


def test_a_child_that_was_given_by_name_brings_its_functions_to_the_next_process(world: World) -> None:
    parent, child = helpers()
    engine = world.open(workflows={"helper": child})
    engine.run(parent, run_id=RUN)
    engine.close()
    engine = world.open(workflows={"helper": helpers()[1]})
    engine.approve(RUN, "gate")
    run = engine.resume(RUN)
    assert (run.state, run.steps["sub"].output) == ("completed", {"n": 5})


def test_a_run_whose_childs_function_is_gone_is_paused_when_it_goes_on(world: World) -> None:
    parent, child = helpers()
    engine = world.open(workflows={"helper": child})
    engine.run(parent, run_id=RUN)
    engine.close()
    engine = world.open()
    engine.approve(RUN, "gate")
    run = engine.resume(RUN)
    assert (run.state, run.reason.partition(":")[0], run.steps["sub"].state) == ("paused", "code_missing", "pending")


def test_a_childs_functions_are_looked_for_before_anything_is_recorded(world: World) -> None:
    child = Workflow("inner")
    child.call("work", "nowhere")
    undo = Workflow("undo")
    with undo.group("undo") as group:
        group.child("deep", child)
    engine = world.open()
    for workflow in (outer(child), outer(outer(child)), undo):
        with pytest.raises(DefinitionError) as caught:
            engine.run(workflow)
        assert [problem.kind for problem in caught.value.problems] == ["definition.callable"]
    assert engine.list() == []


def test_a_child_may_undo_a_step_inside_a_group(world: World) -> None:
    engine, undone = (
        world.open(functions={"fail": Outcomes(ValueError()), "undo": lambda: "undone"}),
        "@compensate/a/sub",
    )
    workflow = load("""
dsl = "1"
name = "undo"
compensate = true
[steps.a]
run = ["true"]
compensate.steps.sub.workflow = { dsl = "1", name = "inner", steps = { work = { call = "undo" } } }
[steps.b]
needs = ["a"]
call = "fail"
""")
    run = engine.run(workflow)
    assert (run.state, run.steps[undone].state) == ("failed", "completed")


# --- files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a workflow of a child that lies in a file."""
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.toml").write_text(document("outside"))
    (tmp_path / "secret.toml").write_text("password = hunter2\n")
    (folder / "child.toml").write_text(document("child"))
    return folder


def document(name: str, verb: str = 'run = ["true"]', **more: str) -> str:
    """A document of one step."""
    lines = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    return f'dsl = "1"\nname = "{name}"\n{lines}steps.only.{verb}\n'


def naming(folder: Path, reference: str, name: str = "top.toml") -> Path:
    """A document whose step starts a file."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(document("top", f"workflow = '{reference}'"))
    return path


def test_a_file_is_found_from_the_document_that_names_it(one_world: World, folder: Path) -> None:
    naming(folder, "../child.toml", "sub/middle.toml")
    engine = one_world.open()
    run = engine.run(naming(folder, "sub/middle.toml"), run_id="r")
    assert (run.state, engine.get("r.only.only").workflow) == ("completed", "child")


@pytest.mark.parametrize(
    "reference",
    [
        "missing.toml",
        "../outside.toml",
        "sub/../../outside.toml",
        "link.toml",
        "linked/outside.toml",
        "loop.toml",
        "pipe.toml",
        "folder.toml",
        "/etc/passwd.toml",
        "file:///etc/passwd.toml",
        "https://example.org/a.toml",
        "~/a.toml",
        "child.toml/child.toml",
        f"{'a' * 300}.toml",
        "../secret.toml",
    ],
)
def test_no_file_is_read_but_one_in_the_documents_folder(one_world: World, folder: Path, reference: str) -> None:
    (folder / "link.toml").symlink_to("../outside.toml")
    (folder / "linked").symlink_to("..")
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "pipe.toml")
    engine = one_world.open()
    with pytest.raises(DefinitionError) as caught:
        engine.run(naming(folder, reference))
    problem = caught.value.problems[0]
    assert (problem.kind, problem.path) == ("definition.include", "steps.only.workflow")
    assert "hunter2" not in str(caught.value)
    assert engine.list() == []


def test_a_link_inside_the_folder_may_be_followed(one_world: World, folder: Path) -> None:
    (folder / "link.toml").symlink_to("child.toml")
    assert one_world.open().run(naming(folder, "link.toml")).state == "completed"


def test_what_is_wrong_with_a_file_is_told_with_its_own_place(one_world: World, folder: Path) -> None:
    (folder / "child.toml").write_text(document("child", "call = 'os:_exit'"))
    with pytest.raises(DefinitionError) as caught:
        one_world.open().run(naming(folder, "child.toml"))
    problem = caught.value.problems[0]
    assert (problem.kind, problem.path) == ("definition.callable", "steps.only.call")
    assert problem.position is not None
    assert "child.toml" in str(problem)


@pytest.mark.parametrize("kind", ["text", "built"])
def test_a_workflow_that_comes_from_no_file_has_no_files_beside_it(
    one_world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(folder)
    workflow = outer("child.toml") if kind == "built" else document("top", "workflow = 'child.toml'")
    with pytest.raises(DefinitionError) as caught:
        one_world.open().run(workflow)
    assert [problem.kind for problem in caught.value.problems] == ["definition.include"]


def test_a_file_that_was_given_by_name_has_its_own_folder(one_world: World, folder: Path, tmp_path: Path) -> None:
    engine = one_world.open(workflows={"helper": naming(folder, "child.toml")})
    run = engine.run(outer("helper"), run_id=RUN)
    assert (run.state, engine.get("parent.sub.only").workflow) == ("completed", "child")
    naming(folder, "../outside.toml")
    with pytest.raises(DefinitionError):
        engine.run(outer("helper"))
    with pytest.raises(DefinitionError) as caught:
        engine.run(outer("other"))
    assert [problem.kind for problem in caught.value.problems] == ["definition.workflow"]


def test_two_documents_that_are_the_same_mean_one_file_by_one_name(one_world: World, folder: Path) -> None:
    for name in ("one", "two"):
        naming(folder, "leaf.toml", f"{name}/middle.toml")
        (folder / name / "leaf.toml").write_text(document("leaf"))
    top = folder / "top.toml"
    steps = "".join(f"steps.{name}.workflow = '{name}/middle.toml'\n" for name in ("one", "two"))
    top.write_text(f'dsl = "1"\nname = "top"\n{steps}')
    engine = one_world.open()
    assert engine.run(top).state == "completed"
    (folder / "two" / "leaf.toml").write_text(document("another"))
    with pytest.raises(DefinitionError) as caught:
        engine.run(top)
    assert [problem.kind for problem in caught.value.problems] == ["definition.include"]


def test_a_run_keeps_the_files_that_it_began_with(world: World, folder: Path) -> None:
    top = folder / "top.toml"
    top.write_text(
        'dsl = "1"\nname = "top"\nsteps.gate.approval.prompt = "?"\n'
        'steps.sub = { needs = ["gate"], workflow = "child.toml" }\n'
    )
    engine = world.open()
    engine.run(top, run_id=RUN)
    (folder / "child.toml").write_text(document("changed", "run = ['false']"))
    engine.close()
    (folder / "child.toml").unlink()
    engine = world.open()
    engine.approve(RUN, "gate")
    assert engine.resume(RUN, until="rest").state == "completed"
    assert engine.get(CHILD).workflow == "child"


# --- pausing and going on


def test_pausing_resuming_and_cancelling_hold_for_children_and_theirs(world: World) -> None:
    engine = world.open()
    engine.run(outer(outer()), run_id=RUN)
    family = [RUN, CHILD, f"{CHILD}.sub"]

    def of_all() -> set[str]:
        engine.quiet()
        return {str(engine.get(run_id).state) for run_id in family}

    engine.pause(RUN)
    assert of_all() == {"paused"}
    assert engine.resume(RUN).state == "running"
    assert of_all() == {"running"}
    engine.cancel(RUN)
    assert of_all() == {"cancelled"}


def test_a_family_that_is_paused_can_be_cancelled(world: World) -> None:
    engine = world.open()
    engine.run(outer(outer()), run_id=RUN)
    engine.pause(RUN)
    engine.quiet()
    assert engine.cancel(RUN).state == "cancelled"
    assert {str(row.state) for row in engine.list()} == {"cancelled"}


def test_a_run_that_goes_on_before_its_child_came_to_rest_takes_it_along(world: World) -> None:
    engine, gate = world.open(), Gate()
    child = Workflow("inner")
    add(child, "busy", gate.ahold)
    add(child, "after", lambda: 1, needs=["busy"])
    engine.start(outer(child), run_id=RUN)
    gate.begun()
    assert engine.pause(RUN).state == "paused"
    assert engine.get(CHILD).state == "paused"
    resumed = engine.later("resume", RUN)
    engine.quiet()
    gate.open()
    assert resumed.result(10).state == "completed"


def test_a_child_that_a_person_paused_goes_on_by_itself_and_the_run_above_hears_of_its_end(world: World) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    assert engine.pause(CHILD).state == "paused"
    world.clock.advance(WATCH_SECONDS)
    engine.quiet()
    assert (engine.get(CHILD).state, engine.wait(RUN).state) == ("paused", "running")
    assert engine.resume(CHILD).state == "running"
    engine.signal(CHILD, "go", 1)
    assert ended(engine).state == "completed"


def test_a_child_that_a_person_paused_is_cancelled_with_the_run_above(world: World) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    engine.pause(CHILD)
    assert engine.cancel(RUN).state == "cancelled"
    assert engine.get(CHILD).state == "cancelled"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_child_that_a_person_cancelled_fails_the_step(world: World, where: str) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    if where == "here":
        engine.cancel(CHILD)
    else:
        world.open().cancel(CHILD, timeout=0)
        world.clock.advance(WATCH_SECONDS)
    run = ended(engine)
    assert (run.state, error_of(run)) == ("failed", ("step.child", "ChildCancelled", f"run {CHILD} cancelled"))


def test_a_child_that_a_person_retried_changes_nothing_above(world: World) -> None:
    engine, body = world.open(), Outcomes(ValueError(), 1)
    child = Workflow("inner")
    add(child, "work", body)
    engine.run(outer(child), run_id=RUN)
    assert engine.retry(CHILD).state == "completed"
    run = engine.get(RUN)
    assert (run.state, run.steps["sub"].state) == ("failed", "failed")
    run = engine.retry(RUN)
    assert (run.state, run.children) == ("completed", {"sub": f"{CHILD}.2"})


# --- time


def test_a_child_that_takes_too_long_is_cancelled_and_another_attempt_may_follow(world: World) -> None:
    engine, events = world.open(), Events()
    retry = {"max_attempts": 2, "delay": "1s", "jitter": "none", "retry_on": ["TimeoutError"]}
    engine.start(outer(timeout="1m", retry=retry), run_id=RUN, on_event=events)
    events.wait("step.wait", "ear")
    world.clock.advance(60)
    assert events.wait("step.back_off", "sub").data["error"]["kind"] == "step.timeout"
    engine.quiet()
    assert engine.get(CHILD).state == "cancelled"
    world.clock.advance(1)
    events.wait("step.wait", "ear")
    engine.signal(f"{CHILD}.2", "go")
    assert ended(engine).state == "completed"


def test_a_child_that_was_stopped_for_its_time_before_a_death_took_too_long_all_the_same(world: World) -> None:
    engine = world.open()
    engine.start(outer(timeout="1m"), run_id=RUN)
    engine.quiet()
    engine.kill()
    world.clock.jump(60)
    engine = world.open()
    engine.cancel(CHILD, reason="the run above it was stopped")  # as its owner did, right before it died
    run = engine.resume(RUN, until="rest")
    assert (run.state, error_of(run)[0]) == ("failed", "step.timeout")


def test_the_deadline_of_a_run_holds_for_its_children(world: World) -> None:
    engine = world.open()
    workflow = Workflow("outer", timeout="1m")
    workflow.child("sub", inner())
    engine.start(workflow, run_id=RUN)
    engine.quiet()
    deadline = engine.events(RUN)[1].data["deadline"]
    assert engine.events(CHILD)[1].data == {"deadline": deadline}  # it holds whoever works on the child
    world.clock.advance(60)
    run = ended(engine)
    assert run.error is not None
    assert (run.state, run.error.kind) == ("failed", "run.timeout")
    assert engine.get(CHILD).state in ("failed", "cancelled")


# --- processes


@pytest.mark.parametrize("above", ["recovered", "resumed"])
def test_a_child_that_a_person_paused_stays_so_when_the_run_above_is_taken_over(world: World, above: str) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    engine.pause(CHILD, reason="not now")
    engine.kill()
    engine = world.open()
    if above == "recovered":
        assert list(engine.recover().taken) == [RUN]
    assert (engine.wait(RUN) if above == "recovered" else engine.resume(RUN)).state == "running"
    assert (engine.get(CHILD).state, engine.get(CHILD).reason) == ("paused", "not now")
    engine.resume(CHILD)
    engine.signal(CHILD, "go", 1)
    assert ended(engine).state == "completed"


@pytest.mark.parametrize("verb", ["pause", "cancel", "quarantine"])
def test_to_stop_a_family_whose_process_died_begins_nothing_of_it(world: World, verb: str) -> None:
    engine, gate = world.open(), Gate()
    child = Workflow("inner")
    add(child, "a", gate.ahold)
    workflow = outer(child)
    engine.start(workflow, run_id=RUN)
    gate.begun()
    engine.kill()
    engine = world.open(functions={"sub.a": gate.ahold})
    getattr(engine, verb)(RUN, reason="enough")
    engine.quiet()
    assert [kind for kind in kinds(engine, CHILD) if kind == "step.start:a"] == ["step.start:a"]
    assert engine.get(CHILD).state == ("cancelled" if verb == "cancel" else "paused")


@pytest.mark.parametrize("ending", ["kill", "close"])
def test_the_next_process_takes_up_the_whole_family(world: World, ending: str) -> None:
    engine = world.open()
    engine.run(outer(outer()), run_id=RUN)
    getattr(engine, ending)()
    engine = world.open()
    assert engine.get(RUN).state == "running"  # waiting runs are let go of, not paused
    run = engine.resume(RUN)
    assert (run.state, run.steps["sub"].attempt) == ("running", 1)
    engine.signal(f"{CHILD}.sub", "go", 1)
    assert ended(engine).state == "completed"


def test_a_child_that_ended_while_nobody_worked_on_the_run_above_has_ended_its_step(world: World) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    engine.close()
    engine = world.open()
    engine.signal(CHILD, "go", 1)
    assert engine.resume(CHILD, until="rest").state == "completed"
    assert engine.get(RUN).state == "running"
    assert engine.resume(RUN).steps["sub"].output == {"heard": 1}


@pytest.mark.parametrize("how", ["complete", "cancel", "left"])
def test_a_run_hears_of_the_end_of_a_child_that_another_process_works_on(world: World, how: str) -> None:
    above, below = world.open(), world.open()
    above.run(outer(), run_id=RUN)
    above.pause(CHILD)
    assert below.resume(CHILD).state == "running"
    if how == "complete":
        below.signal(CHILD, "go", 1)
    elif how == "cancel":
        below.cancel(CHILD)
    else:
        below.close()  # it lets go of a run that waits
        world.clock.advance(WATCH_SECONDS)
        above.quiet()
        above.signal(CHILD, "go", 1)
    world.clock.advance(WATCH_SECONDS)
    run = ended(above)
    assert states(run) == {"sub": "failed" if how == "cancel" else "completed"}


def test_a_run_stops_a_child_that_another_process_works_on(world: World) -> None:
    above, below = world.open(), world.open()
    above.run(outer(), run_id=RUN)
    above.pause(CHILD)
    below.resume(CHILD)
    cancelled = above.later("cancel", RUN)
    above.quiet()
    assert not cancelled.done()
    world.clock.advance(WATCH_SECONDS)
    assert below.wait(CHILD, until="rest").state == "cancelled"
    world.clock.advance(WATCH_SECONDS)
    assert cancelled.result(10).state == "cancelled"


def test_a_child_that_another_process_left_is_taken_up_by_nobody_while_the_run_above_is_paused(world: World) -> None:
    above, below = world.open(), world.open()
    above.run(inner(), run_id="other")  # so that there is something to look for
    above.run(outer(), run_id=RUN)
    above.pause(CHILD)
    below.resume(CHILD)
    assert above.pause(RUN).state == "paused"
    below.close()
    world.clock.advance(WATCH_SECONDS)
    above.quiet()
    assert (above.get(CHILD).owner, above.get(RUN).owner) == (None, None)
    assert above.resume(RUN).state == "running"
    above.signal(CHILD, "go", 1)
    assert ended(above).state == "completed"


def test_an_id_that_somebody_else_took_is_no_child(world: World) -> None:
    engine = world.open()
    engine.run(inner(), run_id=CHILD)
    run = engine.run(outer(), run_id=RUN)
    assert (run.state, error_of(run)[0]) == ("failed", "run.conflict")
    assert engine.get(CHILD).state == "running"


def test_a_run_whose_child_is_lost_to_the_disk_is_lost_with_it_and_can_be_resumed(world: World) -> None:
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    waits = engine.later("wait", RUN, until="rest")
    engine.quiet()
    worker = engine.core.workers[CHILD]
    engine.on_loop(_end(worker, StoreError("the disk is full", kind="store.full")))
    with pytest.raises(SmfError) as caught:
        waits.result(10)
    assert caught.value.kind == "store.full"
    assert engine.resume(RUN).state == "running"
    engine.signal(CHILD, "go", 1)
    assert ended(engine).state == "completed"


@pytest.mark.parametrize(
    "damage", ["UPDATE requests SET action = 'cancel'", "UPDATE runs SET message = 'x' WHERE id = ?"]
)
def test_a_damaged_child_is_an_error_of_the_store_and_no_end_of_its_step(tmp_path: Path, damage: str) -> None:
    world = World("sync", "sqlite", tmp_path)
    engine = world.open()
    engine.run(outer(), run_id=RUN)
    engine.close()
    store = world.inner()
    store.request(CHILD, "pause", "ann", "", 1)
    with contextlib.closing(apsw.Connection(str(world.path))) as connection:
        connection.execute(damage, (CHILD,) if "?" in damage else ())
    with pytest.raises(StoreError) as caught:
        world.open().resume(RUN)

    assert caught.value.kind == "store.corrupt"
    assert world.open().get(RUN).state == "running"
    assert world.open().get(RUN).steps["sub"].state == "waiting"


async def _end(worker: Any, error: SmfError) -> None:
    worker.end(error)
