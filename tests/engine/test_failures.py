"""What the failure of a required step stops, what it leaves alone, and what a retry of the run begins anew."""

from __future__ import annotations

import functools

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import ConflictError, NotFoundError
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import Driver, Events, Gate, Outcomes, World, add, kinds, states


def test_a_required_failure_starts_nothing_more_and_keeps_what_was_in_flight(engine: Driver) -> None:
    slow, events = Gate(), Events()
    late = Outcomes("never")
    workflow = Workflow("failing", max_parallel=2)
    add(workflow, "bad", Outcomes(ValueError("broken")))
    add(workflow, "slow", slow.hold)
    add(workflow, "waiting", late)
    add(workflow, "behind_bad", late, needs=["bad"])
    add(workflow, "behind_slow", late, needs=["slow"])
    run_id = engine.start(workflow, on_event=events)
    slow.begun()
    events.wait("step.fail", "bad")
    engine.quiet()
    assert engine.get(run_id).state == "running"
    slow.open("kept")
    run = engine.wait(run_id)
    assert states(run) == {
        "bad": "failed",
        "slow": "completed",
        "waiting": "cancelled",
        "behind_bad": "skipped",
        "behind_slow": "cancelled",
    }
    assert (run.state, run.steps["slow"].output, late.attempts) == ("failed", "kept", 0)
    assert run.error is not None
    assert (run.error.kind, run.error.name, run.error.step) == ("run.failed", "ValueError", "bad")
    assert "broken" in run.error.message


def test_the_first_of_several_errors_is_the_error_of_the_run(engine: Driver) -> None:
    first, second, events = Gate(), Gate(), Events()
    workflow = Workflow("failing")
    add(workflow, "a", first.hold)
    add(workflow, "b", second.hold)
    run_id = engine.start(workflow, on_event=events)
    first.begun(), second.begun()
    second.open(KeyError("second step, first error"))
    events.wait("step.fail", "b")
    engine.core.clock.advance(1)  # type: ignore[attr-defined]
    first.open(ValueError("later"))
    run = engine.wait(run_id)
    assert states(run) == {"a": "failed", "b": "failed"}
    assert run.error is not None
    assert (run.error.step, run.error.name) == ("b", "KeyError")


def test_a_step_that_backs_off_is_cancelled_when_another_fails(engine: Driver) -> None:
    events, gate = Events(), Gate()
    workflow = Workflow("failing")
    add(workflow, "patient", Outcomes(ValueError("again")), retry=RetryPolicy(max_attempts=9, delay=60))
    add(workflow, "bad", gate.hold)
    run_id = engine.start(workflow, on_event=events)
    events.wait("step.back_off", "patient")
    gate.open(ValueError("end"))
    run = engine.wait(run_id)
    assert states(run) == {"patient": "cancelled", "bad": "failed"}
    assert run.steps["patient"].reason == "a required step failed"


def failed_run(engine: Driver) -> tuple[str, dict[str, Outcomes]]:
    """A run whose `bad` failed at its first try, with a step in every state around it."""
    bodies = {
        "done": Outcomes("kept"),
        "bad": Outcomes(ValueError("first try"), "second try"),
        "after": Outcomes("after"),
        "after2": Outcomes("after2"),
        "optional": Outcomes(ValueError("can do without"), "not asked again"),
        "conditional": Outcomes("no"),
        "behind_conditional": Outcomes("no"),
        "pending": Outcomes("pending"),
    }
    workflow = Workflow("retried", max_parallel=1)
    call = functools.partial(add, workflow)
    call("done", bodies["done"])
    call("optional", bodies["optional"], optional=True)
    call("conditional", bodies["conditional"], when="1 == 2")
    call("behind_conditional", bodies["behind_conditional"], needs=["conditional"])
    call("bad", bodies["bad"], needs=["done"])
    call("after", bodies["after"], needs=["bad", "optional"])
    call("after2", bodies["after2"], needs=["after"])
    call("pending", bodies["pending"])
    run = engine.run(workflow)
    assert states(run) == {
        "done": "completed",
        "optional": "failed",
        "conditional": "skipped",
        "behind_conditional": "skipped",
        "bad": "failed",
        "after": "skipped",
        "after2": "skipped",
        "pending": "cancelled",
    }
    return run.id, bodies


