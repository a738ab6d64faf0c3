"""A journal that gets too long: a note, then a pause, and no way to write on until somebody allows it."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow import Workflow, load
from statemachine_flow.engine.length import MAX_RECORDS
from statemachine_flow.engine.openings import MAX_ITEMS
from statemachine_flow.errors import ConflictError, UsageError
from tests.engine.harness import Driver, World

#: Two states that send the token to each other, a thousand times.
IN_CIRCLES = """
dsl = "1"
name = "circles"
start = "ping"
[steps]
ping = { call = "one", next = "pong", max_visits = 1000 }
pong = { call = "one", next = "ping", max_visits = 1000 }
"""
SPARE = 10


def circles(world: World, max_records: int) -> tuple[Driver, Workflow]:
    return world.open(functions={"one": lambda: 1}, max_records=max_records), load(IN_CIRCLES)


def test_a_run_that_goes_in_circles_is_noted_once_and_then_paused(world: World) -> None:
    engine, workflow = circles(world, 100)
    run = engine.run(workflow, run_id="r")

    assert run.state == "paused"
    assert run.reason.startswith("run.limit: the journal has 10")
    assert [note.partition(":")[0] for note in run.notes] == ["run.limit"]
    assert run.notes[0].endswith("records; at 100 the run is paused")
    assert len(engine.events("r")) <= 100 + SPARE


def test_it_is_refused_to_go_on_until_more_is_allowed_and_can_be_cancelled(world: World) -> None:
    engine, workflow = circles(world, 100)
    engine.run(workflow, run_id="r")
    before = len(engine.events("r"))
    attempts: list[Any] = [
        lambda: engine.resume("r"),
        lambda: engine.run(workflow, run_id="r"),
        lambda: engine.signal("r", "go"),
    ]
    for attempt in attempts:
        with pytest.raises(ConflictError) as caught:
            attempt()
        assert (caught.value.kind, caught.value.exit_code, caught.value.run) == ("run.limit", 5, "r")
        assert "--max-records" in str(caught.value)
    assert len(engine.events("r")) == before

    engine.close()
    engine, _ = circles(world, 200)
    run = engine.resume("r")
    assert (run.state, len(run.notes)) == ("paused", 1)  # what was noted is not noted again
    assert engine.cancel("r").state == "cancelled"


def test_a_flood_of_signals_is_refused_where_the_journal_is_full(world: World) -> None:
    engine = world.open(max_records=50)
    run = engine.run(load('dsl = "1"\nname = "ear"\nsteps.a.wait.event = "go"\n'), run_id="r")
    assert run.state == "running"
    while len(engine.events("r")) < 50:
        engine.signal("r", "noise")
    with pytest.raises(ConflictError) as caught:
        engine.signal("r", "noise")
    assert caught.value.kind == "run.limit"
    assert len(engine.events("r")) == 50
    assert engine.cancel("r").state == "cancelled"


def test_a_death_at_the_limit_changes_nothing(one_world: World) -> None:
    """The engine that takes the run up finds the same limit, and keeps to it."""
    engine, workflow = circles(one_world, 60)
    engine.run(workflow, run_id="r")
    engine.close()
    engine, _ = circles(one_world, 80)
    run = engine.resume("r")
    assert (run.state, run.reason.partition(":")[0]) == ("paused", "run.limit")
    assert 80 <= len(engine.events("r")) <= 80 + SPARE


def test_the_largest_loop_stays_far_below_the_limit() -> None:
    """Five attempts of each item of a loop with as many items as there may be."""
    assert 5 * 2 * MAX_ITEMS <= MAX_RECORDS // 5


@pytest.mark.parametrize("number", [0, -1])
def test_a_limit_that_allows_nothing_is_refused(world: World, number: int) -> None:
    with pytest.raises(UsageError):
        world.open(max_records=number)
