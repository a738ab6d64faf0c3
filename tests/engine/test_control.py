"""What operators may do to a run: every action, in every state, whoever works on it; quarantine; marked points."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.copies import Copy
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from statemachine_flow.journal import Forked
from statemachine_flow.lifecycle import RUN, RunState
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, StoreKind, World, add, kinds, states

#: Who works on a run when something is done to it.
OWNERS: Final = ("here", "elsewhere", "nobody")


@attrs.define
class Scene:
    """A run in a state, and two engines of which the second asks."""

    world: World
    owner: Driver
    asks: Driver
    gate: Gate = attrs.field(factory=Gate)
    broken: Outcomes = attrs.field(factory=lambda: Outcomes(ValueError("broken"), 1))

    def start(self) -> None:
        workflow = Workflow("held")
        add(workflow, "a", self.gate.ahold)
        add(workflow, "b", lambda: 1, needs=["a"])
        self.owner.start(workflow, run_id="r")
        self.gate.begun()
        self.owner.quiet()


def pending(scene: Scene) -> None:
    """Created, and not begun: no engine leaves a run like that, so it is written by hand."""
    scene.owner.run(chain_of_one(), run_id="before")
    core, store = scene.owner.core, scene.world.inner()
    created = core.load(core.row("before"))[1].created
    body = store.definition(created.definition)
    assert body is not None
    copy = Copy("r", msgspec.structs.replace(created, forked=Forked(run="before", seq=1)), core.clock.now())
    store.commit([copy.new_run(body)])


def chain_of_one() -> Workflow:
    workflow = Workflow("one")
    add(workflow, "a", lambda: 1)
    return workflow


def running(scene: Scene) -> None:
    scene.start()


def paused(scene: Scene) -> None:
    scene.start()
    scene.owner.pause("r", interrupt=True)


def cancelling(scene: Scene) -> None:
    """It is being cancelled, and its step does not heed that."""
    workflow = Workflow("stubborn")
    add(workflow, "a", scene.gate.hold)
    scene.owner.start(workflow, run_id="r")
    scene.gate.begun()
    scene.owner.cancel("r", wait=False)


def completed(scene: Scene) -> None:
    scene.owner.run(chain_of_one(), run_id="r")


def failed(scene: Scene) -> None:
    workflow = Workflow("failed")
    add(workflow, "a", scene.broken)
    scene.owner.run(workflow, run_id="r")


def cancelled(scene: Scene) -> None:
    paused(scene)
    scene.owner.cancel("r")


def quarantined(scene: Scene) -> None:
    paused(scene)
    scene.owner.quarantine("r", reason="odd")


STATES: Final[Mapping[str, Callable[[Scene], None]]] = {
    make.__name__: make for make in (pending, running, paused, cancelling, completed, failed, cancelled, quarantined)
}
assert set(STATES) == set(RUN.states)

#: Action -> what belongs to it, and the state that the run comes to.
ACTIONS: Final[Mapping[str, tuple[Mapping[str, Any], RunState]]] = {
    "pause": ({"interrupt": True}, RunState.PAUSED),
    "cancel": ({}, RunState.CANCELLED),
    "quarantine": ({}, RunState.QUARANTINED),
    "resume": ({}, RunState.COMPLETED),
    "retry": ({}, RunState.COMPLETED),
    "checkpoint": ({"label": "here"}, RunState.RUNNING),
}
#: (state, action) -> the action changes nothing and says so. All else follows from the lifecycle.
ALREADY: Final = {
    ("pending", "pause"),
    ("paused", "pause"),
    ("cancelling", "cancel"),
    ("cancelled", "cancel"),
    ("quarantined", "quarantine"),
}


def is_allowed(state: str, action: str, owner: str) -> bool:
    """What the lifecycle says, and what follows from who works on the run."""
    if (state, action) in ALREADY:
        return True
    if action == "checkpoint":
        return state not in RUN.terminal
    if action == "resume":  # also of a run whose owner is gone
        return owner != "elsewhere" and state in ("pending", "running", "paused", "cancelling")
    return action in RUN.allowed(state)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_what_is_allowed_follows_from_the_lifecycle(
    tmp_path: Path, store: StoreKind, owner: str, state: str, action: str
) -> None:
    """Refused is exit 5, with the state; allowed leaves one record with who and why."""
    world = World("async", store, tmp_path)
    functions = {"a": lambda: 1, "b": lambda: 1}
    first = world.open()
    scene = Scene(world, first, first)
    try:
        STATES[state](scene)
        if owner == "nobody":
            first.kill()
        if owner != "here":
            scene.asks = world.open(functions=functions)
        is_at_work = first.core.workers and owner != "nobody"
        if owner == "elsewhere" and not is_at_work:
            owner = "nobody"  # nobody works on a run at rest
        before = kinds(scene.asks, "r")
        asked = ask(scene, action)
        if not is_allowed(state, action, owner):
            error = asked.exception(PATIENCE)
            assert isinstance(error, ConflictError)
            assert error.exit_code == 5
            assert state in str(error)
            if owner == "elsewhere":
                assert f"process {first.core.owner.pid} on {first.core.owner.host}" in str(error)
            assert scene.world.inner().requests("r") == []
            return
        check_done(scene, state, action, asked.result(PATIENCE), before)
    finally:
        scene.gate.open(1)
        world.close()


def ask(scene: Scene, action: str) -> Future[Any]:
    """Ask, and let time pass until there is an answer: the owner's watch, the grace of its steps."""
    asked = scene.asks.later(action, "r", reason="x", by="ann", **ACTIONS[action][0])
    scene.asks.quiet()
    if action in ("resume", "retry"):
        scene.gate.open(1)
    while not wait([asked], timeout=0.01).done:
        scene.world.clock.advance(0.5)
    return asked