def test_a_retry_resets_what_failed_was_cancelled_or_skipped_for_it_and_nothing_else(engine: Driver) -> None:
    run_id, bodies = failed_run(engine)
    run = engine.retry(run_id, by="me")
    assert states(run) == {
        "done": "completed",
        "optional": "failed",
        "conditional": "skipped",
        "behind_conditional": "skipped",
        "bad": "completed",
        "after": "completed",
        "after2": "completed",
        "pending": "completed",
    }
    assert (run.state, run.error, run.steps["done"].output) == ("completed", None, "kept")
    assert {name: body.attempts for name, body in bodies.items()} == {
        "done": 1,
        "optional": 1,
        "conditional": 0,
        "behind_conditional": 0,
        "bad": 2,
        "after": 1,
        "after2": 1,
        "pending": 1,
    }
    reset = [kind for kind in kinds(engine, run_id) if kind.startswith("step.reset")]
    assert reset == ["step.reset:bad", "step.reset:after", "step.reset:after2", "step.reset:pending"]


def test_a_retry_counts_attempts_on_and_failures_anew(engine: Driver) -> None:
    body = Outcomes(*[ValueError("x")] * 5, "at last")
    workflow = Workflow("attempts")
    add(workflow, "a", body, retry=RetryPolicy(max_attempts=2, delay=0.001, jitter="none"))

    def hurry(event: object) -> None:
        engine.core.clock.advance(1)  # type: ignore[attr-defined]

    run = engine.run(workflow, on_event=hurry)
    assert (run.state, run.steps["a"].attempt) == ("failed", 2)
    run = engine.retry(run.id, on_event=hurry)
    assert (run.state, run.steps["a"].attempt) == ("failed", 4)
    run = engine.retry(run.id, on_event=hurry)
    assert (run.state, run.steps["a"].attempt, run.steps["a"].output) == ("completed", 6, "at last")
    numbers = [event.data["attempt"] for event in engine.events(run.id) if event.kind == "step.start"]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_a_retry_after_the_engine_was_closed_keeps_what_completed(world: World) -> None:
    first = world.open()
    run_id, bodies = failed_run(first)
    first.kill()
    second = world.open(functions=bodies)
    run = second.retry(run_id)
    assert (run.state, bodies["done"].attempts, bodies["bad"].attempts) == ("completed", 1, 2)


@pytest.mark.parametrize("end", ["completed", "cancelled", "paused"])
def test_only_a_failed_run_can_be_retried(engine: Driver, end: str) -> None:
    gate = Gate()
    workflow = Workflow("whole")
    add(workflow, "a", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    if end == "completed":
        gate.open()
        engine.wait(run_id)
    elif end == "cancelled":
        engine.cancel(run_id)
    else:
        engine.pause(run_id, interrupt=True)
    before = kinds(engine, run_id)
    with pytest.raises(ConflictError) as caught:
        engine.retry(run_id)
    assert (caught.value.kind, caught.value.exit_code) == ("run.state", 5)
    assert end in str(caught.value)
    assert kinds(engine, run_id) == before


@pytest.mark.parametrize("action", ["retry", "resume", "pause", "cancel", "get", "events"])
def test_case_37_an_unknown_run_is_not_found(engine: Driver, action: str) -> None:
    for name in ("nobody", "../../x", "' OR 1=1 --", "%", "", "x" * 10_000):
        with pytest.raises(NotFoundError) as caught:
            getattr(engine, action)(name)
        assert (caught.value.kind, caught.value.exit_code) == ("run.not_found", 4)
        assert len(str(caught.value)) < 300


def test_case_42_a_run_at_rest_for_good_is_not_resumed(engine: Driver) -> None:
    workflow = Workflow("ends")
    add(workflow, "a", Outcomes(1))
    done = engine.run(workflow)
    workflow2 = Workflow("ends2")
    add(workflow2, "a", Outcomes(ValueError("no")))
    failed = engine.run(workflow2)
    for run, hint in ((done, ""), (failed, "retry")):
        before = kinds(engine, run.id)
        with pytest.raises(ConflictError) as caught:
            engine.resume(run.id)
        assert caught.value.kind == "run.state"
        assert str(run.state) in str(caught.value)
        assert hint in str(caught.value)
        assert kinds(engine, run.id) == before
