"""`delivery = "at_most_once"`: what was cut off is never begun again by itself; somebody finds out, or says so."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError, NotFoundError, SmfError, StepError
from statemachine_flow.lifecycle import RunState
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import ManualClock
from statemachine_flow.testing.crash import CrashStore, Died, When
from tests.engine.harness import Driver, Gate, World, add, check_run, kinds

ONCE = {"delivery": "at_most_once"}


def payment(function: Callable[..., Any], **options: Any) -> Workflow:
    """A step before, one that may happen once, a step behind."""
    workflow = Workflow("payment")
    add(workflow, "before", lambda: "ready")
    add(workflow, "pay", function, needs=["before"], **{**ONCE, "outputs": {"id": "result['id']"}, **options})
    add(workflow, "after", lambda: "done", needs=["pay"])
    return workflow


def cut_off(world: World, workflow: Workflow, gate: Gate, times: int = 1) -> Driver:
    """Start the run, and kill its process while the gate is held."""
    driver = world.open()
    driver.later("run", workflow, run_id="r")
    for _ in range(times):
        gate.begun()
    driver.kill()
    gate.open()
    return world.open()


@pytest.fixture
def gate() -> Gate:
    return Gate()


# --- a person has to say


def test_a_step_that_was_cut_off_pauses_its_run_and_does_not_begin_again(world: World, gate: Gate) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    run = engine.run(workflow, run_id="r")
    assert (run.state, run.reason) == (RunState.PAUSED, "uncertain: pay")
    assert run.steps["pay"].state == "interrupted"
    assert run.steps["after"].state == "pending"
    again = engine.run(workflow, run_id="r")  # it is paused again
    assert (again.state, again.reason, again.steps["pay"].attempt) == (RunState.PAUSED, "uncertain: pay", 1)
    assert len(gate.attempts) == 1


def test_such_a_run_cannot_be_resumed_before_somebody_said_what_happened(world: World, gate: Gate) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    for _ in range(2):
        with pytest.raises(ConflictError, match="whether pay took effect") as caught:
            engine.resume("r")
        assert caught.value.kind == "run.uncertain"
        assert engine.get("r").owner is None


def test_resolved_as_completed_it_has_the_output_that_somebody_gave_and_all_that_is_declared(
    world: World, gate: Gate
) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    engine.resolve("r", "pay", "completed", output={"id": 7}, by="ann")
    run = engine.resume("r")
    assert run.state == RunState.COMPLETED
    assert (run.steps["pay"].output, run.steps["pay"].outputs) == ({"id": 7}, {"id": 7})
    assert len(gate.attempts) == 1


@pytest.mark.parametrize(("output", "kind"), [({"other": 7}, "step.outputs"), ({"id": "x"}, "step.schema")])
def test_an_output_that_cannot_be_the_step_s_is_refused_and_leaves_the_step_as_it_was(
    world: World, gate: Gate, output: Any, kind: str
) -> None:
    schema = {"properties": {"id": {"type": "integer"}}}
    engine = cut_off(world, workflow := payment(gate.hold, output_schema=schema), gate)
    engine.run(workflow, run_id="r")
    with pytest.raises(StepError) as caught:
        engine.resolve("r", "pay", "completed", output=output)
    assert caught.value.kind == kind
    with pytest.raises(ConflictError, match="took effect"):
        engine.resume("r")
    assert engine.get("r").steps["pay"].state == "interrupted"


def test_resolved_as_failed_it_fails_with_a_kind_of_its_own(world: World, gate: Gate) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    engine.resolve("r", "pay", "failed", by="ann")
    run = engine.resume("r")
    assert run.state == RunState.FAILED
    error = run.steps["pay"].error
    assert error is not None
    assert (error.kind, error.name) == ("step.uncertain", "Uncertain")
    assert "ann" in error.message
    assert len(gate.attempts) == 1


def test_resolved_as_to_be_tried_again_it_begins_another_attempt(world: World, gate: Gate) -> None:
    gate.result = {"id": 1}
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    engine.resolve("r", "pay", "retry")
    run = engine.resume("r")
    assert run.state == RunState.COMPLETED
    assert [context.attempt for context in gate.attempts] == [1, 2]
    assert len({context.idempotency_key for context in gate.attempts}) == 1
    journal = [kind for kind in kinds(engine, "r") if kind.endswith(":pay")]
    assert journal == [f"step.{kind}:pay" for kind in ("start", "interrupt", "reset", "start", "complete")]


@pytest.mark.parametrize("as_", ["completed", "failed", "retry"])
@pytest.mark.parametrize("step", ["before", "after"])
def test_nothing_is_to_be_said_of_a_step_that_was_not_cut_off(
    one_world: World, gate: Gate, step: str, as_: str
) -> None:
    engine = cut_off(one_world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    with pytest.raises(ConflictError) as caught:
        engine.resolve("r", step, as_)
    assert caught.value.kind == "run.refused"
    with pytest.raises(NotFoundError):
        engine.resolve("r", "none", as_)


@pytest.mark.parametrize("as_", ["completed", "failed", "retry"])
def test_nothing_is_to_be_said_of_a_step_that_is_under_way_here(world: World, gate: Gate, as_: str) -> None:
    gate.result = {"id": 1}
    engine = world.open()
    workflow = payment(gate.hold)
    add(workflow, "apart", lambda: 1, needs=["pay"])
    with workflow.group("group") as group:
        group.wait("inside", event="never")
    running = engine.later("run", workflow, run_id="r", until="rest")
    gate.begun()
    for step in ("pay", "apart", "group", "group/inside"):
        with pytest.raises(ConflictError) as caught:
            engine.resolve("r", step, as_)
        assert caught.value.kind == "run.refused"
    gate.open()
    engine.signal("r", "never")
    assert running.result(10).state == RunState.COMPLETED


def test_what_was_said_is_kept_if_the_process_dies_before_it_is_resumed(world: World, gate: Gate) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    engine.resolve("r", "pay", "completed", output={"id": 3})
    engine.kill()
    assert world.open().resume("r").steps["pay"].output == {"id": 3}


def test_a_run_that_is_uncertain_can_be_cancelled(world: World, gate: Gate) -> None:
    engine = cut_off(world, workflow := payment(gate.hold), gate)
    engine.run(workflow, run_id="r")
    run = engine.cancel("r")
    assert (run.state, run.steps["pay"].state) == (RunState.CANCELLED, "cancelled")


def test_to_interrupt_it_leaves_it_to_be_resolved(world: World, gate: Gate) -> None:
    engine = world.open()
    engine.later("run", payment(gate.ahold), run_id="r")
    gate.begun()
    run = engine.pause("r", interrupt=True, reason="lunch")
    assert (run.state, run.steps["pay"].state) == (RunState.PAUSED, "interrupted")
    with pytest.raises(ConflictError) as caught:
        engine.resume("r")
    assert caught.value.kind == "run.uncertain"
    engine.resolve("r", "pay", "completed", output={"id": 1})
    assert engine.resume("r").state == RunState.COMPLETED
    assert len(gate.attempts) == 1


def test_to_close_the_engine_leaves_it_to_be_resolved(world: World, gate: Gate) -> None:
    engine = world.open()
    engine.later("run", payment(gate.ahold), run_id="r")
    gate.begun()
    engine.close()
    engine = world.open()
    with pytest.raises(ConflictError) as caught:
        engine.resume("r")
    assert caught.value.kind == "run.uncertain"


# --- attempts that end by themselves


def test_a_timeout_is_the_end_of_it(world: World, gate: Gate) -> None:
    engine = world.open()
    workflow = payment(gate.ahold, timeout="1m")
    running = engine.later("run", workflow, run_id="r")
    gate.begun()
    world.clock.advance(61)
    run = running.result(10)
    error = run.steps["pay"].error
    assert (run.state, error.kind, run.steps["pay"].attempt) == (RunState.FAILED, "step.timeout", 1)


def test_a_default_retry_does_not_hold_for_it(world: World) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ConnectionError

    workflow = Workflow("defaults", retry={"max_attempts": 5, "delay": "1ms"})
    add(workflow, "pay", fail, **ONCE)
    run = world.open().run(workflow, run_id="r")
    assert (run.state, len(calls)) == (RunState.FAILED, 1)


def test_an_attempt_of_a_group_that_takes_too_long_is_no_doubt(world: World, gate: Gate) -> None:
    engine = world.open()
    workflow = Workflow("group")
    with workflow.group("ci", timeout="1m") as group:
        add(group, "pay", gate.ahold, **ONCE)
    running = engine.later("run", workflow, run_id="r")
    gate.begun()
    world.clock.advance(61)
    run = running.result(10)
    assert (run.state, run.steps["ci"].error.kind) == (RunState.FAILED, "step.timeout")
    assert run.steps["ci/pay"].state == "cancelled"


# --- inside others


def test_items_and_steps_of_groups_are_each_resolved_by_their_paths(world: World, gate: Gate) -> None:
    workflow = Workflow("inside")
    items = {"items": ["a", "b"], "key": "${{ item }}"}
    add(workflow, "each", gate.hold, for_each=items, **ONCE)
    with workflow.group("ci") as group:
        add(group, "pay", gate.hold, **ONCE)
    engine = cut_off(world, workflow, gate, times=3)
    gate.result = "again"
    run = engine.run(workflow, run_id="r")
    assert run.state == RunState.PAUSED
    assert run.reason.startswith("uncertain: ")
    assert set(run.reason.removeprefix("uncertain: ").split(", ")) == {"each[a]", "each[b]", "ci/pay"}
    engine.resolve("r", "each[a]", "completed", output="A")
    with pytest.raises(ConflictError, match="whether"):
        engine.resume("r")
    engine.resolve("r", "each[b]", "retry")
    engine.resolve("r", "ci/pay", "completed", output="C")
    run = engine.resume("r")
    assert run.state == RunState.COMPLETED
    assert (run.steps["each"].output, run.steps["ci"].output) == (["A", "again"], {"pay": "C"})
    assert Counter(context.path for context in gate.attempts) == {"each[a]": 1, "each[b]": 2, "ci/pay": 1}


def test_a_resolution_counts_as_a_round(world: World, gate: Gate) -> None:
    workflow = Workflow("rounds")
    add(workflow, "each", gate.hold, repeat={"until": "round == 2"}, **ONCE)
    engine = cut_off(world, workflow, gate)
    gate.result = "second"
    engine.run(workflow, run_id="r")
    engine.resolve("r", "each", "completed", output="first")
    run = engine.resume("r")
    assert (run.state, run.steps["each"].output, run.steps["each"].generation) == (RunState.COMPLETED, "second", 2)


# --- its verify function finds out


class Verify:
    """Says what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def __call__(self, order: str, context: StepContext) -> Any:
        self.asked.append((order, context.path, context.attempt, context.idempotency_key))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def verified(gate: Gate, verify: Callable[..., Any], **options: Any) -> Workflow:
    def pay(order: str, context: StepContext) -> Any:
        return gate.hold(context)

    def ask(order: str, context: StepContext) -> Any:
        return verify(order, context)

    given = {"with_": {"order": "o-1"}, "idempotency_key": "key-${{ run.id }}", **options}
    return payment(pay, verify=ask, **given)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"as": "completed", "output": {"id": 5}}, (RunState.COMPLETED, {"id": 5}, 1)),
        ("retry", (RunState.COMPLETED, {"id": 9}, 2)),
        ({"as": "retry"}, (RunState.COMPLETED, {"id": 9}, 2)),
        ("failed", (RunState.FAILED, None, 1)),
    ],
)
def test_each_verdict(world: World, gate: Gate, answer: Any, expected: tuple[Any, ...]) -> None:
    gate.result = {"id": 9}
    verify = Verify(answer)
    engine = cut_off(world, workflow := verified(gate, verify), gate)
    run = engine.run(workflow, run_id="r")
    assert (run.state, run.steps["pay"].output, len(gate.attempts)) == expected
    assert verify.asked == [("o-1", "pay", 1, "key-r")]
    if answer == "failed":
        assert run.steps["pay"].error.kind == "step.uncertain"


