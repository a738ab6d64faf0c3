"""Runs that wait for the world: who gets them back, who lets go of them, and where they are seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.watch import WATCH_SECONDS
from statemachine_flow.errors import ConflictError
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore, ManualClock
from tests.engine.harness import Gate, Outcomes, World, add, kinds, states


def asking(**options: Any) -> Workflow:
    """A question and a signal, and a step behind both."""
    workflow = Workflow("asks", **options)
    workflow.approval("gate", prompt="?")
    workflow.wait("ear", event="go")
    workflow.run("after", ["true"], needs=["gate", "ear"])
    return workflow


def test_a_run_comes_back_each_time_it_waits_and_when_it_is_at_rest(world: World) -> None:
    engine = world.open()
    run = engine.run(asking(), run_id="r")
    assert (run.state, run.at_rest, [step.path for step in run.waiting]) == ("running", False, ["gate", "ear"])
    engine.approve("r", "gate")
    run = engine.wait("r")
    assert (run.state, [step.path for step in run.waiting]) == ("running", ["ear"])
    engine.signal("r", "go")
    run = engine.wait("r")
    assert (run.state, run.waiting) == ("completed", ())


@pytest.mark.parametrize("method", ["run", "resume", "wait"])
def test_to_wait_for_rest_is_to_be_told_of_nothing_before(world: World, method: str) -> None:
    engine = world.open()
    if method == "run":
        future = engine.later("run", asking(), run_id="r", until="rest")
    else:
        engine.run(asking(), run_id="r")
        future = engine.later(method, "r", until="rest")
    engine.quiet()
    assert not future.done()
    engine.approve("r", "gate")
    engine.quiet()
    assert not future.done()
    engine.signal("r", "go")
    assert future.result(10).state == "completed"


def test_a_run_with_something_under_way_does_not_come_back(world: World) -> None:
    engine, gate = world.open(), Gate()
    workflow = asking()
    add(workflow, "busy", gate.ahold)
    future = engine.later("run", workflow)
    gate.begun()
    engine.quiet()
    assert not future.done()
    gate.open()
    assert future.result(10).state == "running"


def test_a_run_whose_child_waits_waits_too(world: World) -> None:
    engine, gate = world.open(), Gate()
    child = Workflow("inner")
    child.wait("ear", event="go")
    add(child, "busy", gate.ahold, needs=["ear"])
    workflow = Workflow("outer")
    workflow.child("sub", child)
    run = engine.run(workflow, run_id="r")
    assert (run.state, run.children) == ("running", {"sub": "r.sub"})
    engine.signal("r.sub", "go")
    gate.begun()
    future = engine.later("wait", "r")
    engine.quiet()
    assert not future.done()
    gate.open()
    assert future.result(10).state == "completed"


@pytest.mark.parametrize("until", ["waiting", "rest"])
def test_closing_an_engine_lets_go_of_waiting_runs_and_whoever_waits_is_given_them(world: World, until: str) -> None:
    engine = world.open()
    engine.run(asking(), run_id="r")
    future = engine.later("wait", "r", until=until)
    engine.quiet()
    engine.close()
    assert future.result(10).state == "running"
    engine = world.open()
    run = engine.get("r")
    assert (run.state, run.owner, run.reason, kinds(engine, "r")[-1]) == ("running", None, "", "step.wait:ear")


def test_closing_an_engine_pauses_what_is_under_way(world: World) -> None:
    engine, gate = world.open(), Gate()
    workflow = asking()
    add(workflow, "busy", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    engine.close()
    run = world.open().get(run_id)
    assert (run.state, run.owner, run.reason) == ("paused", None, "the engine was closed")
    assert states(run)["busy"] == "interrupted"


def test_closing_an_engine_does_not_wait_for_the_timer_of_a_run_that_is_being_cancelled(world: World) -> None:
    engine = world.open()
    workflow = asking()
    workflow.finally_.wait("later", for_="1h")
    engine.run(workflow, run_id="r")
    cancelled = engine.later("cancel", "r")
    engine.quiet()
    engine.close()
    left = cancelled.result(10)
    assert (left.state, left.owner) == ("cancelling", None)
    engine = world.open()
    run = engine.get("r")
    assert (run.state, run.owner) == ("cancelling", None)
    world.clock.advance(3600)
    assert engine.resume("r").state == "cancelled"


def test_a_waiting_run_goes_on_in_another_engine(world: World) -> None:
    engine = world.open()
    engine.run(asking(), run_id="r")
    engine.close()
    engine = world.open()
    assert [step.path for step in engine.resume("r").waiting] == ["gate", "ear"]
    assert [step.path for step in engine.resume("r").waiting] == ["gate", "ear"]  # it waits already
    engine.approve("r", "gate")
    engine.signal("r", "go")
    run = engine.wait("r")
    assert (run.state, [step.attempt for step in run.steps.values()]) == ("completed", [1, 1, 1])


def test_a_waiting_run_belongs_to_the_engine_that_lives(world: World) -> None:
    owner, other = world.open(), world.open()
    owner.run(asking(), run_id="r")
    with pytest.raises(ConflictError) as caught:
        other.resume("r")
    assert caught.value.kind == "run.owned"
    other.approve("r", "gate")
    world.clock.advance(WATCH_SECONDS)
    assert states(owner.wait("r"))["gate"] == "completed"


def test_starting_a_waiting_run_again_is_to_take_it_up(world: World) -> None:
    engine = world.open()
    engine.run(asking(), run_id="r")
    engine.close()
    engine = world.open()
    assert engine.start(asking(), run_id="r") == "r"
    engine.approve("r", "gate")
    engine.signal("r", "go")
    assert engine.wait("r").state == "completed"


def test_a_run_that_is_cancelled_carries_nothing_out_for_what_was_asked_of_it_before(world: World) -> None:
    engine, body = world.open(), Outcomes(1)
    workflow = Workflow("asks")
    workflow.approval("gate", prompt="?")
    workflow.call("after", "body", needs=["gate"])
    engine.register("body", body)
    engine.run(workflow, run_id="r")
    engine.close()
    engine = world.open(functions={"body": body})
    engine.approve("r", "gate")
    run = engine.cancel("r")
    assert (run.state, states(run)) == ("cancelled", {"gate": "completed", "after": "cancelled"})
    assert body.attempts == 0


def test_a_run_whose_functions_are_gone_begins_nothing_for_what_was_asked_of_it(world: World) -> None:
    workflow = Workflow("gone")
    workflow.approval("gate", prompt="?")
    add(workflow, "after", lambda: 1, needs=["gate"])
    engine = world.open()
    engine.run(workflow, run_id="r")
    engine.close()
    engine = world.open()
    engine.approve("r", "gate")
    run = engine.resume("r")
    assert (run.state, states(run)) == ("paused", {"gate": "completed", "after": "pending"})
    engine.register("after", lambda: 1)
    assert engine.resume("r").state == "completed"


def test_waiting_runs_are_listed_read_and_followed_like_others(world: World) -> None:
    engine = world.open()
    engine.run(asking(), run_id="r")
    engine.approve("r", "gate", by="ann", reason="fine")
    rows = engine.list(states=["running"], workflow="asks")
    assert [(row.id, row.steps_done, row.steps_total, row.owner is None) for row in rows] == [("r", 1, 3, False)]
    events = engine.events("r", after=2)
    assert [(event.kind, event.step) for event in events] == [
        ("step.start", "gate"),
        ("step.wait", "gate"),
        ("step.start", "ear"),
        ("step.wait", "ear"),
        ("step.complete", "gate"),
    ]
    assert events[1].data["shown"]["prompt"] == "?"
    assert events[3].data == {"on": "event", "event": "go"}
    assert events[4].data["output"]["by"] == "ann"


# --- one loop


def test_a_waiting_run_leaves_no_task_behind() -> None:
    async def use() -> None:
        store = CrashStore(MemoryStore())
        async with AsyncEngine(store, clock=ManualClock()) as engine:
            before = asyncio.all_tasks()
            await engine.run(asking(), run_id="r")
            waits = asyncio.ensure_future(engine.wait("r", until="rest"))
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == before | {waits}
            waits.cancel()
            await asyncio.wait((waits,))
            assert (await engine.get("r")).state == "running"
            await engine.approve("r", "gate")
            await engine.signal("r", "go")
            assert (await engine.wait("r", until="rest")).state == "completed"
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(use(), 10))


def test_an_engine_without_a_loop_waits_for_the_world_like_its_twin() -> None:
    clock = ManualClock()
    with Engine("memory://", clock=clock) as engine:
        assert engine.run(asking(), run_id="r").state == "running"
        engine.approve("r", "gate")
        assert [step.path for step in engine.resume("r").waiting] == ["ear"]
        engine.signal("r", "go")
        assert engine.wait("r", until="rest").state == "completed"
