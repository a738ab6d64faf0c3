"""Signs of life by the clock of the machine: they come from a thread, which is there no longer than it is needed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.clock import SystemClock, ThreadAlarm
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.owner import new_owner, retire
from statemachine_flow.errors import ConflictError, UsageError
from statemachine_flow.stores.base import Beat, Store
from statemachine_flow.stores.memory import MemoryStore
from tests.engine.harness import PATIENCE, Driver, Gate, World, add

#: In seconds: a sign of life is due at once.
SHORT = 0.1


def alarms() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "smf-alarm"]


def held(engine: Driver, gate: Gate, run_id: str = "r") -> None:
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    engine.start(workflow, run_id=run_id)
    gate.begun()


def wait_for_beat(store: Store, nonce: str, count: int) -> Beat:
    beat = None
    while beat is None or beat.count < count:
        beat = store.last_beat(nonce)
    return beat


# --- the alarm


def test_an_alarm_calls_each_time_it_is_set_and_not_when_it_was_set_to_before() -> None:
    called: list[str] = []
    rang, word = threading.Event(), ["first"]

    def ring() -> None:
        called.append(word[0])
        rang.set()

    alarm = ThreadAlarm(ring)
    alarm.set(3600)
    word[0] = "second"
    alarm.set(0)
    assert rang.wait(PATIENCE)
    rang.clear()
    word[0] = "third"
    alarm.set(0)
    assert rang.wait(PATIENCE)
    assert called == ["second", "third"]
    alarm.close()
    assert alarms() == []


def test_an_alarm_that_is_not_set_has_no_thread() -> None:
    rang, go_on = threading.Event(), threading.Event()

    def ring() -> None:
        rang.set()
        go_on.wait(PATIENCE)

    alarm = ThreadAlarm(ring)
    assert alarms() == []
    alarm.set(0)
    assert rang.wait(PATIENCE)
    (thread,) = alarms()
    go_on.set()
    thread.join(PATIENCE)
    assert alarms() == []
    rang.clear()
    alarm.set(0)
    assert rang.wait(PATIENCE)
    alarm.close()


def test_an_alarm_that_sets_itself_again_and_one_set_for_ever_are_closed_at_once() -> None:
    rang = threading.Event()

    def ring() -> None:
        alarm.set(0)
        rang.set()

    alarm = ThreadAlarm(ring)
    alarm.set(0)
    assert rang.wait(PATIENCE)
    never = ThreadAlarm(lambda: None)
    never.set(float("inf"))
    alarm.close()
    never.close()
    assert alarms() == []
    alarm.set(0)
    never.cancel()
    assert alarms() == []


def test_an_alarm_may_be_closed_by_its_own_call() -> None:
    alarm = ThreadAlarm(lambda: alarm.close())  # noqa: PLW0108 - it is not bound yet
    alarm.set(0)
    for thread in alarms():
        thread.join(PATIENCE)
    assert alarms() == []


def test_an_alarm_that_was_cancelled_does_not_call() -> None:
    called = list[int]()
    alarm = ThreadAlarm(lambda: called.append(1))
    alarm.set(SHORT)
    alarm.cancel()
    for thread in alarms():
        thread.join(PATIENCE)  # it looks when it was set to, and there is nothing to do
    assert called == []


# --- the engine's


def test_there_is_a_thread_while_an_engine_works_and_none_once_it_is_closed(world: World) -> None:
    engine, gate = world.open(clock=SystemClock()), Gate()
    assert alarms() == []
    held(engine, gate)
    assert len(alarms()) == 1
    gate.open(1)
    engine.wait("r")
    engine.close()
    assert alarms() == []
    assert world.inner().last_beat(engine.core.owner.nonce) is None


def test_an_engine_whose_loop_is_held_up_gives_signs_of_life(world: World) -> None:
    engine, gate, store = world.open(clock=SystemClock(), lease=SHORT), Gate(), world.inner()
    workflow = Workflow("held")
    workflow.call("a", gate.hold, isolation="inline")
    starting = engine.later("run", workflow, run_id="r")
    gate.begun()
    first = store.last_beat(engine.core.owner.nonce)
    wait_for_beat(store, engine.core.owner.nonce, (first.count if first else 0) + 6)
    gate.open(1)
    assert starting.result(PATIENCE).state == "completed"


def test_a_sign_of_life_that_finds_a_run_taken_tells_the_loop(world: World) -> None:
    engine, gate, store = world.open(clock=SystemClock(), lease=SHORT), Gate(), world.inner()
    held(engine, gate)
    waiting, thief, row = engine.later("wait", "r"), new_owner(), store.row("r")
    assert row is not None
    assert store.claim("r", row.epoch, thief)
    with pytest.raises(ConflictError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == "run.fenced"
    engine.quiet()
    assert (gate.cancelled, gate.attempts[0].stop_reason) == (1, "lost")
    retire(thief)


def test_what_a_sign_of_life_has_found_of_an_earlier_epoch_is_nothing_to_a_run_that_was_taken_up_anew(
    world: World,
) -> None:
    engine, gate = world.open(), Gate()
    held(engine, gate)

    async def tell(epoch: int) -> None:
        engine.core.ownership._lost("r", epoch)

    engine.on_loop(tell(0))
    gate.open(1)
    assert engine.wait("r").state == "completed"


def test_an_engine_that_was_refused_a_run_gives_no_signs_of_life(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    row = second.core.row("r")
    row.owner = None  # as it would have been read a moment too early
    row.epoch -= 1

    async def claim() -> None:
        with pytest.raises(ConflictError, match="took it first"):
            second.core.ownership.claim(row, take_over=False)

    before = world.clock.waiting
    second.on_loop(claim())
    assert world.clock.waiting == before
    gate.open(1)
    assert first.wait("r").state == "completed"


def test_of_a_loop_that_is_gone_no_sign_is_given_though_nobody_has_closed_the_engine() -> None:
    store, gate = MemoryStore(), Gate()
    engine = AsyncEngine(store, lease=SHORT)
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)

    async def begin() -> None:
        await engine.start(workflow, run_id="r")
        while not gate.attempts:  # noqa: ASYNC110 - it is the body that tells
            await asyncio.sleep(0)

    asyncio.run(begin())
    for thread in alarms():
        thread.join(PATIENCE)
    assert alarms() == []
    asyncio.run(engine.close())


@pytest.mark.parametrize("lease", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_a_lease_that_is_none_is_refused(lease: float) -> None:
    with pytest.raises(UsageError, match="lease"):
        AsyncEngine(MemoryStore(), lease=lease)
