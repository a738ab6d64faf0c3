"""What counts as a death that a step may have caused, when its run is set aside, and what becomes of the rest.

The processes that die here are told of by the store alone; `tests/crash/test_poison.py` has real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.owner import new_owner, retire, was_killed
from statemachine_flow.engine.view import Run
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import Owner, RunRow
from tests.engine.harness import PATIENCE, Events, Gate, Outcomes, World, add, kinds, states

Death = Callable[[Owner], Owner]


def of_its_process(owner: Owner) -> Owner:
    return msgspec.structs.replace(owner, started="long ago")


def of_its_host(owner: Owner) -> Owner:
    return msgspec.structs.replace(owner, boot="before", started="long ago")


def elsewhere(owner: Owner) -> Owner:
    return msgspec.structs.replace(owner, host="elsewhere")


def as_it_is(owner: Owner) -> Owner:
    return owner


@pytest.mark.parametrize(
    ("death", "counts"), [(of_its_process, True), (of_its_host, False), (elsewhere, True), (as_it_is, False)]
)
def test_a_death_counts_unless_the_whole_host_went_or_the_process_goes_on(death: Death, counts: bool) -> None:
    owner = new_owner()
    retire(owner)
    assert was_killed(death(owner)) is counts


class Deaths:
    """A world in which engines die and others take over."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, workflow: Workflow, gate: Gate) -> None:
        self.world = world
        self.patch = monkeypatch
        self.workflow = workflow
        self.gate = gate
        self.engine, self.events = world.open(), Events()
        self.run_id = self.engine.start(workflow, on_event=self.events)
        gate.begun()

    def die(self, death: Death = of_its_process, *, begins: bool = True, closes: bool = True, **options: Any) -> None:
        """The engine dies while the held step is under way; the next goes on, until that step has begun again."""
        self.engine.store.dead = True
        if closes:
            self.engine.close()
        self.engine, self.events = self.world.open(**options), Events()
        self.disguise(death)
        started = self.engine.later("start", self.workflow, run_id=self.run_id, on_event=self.events)
        if begins:
            self.gate.begun()
        else:
            started.result(PATIENCE)

    def disguise(self, death: Death) -> None:
        """Have the store say of owners that are not this engine that they were others."""
        store, mine = self.engine.store, self.engine.core.owner
        real = store.row

        def row(run_id: str) -> RunRow | None:
            found = real(run_id)
            if found is None or found.owner in (None, mine):
                return found
            return msgspec.structs.replace(found, owner=death(found.owner))

        self.patch.setattr(store, "row", row)

    def rest(self) -> Run:
        run: Run = self.engine.wait(self.run_id)
        return run


def held(gate: Gate, **options: Any) -> Workflow:
    workflow = Workflow("held")
    add(workflow, "step", gate.ahold, **options)
    return workflow


@pytest.fixture(name="start")
def make_start(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Deaths]:
    return lambda workflow, gate: Deaths(world, monkeypatch, workflow, gate)


def test_every_step_that_was_under_way_each_time_is_named_and_no_other(start: Callable[..., Deaths]) -> None:
    gate = Gate()
    workflow = Workflow("held")
    add(workflow, "done", lambda: None)
    add(workflow, "step", gate.ahold, needs=["done"])
    add(workflow, "beside", gate.ahold, needs=["done"])
    add(workflow, "after", lambda: None, needs=["step"])
    deaths = start(workflow, gate)
    gate.begun()
    for _ in range(2):
        deaths.die()
        gate.begun()
    deaths.die(begins=False)
    run = deaths.rest()
    assert states(run) == {"step": "failed", "beside": "failed", "done": "completed", "after": "pending"}
    assert (run.state, run.at_rest) == ("quarantined", True)
    assert run.reason.startswith("poison: step, beside: its process died 3 times in a row")
    assert {run.steps[name].error.kind for name in ("step", "beside")} == {"step.poison"}  # type: ignore[union-attr]  # they failed