@pytest.mark.parametrize(
    "answer", [ValueError("no answer"), "perhaps", None, {"as": "completed", "more": 1}, {"as": "completed"}, object()]
)
def test_what_is_no_verdict_leaves_it_to_a_person(world: World, gate: Gate, answer: Any) -> None:
    """`{"as": "completed"}` without an output is none here: the step declares an output of it."""
    verify = Verify(answer)
    engine = cut_off(world, workflow := verified(gate, verify), gate)
    run = engine.run(workflow, run_id="r")
    assert run.state == RunState.PAUSED
    assert run.reason.startswith("uncertain: pay: ")
    assert "ErrorInfo" not in run.reason
    assert run.steps["pay"].state == "interrupted"
    assert engine.resume("r").state == RunState.PAUSED  # it is asked again, and paused again
    assert len(verify.asked) == 2
    engine.resolve("r", "pay", "completed", output={"id": 1})
    assert engine.resume("r").state == RunState.COMPLETED
    assert len(gate.attempts) == 1


def test_several_that_cannot_be_verified_pause_the_run_once_with_all_their_paths(world: World, gate: Gate) -> None:
    def ask() -> None:
        raise ValueError("no answer")

    workflow = Workflow("several")
    for step in ("one", "two"):
        add(workflow, step, gate.hold, verify=ask, **ONCE)
    engine = cut_off(world, workflow, gate, times=2)
    run = engine.run(workflow, run_id="r")
    assert run.state == RunState.PAUSED
    assert run.reason.startswith("uncertain: ")
    assert "one" in run.reason
    assert "two" in run.reason
    for step in ("one", "two"):
        engine.resolve("r", step, "completed")
    assert engine.resume("r").state == RunState.COMPLETED


