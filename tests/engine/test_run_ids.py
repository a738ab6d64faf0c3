"""G1: an id chosen by the caller starts one run, however often and from wherever it is started; and finding runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from statemachine_flow.stores.base import RunFilter
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, SlowCommit, World, add, kinds


def once(body: Any, name: str = "once") -> Workflow:
    workflow = Workflow(name)
    workflow.input("x", "integer", default=1)
    add(workflow, "a", body)
    return workflow


def test_the_same_id_and_inputs_are_the_same_run(engine: Driver) -> None:
    body = Outcomes(5)
    first = engine.run(once(body), {"x": 2}, run_id="nightly-1")
    second = engine.run(once(body), {"x": 2}, run_id="nightly-1")
    assert (first.id, second.id, second.steps["a"].output, body.attempts) == ("nightly-1", "nightly-1", 5, 1)
    assert engine.start(once(body), {"x": 2}, run_id="nightly-1") == "nightly-1"
    assert len(engine.list()) == 1


def test_a_default_that_is_given_is_the_same_input(engine: Driver) -> None:
    engine.run(once(Outcomes(1)), run_id="r")
    assert engine.run(once(Outcomes(1)), {"x": 1}, run_id="r").state == "completed"


@pytest.mark.parametrize("change", ["inputs", "definition"])
def test_case_76_the_same_id_with_anything_else_is_a_conflict(engine: Driver, change: str) -> None:
    engine.run(once(Outcomes(1)), {"x": 1}, run_id="r")
    before = kinds(engine, "r")
    workflow = once(Outcomes(1), name="other" if change == "definition" else "once")
    with pytest.raises(ConflictError) as caught:
        engine.run(workflow, {"x": 2 if change == "inputs" else 1}, run_id="r")
    assert (caught.value.kind, caught.value.exit_code) == ("run.conflict", 5)
    assert kinds(engine, "r") == before


def test_a_chosen_id_that_failed_is_told_and_not_run_again(engine: Driver) -> None:
    body = Outcomes(ValueError(), 1)
    assert engine.run(once(body), run_id="r").state == "failed"
    assert (engine.run(once(body), run_id="r").state, body.attempts) == ("failed", 1)


def test_starting_a_chosen_id_again_after_a_death_goes_on_with_it(world: World) -> None:
    gate, after = Gate(), Outcomes("after")

    def workflow() -> Workflow:
        workflow = Workflow("resumed")
        add(workflow, "a", Outcomes("kept"))
        add(workflow, "b", gate.ahold, needs=["a"])
        add(workflow, "c", after, needs=["b"])
        return workflow

    first = world.open()
    first.start(workflow(), run_id="r")
    gate.begun()
    first.kill()
    gate.open(1)
    second = world.open()
    run = second.run(workflow(), run_id="r")
    assert (run.state, run.steps["a"].attempt, run.steps["b"].attempt, after.attempts) == ("completed", 1, 2, 1)
    assert "step.interrupt:b" in kinds(second, "r")


def test_starting_a_chosen_id_that_is_paused_resumes_it(engine: Driver) -> None:
    gate = Gate()
    engine.start(once(gate.ahold), run_id="r")
    gate.begun()
    engine.pause("r", interrupt=True)
    gate.open(1)
    assert engine.run(once(gate.ahold), run_id="r").state == "completed"


def test_starting_a_chosen_id_that_is_under_way_joins_it(engine: Driver) -> None:
    gate = Gate()
    engine.start(once(gate.ahold), run_id="r")
    gate.begun()
    joined = engine.later("run", once(gate.ahold), run_id="r")
    engine.quiet()
    gate.open("one body")
    assert joined.result(PATIENCE).steps["a"].output == "one body"
    assert len(gate.attempts) == 1


def test_a_hundred_starts_of_one_id_on_one_loop_are_one_run(world: World) -> None:
    body, driver = Outcomes(1), world.open()

    async def play() -> set[str]:
        runs = await asyncio.gather(*(driver._engine.run(once(body), run_id="r") for _ in range(100)))
        return {f"{run.id} {run.state}" for run in runs}

    assert driver.on_loop(play()) == {"r completed"}
    assert (len(driver.list()), body.attempts) == (1, 1)


def test_a_hundred_starts_of_one_id_from_threads_are_one_run(one_world: World) -> None:
    body, driver = Outcomes(1), one_world.open()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        runs = list(pool.map(lambda _: driver._sync.run(once(body), run_id="r"), range(100)))  # type: ignore[union-attr]
    assert {f"{run.id} {run.state}" for run in runs} == {"r completed"}
    assert (len(driver.list()), body.attempts) == (1, 1)


def test_starts_of_one_id_from_several_engines_are_one_run_and_the_losers_are_told(world: World) -> None:
    body = Outcomes(1)
    engines = [world.open() for _ in range(5)]
    futures = [engine.later("run", once(body), run_id="r") for engine in engines for _ in range(20)]
    told: list[str] = []
    for future in futures:
        try:
            told.append(str(future.result(PATIENCE).state))
        except ConflictError as error:
            told.append(error.kind)
    assert set(told) <= {"completed", "run.owned"}
    assert "completed" in told
    assert (len(world.inner().rows(RunFilter())), body.attempts) == (1, 1)


def test_a_hundred_starts_with_different_inputs_are_one_run_and_conflicts(engine: Driver) -> None:
    futures = [engine.later("run", once(Outcomes(1)), {"x": index % 2}, run_id="r") for index in range(100)]
    told: list[str] = []
    for future in futures:
        try:
            told.append(str(future.result(PATIENCE).inputs["x"]))
        except ConflictError as error:
            told.append(error.kind)
    assert sorted(told) == ["0"] * 50 + ["run.conflict"] * 50 or sorted(told) == ["1"] * 50 + ["run.conflict"] * 50


def test_a_start_whose_caller_gives_up_goes_on(world: World) -> None:
    """Also for those who wait for the same id."""
    driver, body = world.open(), Outcomes(1)

    async def play() -> str:
        engine = driver._engine
        starts = [asyncio.create_task(engine.run(once(body), run_id="r")) for _ in range(3)]
        await asyncio.sleep(0)
        starts[0].cancel()
        starts[1].cancel()
        return str((await starts[2]).state)

    assert driver.on_loop(play()) == "completed"
    assert body.attempts == 1


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "-x", "_x", "a b", "\u00e9", "x" * 101, "a\n", "%", "\x00"]
)
def test_an_id_outside_the_rule_is_refused_before_anything_happens(engine: Driver, run_id: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.start(once(Outcomes(1)), run_id=run_id)
    assert caught.value.exit_code == 2
    assert engine.list() == []


@pytest.mark.parametrize("run_id", ["a", "0", "nightly-2026.11_21", "X" * 100, "a..b"])
def test_an_id_within_the_rule_is_taken(engine: Driver, run_id: str) -> None:
    assert engine.run(once(Outcomes(1)), run_id=run_id).id == run_id


def test_made_ids_sort_by_the_time_they_were_made(engine: Driver) -> None:
    ids = [engine.start(once(Outcomes(1))) for _ in range(20)]
    assert len(set(ids)) == 20
    assert ids == sorted(ids)


# --- finding and listing


def test_a_run_is_found_by_its_id_by_a_unique_beginning_and_as_the_last(engine: Driver) -> None:
    for run_id in ("alpha-1", "alpha-2", "alpha", "beta"):
        engine.run(once(Outcomes(1)), run_id=run_id)
    assert engine.find("alpha") == "alpha"  # an id goes before the beginnings of others
    assert engine.find("alpha-2") == "alpha-2"
    assert engine.find("b") == "beta"
    assert engine.find("@last") == "beta"


def test_case_37_an_ambiguous_beginning_lists_what_it_may_mean(engine: Driver) -> None:
    for index in range(8):
        engine.run(once(Outcomes(1)), run_id=f"run-{index}")
    with pytest.raises(UsageError) as caught:
        engine.find("run-")
    assert (caught.value.kind, caught.value.exit_code) == ("usage.ambiguous", 2)
    assert "run-7" in str(caught.value)
    assert str(caught.value).count("run-") <= 7


@pytest.mark.parametrize("name", ["", "nobody", "%", "_", "' OR 1=1 --", "@first", "RUN", "\x00", "x" * 10_000])
def test_case_37_what_is_no_beginning_of_an_id_finds_nothing(engine: Driver, name: str) -> None:
    engine.run(once(Outcomes(1)), run_id="run-1")
    with pytest.raises(NotFoundError) as caught:
        engine.find(name)
    assert caught.value.kind == "run.not_found"


def test_the_last_of_no_runs_is_not_found(engine: Driver) -> None:
    with pytest.raises(NotFoundError):
        engine.find("@last")


def test_a_list_is_newest_first_and_filtered(engine: Driver, world: World) -> None:
    engine.run(once(Outcomes(1), "one"), run_id="a")
    world.clock.advance(10)
    since = world.clock.now()
    engine.run(once(Outcomes(ValueError()), "two"), run_id="b")
    engine.run(once(Outcomes(1), "two"), run_id="c")

    def ids(**which: Any) -> list[str]:
        return [row.id for row in engine.list(**which)]

    assert ids() == ["c", "b", "a"]
    assert ids(limit=2) == ["c", "b"]
    assert ids(states=["failed"]) == ["b"]
    assert ids(states=["failed", "completed"], workflow="two") == ["c", "b"]
    assert ids(since=since) == ["c", "b"]
    assert ids(workflow="' OR 1=1 --") == []
    with pytest.raises(UsageError) as caught:
        ids(states=["done"])
    assert "completed" in str(caught.value)


def test_events_may_be_read_from_any_record_on(engine: Driver) -> None:
    run = engine.run(once(Outcomes(1)))
    every = engine.events(run.id)
    assert [event.seq for event in every] == list(range(1, run.seq + 1))
    assert [event.seq for event in engine.events(run.id, after=2)] == list(range(3, run.seq + 1))
    assert engine.events(run.id, after=run.seq) == []


async def ask(engine: Driver) -> None:
    """Have a run that is about to be created paused."""
    engine.core.do(engine.core.workers["r"], "pause", "", None)


def test_who_comes_second_with_a_run_id_writes_nothing_of_what_was_asked_of_it_meanwhile(world: World) -> None:
    store, gate, busy = SlowCommit(world.inner(), "r", "run.create"), Gate(), Gate()
    first, second = world.open("async"), Driver("async", store, clock=world.clock)
    workflow = Workflow("same")
    add(workflow, "a", gate.ahold)
    keeps_busy = Workflow("busy")  # so that the commit takes place in a thread
    add(keeps_busy, "a", busy.ahold)
    second.start(keeps_busy)
    busy.begun()
    starting = second.later("start", workflow, run_id="r")
    assert store.under_way.wait(PATIENCE)
    first.start(workflow, run_id="r")
    gate.begun()
    second.on_loop(ask(second))
    store.go_on.set()
    with pytest.raises(ConflictError) as caught:
        starting.result(PATIENCE)
    assert caught.value.kind == "run.owned"
    second.quiet()
    busy.open(1)
    second.close()
    gate.open(1)
    assert first.wait("r").state == "completed"
    assert "run.pause" not in kinds(first, "r")
