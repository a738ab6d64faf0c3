"""Which step starts when: readiness, definition order, limits, and graphs of every size."""

from __future__ import annotations

import asyncio
import threading

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import DefinitionError
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run as RunVerb
from tests.engine.harness import Counter, Driver, Events, Gate, World, add, chain, kinds, states


def starts(engine: Driver, run_id: str) -> list[str]:
    return [kind.removeprefix("step.start:") for kind in kinds(engine, run_id) if kind.startswith("step.start")]


def test_a_diamond_passes_values_along_its_edges(engine: Driver) -> None:
    workflow = Workflow("diamond")
    top = add(workflow, "top", lambda: 2)
    left = add(workflow, "left", lambda x: x + 1, with_={"x": top.output})
    right = add(workflow, "right", lambda x: x * 10, with_={"x": top.output})
    add(workflow, "bottom", lambda a, b: [a, b], with_={"a": left.output, "b": right.output})
    workflow.output("pair", "${{ steps.bottom.output }}")
    run = engine.run(workflow)
    assert (run.state, run.outputs) == ("completed", {"pair": [3, 20]})
    assert starts(engine, run.id)[0] == "top"
    assert starts(engine, run.id)[-1] == "bottom"


def test_the_journal_of_a_chain_is_start_and_completion_of_each_step_in_turn(engine: Driver) -> None:
    run = engine.run(chain(3, lambda: None))
    steps = [f"step.{what}:s{index}" for index in range(3) for what in ("start", "complete")]
    assert kinds(engine, run.id) == ["run.create", "run.start", *steps, "run.complete"]


def test_fan_out_and_fan_in_collect_every_branch(engine: Driver) -> None:
    workflow = Workflow("fan")
    source = add(workflow, "source", lambda: 1)
    names = [f"b{index}" for index in range(40)]
    for index, name in enumerate(names):
        add(workflow, name, lambda x, n: x + n, with_={"x": source.output, "n": index})
    values = [f"${{{{ steps.{name}.output }}}}" for name in names]
    add(workflow, "total", lambda values: sum(values) + 0, with_={"values": values})
    run = engine.run(workflow)
    assert run.steps["total"].output == sum(range(40)) + 40


@pytest.mark.parametrize("ids", [["c", "a", "b"], ["z9", "m", "a_1", "a-1"]])
def test_ready_steps_start_in_the_order_of_the_definition(world: World, ids: list[str]) -> None:
    calls: list[str] = []
    workflow = Workflow("order", max_parallel=1)
    for name in ids:
        add(workflow, name, lambda name=name: calls.append(name))
    engine = world.open()
    run = engine.run(workflow)
    assert calls == ids
    assert starts(engine, run.id) == ids


def test_a_step_that_became_ready_late_still_goes_before_later_ones(engine: Driver) -> None:
    """The place in the definition decides among ready steps, not when each became ready."""
    calls: list[str] = []
    workflow = Workflow("order", max_parallel=1)
    add(workflow, "after", lambda: calls.append("after"), needs=["first"])
    add(workflow, "first", lambda: calls.append("first"))
    add(workflow, "last", lambda: calls.append("last"))
    engine.run(workflow)
    assert calls == ["first", "after", "last"]


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "coroutine"])
def test_no_more_than_max_parallel_steps_are_alive(world: World, limit: int, is_async: bool) -> None:
    counter = Counter()
    together = threading.Barrier(limit, timeout=30)

    def body(name: str) -> None:
        with counter.inside(name):
            together.wait()  # passes only when `limit` bodies are alive at once

    arrived: list[asyncio.Event] = []

    async def abody(name: str) -> None:
        with counter.inside(name):
            arrived.append(asyncio.Event())
            if len(arrived) % limit == 0:
                for event in arrived:
                    event.set()
            await arrived[-1].wait()

    workflow = Workflow("limited", max_parallel=limit)
    for index in range(limit * 3):
        add(workflow, f"s{index}", abody if is_async else body, with_={"name": f"s{index}"})
    run = world.open().run(workflow)
    assert (run.state, counter.most) == ("completed", limit)


def test_one_at_a_time_is_a_sequence_in_definition_order(engine: Driver) -> None:
    counter = Counter()

    def body(name: str) -> None:
        with counter.inside(name):
            pass

    workflow = Workflow("sequence", max_parallel=1)
    names = [f"s{index}" for index in range(20)]
    for name in names:
        add(workflow, name, body, with_={"name": name})
    engine.run(workflow)
    assert (counter.calls, counter.most) == (names, 1)