def test_one_that_nobody_verifies_beside_one_that_is_verified(world: World, gate: Gate) -> None:
    workflow = Workflow("mixed")
    add(workflow, "one", gate.hold, **ONCE)
    add(workflow, "two", gate.hold, verify=lambda: {"as": "completed", "output": 2}, **ONCE)
    engine = cut_off(world, workflow, gate, times=2)
    run = engine.run(workflow, run_id="r")
    assert (run.state, run.steps["one"].state) == (RunState.PAUSED, "interrupted")
    engine.resolve("r", "one", "completed", output=1)
    run = engine.resume("r")
    assert (run.state, run.steps["one"].output, run.steps["two"].output) == (RunState.COMPLETED, 1, 2)


def test_a_step_that_is_resolved_while_it_is_verified_stays_resolved(world: World, gate: Gate) -> None:
    asking = Gate()
    engine = cut_off(world, workflow := payment(gate.hold, verify=functools.partial(asking.hold)), gate)
    running = engine.later("run", workflow, run_id="r")
    asking.begun()
    engine.resolve("r", "pay", "completed", output={"id": 1})
    asking.open("retry")
    run = running.result(10)
    assert (run.state, run.steps["pay"].output) == (RunState.COMPLETED, {"id": 1})
    assert len(gate.attempts) == 1


