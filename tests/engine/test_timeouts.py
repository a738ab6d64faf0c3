"""Timeouts of attempts by the monotonic clock, deadlines of runs by the wall clock, and what is left of both."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import UsageError
from statemachine_flow.model import RetryPolicy
from statemachine_flow.steps.base import StepContext
from tests.engine.harness import PATIENCE, Events, Gate, Outcomes, World, add, states


def test_a_coroutine_that_takes_too_long_is_cancelled_and_failed(world: World) -> None:
    gate, engine = Gate(), world.open()
    workflow = Workflow("slow")
    add(workflow, "a", gate.ahold, timeout=5)
    run_id = engine.start(workflow)
    context = gate.begun()
    world.clock.advance(4.875)
    engine.quiet()
    assert (engine.get(run_id).state, context.cancelled) == ("running", False)
    world.clock.advance(0.125)
    run = engine.wait(run_id)
    error = run.steps["a"].error
    assert error is not None
    assert (run.state, error.kind, error.name) == ("failed", "step.timeout", "TimeoutError")
    assert "5 s" in error.message
    assert (gate.cancelled, context.cancelled, context.stop_reason) == (1, True, "timeout")


def test_a_thread_that_takes_too_long_is_left_to_itself_and_counted(world: World) -> None:
    gate, engine, events = Gate(), world.open(), Events()
    workflow = Workflow("slow")
    add(workflow, "a", gate.hold, timeout=5)
    add(workflow, "other", lambda: "still works", needs=["a"], when="1 == 1")
    run_id = engine.start(workflow, on_event=events)
    context = gate.begun()
    world.clock.advance(5)
    run = engine.wait(run_id)
    assert run.steps["a"].error is not None
    assert (run.state, run.steps["a"].error.kind) == ("failed", "step.timeout")
    assert run.steps["a"].error.message == (
        "the attempt took longer than 5 s; its function goes on in the background, for a thread cannot be stopped"
    )
    assert engine.core.threads.abandoned == 1
    assert context.cancelled
    ended = threading.Event()
    gate.result = None
    gate.open()

    async def returned() -> None:
        while engine.core.threads.abandoned:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        ended.set()

    engine.on_loop(returned())
    assert ended.is_set()
    assert states(engine.get(run_id))["a"] == "failed"  # the late result changes nothing


@pytest.mark.parametrize("command", ["sleep 1000", "trap '' TERM; echo $$ > pid; sleep 1000 & wait"])
def test_the_tree_of_a_command_that_takes_too_long_is_dead_when_it_is_reported(world: World, command: str) -> None:
    lifeline = world.folder / "lifeline"
    os.mkfifo(lifeline)
    reader = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK)
    events, engine = Events(), world.open()
    workflow = Workflow("slow")
    workflow.run("a", f"exec 3> {lifeline}; echo ready >&3; {command}", timeout=5, cwd=str(world.folder))
    run_id = engine.start(workflow, on_event=events)
    os.set_blocking(reader, True)
    while os.read(reader, 6) != b"ready\n":
        pass
    world.clock.advance(5)
    run = engine.wait(run_id)
    assert run.steps["a"].error is not None
    assert run.steps["a"].error.kind == "step.timeout"
    assert os.read(reader, 1) == b""  # nobody holds the other end any more
    os.close(reader)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_timeout_is_retried_as_a_timeout_error(world: World, is_async: bool) -> None:
    gate, engine, events = Gate(), world.open(), Events()
    workflow = Workflow("slow")
    retry = RetryPolicy(max_attempts=2, delay=1, jitter="none", retry_on=("TimeoutError",))
    add(workflow, "a", gate.ahold if is_async else gate.hold, timeout=5, retry=retry)
    run_id = engine.start(workflow, on_event=events)
    gate.begun()
    world.clock.advance(5)
    events.wait("step.back_off")
    world.clock.advance(1)
    gate.begun()
    gate.open("second")
    run = engine.wait(run_id)
    assert (run.steps["a"].output, run.steps["a"].attempt) == ("second", 2)


def test_every_attempt_has_the_whole_timeout(world: World) -> None:
    gate, engine, events = Gate(), world.open(), Events()
    workflow = Workflow("slow")
    retry = RetryPolicy(max_attempts=3, delay=1, backoff="constant", jitter="none")
    add(workflow, "a", gate.ahold, timeout=5, retry=retry)
    run_id = engine.start(workflow, on_event=events)
    for _ in range(2):
        gate.begun()
        world.clock.advance(5)
        events.wait("step.back_off")
        world.clock.advance(1)
    gate.begun()
    world.clock.advance(4)
    engine.quiet()
    gate.open(1)
    assert engine.wait(run_id).state == "completed"


def test_the_default_timeout_holds_for_steps_that_say_nothing(world: World) -> None:
    unsaid, said, engine, events = Gate(), Gate(), world.open(), Events()
    workflow = Workflow("slow", step_timeout=5)
    add(workflow, "unsaid", unsaid.ahold, optional=True)
    add(workflow, "said", said.ahold, timeout=50)
    run_id = engine.start(workflow, on_event=events)
    unsaid.begun(), said.begun()
    world.clock.advance(5)
    assert events.wait("step.fail").step == "unsaid"
    said.open(1)
    assert engine.wait(run_id).state == "completed"


def test_a_result_at_the_last_moment_ends_the_timer(world: World) -> None:
    gate, engine = Gate(), world.open()
    workflow = Workflow("quick")
    add(workflow, "a", gate.ahold, timeout=5)
    add(workflow, "b", Outcomes(1), needs=["a"], timeout=5)
    run_id = engine.start(workflow)
    gate.begun()
    world.clock.advance(4.875)
    gate.open("in time")
    run = engine.wait(run_id)
    world.clock.advance(100)
    engine.quiet()
    assert (run.state, engine.get(run_id).state) == ("completed", "completed")
    assert world.clock.waiting == 0


@pytest.mark.parametrize("seconds", [86_400, -86_400, -56 * 365 * 86_400, 10 * 365 * 86_400])
def test_a_jump_of_the_wall_clock_ends_no_attempt_early_and_none_late(world: World, seconds: int) -> None:
    gate, engine, events = Gate(), world.open(), Events()
    workflow = Workflow("jump")
    add(workflow, "a", gate.ahold, timeout=5, optional=True)
    run_id = engine.start(workflow, on_event=events)
    gate.begun()
    world.clock.jump(seconds)
    world.clock.advance(4.875)
    engine.quiet()
    assert engine.get(run_id).steps["a"].state == "running"
    world.clock.advance(0.125)
    run = engine.wait(run_id)
    assert run.steps["a"].error is not None
    assert run.steps["a"].error.kind == "step.timeout"


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_jump_of_the_wall_clock_makes_no_storm_of_retries(world: World, seconds: int) -> None:
    """A back-off that is under way waits by the monotonic clock."""
    body, engine, events = Outcomes(ValueError(), 1), world.open(), Events()
    workflow = Workflow("jump")
    add(workflow, "a", body, retry=RetryPolicy(max_attempts=2, delay=60, jitter="none"))
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    engine.quiet()
    world.clock.jump(seconds)
    world.clock.advance(59)
    engine.quiet()
    assert body.attempts == 1
    world.clock.advance(1)
    assert engine.wait(run_id).state == "completed"


# --- the run's own deadline


def test_a_run_that_takes_too_long_stops_what_is_alive_and_fails(world: World) -> None:
    gate, engine = Gate(), world.open()
    workflow = Workflow("late", timeout=10)
    add(workflow, "alive", gate.ahold, retry=RetryPolicy(max_attempts=5, delay=1))
    add(workflow, "thread", gate.hold)
    add(workflow, "behind", lambda: 1, needs=["alive"])
    run_id = engine.start(workflow)
    contexts = [gate.begun(), gate.begun()]
    world.clock.advance(9.875)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(0.125)
    run = engine.wait(run_id)
    gate.open()
    assert run.error is not None
    assert (run.state, run.error.kind, run.error.name) == ("failed", "run.timeout", "TimeoutError")
    assert "10 s" in run.error.message
    assert states(run) == {"alive": "cancelled", "thread": "cancelled", "behind": "skipped"} or states(run) == {
        "alive": "cancelled",
        "thread": "cancelled",
        "behind": "cancelled",
    }
    assert run.steps["alive"].reason == "the run took too long"
    assert {context.stop_reason for context in contexts} == {"deadline"}


def test_a_deadline_ends_a_run_that_only_waits_for_its_next_attempt(world: World) -> None:
    engine, events = world.open(), Events()
    workflow = Workflow("late", timeout=10)
    add(workflow, "a", Outcomes(ValueError("again")), retry=RetryPolicy(max_attempts=5, delay=60, jitter="none"))
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    engine.quiet()
    world.clock.advance(10)
    run = engine.wait(run_id)
    assert run.error is not None
    assert (run.error.kind, states(run)) == ("run.timeout", {"a": "cancelled"})


def test_a_deadline_that_passed_while_nobody_worked_fails_the_run_before_anything_begins(world: World) -> None:
    gate, after = Gate(), Outcomes(1)
    workflow = Workflow("late", timeout=10)
    add(workflow, "a", gate.ahold)
    add(workflow, "b", after, needs=["a"])
    first = world.open()
    run_id = first.start(workflow)
    gate.begun()
    first.kill()
    world.clock.advance(3600)
    run = world.open(functions={"a": gate.ahold, "b": after}).resume(run_id)
    assert run.error is not None
    assert (run.state, run.error.kind) == ("failed", "run.timeout")
    assert (len(gate.attempts), after.attempts) == (1, 0)


def test_a_deadline_counts_from_the_start_across_pauses_and_deaths(world: World) -> None:
    gate = Gate()
    workflow = Workflow("late", timeout=10)
    add(workflow, "a", gate.ahold)
    first = world.open()
    run_id = first.start(workflow)
    gate.begun()
    first.kill()
    world.clock.advance(6)
    engine = world.open(functions={"a": gate.ahold})
    resumed = engine.later("resume", run_id)
    gate.begun()
    world.clock.advance(3.875)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(0.125)
    run = resumed.result(PATIENCE)
    assert run.error is not None
    assert run.error.kind == "run.timeout"


def test_a_deadline_that_passed_in_a_pause_ends_the_run_at_the_resume(world: World) -> None:
    """Also when the pause never came to rest, because an attempt went on through it."""
    gate, engine = Gate(), world.open()
    workflow = Workflow("late", timeout=10)
    add(workflow, "a", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    paused = engine.later("pause", run_id)
    engine.quiet()
    world.clock.advance(11)
    engine.quiet()
    assert engine.get(run_id).state == "paused"
    run = engine.resume(run_id)
    assert run.error is not None
    assert run.error.kind == "run.timeout"
    assert paused.result(PATIENCE).state == "failed"


def test_a_coroutine_that_ignores_its_timeout_is_left_to_itself_after_the_grace(world: World) -> None:
    engine = world.open(grace=3.0)
    begun, release = threading.Event(), threading.Event()

    async def stubborn(context: StepContext) -> str:
        begun.set()
        while not release.is_set():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if context.stop_reason != "timeout":
                    raise
        return "too late"

    workflow = Workflow("stubborn")
    add(workflow, "a", stubborn, timeout=5)
    run_id = engine.start(workflow)
    assert begun.wait(PATIENCE)
    world.clock.advance(5)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(3.0 + 2.0)
    run = engine.wait(run_id)
    assert run.steps["a"].error is not None
    assert run.steps["a"].error.kind == "step.timeout"

    async def end() -> None:
        release.set()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task() and "_run" in repr(task.get_coro()):
                task.cancel()
        await asyncio.sleep(0)

    engine.on_loop(end())
    engine.quiet()
    assert states(engine.get(run_id)) == {"a": "failed"}


def test_no_timer_is_left_when_a_run_has_ended(world: World, tmp_path: Path) -> None:
    engine = world.open()
    workflow = Workflow("tidy", timeout=60)
    add(workflow, "a", Outcomes(1), timeout=5)
    add(workflow, "b", Outcomes(ValueError()), timeout=5, optional=True)
    engine.run(workflow)
    assert world.clock.waiting == 0


def test_a_retry_of_a_run_that_took_too_long_has_its_whole_time_again(world: World) -> None:
    gate, engine = Gate(), world.open()
    workflow = Workflow("late", timeout=10)
    add(workflow, "a", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    world.clock.advance(10)
    assert engine.wait(run_id).state == "failed"
    retried = engine.later("retry", run_id)
    gate.begun()
    world.clock.advance(9.875)
    engine.quiet()
    gate.open(1)
    assert retried.result(PATIENCE).state == "completed"


def test_an_engine_that_lets_no_function_be_abandoned_could_begin_none() -> None:
    with pytest.raises(UsageError, match="no function begins in a thread"):
        AsyncEngine("memory://", max_abandoned=0)


def test_when_too_many_functions_go_on_no_other_begins_in_a_thread_until_one_returns(world: World) -> None:
    gate, engine = Gate(), world.open(max_abandoned=1)
    workflow = Workflow("slow")
    add(workflow, "a", gate.hold, timeout=5, optional=True)
    add(workflow, "b", lambda: "in a thread", needs=["a"], optional=True)
    workflow.call("c", lambda: "inline", needs=["b"], isolation="inline")
    run_id = engine.start(workflow)
    gate.begun()
    world.clock.advance(5)
    run = engine.wait(run_id)
    assert engine._engine.abandoned == 1
    assert states(run) == {"a": "failed", "b": "failed", "c": "completed"}
    error = run.steps["b"].error
    assert error is not None
    assert (error.kind, error.name) == ("step.abandoned", "AbandonedError")
    gate.open()

    async def returned() -> None:
        while engine.core.threads.abandoned:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)

    engine.on_loop(returned())
    again = Workflow("again")
    add(again, "b", lambda: "in a thread")
    assert engine.run(again).ok
