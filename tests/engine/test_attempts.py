"""Attempts of a step: which errors are tried again, after how long, and that the wait outlives the process."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import StepError
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import Driver, Events, Outcomes, World, add, kinds


class FlakyError(ConnectionError):
    """An error with a base class worth naming."""


OWN_NAME = f"{FlakyError.__module__}.{FlakyError.__qualname__}"


def hurrying(world: World) -> Callable[[Any], None]:
    """A listener that lets every back-off pass at once."""

    def hurry(event: Any) -> None:
        if event.kind == "step.back_off":
            world.clock.advance(100_000)

    return hurry


def policy(**fields: Any) -> RetryPolicy:
    return RetryPolicy(**{"max_attempts": 4, "delay": 1.0, "jitter": "none", **fields})


@pytest.mark.parametrize(
    ("failures", "state", "attempts"), [(0, "completed", 1), (3, "completed", 4), (4, "failed", 4)]
)
def test_max_attempts_counts_the_first_try(world: World, failures: int, state: str, attempts: int) -> None:
    body = Outcomes(*[FlakyError(str(index)) for index in range(failures)], "value")
    workflow = Workflow("attempts")
    add(workflow, "a", body, retry=policy())
    run = world.open().run(workflow, on_event=hurrying(world))
    step = run.steps["a"]
    assert (step.state, step.attempt, body.attempts) == (state, attempts, attempts)
    if state == "failed":
        assert step.error is not None
        assert (step.error.message, step.error.name) == ("3", "FlakyError")  # the last error
    else:
        assert (step.error, step.output) == (None, "value")


@pytest.mark.parametrize(
    ("fields", "delays"),
    [
        ({"delay": 2.0}, [2, 4, 8, 16]),
        ({"delay": 2.0, "factor": 3.0}, [2, 6, 18, 54]),
        ({"delay": 2.0, "max_delay": 5.0}, [2, 4, 5, 5]),
        ({"delay": 2.0, "backoff": "constant"}, [2, 2, 2, 2]),
        ({"delay": 0.5, "factor": 1.0}, [0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_the_delay_between_attempts_grows_as_the_policy_says(
    world: World, fields: dict[str, Any], delays: list[float]
) -> None:
    begun: list[int] = []

    def body() -> None:
        begun.append(world.clock.now())
        raise FlakyError

    events = Events()
    workflow = Workflow("delays")
    add(workflow, "a", body, retry=policy(max_attempts=5, **fields))
    engine = world.open()
    run_id = engine.start(workflow, on_event=events)
    for delay in delays:
        event = events.wait("step.back_off")
        assert event.data["due"] == world.clock.now() + delay * 1e6
        world.clock.advance(delay - 0.125)
        engine.quiet()
        world.clock.advance(0.125)
    engine.wait(run_id)
    assert [later - earlier for earlier, later in itertools.pairwise(begun)] == [delay * 1e6 for delay in delays]


def test_an_attempt_does_not_begin_before_its_time(world: World) -> None:
    events, body = Events(), Outcomes(FlakyError(), 1)
    workflow = Workflow("delays")
    add(workflow, "a", body, retry=policy(delay=60.0))
    engine = world.open()
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    world.clock.advance(59.875)
    engine.quiet()
    step = engine.get(run_id).steps["a"]
    assert (step.state, body.attempts) == ("backing_off", 1)
    assert step.due_at == dt.datetime.fromtimestamp((world.clock.now() + 125_000) / 1e6, dt.UTC)
    world.clock.advance(0.125)
    assert engine.wait(run_id).state == "completed"


def test_full_jitter_draws_between_nothing_and_the_delay_from_the_given_source(quick_world: World) -> None:
    rng, same = random.Random(7), random.Random(7)
    events = Events()
    workflow = Workflow("jitter")
    add(
        workflow,
        "a",
        Outcomes(FlakyError()),
        retry=policy(max_attempts=50, delay=10.0, backoff="constant", jitter="full"),
    )

    def hurry(event: Any) -> None:
        events(event)
        if event.kind == "step.back_off":
            quick_world.clock.advance(10)

    quick_world.open(rng=rng).run(workflow, on_event=hurry)
    waits = [
        event.data["due"] - round(event.at.timestamp() * 1e6) for event in events.seen if event.kind == "step.back_off"
    ]
    assert waits == [round(same.uniform(0, 10.0) * 1e6) for _ in range(49)]
    assert all(0 <= wait <= 10_000_000 for wait in waits)
    assert len(set(waits)) > 40


@pytest.mark.parametrize(
    ("fields", "attempts"),
    [
        ({}, 4),
        ({"retry_on": ("FlakyError",)}, 4),
        ({"retry_on": ("ConnectionError",)}, 4),
        ({"retry_on": ("OSError", "ValueError")}, 4),
        ({"retry_on": (OWN_NAME,)}, 4),
        ({"retry_on": ("Exception",)}, 4),
        ({"retry_on": ("ValueError",)}, 1),
        ({"retry_on": ("flakyerror",)}, 1),
        ({"abort_on": ("FlakyError",)}, 1),
        ({"abort_on": ("ConnectionError",)}, 1),
        ({"abort_on": (OWN_NAME,)}, 1),
        ({"abort_on": ("ValueError",)}, 4),
        ({"retry_on": ("FlakyError",), "abort_on": ("OSError",)}, 1),
    ],
)
def test_errors_are_chosen_by_class_base_class_or_dotted_name(
    world: World, fields: dict[str, Any], attempts: int
) -> None:
    body = Outcomes(FlakyError())
    workflow = Workflow("names")
    add(workflow, "a", body, retry=policy(**fields))
    world.open().run(workflow, on_event=hurrying(world))
    assert body.attempts == attempts


def test_an_error_that_is_not_retried_ends_the_attempts_that_are_left(engine: Driver, world: World) -> None:
    body = Outcomes(FlakyError(), KeyError("final"), "never")
    workflow = Workflow("names")
    add(workflow, "a", body, retry=policy(abort_on=("KeyError",)))
    run = engine.run(workflow, on_event=hurrying(world))
    assert run.steps["a"].error is not None
    assert (body.attempts, run.steps["a"].error.name) == (2, "KeyError")


@pytest.mark.parametrize(
    ("with_", "outputs", "result", "kind"),
    [
        ({"x": "${{ steps.first.outputs.nothing }}"}, None, 1, "expression.undefined"),
        ({"x": 1}, None, object(), "step.unserializable"),
        ({"x": 1}, None, "\ud800", "step.unserializable"),
    ],
)
def test_errors_that_would_come_again_are_never_retried(
    world: World, with_: dict[str, Any], outputs: Any, result: Any, kind: str
) -> None:
    workflow = Workflow("permanent")
    add(workflow, "first", lambda: {"a": 1})
    add(workflow, "a", lambda x: result, with_=with_, needs=["first"], outputs=outputs, retry=policy())
    run = world.open().run(workflow, on_event=hurrying(world))
    error = run.steps["a"].error
    assert error is not None
    assert (run.steps["a"].state, run.steps["a"].attempt, error.kind) == ("failed", 1, kind)


def test_a_step_error_of_the_users_own_is_matched_by_the_name_it_gives(world: World) -> None:
    body = Outcomes(StepError("slow down", name="RateLimited"), 1)
    workflow = Workflow("names")
    add(workflow, "a", body, retry=policy(retry_on=("RateLimited",)))
    assert world.open().run(workflow, on_event=hurrying(world)).state == "completed"


def test_the_defaults_of_the_workflow_hold_for_steps_that_say_nothing(world: World) -> None:
    said, unsaid = Outcomes(FlakyError()), Outcomes(FlakyError())
    workflow = Workflow("defaults", retry=policy(max_attempts=3))
    add(workflow, "unsaid", unsaid, optional=True)
    add(workflow, "said", said, optional=True, retry=RetryPolicy(max_attempts=1))
    world.open().run(workflow, on_event=hurrying(world))
    assert (unsaid.attempts, said.attempts) == (3, 1)


# --- the wait is durable


def backing_off(world: World, body: Outcomes, delay: float = 60.0) -> tuple[str, Workflow]:
    """A run whose engine died while its step was backing off."""
    events = Events()
    workflow = Workflow("durable")
    add(workflow, "a", body, retry=policy(delay=delay))
    engine = world.open()
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off")
    engine.quiet()
    engine.kill()
    return run_id, workflow


def test_a_back_off_keeps_its_time_across_the_death_of_its_process(world: World) -> None:
    body = Outcomes(FlakyError("before"), "after")
    run_id, _ = backing_off(world, body)
    due = world.clock.now() + 60_000_000
    world.clock.advance(20)
    engine = world.open(functions={"a": body})
    resumed = engine.later("resume", run_id)
    engine.quiet()
    step = engine.get(run_id).steps["a"]
    assert (step.state, step.attempt, body.attempts) == ("backing_off", 1, 1)
    assert step.due_at == dt.datetime.fromtimestamp(due / 1e6, dt.UTC)
    assert step.error is not None
    assert step.error.message == "before"
    world.clock.advance(39.875)
    engine.quiet()
    assert body.attempts == 1
    world.clock.advance(0.125)
    run = resumed.result(30)
    assert (run.state, body.attempts, run.steps["a"].attempt) == ("completed", 2, 2)


def test_a_back_off_that_fell_due_while_nobody_worked_ends_at_the_resume(world: World) -> None:
    body = Outcomes(FlakyError(), "after")
    run_id, _ = backing_off(world, body)
    world.clock.advance(3600)
    run = world.open(functions={"a": body}).resume(run_id)
    assert (run.state, body.attempts) == ("completed", 2)


def test_failures_before_a_death_count_against_the_limit_and_interruptions_do_not(world: World) -> None:
    body = Outcomes(FlakyError("1"), FlakyError("2"), FlakyError("3"), FlakyError("4"), FlakyError("5"))
    run_id, _ = backing_off(world, body)
    engine = world.open(functions={"a": body})
    resumed = engine.later("resume", run_id, on_event=hurrying(world))
    engine.quiet()
    world.clock.advance(100)
    run = resumed.result(30)
    assert (run.state, body.attempts, run.steps["a"].attempt) == ("failed", 4, 4)


def test_a_resume_in_a_busy_lane_puts_a_step_in_line_once(quick_world: World) -> None:
    """A step whose timer fell due while the lane was full, then a pause and a resume before anything ended."""
    calls: list[str] = []
    began, gate = asyncio.Event(), asyncio.Event()

    async def a() -> None:
        calls.append("a")
        if len(calls) == 1:
            raise FlakyError

    async def b() -> None:
        began.set()
        await gate.wait()

    async def play() -> None:
        engine = driver._engine
        run_id = await engine.start(workflow)
        await began.wait()
        quick_world.clock.advance(100)
        await driver._quiet()
        paused = asyncio.create_task(engine.pause(run_id))
        await driver._quiet()
        resumed = asyncio.create_task(engine.resume(run_id))
        await driver._quiet()
        gate.set()
        assert (await resumed).state == (await paused).state == "completed"

    workflow = Workflow("lane", max_parallel=1)
    add(workflow, "a", a, retry=policy())
    add(workflow, "b", b)
    driver = quick_world.open()
    driver.on_loop(play())
    assert calls == ["a", "a"]


def test_the_journal_of_a_retried_step_tells_every_attempt(engine: Driver, world: World) -> None:
    workflow = Workflow("told")
    add(workflow, "a", Outcomes(FlakyError("one"), FlakyError("two"), 3), retry=policy())
    run = engine.run(workflow, on_event=hurrying(world))
    steps = [kind for kind in kinds(engine, run.id) if kind.startswith("step")]
    assert steps == ["step.start:a", "step.back_off:a"] * 2 + ["step.start:a", "step.complete:a"]
    errors = [event.data["error"]["message"] for event in engine.events(run.id) if event.kind == "step.back_off"]
    assert errors == ["one", "two"]