def check_done(scene: Scene, state: str, action: str, result: Any, before: list[str]) -> None:
    """What was done is in the journal once, with who and why; what was so already is not there again."""
    said = scene.asks.events("r")[len(before) :]
    if (state, action) in ALREADY:
        assert isinstance(result, Run)
        assert [event.kind for event in said if event.kind == f"run.{action}"] == []
        return
    if isinstance(result, Run) and state != "cancelling":
        assert result.state == ACTIONS[action][1]
    if action == "resume" and state != "paused":
        return  # it goes on, and nobody had stopped it
    kind = "run.note" if action == "checkpoint" else f"run.{action}"
    found = [event for event in said if event.kind == kind]
    assert [(event.data["reason"], event.data["by"]) for event in found] == [("x", "ann")]


# --- quarantine


def test_a_quarantine_stops_what_is_under_way_first(world: World) -> None:
    scene = Scene(world, engine := world.open(), engine)
    scene.start()
    run = engine.quarantine("r", reason="odd", by="ann")
    assert (run.state, run.reason, states(run)) == ("quarantined", "odd", {"a": "interrupted", "b": "pending"})
    assert scene.gate.cancelled == 1
    assert kinds(engine, "r")[-3:] == ["run.pause", "step.interrupt:a", "run.quarantine"]
    assert world.inner().requests() == []
    assert engine.quarantine("r", reason="again").reason == "odd"


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_quarantine_needs_a_reason(world: World, reason: str) -> None:
    scene = Scene(world, engine := world.open(), engine)
    scene.start()
    with pytest.raises(UsageError):
        engine.quarantine("r", reason=reason)
    scene.gate.open(1)
    assert engine.wait("r").state == "completed"


def test_a_quarantine_whose_process_dies_is_done_by_the_next(world: World) -> None:
    """Its step does not heed the interrupt, so the process dies between the pause and the end."""
    first, gate = world.open(), Gate()
    workflow = Workflow("stubborn")
    add(workflow, "a", gate.hold)
    first.start(workflow, run_id="r")
    gate.begun()
    assert first.quarantine("r", reason="odd", wait=False).state == "paused"
    first.kill()
    second = world.open()
    assert [request.action for request in world.inner().requests("r")] == ["quarantine"]
    run = second.resume("r")
    gate.open(1)
    assert (run.state, run.reason, world.inner().requests("r")) == ("quarantined", "odd", [])


@pytest.mark.parametrize("verb", ["resume", "cancel"])
def test_a_run_that_is_being_quarantined_cannot_go_another_way(world: World, verb: str) -> None:
    engine, gate = world.open(grace=PATIENCE), Gate()
    workflow = Workflow("stubborn")
    add(workflow, "a", gate.hold)
    engine.start(workflow, run_id="r")
    gate.begun()
    asked = engine.later("quarantine", "r", reason="odd")
    engine.quiet()
    with pytest.raises(ConflictError, match="being quarantined"):
        getattr(engine, verb)("r")
    gate.open(1)
    run = asked.result(PATIENCE)
    assert (run.state, run.reason, run.steps["a"].state) == ("quarantined", "odd", "completed")


def test_a_cancel_that_comes_behind_a_quarantine_is_dropped_and_noted(world: World) -> None:
    """Both were asked for while the owner was not looking."""
    first, second, gate = world.open(), world.open(), Gate()
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    first.start(workflow, run_id="r")
    gate.begun()
    second.quarantine("r", reason="odd", wait=False)
    second.cancel("r", wait=False, by="ann")
    world.clock.advance(0.5)
    run = first.wait("r", until="rest")
    notes = [event.data["reason"] for event in first.events("r") if event.kind == "run.note"]
    assert (run.state, run.reason, len(notes)) == ("quarantined", "odd", 1)
    assert "what ann asked for came too late and was dropped: cancel" in notes[0]
    assert world.inner().requests("r") == []


def test_the_child_runs_of_a_quarantined_run_are_paused(world: World) -> None:
    engine, gate = world.open(), Gate()
    child = Workflow("child")
    add(child, "inside", gate.ahold)
    workflow = Workflow("parent")
    workflow.child("sub", child)
    engine.start(workflow, run_id="r")
    gate.begun()
    engine.quiet()
    assert engine.quarantine("r", reason="odd").state == "quarantined"
    assert engine.wait("r.sub").state == "paused"