def test_a_run_that_is_started_again_while_a_step_is_verified_asks_once_more_and_goes_on(
    world: World, gate: Gate
) -> None:
    asking = Gate()
    engine = cut_off(world, workflow := payment(gate.hold, verify=functools.partial(asking.hold)), gate)
    running = [engine.later("run", workflow, run_id="r")]
    asking.begun()
    running.append(engine.later("run", workflow, run_id="r"))
    engine.quiet()
    asking.open({"as": "completed", "output": {"id": 1}})
    for each in running:
        assert each.result(10).state == RunState.COMPLETED
    assert len(gate.attempts) == 1


@pytest.mark.parametrize("end", ["pause", "cancel", "close"])
def test_a_verification_that_comes_too_late_changes_nothing(world: World, gate: Gate, end: str) -> None:
    asking = Gate()
    engine = cut_off(world, workflow := payment(gate.hold, verify=functools.partial(asking.ahold)), gate)
    engine.later("run", workflow, run_id="r")
    asking.begun()
    getattr(engine, end)(*(["r"] if end != "close" else []))
    asking.open({"as": "completed", "output": {"id": 1}})
    if end == "close":
        engine = world.open()
    else:
        engine.quiet()
    run = engine.get("r")
    assert run.state == ("cancelled" if end == "cancel" else "paused")
    if end != "cancel":
        run = engine.run(workflow, run_id="r")
        assert (run.state, run.steps["pay"].output) == (RunState.COMPLETED, {"id": 1})
    assert len(gate.attempts) == 1


def test_a_run_in_which_a_step_is_verified_does_not_wait_for_the_world(world: World, gate: Gate) -> None:
    asking = Gate()
    workflow = payment(gate.hold, verify=functools.partial(asking.hold))
    workflow.approval("gate", "?")
    engine = cut_off(world, workflow, gate)
    running = engine.later("run", workflow, run_id="r")
    asking.begun()
    engine.quiet()
    assert not running.done()
    asking.open({"as": "completed", "output": {"id": 1}})
    run = running.result(10)
    assert (run.state, run.steps["after"].state) == (RunState.RUNNING, "completed")
    assert [step.path for step in run.waiting] == ["gate"]


# --- the kill table, and kills at random writes


class Shop:
    """The world outside: what was charged stays charged."""

    def __init__(self) -> None:
        self.charged: list[str] = []
        self.store: CrashStore | None = None
        #: Where in the body the process dies.
        self.dies = ""

    async def pay(self, context: StepContext) -> dict[str, Any]:
        self._maybe("before")
        self.charged.append(context.path)
        self._maybe("after")
        await asyncio.sleep(0)
        return {"id": context.attempt}

    def _maybe(self, where: str) -> None:
        if self.dies == where and self.store is not None:
            self.dies, self.store.dead = "", True
            raise Died

    async def was_paid(self, context: StepContext) -> Any:
        await asyncio.sleep(0)
        return {"as": "completed", "output": {"id": 0}} if context.path in self.charged else "retry"


