"""The end of a run: compensations, `on_failure` and `finally`, and whatever may happen to the run while they go on."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from tests.engine.documents import calls, document, patient
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, kinds, states


class Told:
    """Step bodies that write down that they were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str) -> str:
        self.calls.append(name)
        return name


def say(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    return calls("say", *needs, **{"with": {"name": name}, **fields})


def undone(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    """A step that is undone."""
    return say(name, *needs, compensate=say(f"undo {name}"), **fields)


def saga(steps: dict[str, Any], **fields: Any) -> Workflow:
    handlers = {"on_failure": {"tell": say("tell")}, "finally": {"clean": say("clean")}}
    return document(steps, compensate=True, **{**handlers, **fields})


def bad() -> None:
    raise ValueError("broken")


@pytest.fixture
def told(engine: Driver) -> Told:
    """The bodies of an engine, by name."""
    told = Told()
    engine.register("say", told)
    engine.register("bad", bad)
    return told


# --- which are carried out


def test_a_run_that_fails_is_undone_then_tells_then_cleans_up(engine: Driver, told: Told) -> None:
    run = engine.run(saga({"a": undone("a"), "b": undone("b", "a"), "c": calls("bad", "b")}))
    assert (run.state, told.calls) == ("failed", ["a", "b", "undo b", "undo a", "tell", "clean"])
    assert list(run.steps)[3:] == ["@compensate/b", "@compensate/a", "@on_failure/tell", "@finally/clean"]
    unwind = next(event for event in engine.events(run.id) if event.kind == "run.unwind")
    assert (unwind.data["outcome"], unwind.data["error"]["step"]) == ("failed", "c")
    assert kinds(engine, run.id)[-1] == "run.fail"


def test_a_run_that_completes_only_cleans_up(engine: Driver, told: Told) -> None:
    run = engine.run(saga({"a": undone("a")}, outputs={"a": "${{ steps.a.output }}"}))
    assert (run.state, told.calls, dict(run.outputs)) == ("completed", ["a", "clean"], {"a": "a"})


def test_a_run_that_is_cancelled_is_undone_and_cleans_up(engine: Driver, told: Told) -> None:
    gate = Gate()
    engine.register("gate", gate.ahold)
    run = engine.start(saga({"a": undone("a"), "b": calls("gate", "a")}))
    gate.begun()
    view = engine.cancel(run)
    assert (view.state, told.calls) == ("cancelled", ["a", "undo a", "clean"])
    assert kinds(engine, run)[-1] == "run.settle"


def test_a_run_whose_time_is_over_has_all_the_time_for_its_handlers(world: World) -> None:
    engine, told, gates = world.open(), Told(), [Gate(), Gate()]
    engine.register("say", told)
    engine.register("slow", gates[0].ahold)
    engine.register("clean", gates[1].ahold)
    run = engine.start(
        saga({"a": undone("a"), "b": calls("slow", "a")}, timeout="10s", **{"finally": {"c": calls("clean")}})
    )
    gates[0].begun()
    world.clock.advance(10)
    gates[1].begun()
    world.clock.advance(100)
    gates[1].open(1)
    view = engine.wait(run)
    assert (view.state, view.error.kind, states(view)["@finally/c"]) == ("failed", "run.timeout", "completed")
    assert told.calls == ["a", "undo a", "tell"]


def test_outputs_that_cannot_be_computed_are_a_failure_like_others(engine: Driver, told: Told) -> None:
    run = engine.run(saga({"a": undone("a")}, outputs={"a": "${{ steps.a.output.x }}"}))
    assert (run.state, run.error.kind, told.calls) == ("failed", "run.outputs", ["a", "undo a", "tell", "clean"])


def test_nothing_is_undone_unless_the_workflow_says_so(engine: Driver, told: Told) -> None:
    run = engine.run(document({"a": undone("a"), "b": calls("bad", "a")}))
    assert (run.state, told.calls, "run.unwind" in kinds(engine, run.id)) == ("failed", ["a"], False)


# --- what is undone, and what it reads


def test_steps_groups_and_items_are_undone_the_last_that_completed_first(engine: Driver, told: Told) -> None:
    inner = {"x": undone("x"), "y": undone("y", "x")}
    loop = {"for_each": {"items": ["p", "q"], "key": "${{ item }}", "max_parallel": 1}, "needs": ["g"]}
    item = {"call": "say", "with": {"name": "${{ item }}"}, "compensate": say("undo ${{ item }} ${{ index }}")}
    steps = {"g": {"steps": inner, "compensate": say("undo g")}, "l": {**loop, **item}, "b": calls("bad", "l")}
    run = engine.run(saga(steps))
    assert told.calls[4:] == ["undo q 1", "undo p 0", "undo g", "undo y", "undo x", "tell", "clean"]
    assert "@compensate/l[q]" in run.steps


def test_what_did_not_complete_is_not_undone(engine: Driver, told: Told) -> None:
    steps = {
        "skipped": undone("skipped", when="false"),
        "failed": {**calls("bad", optional=True), "compensate": say("undo failed")},
        "half": {"steps": {"x": undone("x"), "y": calls("bad", "x")}, "compensate": say("undo half")},
    }
    engine.run(saga(steps))
    assert told.calls == ["x", "undo x", "tell", "clean"]


def test_a_compensation_reads_what_its_step_may_read_its_step_and_the_error(engine: Driver, told: Told) -> None:
    reads = "${{ item }} ${{ steps.x.output }} ${{ steps.before.output }} ${{ steps.y.output }} ${{ error.step }}"
    group = {"x": say("x"), "y": say("y", "x", compensate=say(reads))}
    steps = {
        "before": say("before"),
        "g": {"for_each": {"items": ["i"]}, "steps": group, "needs": ["before"]},
        "b": calls("bad", "g"),
    }
    engine.run(saga(steps))
    assert told.calls[3] == "i x before y b"


def test_so_do_the_steps_of_a_group_that_compensates(engine: Driver, told: Told) -> None:
    reads = say("${{ item }} ${{ index }} ${{ steps.x.output }} ${{ steps.before.output }} ${{ error.step }}")
    undo = {"steps": {"first": reads, "then": say("${{ steps.first.state }}", "first")}}
    group = {"x": say("x"), "y": say("y", "x", compensate=undo)}
    loop = {"for_each": {"items": ["i"]}, "steps": group, "needs": ["before"]}
    run = engine.run(saga({"before": say("before"), "g": loop, "b": calls("bad", "g")}))
    assert told.calls[3:5] == ["i 0 x before b", "completed"]
    assert run.steps["@compensate/g[0]/y/then"].state == "completed"


def test_handlers_read_the_steps_at_the_top_their_own_and_the_error(engine: Driver, told: Told) -> None:
    text = "${{ steps.a.output }} ${{ steps.b.state }} ${{ error.kind }} ${{ error.name }} ${{ error.step }}"
    handlers = {"one": say(text), "two": say("${{ steps.one.state }} ${{ steps.b.error.message }}", "one")}
    nested = {"g": {"steps": {"deep": say("${{ steps.a.output }} ${{ default(error.kind, 'none') }}")}}}
    engine.run(document({"a": say("a"), "b": calls("bad", "a")}, on_failure=handlers, **{"finally": nested}))
    assert told.calls == ["a", "a failed run.failed ValueError b", "completed broken", "a run.failed"]


def test_there_is_no_error_when_a_run_completes(engine: Driver, told: Told) -> None:
    engine.run(document({"a": say("a")}, **{"finally": {"c": say("${{ str(error == null) }}")}}))
    assert told.calls == ["a", "true"]


# --- handlers that fail


def test_what_fails_in_handlers_of_a_failing_run_changes_nothing_else(engine: Driver, told: Told) -> None:
    steps = {"a": undone("a"), "b": {**say("b", "a"), "compensate": calls("bad")}, "c": calls("bad", "b")}
    handlers = {"t": calls("bad"), "u": say("u", "t"), "v": say("v", "t", trigger_rule="all_done")}
    run = engine.run(saga(steps, on_failure=handlers))
    assert (run.error.step, told.calls) == ("c", ["a", "b", "undo a", "v", "clean"])
    assert (states(run)["@compensate/b"], states(run)["@on_failure/u"]) == ("failed", "skipped")


def test_a_required_failure_of_finally_makes_a_completing_run_fail_without_on_failure(
    engine: Driver, told: Told
) -> None:
    run = engine.run(saga({"a": undone("a")}, **{"finally": {"x": calls("bad"), "y": say("y", "x")}}))
    assert (run.state, run.error.step, told.calls) == ("failed", "@finally/x", ["a"])
    assert run.error.message == "step '@finally/x' failed: broken"
    again = engine.run(saga({"a": undone("a")}, **{"finally": {"x": calls("bad", optional=True)}}))
    assert again.ok


def test_handlers_are_tried_again_by_their_own_policies(world: World) -> None:
    engine, events = world.open(functions={"bad": bad, "tell": Outcomes(ValueError(), 1)}), Events()
    handlers = {"g": {"steps": {"tell": calls("tell")}, "retry": patient(2)}}
    run = engine.start(document({"a": calls("bad")}, on_failure=handlers), on_event=events)
    events.wait("step.back_off", "@on_failure/g")
    engine.quiet()
    world.clock.advance(10)
    view = engine.wait(run)
    assert (view.state, states(view)["@on_failure/g"], view.steps["@on_failure/g/tell"].attempt) == (
        "failed",
        "completed",
        2,
    )


# --- what happens to the run meanwhile


def unwinding(world: World) -> tuple[Driver, str, Gate, Told]:
    """A failing run whose `on_failure` is under way."""
    engine, told, gate = world.open(), Told(), Gate()
    functions = {"say": told, "bad": bad, "gate": gate.ahold}
    for name, body in functions.items():
        engine.register(name, body)
    handlers = {"t": calls("gate"), "u": say("u", "t")}
    run = engine.start(saga({"a": undone("a"), "b": calls("bad", "a")}, on_failure=handlers))
    gate.begun()
    return engine, run, gate, told


def test_a_pause_holds_up_handlers_like_other_steps(world: World) -> None:
    engine, run, gate, told = unwinding(world)
    paused = engine.later("pause", run)
    engine.quiet()
    gate.open(1)
    assert states(paused.result(PATIENCE))["@on_failure/t"] == "completed"
    assert told.calls == ["a", "undo a"]
    view = engine.resume(run)
    assert (view.state, told.calls, len(gate.attempts)) == ("failed", ["a", "undo a", "u", "clean"], 1)


def test_a_run_that_is_cancelled_while_it_unwinds_ends_cancelled_after_its_handlers(world: World) -> None:
    engine, run, gate, told = unwinding(world)
    cancelled = engine.later("cancel", run)
    engine.quiet()
    assert (engine.get(run).state, gate.cancelled) == ("cancelling", 0)
    gate.open(1)
    view = cancelled.result(PATIENCE)
    assert (view.state, told.calls) == ("cancelled", ["a", "undo a", "u", "clean"])


def test_a_run_that_is_cancelled_while_its_handlers_are_paused_carries_them_out(world: World) -> None:
    engine, run, gate, told = unwinding(world)
    assert engine.pause(run, interrupt=True).steps["@on_failure/t"].state == "interrupted"
    gate.open(1)
    view = engine.cancel(run)
    assert (view.state, told.calls, len(gate.attempts)) == ("cancelled", ["a", "undo a", "u", "clean"], 2)


def test_handlers_go_on_in_the_next_process_and_nothing_is_undone_twice(world: World) -> None:
    engine, run, gate, told = unwinding(world)
    engine.kill()
    gate.open(1)
    second = world.open(functions={"say": told, "bad": bad, "gate": gate.ahold})
    view = second.resume(run)
    assert (view.state, told.calls, len(gate.attempts)) == ("failed", ["a", "undo a", "u", "clean"], 2)
    assert kinds(second, run).count("run.unwind") == 1


def test_a_handler_is_stopped_by_its_own_timeout_alone(world: World) -> None:
    engine, gate, told = world.open(), Gate(), Told()
    for name, body in (("say", told), ("bad", bad), ("gate", gate.ahold)):
        engine.register(name, body)
    handlers = {"on_failure": {"g": {"steps": {"t": calls("gate")}, "timeout": "10s"}}, "finally": {"c": say("clean")}}
    run = engine.start(document({"a": calls("bad")}, timeout="5s", **handlers))
    gate.begun()
    world.clock.advance(6)
    engine.quiet()
    assert gate.cancelled == 0
    world.clock.advance(5)
    view = engine.wait(run)
    assert (view.error.kind, view.steps["@on_failure/g"].error.kind, told.calls) == (
        "run.failed",
        "step.timeout",
        ["clean"],
    )


# --- and after it


def test_a_retry_does_again_what_was_undone_and_its_handlers_come_anew(engine: Driver, told: Told) -> None:
    engine.register("flaky", Outcomes(ValueError(), ValueError(), 1))
    steps = {"a": undone("a"), "b": say("b", "a"), "c": calls("flaky", "b")}
    run = engine.run(saga(steps))
    first = ["a", "b", "undo a", "tell", "clean"]
    assert (run.state, told.calls) == ("failed", first)
    again = engine.retry(run.id)
    assert (again.state, told.calls[5:]) == ("failed", ["a", "undo a", "tell", "clean"])
    third = engine.retry(run.id)
    assert (third.state, told.calls[9:]) == ("completed", ["a", "clean"])
    assert third.steps["@finally/clean"].generation == 3


def test_a_retry_after_items_and_steps_in_groups_were_undone_begins_those_again(engine: Driver, told: Told) -> None:
    engine.register("flaky", Outcomes(ValueError(), 1))
    item = {"for_each": {"items": ["p", "q"], "key": "${{ item }}", "max_parallel": 1}, "call": "say"}
    loop = {**item, "with": {"name": "${{ item }}"}, "compensate": say("undo ${{ item }}")}
    group = {"steps": {"x": undone("x"), "y": say("y", "x")}, "needs": ["l"]}
    run = engine.run(saga({"l": loop, "g": group, "c": calls("flaky", "g")}))
    before = len(told.calls)
    again = engine.retry(run.id)
    assert (again.state, told.calls[before:]) == ("completed", ["p", "q", "x", "clean"])
    assert again.steps["g/y"].attempt == 1


def test_a_run_that_failed_in_finally_alone_is_retried_there(engine: Driver, told: Told) -> None:
    engine.register("flaky", Outcomes(ValueError(), 1))
    run = engine.run(document({"a": say("a")}, **{"finally": {"x": calls("flaky"), "y": say("y", "x")}}))
    assert (run.state, told.calls) == ("failed", ["a"])
    again = engine.retry(run.id)
    assert (again.state, told.calls) == ("completed", ["a", "y"])


def test_a_child_that_a_paused_run_takes_along_is_cancelled_with_it(world: World) -> None:
    engine, gate = world.open(), Gate()
    engine.register("gate", gate.ahold)
    child = {"dsl": "1", "name": "kid", "steps": {"s": calls("gate")}}
    run = engine.start(document({"a": {"workflow": child}}))
    gate.begun()
    paused = engine.pause(run, interrupt=True)
    view = engine.later("cancel", run).result(PATIENCE)
    assert (view.state, states(view), len(gate.attempts)) == ("cancelled", {"a": "cancelled"}, 1)
    assert engine.get(paused.children["a"]).state == "cancelled"


def test_the_child_of_a_handler_goes_on_when_its_paused_run_is_cancelled(world: World) -> None:
    engine, gate, told = world.open(), Gate(), Told()
    for name, body in (("say", told), ("bad", bad), ("gate", gate.ahold)):
        engine.register(name, body)
    child = {"dsl": "1", "name": "kid", "steps": {"s": calls("gate")}}
    handlers = {"on_failure": {"h": {"workflow": child}}, "finally": {"c": say("clean")}}
    run = engine.start(document({"a": calls("bad")}, **handlers))
    gate.begun()
    engine.pause(run, interrupt=True)
    gate.open(1)
    view = engine.later("cancel", run).result(PATIENCE)
    assert (view.state, states(view)["@on_failure/h"], told.calls) == ("cancelled", "completed", ["clean"])
