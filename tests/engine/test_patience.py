"""G13: what has finished is held while the store cannot take it, tried again, and given up when that takes too long."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import ConflictError, StoreError
from statemachine_flow.stores import database
from statemachine_flow.stores.base import NewRun, Write
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, World, add, kinds
from tests.engine.room import run_short_of_room

PASSING = ["store.full", "store.io", "store.busy"]


class Failing:
    """In the place of a store's `commit`: fails a number of times, and then does it."""

    def __init__(self, engine: Driver, times: float, kind: str = "store.full") -> None:
        self._inner: Callable[[Any], list[str]] = engine.store.commit
        self._left = times
        self._kind = kind
        self.failed = 0
        engine.store.commit = self  # type: ignore[method-assign]

    def __call__(self, batch: Sequence[NewRun | Write]) -> list[str]:
        if self._left > 0:
            self._left -= 1
            self.failed += 1
            raise StoreError("no", kind=self._kind)
        return self._inner(batch)


def held(world: World, **options: Any) -> tuple[Driver, Gate, Outcomes, concurrent.futures.Future[Any]]:
    """A run whose first step is under way, and somebody who waits for it."""
    engine, gate, after = world.open(**options), Gate(), Outcomes("after")
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    add(workflow, "b", after, needs=["a"])
    engine.start(workflow, run_id="r")
    gate.begun()
    waiting = engine.later("wait", "r")
    engine.turn()
    return engine, gate, after, waiting


def pass_time(world: World, engine: Driver, until: Callable[[], bool]) -> float:
    """Let time pass until something is so; how much did."""
    before = world.clock.monotonic()
    while not until():
        world.clock.advance(0.25)
        for _ in range(10):
            engine.turn()
        assert world.clock.monotonic() - before < 100
    return world.clock.monotonic() - before