def shopping(shop: Shop, *, verify: bool) -> Workflow:
    options = {**ONCE, **({"verify": shop.was_paid} if verify else {})}
    workflow = Workflow("shopping", max_parallel=2)
    add(workflow, "first", shop.pay, **options)
    items = {"items": ["a", "b"], "key": "${{ item }}"}
    add(workflow, "each", shop.pay, for_each=items, needs=["first"], **options)
    with workflow.group("ci", needs=["each"]) as group:
        add(group, "pay", shop.pay, **options)
    add(workflow, "last", shop.pay, needs=["ci"], **options)
    return workflow


PATHS = ["first", "each[a]", "each[b]", "ci/pay", "last"]


async def process(
    inner: MemoryStore, shop: Shop, workflow: Workflow, at: int, when: When, *, resolves: bool = True
) -> Run | None:
    """One process works on the run until it is at rest; None if it died."""
    store = shop.store = CrashStore(inner, at, when)
    engine = AsyncEngine(store, clock=ManualClock(), grace=0.05)
    try:
        async with asyncio.timeout(20):
            run = await engine.run(workflow, run_id="r")
            if run.state != RunState.PAUSED or not resolves:
                return run
            # Somebody looks at what was charged, and says so.
            for step in run.steps.values():
                if step.state == "interrupted":
                    await engine.resolve("r", step.path, "completed" if step.path in shop.charged else "retry")
            return await engine.resume("r")
    except (Died, SmfError):
        assert store.dead
        return None
    finally:
        with contextlib.suppress(Died):
            await engine.close()


@pytest.mark.parametrize("verify", [False, True], ids=["a person says", "verified"])
def test_300_deaths_at_random_writes_charge_nothing_twice_and_everything_once(*, verify: bool) -> None:
    rng = random.Random(f"delivery {verify}")
    deaths = 0
    while deaths < 150:
        inner, shop = MemoryStore(), Shop()
        workflow = shopping(shop, verify=verify)
        for _ in range(rng.randint(1, 4)):
            shop.dies = rng.choice(["", "", "before", "after"])
            died = (
                asyncio.run(process(inner, shop, workflow, rng.randint(1, 9), rng.choice(["before", "after"]))) is None
            )
            deaths += died
            assert max(Counter(shop.charged).values(), default=1) == 1
            if inner.row("r") is not None:
                check_run(inner, "r")
        shop.dies = ""
        run = asyncio.run(process(inner, shop, workflow, 0, "before"))
        assert run is not None
        assert run.state == RunState.COMPLETED
        assert Counter(shop.charged) == Counter(PATHS)
        check_run(inner, "r")


@pytest.mark.parametrize(
    ("at", "when", "dies", "charged", "state"),
    [
        (1, "before", "", 0, None),  # K0: the start is not kept
        (1, "after", "", 0, "running"),  # K1: it is kept, and the body has not begun
        (0, "before", "before", 0, "running"),  # K2: the body has begun
        (0, "before", "after", 1, "running"),  # K2: the body has done it
        (2, "before", "", 1, "running"),  # K3: the body has ended, its end is not kept
        (2, "after", "", 1, "completed"),  # K4: its end is kept
    ],
)
def test_the_kill_table(at: int, when: When, dies: str, charged: int, state: str | None) -> None:
    inner, shop = MemoryStore(), Shop()
    workflow = Workflow("one")
    add(workflow, "pay", shop.pay, **ONCE)
    shop.dies = dies
    assert asyncio.run(process(inner, shop, workflow, at, when)) is None
    assert len(shop.charged) == charged
    row = inner.row("r")
    assert (None if row is None else check_run(inner, "r").state_of("pay")) == state
    run = asyncio.run(process(inner, shop, workflow, 0, "before", resolves=False))
    assert run is not None
    is_certain = state in (None, "completed")
    assert run.state == (RunState.COMPLETED if is_certain else RunState.PAUSED)
    assert len(shop.charged) == (1 if is_certain else charged)
    run = asyncio.run(process(inner, shop, workflow, 0, "before"))
    assert run is not None
    assert (run.state, len(shop.charged)) == (RunState.COMPLETED, 1)