def test_without_max_parallel_each_verb_has_its_own_limit(one_world: World) -> None:
    """64 functions at once, while commands wait in a line of their own."""
    gate, events = Gate(), Events()
    workflow = Workflow("lanes")
    for index in range(Call.max_parallel + 6):
        add(workflow, f"c{index}", gate.ahold)
    for index in range(RunVerb.max_parallel + 2):
        workflow.run(f"r{index}", ["true"])
    engine = one_world.open()
    run_id = engine.start(workflow, on_event=events)
    for _ in range(RunVerb.max_parallel + 2):
        while not (events.wait("step.complete").step or "").startswith("r"):
            pass
    engine.quiet()
    assert len(gate.attempts) == Call.max_parallel
    gate.open()
    assert engine.wait(run_id).state == "completed"
    assert len(gate.attempts) == Call.max_parallel + 6


def test_a_fast_branch_goes_on_while_a_slow_sibling_is_still_at_work(engine: Driver) -> None:
    """There is no barrier between the levels of a graph."""
    gate, events = Gate(), Events()
    workflow = Workflow("levels")
    add(workflow, "slow", gate.hold)
    for index in range(5):
        add(workflow, f"fast{index}", lambda: None, needs=[f"fast{index - 1}"] if index else None)
    add(workflow, "join", lambda: None, needs=["slow", "fast4"])
    run_id = engine.start(workflow, on_event=events)
    gate.begun()
    events.wait("step.complete", "fast4")
    assert engine.get(run_id).steps["slow"].state == "running"
    assert engine.get(run_id).steps["join"].state == "pending"
    gate.open()
    assert engine.wait(run_id).state == "completed"


def test_a_body_begins_only_after_its_start_is_durable(world: World) -> None:
    """K0 and K1 of the kill table: what a body finds in the store when it begins is its own start."""
    engine = world.open()
    reader = world.inner()
    found: list[int] = []

    def body(step: str) -> None:
        records = reader.records("run")
        found.append(sum(record.kind == "step.start" and record.step == step for record in records))

    workflow = Workflow("durable")
    for index in range(4):
        needs = [f"s{index - 1}"] if index % 2 else None
        add(workflow, f"s{index}", body, with_={"step": f"s{index}"}, needs=needs)
    engine.run(workflow, run_id="run")
    assert found == [1, 1, 1, 1]


def test_a_listener_hears_of_a_record_only_once_it_is_durable(world: World) -> None:
    engine, reader = world.open(), world.inner()
    seen: list[tuple[int, int]] = []
    engine.run(
        chain(5, lambda: 1), run_id="run", on_event=lambda event: seen.append((event.seq, len(reader.records("run"))))
    )
    assert [seq for seq, _ in seen] == list(range(1, len(seen) + 1))
    assert all(stored >= seq for seq, stored in seen)


def test_a_chain_of_10000_steps_needs_no_recursion(quick_world: World) -> None:
    async def body() -> None:
        pass

    run = quick_world.open().run(chain(10_000, body))
    assert (run.state, run.done) == ("completed", (10_000, 10_000))


def test_a_chain_of_2000_skips_needs_no_recursion(quick_world: World) -> None:
    workflow = chain(2000, lambda: None)
    workflow._document["steps"]["s0"]["when"] = "1 == 2"
    run = quick_world.open().run(workflow)
    assert run.state == "completed"
    assert set(states(run).values()) == {"skipped"}


def test_a_fan_out_of_5000_is_one_go(quick_world: World) -> None:
    counter = Counter()

    async def body() -> None:
        with counter.inside(""):
            await asyncio.sleep(0)

    workflow = Workflow("wide", max_parallel=5000)
    add(workflow, "source", lambda: None)
    for index in range(5000):
        add(workflow, f"b{index}", body, needs=["source"])
    run = quick_world.open().run(workflow)
    assert run.state == "completed"
    assert counter.most == 5000


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ({"a": ["b"], "b": ["a"]}, "definition.cycle"),
        ({"a": ["a"]}, "definition.cycle"),
        ({"a": ["nobody"]}, "definition.unknown_step"),
    ],
)
def test_a_graph_that_is_none_starts_nothing(engine: Driver, steps: dict[str, list[str]], kind: str) -> None:
    workflow = Workflow("wrong")
    for name, needs in steps.items():
        add(workflow, name, lambda: None, needs=needs)
    with pytest.raises(DefinitionError) as caught:
        engine.start(workflow)
    assert caught.value.kind == kind
    assert engine.list() == []