def test_a_fork_of_a_poisoned_run_begins_the_step_once_more_unless_it_is_told_otherwise(
    start: Callable[..., Deaths],
) -> None:
    gate = Gate()
    deaths = start(held(gate), gate)
    for _ in range(2):
        deaths.die()
    deaths.die(begins=False)
    assert deaths.rest().state == "quarantined"
    gate.open("mended")
    fork = deaths.engine.fork(deaths.run_id, run_id="f")
    assert (fork.state, fork.steps["step"].output, fork.steps["step"].attempt) == ("completed", "mended", 4)


@pytest.mark.parametrize("death", [of_its_host, as_it_is])
def test_deaths_that_no_step_caused_are_not_counted(start: Callable[..., Deaths], death: Death) -> None:
    gate = Gate()
    deaths = start(held(gate), gate)
    for _ in range(4):
        deaths.die(death)
    gate.open("done")
    assert deaths.rest().steps["step"].output == "done"


def test_a_clean_stop_between_deaths_neither_counts_nor_forgives(start: Callable[..., Deaths]) -> None:
    gate = Gate()
    deaths = start(held(gate), gate)
    for _ in range(2):
        deaths.die()
        deaths.engine.pause(deaths.run_id, interrupt=True)
        deaths.engine.later("resume", deaths.run_id)
        gate.begun()
    deaths.die(begins=False)
    assert deaths.rest().state == "quarantined"


def test_an_attempt_that_ends_by_itself_begins_the_count_anew(start: Callable[..., Deaths]) -> None:
    """It fails in between, and is tried again."""
    gate = Gate()
    failing: list[int] = []

    async def body(context: StepContext) -> Any:
        if context.attempt in failing:
            raise ConnectionError
        return await gate.ahold(context)

    workflow = Workflow("held")
    add(workflow, "step", body, retry={"max_attempts": 9, "delay": "1ms", "jitter": "none"})
    deaths = start(workflow, gate)
    failing.append(4)
    for _ in range(2):
        deaths.die()
    deaths.die(begins=False, poison_after=4)  # attempt 4 fails at once
    deaths.events.wait("step.back_off")
    deaths.engine.quiet()
    deaths.world.clock.advance(1)
    gate.begun()
    for _ in range(2):
        deaths.die()
    gate.open("done")
    assert deaths.rest().steps["step"].output == "done"


def test_with_a_run_that_is_set_aside_the_one_below_it_is_cancelled(start: Callable[..., Deaths]) -> None:
    gate, inner = Gate(), Workflow("inner")
    inner.wait("held", event="go")
    workflow = held(gate)
    workflow.child("child", inner)
    deaths = start(workflow, gate)
    deaths.events.wait("step.wait", "held")
    child = f"{deaths.run_id}.child"
    deaths.die(begins=False, poison_after=1)
    assert deaths.rest().state == "quarantined"
    assert deaths.engine.wait(child, until="rest").state == "cancelled"


def test_in_a_run_that_is_being_cancelled_the_step_fails_and_the_end_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that keeps killing its process does not keep the run from being cancelled."""
    gate, ran = Gate(), Outcomes("ran")
    workflow = Workflow("held")
    add(workflow, "first", gate.ahold)
    add(workflow.finally_, "step", gate.ahold)
    add(workflow.finally_, "last", ran, needs=["step"], trigger_rule="all_done")
    deaths = Deaths(world, monkeypatch, workflow, gate)
    deaths.engine.later("cancel", deaths.run_id)
    gate.begun()
    for _ in range(2):
        deaths.die(closes=False)
    deaths.die(begins=False, closes=False)
    run = deaths.rest()
    gate.open()  # for the engines that were left
    handler = run.steps["@finally/step"].error
    assert handler is not None
    assert (run.state, handler.kind, ran.attempts) == ("cancelled", "step.poison", 1)
    assert kinds(deaths.engine, deaths.run_id).count("step.start:@finally/step") == 3
