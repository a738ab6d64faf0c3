"""Signals: kept, matched by key, taken once and in order, wherever the run is worked on."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.watch import WATCH_SECONDS
from statemachine_flow.errors import ConflictError, NotFoundError, SmfError, UsageError
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, SlowCommit, World, add, kinds, states


def listening(**options: Any) -> Workflow:
    """One step that waits for `go`."""
    workflow = Workflow("listens")
    workflow.wait("ear", event="go", **options)
    workflow.output("heard", workflow["ear"].output)
    return workflow


def test_a_signal_ends_the_wait_with_what_it_carried(world: World) -> None:
    engine = world.open()
    run = engine.run(listening())
    assert [(step.path, step.on, step.event, step.key) for step in run.waiting] == [("ear", "event", "go", None)]
    engine.signal(run.id, "go", {"n": 1}, by="me")
    run = engine.wait(run.id, until="rest")
    assert (run.state, run.outputs) == ("completed", {"heard": {"n": 1}})
    said = next(event.data for event in engine.events(run.id) if event.kind == "run.signal")
    assert said == {"event": "go", "payload": {"n": 1}, "by": "me"}


@pytest.mark.parametrize(
    "payload",
    [None, "", 2**70, 1.5, b"\0", [(1, {2})], {1: None}, Decimal("1.10"), uuid.UUID(int=7), dt.date(2026, 1, 1)],
    ids=str,
)
def test_a_payload_comes_as_it_was_sent(one_world: World, payload: object) -> None:
    engine = one_world.open()
    run = engine.run(listening())
    engine.signal(run.id, "go", payload)
    output = engine.wait(run.id, until="rest").steps["ear"].output
    assert (output, type(output)) == (payload, type(payload))


@pytest.mark.parametrize(
    "payload", [object(), lambda: 0, [[Outcomes()]], "\ud800"], ids=["object", "lambda", "deep", "half"]
)
def test_a_payload_that_cannot_be_kept_is_refused_and_nothing_recorded(world: World, payload: object) -> None:
    engine = world.open()
    run = engine.run(listening())
    with pytest.raises(SmfError) as caught:
        engine.signal(run.id, "go", payload)
    assert caught.value.kind == "step.unserializable"
    assert engine.get(run.id).seq == run.seq


@pytest.mark.parametrize(
    ("event", "options"), [("", {}), ("x" * 201, {}), (5, {}), ("go", {"key": 5}), ("go", {"key": b"k"})]
)
def test_what_no_step_can_wait_for_is_refused(world: World, event: Any, options: Any) -> None:
    """A key that is no text would make the journal unreadable."""
    engine = world.open()
    run = engine.run(listening())
    with pytest.raises(UsageError):
        engine.signal(run.id, event, **options)
    assert engine.get(run.id).seq == run.seq


def test_signals_are_kept_until_a_step_waits_for_them_and_taken_oldest_first(world: World) -> None:
    engine, gate = world.open(), Gate()
    workflow = Workflow("kept")
    add(workflow, "first", gate.ahold)
    for place in range(3):
        workflow.wait(f"ear{place}", event="go", needs=["first"])
    run_id = engine.start(workflow)
    gate.begun()
    for number in range(2):
        engine.signal(run_id, "go", number)
    gate.open()
    run = engine.wait(run_id)
    assert [run.steps[f"ear{place}"].output for place in range(3)] == [0, 1, None]
    engine.signal(run_id, "go", 2)
    assert engine.wait(run_id, until="rest").steps["ear2"].output == 2


def test_a_key_keeps_signals_of_one_name_apart(world: World) -> None:
    engine = world.open()
    workflow = Workflow("keys")
    workflow.wait("plain", event="go")
    workflow.wait("keyed", event="go", key="${{ str(6 * 7) }}")
    workflow.wait("empty", event="go", key="")
    run = engine.run(workflow)
    for key, payload in (("41", "no"), ("42", "keyed"), ("", "empty"), (None, "plain")):
        engine.signal(run.id, "go", payload, key=key)
    run = engine.wait(run.id, until="rest")
    assert {path: step.output for path, step in run.steps.items()} == {
        "plain": "plain",
        "keyed": "keyed",
        "empty": "empty",
    }


def test_of_several_steps_the_one_that_waited_longest_takes_the_signal(world: World) -> None:
    engine, gate, events = world.open(), Gate(), Events()
    workflow = Workflow("several")
    add(workflow, "slow", gate.ahold)
    workflow.wait("late", event="go", needs=["slow"])
    workflow.wait("b", event="go")
    workflow.wait("a", event="go")
    run_id = engine.start(workflow, on_event=events)
    gate.begun()
    world.clock.advance(1)
    gate.open()
    events.wait("step.wait", "late")
    for step in ("b", "a", "late"):
        engine.signal(run_id, "go", step)
        assert engine.get(run_id).steps[step].output == step


@pytest.mark.parametrize(("then", "state"), [("complete", "completed"), ("fail", "failed")])
def test_a_signal_that_does_not_come_in_time_is_waited_for_no_longer(world: World, then: Any, state: str) -> None:
    engine = world.open()
    run = engine.run(listening(timeout="1h", then=then))
    assert run.waiting[0].due_at.timestamp() == world.clock.now() / 1e6 + 3600
    world.clock.advance(3600)
    run = engine.wait(run.id, until="rest")
    error = run.steps["ear"].error
    assert (run.state, run.steps["ear"].output, error and error.kind) == (
        state,
        None,
        "step.timeout" if state == "failed" else None,
    )


def test_a_signal_in_time_leaves_its_timeout_without_effect(world: World) -> None:
    engine = world.open()
    workflow = listening(timeout="1h")
    workflow.wait("other", event="never")
    run = engine.run(workflow)
    engine.signal(run.id, "go", 1)
    world.clock.advance(7200)
    engine.quiet()
    assert states(engine.get(run.id)) == {"ear": "completed", "other": "waiting"}


def test_a_paused_run_takes_a_signal_when_it_goes_on(world: World) -> None:
    engine = world.open()
    workflow = listening()
    add(workflow, "after", lambda: 1, needs=["ear"])
    run = engine.run(workflow)
    engine.pause(run.id)
    engine.signal(run.id, "go", "kept")
    assert states(engine.get(run.id))["after"] == "pending"
    run = engine.resume(run.id, until="rest")
    assert (run.state, run.steps["ear"].output) == ("completed", "kept")


def test_a_run_that_is_being_cancelled_still_hears_for_its_handlers(world: World) -> None:
    engine = world.open()
    workflow = listening()
    workflow.finally_.wait("bye", event="bye")
    run = engine.run(workflow)
    cancelled = engine.later("cancel", run.id)
    engine.quiet()
    assert [step.path for step in engine.get(run.id).waiting] == ["@finally/bye"]
    engine.signal(run.id, "bye", 7)
    assert cancelled.result(10).steps["@finally/bye"].output == 7


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_a_run_at_rest_hears_nothing_more(world: World, state: str) -> None:
    engine = world.open()
    workflow = listening(timeout="1s", then="fail" if state == "failed" else "complete")
    run = engine.run(workflow)
    if state == "cancelled":
        engine.cancel(run.id)
    world.clock.advance(1)
    before = engine.wait(run.id, until="rest")
    assert before.state == state
    with pytest.raises(ConflictError) as caught:
        engine.signal(run.id, "go")
    assert caught.value.kind == "run.state"
    assert engine.get(run.id).seq == before.seq


def test_a_run_that_has_just_ended_hears_nothing_more_although_that_is_not_kept_yet(world: World) -> None:
    engine = world.open()
    run = engine.run(listening())

    async def cancel_and_signal() -> None:
        await asyncio.gather(engine._engine.cancel(run.id), engine._engine.signal(run.id, "go"))

    with pytest.raises(ConflictError):
        engine.on_loop(cancel_and_signal())
    assert engine.wait(run.id).state == "cancelled"
    assert kinds(engine, run.id)[-1] == "run.settle"


def test_a_signal_to_nobody_is_refused(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.open().signal("nobody", "go")


# --- from another process


def test_a_signal_from_another_process_is_acted_on_at_the_owners_next_look(world: World) -> None:
    owner, other = world.open(), world.open()
    run = owner.run(listening())
    other.signal(run.id, "go", "from afar", by="other")
    owner.quiet()
    assert owner.get(run.id).state == "running"  # it is kept, and not acted on yet
    world.clock.advance(WATCH_SECONDS)
    run = owner.wait(run.id, until="rest")
    assert (run.state, run.steps["ear"].output) == ("completed", "from afar")
    assert WATCH_SECONDS < 1
    assert world.inner().requests() == []


def test_a_signal_that_was_heard_is_not_heard_again_before_that_is_kept(world: World) -> None:
    owner, other = world.open(), world.open()
    workflow = listening()
    workflow.wait("other", event="never")
    run = owner.run(workflow)
    other.signal(run.id, "go", 1)

    async def look_twice() -> None:
        for _ in range(2):
            owner.core.watch._seen_version = -1
            owner.core.watch.look()

    owner.on_loop(look_twice())
    owner.quiet()
    assert kinds(owner, run.id).count("run.signal") == 1


def test_signals_from_two_processes_are_both_taken_each_once(world: World) -> None:
    owner, others = world.open(), [world.open(), world.open()]
    workflow = Workflow("two")
    for step in "ab":
        workflow.wait(step, event="go")
    run = owner.run(workflow)
    calls = [other.later("signal", run.id, "go", number) for number, other in enumerate(others)]
    for call in calls:
        call.result(10)
    world.clock.advance(WATCH_SECONDS)
    run = owner.wait(run.id, until="rest")
    assert sorted(step.output for step in run.steps.values()) == [0, 1]
    assert kinds(owner, run.id).count("run.signal") == 2


def test_a_signal_to_a_run_that_nobody_works_on_is_taken_on_resume(world: World) -> None:
    engine = world.open()
    run = engine.run(listening())
    engine.close()
    engine = world.open()
    assert engine.get(run.id).owner is None
    engine.signal(run.id, "go", 1)
    assert engine.resume(run.id, until="rest").state == "completed"


def test_an_owner_that_waits_asks_the_store_for_nothing_but_its_version(quick_world: World) -> None:
    engine = quick_world.open()
    workflow = Workflow("quiet")
    workflow.wait("ears", event="go", for_each={"items": list(range(100))})
    engine.run(workflow)
    quick_world.clock.advance(WATCH_SECONDS)
    engine.quiet()
    asked: list[str] = []
    store = engine.store.inner
    _count(engine, asked)
    for _ in range(10):
        quick_world.clock.advance(WATCH_SECONDS)
        engine.quiet()
    engine.store.inner = store
    assert asked == ["version"] * 10


def _count(engine: Driver, asked: list[str]) -> None:
    """Keep the names of all that the engine asks of its store."""
    store = engine.store.inner

    class Counting:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(store, name)

    engine.store.inner = Counting()


# --- what waits for the world


def test_a_run_with_a_timer_does_not_wait_for_the_world(world: World) -> None:
    engine, body, events = world.open(), Outcomes(ValueError(), 1), Events()
    workflow = listening()
    add(workflow, "again", body, retry=RetryPolicy(max_attempts=2, delay=60, jitter="none"))
    future = engine.later("run", workflow, on_event=events)
    events.wait("step.back_off")
    engine.quiet()
    assert not future.done()
    world.clock.advance(60)
    run = future.result(10)
    assert (run.state, states(run)) == ("running", {"ear": "waiting", "again": "completed"})


def test_to_wait_for_rest_is_to_wait_for_the_signal(world: World) -> None:
    engine = world.open()
    future = engine.later("run", listening(), until="rest", run_id="r")
    engine.quiet()
    assert not future.done()
    assert engine.wait("r").state == "running"
    engine.signal("r", "go")
    assert future.result(10).state == "completed"


def test_another_process_sees_that_a_run_waits_for_the_world(world: World) -> None:
    owner, other = world.open(), world.open()
    run = owner.run(listening())
    assert [step.path for step in other.wait(run.id).waiting] == ["ear"]
    rest = other.later("wait", run.id, until="rest")
    owner.signal(run.id, "go")
    assert rest.result(10).state == "completed"


def test_a_run_that_was_left_waiting_is_still_waiting(world: World) -> None:
    engine = world.open()
    run = engine.run(listening())
    engine.close()
    engine = world.open()
    assert engine.wait(run.id).waiting[0].path == "ear"
    with pytest.raises(ConflictError, match="nobody works"):
        engine.wait(run.id, until="rest")


def test_a_signal_is_not_refused_for_an_end_that_is_not_durable_yet(world: World) -> None:
    store, gate, busy = SlowCommit(world.inner(), "r", "run.complete"), Gate(), Gate()
    engine = Driver("async", store, clock=world.clock)
    keeps_busy = Workflow("busy")  # so that the commit takes place in a thread
    add(keeps_busy, "a", busy.ahold)
    engine.start(keeps_busy)
    busy.begun()
    workflow = Workflow("ends")
    add(workflow, "a", gate.ahold)
    engine.start(workflow, run_id="r")
    gate.open(1)
    assert store.under_way.wait(PATIENCE)
    said = engine.later("signal", "r", "go")
    engine.on_loop(asyncio.sleep(0))
    assert (said.done(), world.open().get("r").state) == (False, "running")
    store.go_on.set()
    with pytest.raises(ConflictError, match="the run is completed"):
        said.result(PATIENCE)
    busy.open(1)
    engine.close()
