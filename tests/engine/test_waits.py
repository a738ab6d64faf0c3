"""Timers: for a time, until a moment, across deaths and over a clock that is set."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from statemachine_flow.builder import Workflow, load
from statemachine_flow.engine.watch import WATCH_SECONDS
from tests.engine.harness import Driver, Events, World, kinds, states

DAY = 86_400.0


def waiting(**wait: object) -> Workflow:
    """A workflow of one wait."""
    workflow = Workflow("waits")
    workflow.wait("wait", **wait)  # type: ignore[arg-type]  # what a table of cases holds
    return workflow


def moment(world: World, seconds: float) -> str:
    """The moment that many seconds from now, in a zone of its own."""
    then = dt.datetime.fromtimestamp(world.clock.now() / 1e6 + seconds, dt.timezone(dt.timedelta(hours=5.5)))
    return then.isoformat()


def until(engine: Driver, when: str) -> str:
    """Start a run that waits until a moment that it is given."""
    document = 'dsl = "1"\nname = "until"\ninputs.when = {}\nsteps.wait.wait.until = "${{ inputs.when }}"\n'
    run_id: str = engine.start(load(document), {"when": when})
    engine.quiet()
    return run_id


def test_a_wait_ends_when_its_time_has_passed_and_not_before(world: World) -> None:
    engine = world.open()
    run_id = engine.start(waiting(for_="1h"))
    engine.quiet()
    view = engine.get(run_id).steps["wait"]
    assert (view.state, view.on, view.due_at.timestamp()) == ("waiting", "timer", world.clock.now() / 1e6 + 3600)
    world.clock.advance(3599.5)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(0.5)
    run = engine.wait(run_id, until="rest")
    assert (run.state, run.steps["wait"].output, run.steps["wait"].due_at) == ("completed", None, None)


def test_a_moment_is_one_in_any_zone(world: World) -> None:
    engine = world.open()
    run_id = until(engine, moment(world, 60))
    world.clock.advance(59)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(1)
    assert engine.wait(run_id, until="rest").state == "completed"


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00Z", "0001-01-02T00:00:00+00:00", "2026-01-01T00:00:00-12:00"])
def test_a_moment_that_has_come_already_is_not_waited_for(one_world: World, when: str) -> None:
    engine = one_world.open()
    run = engine.run(waiting(until=when), until="rest")
    assert (run.state, kinds(engine, run.id)[-4:-1]) == (
        "completed",
        ["step.start:wait", "step.wait:wait", "step.complete:wait"],
    )


def test_a_timer_of_years_is_one_timer(one_world: World) -> None:
    engine = one_world.open()
    run_id = until(engine, "9999-12-31T00:00:00+00:00")
    other = engine.start(waiting(for_="3650d"))
    engine.quiet()
    due = engine.get(run_id).steps["wait"].due_at
    assert (due.year, one_world.clock.waiting) == (9999, 4)  # two timers, the engine's watch and its lease
    one_world.clock.advance(3650 * DAY)
    assert engine.wait(other, until="rest").state == "completed"
    assert engine.get(run_id).state == "running"


@pytest.mark.parametrize(
    "when", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-21T09:00:00", "tomorrow", ""]
)
def test_a_moment_that_no_clock_shows_fails_the_step(one_world: World, when: str) -> None:
    engine = one_world.open()
    run = engine.wait(until(engine, when), until="rest")
    error = run.steps["wait"].error
    assert error is not None
    assert (run.state, error.kind) == ("failed", "expression.type")


@pytest.mark.parametrize("value", ["0", "-1", "true", "null", "'soon'", "'0s'", "3650 * 86400 + 1"])
def test_a_time_that_is_no_duration_fails_the_step(one_world: World, value: str) -> None:
    engine = one_world.open()
    run = engine.run(waiting(for_=f"${{{{ {value} }}}}"), until="rest")
    error = run.steps["wait"].error
    assert error is not None
    assert (run.state, error.kind) == ("failed", "expression.type")


@pytest.mark.parametrize("value", ["2.5", "'2s500ms'", "5 / 2"])
def test_a_time_may_be_computed(one_world: World, value: str) -> None:
    engine = one_world.open()
    run_id = engine.start(waiting(for_=f"${{{{ {value} }}}}"))
    engine.quiet()
    one_world.clock.advance(2.5)
    assert engine.wait(run_id, until="rest").state == "completed"


@pytest.mark.parametrize("ending", ["kill", "close"])
def test_a_timer_that_fell_due_while_no_process_lived_ends_the_wait_on_resume(world: World, ending: str) -> None:
    engine = world.open()
    run_id = engine.start(waiting(for_="1h"))
    engine.quiet()
    getattr(engine, ending)()
    world.clock.jump(DAY)
    engine = world.open()
    run = engine.resume(run_id, until="rest")
    assert (run.state, run.steps["wait"].attempt) == ("completed", 1)


def test_a_timer_is_set_for_the_rest_of_its_time_by_the_next_process(world: World) -> None:
    engine = world.open()
    run_id = engine.start(waiting(for_="1h"))
    engine.quiet()
    world.clock.advance(1800)
    engine.kill()
    engine = world.open()
    resumed = engine.later("resume", run_id, until="rest")
    engine.quiet()
    world.clock.advance(1799)
    engine.quiet()
    assert not resumed.done()
    world.clock.advance(1)
    assert resumed.result(10).state == "completed"


def test_a_timer_that_falls_due_during_a_pause_ends_the_wait_afterwards(world: World) -> None:
    engine = world.open()
    run_id = engine.start(waiting(for_="1h"))
    engine.quiet()
    assert states(engine.pause(run_id)) == {"wait": "waiting"}
    world.clock.advance(7200)
    engine.quiet()
    assert states(engine.get(run_id)) == {"wait": "waiting"}
    assert engine.resume(run_id, until="rest").state == "completed"


def test_a_clock_that_is_set_back_ends_no_wait_until_a_moment_early(world: World) -> None:
    engine = world.open()
    run_id = until(engine, moment(world, 60))
    world.clock.jump(-DAY)
    world.clock.advance(61)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(DAY)
    assert engine.wait(run_id, until="rest").state == "completed"


def test_a_clock_that_is_set_forward_brings_a_moment_nearer(world: World) -> None:
    """As after a night that the machine slept through, which the monotonic clock knows nothing of."""
    engine = world.open()
    run_id = until(engine, moment(world, DAY))
    world.clock.jump(DAY)
    world.clock.advance(WATCH_SECONDS)
    assert engine.wait(run_id, until="rest").state == "completed"


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_clock_that_is_set_changes_nothing_about_a_time(world: World, seconds: float) -> None:
    engine = world.open()
    run_id = engine.start(waiting(for_="60s"))
    engine.quiet()
    world.clock.jump(seconds)
    world.clock.advance(59)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    world.clock.advance(1)
    assert engine.wait(run_id, until="rest").state == "completed"


def test_timers_that_fall_due_together_are_heard_together(world: World) -> None:
    engine, events = world.open(), Events()
    workflow = Workflow("together")
    for step in "cab":
        workflow.wait(step, for_="60s")
    workflow.wait("after", event="never", needs=["a"])
    run_id = engine.start(workflow, on_event=events)
    engine.quiet()
    world.clock.advance(60)
    events.wait("step.wait", "after")
    assert kinds(engine, run_id)[-5:] == [
        "step.complete:c",
        "step.complete:a",
        "step.complete:b",
        "step.start:after",
        "step.wait:after",
    ]


def test_ten_thousand_waits_take_no_thread_and_no_timer_but_their_own(quick_world: World) -> None:
    engine = quick_world.open()
    workflow = Workflow("many")
    workflow.wait("timers", for_="1h", for_each={"items": "${{ range(5000) }}"})
    workflow.wait("signals", event="go", for_each={"items": "${{ range(5000) }}"})
    before = threading.active_count()
    run_id = engine.start(workflow)
    engine.quiet()
    assert engine.get(run_id).state == "running"
    assert (threading.active_count(), quick_world.clock.waiting) == (before, 5002)
    quick_world.clock.advance(3600)
    run = engine.wait(run_id)
    assert (len(run.waiting), quick_world.clock.waiting) == (5000, 2)
    for number in range(3):
        engine.signal(run_id, "go", number)
    assert [engine.get(run_id).steps[f"signals[{place}]"].output for place in range(4)] == [0, 1, 2, None]
    assert engine.cancel(run_id).state == "cancelled"