# --- no waiting


def test_nobody_has_to_wait_for_what_was_asked(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    first.start(workflow, run_id="r")
    gate.begun()
    run = second.pause("r", wait=False, reason="x")
    assert run.state == "running"
    assert [request.action for request in world.inner().requests("r")] == ["pause"]
    world.clock.advance(0.5)
    first.quiet()
    run = first.pause("r", wait=False)
    assert (run.state, states(run)) == ("paused", {"a": "running"})
    gate.open(1)
    assert first.wait("r").state == "paused"


# --- marked points


def test_a_point_is_marked_and_found_by_its_label(world: World) -> None:
    scene = Scene(world, engine := world.open(), engine)
    scene.start()
    marked = engine.checkpoint("r", "held", reason="x", by="ann")
    assert (marked.id, marked.label, marked.state, marked.done) == (f"r@{marked.seq}", "held", "running", (0, 2))
    scene.gate.open("first")
    source = engine.wait("r")
    assert source.notes == ()
    found = engine.checkpoints("r")
    assert [(one.step, one.label) for one in found] == [(None, ""), (None, "held"), ("a", ""), ("b", "")]
    run = engine.restore("r@held", run_id="again")
    assert (run.state, run.steps["a"].attempt, engine.get("r").seq) == ("completed", 2, source.seq)
    assert engine.restore(f"r@{found[2].seq}", run_id="third").steps["a"].attempt == 1


def test_of_several_points_with_one_label_the_last_is_found(world: World) -> None:
    scene = Scene(world, engine := world.open(), engine)
    scene.start()
    engine.checkpoint("r", "x")
    engine.pause("r", interrupt=True)
    last = engine.checkpoint("r", "x")
    forked = engine.restore("r@x", run_id="f", start=False)
    assert forked.forked is not None
    assert (forked.forked.seq, forked.state) == (last.seq, "paused")
    assert (engine.get("r").owner, engine.get("r").state) == (None, "paused")


@pytest.mark.parametrize("label", ["", "12", "a b", "x" * 101, "-x", "a@b", "\x1b[2J"])
def test_a_label_that_could_not_be_told_from_others_is_refused(world: World, label: str) -> None:
    scene = Scene(world, engine := world.open(), engine)
    failed(scene)
    with pytest.raises(UsageError):
        engine.checkpoint("r", label)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("r", UsageError),
        ("r@", UsageError),
        ("@1", UsageError),
        ("r@nothing", NotFoundError),
        ("r@999", NotFoundError),
        ("nobody@2", NotFoundError),
    ],
)
def test_what_is_no_checkpoint_is_refused(world: World, name: str, error: type[Exception]) -> None:
    scene = Scene(world, engine := world.open(), engine)
    failed(scene)
    with pytest.raises(error):
        engine.restore(name)
    assert len(engine.list()) == 1


# --- what came too late


def test_g10_an_attempt_that_does_not_end_is_left_behind_and_that_is_said(world: World) -> None:
    engine, gate = world.open(grace=3.0), Stubborn()
    workflow = Workflow("stubborn")
    add(workflow, "a", gate.hold)
    engine.start(workflow, run_id="r")
    gate.begun.wait(PATIENCE)
    asked = engine.later("cancel", "r")
    engine.quiet()
    world.clock.advance(3.0 + 2.0)
    run = asked.result(PATIENCE)
    assert (run.state, run.steps["a"].state) == ("cancelled", "cancelled")
    assert run.steps["a"].reason == "the run was cancelled; it did not end within 3 s and was left to itself"
    engine.on_loop(gate.end())


def test_a_result_that_comes_too_late_is_dropped_and_noted(world: World) -> None:
    engine, gate, other = world.open(grace=3.0), Stubborn(), Gate()
    workflow = Workflow("late")
    add(workflow, "a", gate.hold, timeout=10, retry=RetryPolicy(max_attempts=2, delay=0.001, jitter="none"))
    add(workflow, "b", other.ahold)
    engine.start(workflow, run_id="r")
    gate.begun.wait(PATIENCE)
    world.clock.advance(10)
    engine.quiet()
    world.clock.advance(3.0 + 2.0)
    engine.quiet()
    gate.ends_at_once = True
    engine.on_loop(gate.end())
    engine.quiet()
    assert engine.get("r").notes == ("attempt 1 of step 'a' completed after it was given up: its result is dropped",)
    world.clock.advance(1)
    other.open(1)
    run = engine.wait("r")
    assert (run.state, run.steps["a"].output) == ("completed", "at once")


class Stubborn:
    """A coroutine that swallows its cancellation, until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ends_at_once = False
        self._release = asyncio.Event()

    async def hold(self) -> str:
        if self.ends_at_once:
            return "at once"
        while not self._release.is_set():
            self.begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._release.wait()
        return "too late"

    async def end(self) -> None:
        self._release.set()
