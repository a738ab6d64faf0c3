"""Pausing, resuming and cancelling, in every state a run can be found in."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError
from statemachine_flow.model import RetryPolicy
from statemachine_flow.steps.base import StepContext
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, add, kinds, states


def held(engine: Driver, *, is_async: bool = True) -> tuple[str, Gate, Outcomes]:
    """A run whose first step is under way, with a second behind it."""
    gate, after = Gate(), Outcomes("after")
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold if is_async else gate.hold)
    add(workflow, "b", after, needs=["a"])
    run_id = engine.start(workflow)
    gate.begun()
    return run_id, gate, after


# --- pause and resume


@pytest.mark.parametrize("is_async", [True, False], ids=["coroutine", "thread"])
def test_a_pause_lets_what_is_under_way_finish_and_begins_nothing(engine: Driver, is_async: bool) -> None:
    run_id, gate, after = held(engine, is_async=is_async)
    paused = engine.later("pause", run_id, reason="lunch", by="me")
    engine.quiet()
    assert (engine.get(run_id).state, paused.done()) == ("paused", False)
    gate.open("kept")
    run = paused.result(PATIENCE)
    assert (run.state, run.reason, run.owner, after.attempts) == ("paused", "lunch", None, 0)
    assert states(run) == {"a": "completed", "b": "pending"}
    run = engine.resume(run_id, by="me")
    assert (run.state, run.reason, len(gate.attempts), after.attempts) == ("completed", "", 1, 1)
    data = {event.kind: event.data for event in engine.events(run_id)}
    assert (data["run.pause"], data["run.resume"]) == ({"reason": "lunch", "by": "me"}, {"by": "me"})


def test_a_pause_with_interrupt_stops_what_is_under_way_and_a_resume_begins_it_anew(engine: Driver) -> None:
    run_id, gate, _ = held(engine)
    run = engine.pause(run_id, interrupt=True)
    assert (run.state, states(run)) == ("paused", {"a": "interrupted", "b": "pending"})
    assert (gate.cancelled, gate.attempts[0].stop_reason) == (1, "interrupt")
    gate.open(1)
    run = engine.resume(run_id)
    assert (run.state, run.steps["a"].attempt) == ("completed", 2)


def test_an_interrupt_may_follow_a_pause_that_waits_too_long(engine: Driver) -> None:
    run_id, _, _ = held(engine)
    paused = engine.later("pause", run_id)
    engine.quiet()
    assert engine.pause(run_id, interrupt=True).steps["a"].state == "interrupted"
    assert paused.result(PATIENCE).state == "paused"


def test_a_thread_that_does_not_heed_an_interrupt_is_abandoned_and_its_result_dropped(engine: Driver) -> None:
    run_id, gate, _ = held(engine, is_async=False)
    run = engine.pause(run_id, interrupt=True)
    assert (states(run)["a"], engine.core.threads.abandoned) == ("interrupted", 1)
    gate.open("late")
    run = engine.resume(run_id)
    assert (run.state, run.steps["a"].attempt) == ("completed", 2)


def test_a_thread_that_heeds_an_interrupt_in_its_grace_keeps_its_result(world: World) -> None:
    """The grace of a thread is real time, so this gives it plenty and lets the function decide."""
    engine = world.open(grace=PATIENCE)
    begun = threading.Event()

    def careful(context: StepContext) -> str:
        begun.set()
        while not context.cancelled:
            threading.Event().wait(0.001)
        return f"stopped by {context.stop_reason}"

    workflow = Workflow("careful")
    add(workflow, "a", careful)
    run_id = engine.start(workflow)
    assert begun.wait(PATIENCE)
    run = engine.pause(run_id, interrupt=True)
    assert (states(run), run.steps["a"].output) == ({"a": "completed"}, "stopped by interrupt")


def test_case_43_pausing_a_paused_run_changes_nothing(engine: Driver) -> None:
    run_id, gate, _ = held(engine)
    paused = engine.later("pause", run_id)
    engine.quiet()  # it was heard, while the run could not have completed yet
    gate.open(1)
    assert paused.result(PATIENCE).state == "paused"
    before = kinds(engine, run_id)
    assert engine.pause(run_id).state == "paused"
    assert kinds(engine, run_id) == before


def test_no_step_starts_between_a_pause_and_its_resume(engine: Driver) -> None:
    gates = [Gate() for _ in range(3)]
    workflow = Workflow("many", max_parallel=3)
    for index, gate in enumerate(gates):
        add(workflow, f"s{index}", gate.ahold)
    for index in range(10):
        add(workflow, f"t{index}", lambda: None)
    run_id = engine.start(workflow)
    for gate in gates:
        gate.begun()
    paused = engine.later("pause", run_id)
    engine.quiet()
    for gate in gates:
        gate.open(1)
    paused.result(PATIENCE)
    seen = kinds(engine, run_id)
    assert not [kind for kind in seen[seen.index("run.pause") :] if kind.startswith("step.start")]
    assert engine.resume(run_id).state == "completed"


def test_a_pause_holds_back_a_step_whose_wait_ends_meanwhile(engine: Driver, world: World) -> None:
    body, events = Outcomes(ValueError(), 1), Events()
    workflow = Workflow("backing-off")
    add(workflow, "a", body, retry=RetryPolicy(max_attempts=2, delay=60, jitter="none"))
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    run = engine.pause(run_id)
    assert (run.state, states(run)) == ("paused", {"a": "backing_off"})
    world.clock.advance(3600)
    engine.quiet()
    assert body.attempts == 1
    assert (engine.resume(run_id).state, body.attempts) == ("completed", 2)


def test_a_failure_during_a_pause_waits_for_the_resume(engine: Driver) -> None:
    run_id, gate, after = held(engine)
    paused = engine.later("pause", run_id)
    engine.quiet()
    gate.open(ValueError("broken"))
    run = paused.result(PATIENCE)
    assert (run.state, states(run)) == ("paused", {"a": "failed", "b": "pending"})
    run = engine.resume(run_id)
    assert (run.state, states(run), after.attempts) == ("failed", {"a": "failed", "b": "skipped"}, 0)


def test_a_pause_outlives_the_process(world: World) -> None:
    first = world.open()
    run_id, gate, after = held(first)
    first.pause(run_id, interrupt=True)
    first.kill()
    second = world.open(functions={"a": gate.ahold, "b": after})
    assert second.get(run_id).state == "paused"
    gate.open(1)
    assert second.resume(run_id).state == "completed"


def test_an_engine_that_closes_pauses_what_it_works_on(world: World) -> None:
    first = world.open()
    run_id, gate, after = held(first)
    first.close()
    second = world.open(functions={"a": gate.ahold, "b": after})
    run = second.get(run_id)
    assert (run.state, run.reason, run.owner) == ("paused", "the engine was closed", None)
    assert states(run) == {"a": "interrupted", "b": "pending"}
    gate.open(1)
    assert (second.resume(run_id).state, len(gate.attempts)) == ("completed", 2)


def test_an_engine_that_closes_does_not_wait_for_a_pause_that_waits(world: World) -> None:
    first = world.open()
    run_id, _, _ = held(first)
    paused = first.later("pause", run_id)
    first.quiet()
    first.close()
    assert paused.result(PATIENCE).state == "paused"
    assert states(world.open().get(run_id))["a"] == "interrupted"


# --- cancel


def running(engine: Driver, _: World) -> str:
    return held(engine)[0]


def paused(engine: Driver, _: World) -> str:
    run_id = held(engine)[0]
    engine.pause(run_id, interrupt=True)
    return run_id


def pausing(engine: Driver, _: World) -> str:
    run_id = held(engine)[0]
    engine.later("pause", run_id)
    engine.quiet()
    return run_id


def backing_off(engine: Driver, _: World) -> str:
    events = Events()
    workflow = Workflow("backing-off")
    add(workflow, "a", Outcomes(ValueError()), retry=RetryPolicy(max_attempts=9, delay=60, jitter="none"))
    run_id: str = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    return run_id


def failed(engine: Driver, _: World) -> str:
    workflow = Workflow("failed")
    add(workflow, "a", Outcomes(ValueError()))
    return str(engine.run(workflow).id)


def orphaned(_: Driver, world: World) -> str:
    """Its engine died with a step under way."""
    first = world.open()
    run_id = held(first)[0]
    first.kill()
    return run_id


def orphaned_cancelling(_: Driver, world: World) -> str:
    """Its engine died while it stopped the step."""
    first = world.open()
    gate = Gate()
    workflow = Workflow("stubborn")
    add(workflow, "a", gate.hold)
    run_id: str = first.start(workflow)
    gate.begun()
    first.later("cancel", run_id)
    first.on_loop(cancelling(first, run_id))
    first.kill()
    gate.open()
    return run_id


async def cancelling(engine: Driver, run_id: str) -> None:
    while (await engine._engine.get(run_id)).state != "cancelling":  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)


SITUATIONS = [running, paused, pausing, backing_off, failed, orphaned, orphaned_cancelling]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_a_run_is_cancelled_from_any_state_and_cancelling_again_changes_nothing(
    world: World, situation: Callable[[Driver, World], str]
) -> None:
    engine = world.open()
    run_id = situation(engine, world)
    run = engine.cancel(run_id, reason="enough", by="me")
    assert (run.state, run.owner, run.at_rest) == ("cancelled", None, True)
    assert not {"running", "pending", "backing_off", "interrupted"} & set(states(run).values())
    before = kinds(engine, run_id)
    again = engine.cancel(run_id, reason="again")
    assert (again.state, kinds(engine, run_id)) == ("cancelled", before)
    assert sum(kind in {"run.settle", "run.cancel"} for kind in before) == (1 if situation is failed else 2)
    with pytest.raises(ConflictError):
        engine.resume(run_id)


@pytest.mark.parametrize("situation", [running, pausing, orphaned_cancelling], ids=lambda situation: situation.__name__)
def test_two_cancels_at_once_end_alike(world: World, situation: Callable[[Driver, World], str]) -> None:
    engine = world.open()
    run_id = situation(engine, world)
    both = [engine.later("cancel", run_id) for _ in range(2)]
    assert [future.result(PATIENCE).state for future in both] == ["cancelled", "cancelled"]


def test_an_orphan_that_was_being_cancelled_settles_when_it_is_resumed(world: World) -> None:
    run_id = orphaned_cancelling(world.open(), world)
    run = world.open().resume(run_id)  # its function is not even known here
    assert (run.state, states(run)) == ("cancelled", {"a": "cancelled"})


def test_case_43_a_completed_run_cannot_be_cancelled_or_paused(engine: Driver) -> None:
    workflow = Workflow("done")
    add(workflow, "a", lambda: 1)
    run_id = engine.run(workflow).id
    for action in ("cancel", "pause"):
        with pytest.raises(ConflictError) as caught:
            getattr(engine, action)(run_id)
        assert (caught.value.kind, caught.value.exit_code) == ("run.state", 5)
        assert "completed" in str(caught.value)


def test_a_cancelled_run_says_who_and_why(engine: Driver) -> None:
    run_id = running(engine, None)  # type: ignore[arg-type]  # it needs no world
    run = engine.cancel(run_id, reason="enough", by="me")
    assert run.reason == "enough"
    events = {event.kind: event.data for event in engine.events(run_id)}
    assert events["run.cancel"] == {"reason": "enough", "by": "me"}
    assert run.steps["a"].reason == "the run was cancelled"


@pytest.mark.parametrize("text", ["\ud800", "caf\udce9", "x" * 100_000, "\x00\x1b[2J"])
def test_a_reason_may_be_any_text(engine: Driver, text: str) -> None:
    run_id = running(engine, None)  # type: ignore[arg-type]  # it needs no world
    assert engine.pause(run_id, interrupt=True, reason=text, by=text).state == "paused"
    run = engine.cancel(run_id, reason=text, by=text)
    assert run.state == "cancelled"
    assert run.reason[:1] in {"?", "c", "x", "\x00"}
    assert len(run.reason) < 5000


def test_case_106_a_coroutine_that_swallows_its_cancellation_does_not_hold_up_the_run(world: World) -> None:
    engine = world.open(grace=3.0)
    begun, release = threading.Event(), asyncio.Event()
    swallowed: list[int] = []

    async def stubborn() -> str:
        while not release.is_set():
            begun.set()
            try:
                await release.wait()
            except asyncio.CancelledError:
                swallowed.append(1)
        return "too late"

    workflow = Workflow("stubborn")
    add(workflow, "a", stubborn)
    run_id = engine.start(workflow)
    assert begun.wait(PATIENCE)
    cancelled = engine.later("cancel", run_id)
    engine.quiet()
    assert (engine.get(run_id).state, swallowed) == ("cancelling", [1])
    world.clock.advance(3.0 + 2.0)
    run = cancelled.result(PATIENCE)
    assert (run.state, states(run)) == ("cancelled", {"a": "cancelled"})
    before = kinds(engine, run_id)

    async def end() -> None:
        release.set()

    engine.on_loop(end())
    engine.quiet()
    assert kinds(engine, run_id) == before  # the late result changes nothing


def test_a_coroutine_that_returns_instead_of_being_cancelled_keeps_its_result(engine: Driver) -> None:
    begun = threading.Event()

    async def tidy() -> str:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "tidied up"

    workflow = Workflow("tidy")
    add(workflow, "a", tidy)
    run_id = engine.start(workflow)
    assert begun.wait(PATIENCE)
    run = engine.cancel(run_id)
    assert (run.state, states(run), run.steps["a"].output) == ("cancelled", {"a": "completed"}, "tidied up")


def test_an_error_while_being_cancelled_is_told_in_the_reason(engine: Driver) -> None:
    begun = threading.Event()

    async def clumsy() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise ValueError("clumsy")

    workflow = Workflow("clumsy")
    add(workflow, "a", clumsy, retry=RetryPolicy(max_attempts=5))
    run_id = engine.start(workflow)
    assert begun.wait(PATIENCE)
    run = engine.cancel(run_id)
    assert (run.state, states(run)) == ("cancelled", {"a": "cancelled"})
    assert run.steps["a"].reason == "the run was cancelled; ValueError: clumsy"


def test_a_thread_that_never_ends_does_not_hold_up_a_cancel(engine: Driver) -> None:
    run_id, gate, _ = held(engine, is_async=False)
    run = engine.cancel(run_id)
    assert (run.state, states(run), engine.core.threads.abandoned) == (
        "cancelled",
        {"a": "cancelled", "b": "cancelled"},
        1,
    )
    before = kinds(engine, run_id)
    gate.open("late")
    engine.quiet()
    assert kinds(engine, run_id) == before


def test_a_command_that_traps_term_is_dead_when_its_run_is_cancelled(engine: Driver, world: World) -> None:
    lifeline = world.folder / "lifeline"
    os.mkfifo(lifeline)
    reader = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK)
    workflow = Workflow("stubborn")
    workflow.run("a", f"trap '' TERM; exec 3> {lifeline}; echo ready >&3; while :; do sleep 1000 & wait; done")
    run_id = engine.start(workflow)
    os.set_blocking(reader, True)
    while os.read(reader, 6) != b"ready\n":
        pass
    run = engine.cancel(run_id)
    assert (run.state, states(run)) == ("cancelled", {"a": "cancelled"})
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_cancel_in_the_moment_a_step_starts_does_not_wait_for_its_grace(world: World) -> None:
    """The start and the end of the attempt are decided in one tick, so its body never takes a turn."""
    engine = world.open()
    after = Outcomes("never")

    async def last_act() -> None:
        asyncio.get_running_loop().create_task(engine._engine.cancel(run_id))

    async def never() -> None:
        after()

    workflow = Workflow("moment")
    add(workflow, "a", last_act)
    add(workflow, "b", never, needs=["a"])
    run_id = "moment"
    engine.start(workflow, run_id=run_id)
    run: Run = engine.wait(run_id)
    assert run.state == "cancelled"
    assert world.clock.waiting == 0