@pytest.mark.parametrize("kind", PASSING)
def test_what_has_finished_is_kept_once_the_store_takes_it(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, gate, after, waiting = held(world)
    failing = Failing(engine, 5, kind)
    with caplog.at_level(logging.WARNING, "statemachine_flow"):
        gate.open("held")
        pass_time(world, engine, waiting.done)
    run = waiting.result(PATIENCE)

    assert failing.failed == 5
    assert (run.state, run.steps["a"].output, run.steps["a"].attempt) == ("completed", "held", 1)
    assert (len(gate.attempts), after.attempts) == (1, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "no; what could not be written is held, and tried again for 10 s; nothing begins that follows from it"
    ]


def test_nothing_begins_while_a_result_is_held_and_what_ends_meanwhile_is_kept_with_it(world: World) -> None:
    engine, gate, after, waiting = held(world)
    other_gate, other = Gate(), Workflow("other")
    add(other, "a", other_gate.ahold)
    engine.start(other, run_id="other")
    other_gate.begun()
    failing = Failing(engine, float("inf"))
    gate.open("held")
    pass_time(world, engine, lambda: failing.failed > 2)
    other_gate.open("also held")
    pass_time(world, engine, lambda: failing.failed > 4)
    assert (after.attempts, waiting.done()) == (0, False)
    assert (kinds(engine, "r")[-1], kinds(engine, "other")[-1]) == ("step.start:a", "step.start:a")
    failing._left = 0
    pass_time(world, engine, waiting.done)

    assert engine.wait("other").steps["a"].output == "also held"
    assert [len(each.attempts) for each in (gate, other_gate)] == [1, 1]
    assert engine.get("r").state == "completed"


def test_it_is_given_up_after_the_time_for_it_and_the_run_goes_on_once_it_is_resumed(world: World) -> None:
    engine, gate, after, waiting = held(world, write_timeout=5)
    failing = Failing(engine, float("inf"))
    gate.open("unwritten")
    while not failing.failed:
        engine.turn()
    took = pass_time(world, engine, waiting.done)
    with pytest.raises(StoreError) as caught:
        waiting.result(PATIENCE)

    assert caught.value.kind == "store.full"
    assert 5 <= took < 10  # a busy machine hears of each moment a little later
    failing._left = 0
    run = engine.resume("r")
    assert (run.state, run.steps["a"].attempt, after.attempts) == ("completed", 2, 1)


def test_every_write_has_its_own_time(world: World) -> None:
    """A store that fails now and then, for less than the time each, costs no run."""
    engine, gate, _, waiting = held(world, write_timeout=5)
    for number in range(4):
        failing = Failing(engine, 4)
        note = engine.later("checkpoint", "r", f"label-{number}")
        pass_time(world, engine, lambda: failing.failed == 4 and note.done())  # noqa: B023 - called before the next
        note.result(PATIENCE)
    gate.open("kept")
    assert waiting.result(PATIENCE).state == "completed"


@pytest.mark.parametrize("kind", ["store.corrupt", "store.moved", "internal"])
def test_what_does_not_pass_by_itself_is_told_at_once(world: World, kind: str) -> None:
    engine, gate, _, waiting = held(world)
    failing = Failing(engine, 1, kind)
    gate.open("unwritten")
    with pytest.raises(StoreError):
        waiting.result(PATIENCE)
    assert failing.failed == 1


def test_a_store_that_has_let_go_of_its_file_is_not_waited_for(world: World) -> None:
    """A failed sync: whatever the store is asked from then on, it refuses."""
    engine, gate, _, waiting = held(world)
    failing = Failing(engine, 1, "store.io")

    def version() -> int:
        raise StoreError("the file cannot be trusted", kind="store.io")

    engine.store.version = version  # type: ignore[method-assign]
    gate.open("unwritten")
    with pytest.raises(StoreError):
        waiting.result(PATIENCE)
    assert failing.failed == 1
    del engine.store.version


def test_what_is_held_of_a_run_that_was_taken_away_does_not_end_what_this_engine_does_with_it_later(
    world: World,
) -> None:
    engine, gates, workflow = world.open(write_timeout=1000), (Gate(), Gate()), Workflow("held")
    for name, gate in zip("ab", gates, strict=True):
        add(workflow, name, gate.ahold)
    engine.start(workflow, run_id="r")
    waiting = engine.later("wait", "r")
    for gate in gates:
        gate.begun()
    failing = Failing(engine, float("inf"))
    gates[0].open("held")
    pass_time(world, engine, lambda: failing.failed > 1)
    gates[1].open("behind what is held")
    for _ in range(10):
        engine.turn()
    other = world.open()
    assert other.core.store.claim("r", 1, other.core.owner)
    world.clock.advance(11)  # a sign of life tells that another has taken the run
    assert isinstance(waiting.exception(PATIENCE), ConflictError)
    other.close()
    resumed = engine.later("resume", "r")
    for _ in range(10):
        engine.turn()
    failing._left = 0
    pass_time(world, engine, resumed.done)

    run = resumed.result(PATIENCE)
    assert (run.state, [step.attempt for step in run.steps.values()]) == ("completed", [2, 2])
    assert [f"{late.kind} {late.step}" for late in engine.rejected("r")] == [
        "step.complete a",
        "step.complete b",
        "run.complete None",
    ]


@pytest.mark.parametrize("times", [1, float("inf")])
def test_closing_gives_what_is_held_one_more_chance_and_waits_no_longer(world: World, times: float) -> None:
    engine, gate, _, waiting = held(world)
    failing = Failing(engine, times)
    gate.open("last")
    while not failing.failed:
        engine.turn()
    engine.close()  # and the clock stands still

    assert failing.failed == (1 if times == 1 else 2)
    again = world.open(functions={"a": gate.ahold, "b": Outcomes("after")})
    run = again.resume("r")
    assert (run.state, run.steps["a"].attempt) == ("completed", 1 if times == 1 else 2)
    assert waiting.done()


def test_case_75_a_lock_that_is_held_for_long_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    world = World("sync", "sqlite", tmp_path)
    engine, gate, _, waiting = held(world)
    with contextlib.closing(apsw.Connection(str(world.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        gate.open("kept")
        pass_time(world, engine, lambda: engine.core._patience._since is not None)
        other.execute("ROLLBACK")
    pass_time(world, engine, waiting.done)

    run = waiting.result(PATIENCE)
    assert (run.state, run.steps["a"].output, len(gate.attempts)) == ("completed", "kept", 1)
    world.close()


FULL = """
def body(context: StepContext) -> str:
    bodies[context.path] += 1
    return "x" * 400

workflow = Workflow("long")
for number in range(200):
    workflow.call(f"s{number}", body, needs=[f"s{number - 1}"] if number else [])

with Engine(sys.argv[1]) as engine:
    may_grow_to(300_000)
    run = engine.run(workflow, run_id="r")
    print(json.dumps([str(run.state), len(said), sum(bodies.values()), engine.verify().ok]))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_case_57_a_run_that_is_under_way_goes_on_by_itself_once_there_is_room(tmp_path: Path) -> None:
    assert run_short_of_room(FULL, tmp_path / "runs.db") == ["completed", 1, 200, True]
