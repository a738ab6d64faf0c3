"""The lease: signs of life, what silence means, and runs that are taken over because their owner is gone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.lease import Observer
from statemachine_flow.engine.owner import _started, new_owner, retire
from statemachine_flow.engine.view import Event
from statemachine_flow.errors import ConflictError
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import Beat, Owner
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore, ManualClock
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, World, add, kinds

HERE = new_owner()
#: A process of this host that lives and is not this one, as it would name itself.
PARENT = msgspec.structs.replace(
    HERE,
    pid=os.getppid(),
    started=_started(os.getppid()),
    nonce="parent",
)
ELSEWHERE = Owner("elsewhere", "their boot", 1, "then", "theirs")


@attrs.frozen
class Watched:
    """An observer with what it observes."""

    store: MemoryStore = attrs.field(factory=MemoryStore)
    clock: ManualClock = attrs.field(factory=ManualClock)

    @property
    def observer(self) -> Observer:
        return Observer(self.store, self.clock)

    def beat(self, owner: Owner, count: int, *, ahead: float = 0.0) -> None:
        """A sign of life, by clocks that go ahead of this host's."""
        at, monotonic = self.clock.now() + round(ahead * 1e6), self.clock.monotonic() + ahead
        self.store.beat(Beat(owner.nonce, count, at, monotonic), {})


def test_an_engine_of_this_process_is_gone_when_it_is_closed_and_not_before() -> None:
    watched, owner = Watched(), new_owner()
    watched.clock.advance(1000)
    assert not watched.observer.is_gone(owner)
    retire(owner)
    assert watched.observer.is_gone(owner)


@pytest.mark.parametrize(
    ("owner", "gone"),
    [
        (msgspec.structs.replace(PARENT, boot="an earlier boot"), True),
        (msgspec.structs.replace(PARENT, started="another time"), True),
        (msgspec.structs.replace(PARENT, namespace="pid:[1]", started="unknown there"), False),
        (PARENT, False),
    ],
)
def test_a_dead_process_is_gone_at_once_whatever_it_said_of_its_lease(owner: Owner, gone: bool) -> None:
    watched = Watched()
    watched.beat(owner, 1, ahead=10)
    assert watched.observer.is_gone(owner) is gone


@pytest.mark.parametrize("beats", [False, True])
def test_a_living_process_of_this_host_is_gone_when_it_is_silent_for_longer_than_its_lease(beats: bool) -> None:
    watched = Watched()
    if beats:
        watched.beat(PARENT, 1)
    watched.clock.advance(30)
    assert not watched.observer.is_gone(PARENT)
    watched.clock.jump(-86400)  # the wall clock has no say
    watched.clock.advance(0.1)
    assert watched.observer.is_gone(PARENT)
    watched.beat(PARENT, 2)
    assert not watched.observer.is_gone(PARENT)


def test_case_73_an_owner_of_another_host_is_gone_when_it_was_seen_silent_for_a_lease_whatever_its_clock_says() -> None:
    watched = Watched()
    watched.beat(ELSEWHERE, 7, ahead=250_000_000_000)  # it believes to be in the year 9999
    observer = watched.observer
    assert observer.is_doubtful(ELSEWHERE)
    assert not observer.is_gone(ELSEWHERE)
    watched.clock.advance(29)
    assert not observer.is_gone(ELSEWHERE)
    watched.beat(ELSEWHERE, 8, ahead=250_000_000_000)
    assert not observer.is_gone(ELSEWHERE)
    watched.clock.advance(29)
    assert not observer.is_gone(ELSEWHERE)
    watched.clock.advance(1)
    assert observer.is_gone(ELSEWHERE)


@pytest.mark.parametrize(("ahead", "doubtful"), [(0, False), (-29, False), (29, False), (-31, True), (31, True)])
def test_only_an_owner_that_seems_silent_is_worth_a_wait(ahead: float, doubtful: bool) -> None:
    watched = Watched()
    assert watched.observer.is_doubtful(ELSEWHERE)
    watched.beat(ELSEWHERE, 1, ahead=ahead)
    assert watched.observer.is_doubtful(ELSEWHERE) is doubtful
    assert not watched.observer.is_doubtful(PARENT)
    assert not watched.observer.is_doubtful(HERE)


# --- an engine's own


def held(engine: Driver, gate: Gate, run_id: str = "r") -> None:
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    engine.start(workflow, run_id=run_id)
    gate.begun()


def test_an_engine_gives_signs_of_life_as_long_as_it_works_and_none_before_a_third_of_its_lease(world: World) -> None:
    engine, gate, store = world.open(lease=30), Gate(), world.inner()
    nonce = engine.core.owner.nonce
    held(engine, gate)
    seen = []
    for seconds in (9, 1, 9, 1, 10):
        world.clock.advance(seconds)
        engine.quiet()
        beat = store.last_beat(nonce)
        seen.append(0 if beat is None else beat.count)
    assert seen == [0, 1, 1, 2, 3]
    gate.open(1)
    engine.wait("r")
    world.clock.advance(100)
    engine.quiet()
    beat = store.last_beat(nonce)
    assert beat is not None
    assert beat.count == 3


def test_an_engine_that_was_long_idle_gives_its_first_sign_before_it_takes_a_run(world: World) -> None:
    engine, gate = world.open(lease=30), Gate()
    world.clock.advance(1000)
    held(engine, gate)
    beat = world.inner().last_beat(engine.core.owner.nonce)
    assert beat is not None
    assert beat.monotonic == world.clock.monotonic()
    gate.open(1)


def test_an_engine_that_closes_leaves_no_sign_behind(world: World) -> None:
    engine, gate = world.open(lease=30), Gate()
    held(engine, gate)
    world.clock.advance(10)
    engine.quiet()
    engine.close()
    assert world.inner().last_beat(engine.core.owner.nonce) is None


def steal(world: World, run_id: str) -> Owner:
    """Another owner takes a run in the store itself."""
    store, thief = world.inner(), new_owner()
    row = store.row(run_id)
    assert row is not None
    assert store.claim(run_id, row.epoch, thief)
    return thief


def test_a_run_that_was_taken_is_noticed_at_the_next_sign_of_life_and_its_attempts_are_stopped(world: World) -> None:
    engine, gate = world.open(lease=30), Gate()
    held(engine, gate)
    waiting = engine.later("wait", "r")
    engine.quiet()
    thief = steal(world, "r")
    world.clock.advance(10)
    with pytest.raises(ConflictError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == "run.fenced"
    engine.quiet()
    assert (gate.cancelled, gate.attempts[0].stop_reason) == (1, "lost")
    retire(thief)


def test_what_comes_too_late_is_kept_for_people_alone(world: World) -> None:
    engine, gate = world.open(), Gate()
    held(engine, gate)
    waiting = engine.later("wait", "r")
    engine.quiet()
    thief = steal(world, "r")
    before = kinds(engine, "r")
    gate.open("too late")
    with pytest.raises(ConflictError, match="--rejected"):
        waiting.result(PATIENCE)
    other = world.open()
    late = other.rejected("r")
    assert [event.kind for event in late] == ["step.complete", "run.complete"]
    assert (late[0].seq, late[0].data["output"], late[0].data["epoch"]) == (0, "too late", 1)
    assert late[0].data["owner"] == f"process {os.getpid()} on {HERE.host}"
    assert kinds(other, "r") == before
    assert other.get("r").state == "running"
    retire(thief)


@pytest.mark.parametrize("result", ["in time", ValueError("in vain")], ids=["completes", "fails"])
def test_what_a_frozen_owner_had_finished_when_it_wakes_is_kept_for_people_alone(world: World, result: Any) -> None:
    """Its overdue sign of life comes first, and tells it that its runs are lost."""
    engine, gate, gone = world.open(lease=30), Gate(), threading.Event()

    def body(context: StepContext) -> Any:
        try:
            return gate.hold(context)
        finally:
            gone.set()

    workflow = Workflow("held")
    add(workflow, "a", body)
    add(workflow, "b", Outcomes("never"), needs=["a"])
    engine.start(workflow, run_id="r")
    gate.begun()
    waiting = engine.later("wait", "r")
    engine.quiet()
    thief, before = steal(world, "r"), kinds(engine, "r")

    async def freeze_and_wake() -> None:
        """The loop stands still; the function returns meanwhile, and a lease passes."""
        world.clock.advance(31)
        gate.open(result)
        assert gone.wait(PATIENCE)

    engine.on_loop(freeze_and_wake())
    with pytest.raises(ConflictError, match="--rejected"):
        waiting.result(PATIENCE)
    (late,) = wait_for_rejected(engine, "r")
    assert (late.seq, late.step, late.data["epoch"]) == (0, "a", 1)
    if isinstance(result, str):
        assert (late.kind, late.data["output"]) == ("step.complete", result)
    else:
        assert (late.kind, late.data["error"]["message"]) == ("step.fail", "in vain")
    assert kinds(engine, "r") == before
    retire(thief)


def test_what_a_function_gives_long_after_its_run_was_lost_is_kept_once_and_nothing_waits_for_it(world: World) -> None:
    engine, gates = world.open(lease=30, grace=0.0), [Gate(), Gate()]
    workflow = Workflow("held")
    for name, gate in zip("ab", gates, strict=True):
        add(workflow, name, gate.hold)
    engine.start(workflow, run_id="r")
    for gate in gates:
        gate.begun()
    engine.quiet()
    thief = steal(world, "r")
    world.clock.advance(10)
    while engine.core.threads.abandoned < 2:
        engine.quiet()
    gates[0].open("late")
    assert [(late.kind, late.step) for late in wait_for_rejected(engine, "r")] == [("step.complete", "a")]
    assert engine.core.threads.abandoned == 1
    engine.close()  # does not wait for the other
    gates[1].open("later")
    other = world.open()
    assert len(other.rejected("r")) == 1
    retire(thief)


def test_a_command_that_had_ended_when_its_owner_wakes_is_kept_for_people_alone(world: World, tmp_path: Path) -> None:
    engine = world.open(lease=30)
    workflow = Workflow("held")
    os.mkfifo(tmp_path / "gate")
    workflow.run("a", f"echo $$ > {tmp_path}/pid; echo begun > {tmp_path}/gate; read line < {tmp_path}/gate; echo done")
    engine.start(workflow, run_id="r")
    (tmp_path / "gate").read_text()
    thief = steal(world, "r")
    pid = int((tmp_path / "pid").read_text())

    async def freeze_and_wake() -> None:
        world.clock.advance(31)
        (tmp_path / "gate").write_text("go on\n")
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop is to stand still

    engine.on_loop(freeze_and_wake())
    (late,) = wait_for_rejected(engine, "r")
    assert (late.kind, late.step, late.data["output"]["stdout"]) == ("step.complete", "a", "done\n")
    retire(thief)


def wait_for_rejected(engine: Driver, run_id: str) -> Sequence[Event]:
    """What came too late, as soon as there is something."""
    late: Sequence[Event] = ()
    while not late:
        late = engine.rejected(run_id)
        engine.quiet()
    assert engine.rejected(run_id) == late
    return late


# --- taking over


def test_every_run_whose_owner_is_gone_is_taken_over_and_no_other(world: World) -> None:
    dead, alive, gates, other = world.open(), world.open(), [Gate() for _ in range(3)], Gate()
    for number, gate in enumerate(gates):
        held(dead, gate, f"r{number}")
    dead.pause("r2", interrupt=True)
    held(alive, other, "lives")
    dead.kill()
    engine = world.open(functions={"a": Outcomes("again")})
    recovery = engine.recover(by="operator")
    assert (sorted(recovery.taken), dict(recovery.refused)) == (["r0", "r1"], {})
    assert [engine.wait(run_id).state for run_id in recovery.taken] == ["completed"] * 2
    assert engine.get("r2").state == "paused"
    assert engine.recover().taken == []
    other.open(1)
    assert alive.wait("lives").state == "completed"


def test_an_engine_takes_up_at_its_start_what_was_left_if_it_is_asked_to(world: World) -> None:
    dead, gate = world.open(), Gate()
    held(dead, gate)
    dead.kill()
    engine = world.open(functions={"a": Outcomes("again")}, take_up=True)
    if world.engine_kind == "async":
        engine.on_loop(engine._engine.__aenter__())
    assert engine.wait("r").state == "completed"


def test_a_run_that_cannot_be_taken_over_keeps_none_of_the_others_from_it(world: World) -> None:
    dead = world.open()
    for run_id in ("bad", "good"):
        held(dead, Gate(), run_id)
    dead.kill()
    store = world.inner()
    engine = world.open(functions={"a": Outcomes("again")})
    load = engine.core.load

    def damaged(row: object) -> object:
        if getattr(row, "id", "") == "bad":
            raise ConflictError("damaged", run="bad")
        return load(row)  # type: ignore[arg-type]  # a row

    engine.core.load = damaged  # type: ignore[assignment,method-assign]  # as a journal that cannot be read
    recovery = engine.recover()
    assert (list(recovery.taken), list(recovery.refused)) == (["good"], ["bad"])
    assert engine.wait("good").state == "completed"
    row = store.row("bad")
    assert row is not None
    assert row.owner == dead.core.owner  # so it is told of again
    again = engine.recover()
    assert (list(again.taken), list(again.refused)) == ([], ["bad"])


def test_a_mark_on_a_run_whose_owner_is_gone_hides_it_from_no_recovery(world: World) -> None:
    dead = world.open()
    held(dead, Gate())
    dead.kill()
    engine = world.open(functions={"a": Outcomes("again")})
    mark = engine.checkpoint("r", "found-dead")
    assert mark.label == "found-dead"
    assert engine.recover().taken == ["r"]
    run = engine.wait("r")
    assert (run.state, run.steps["a"].attempt) == ("completed", 2)


class Stolen(CrashStore):
    """A store in which somebody else takes each run that is taken, at once."""

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        return super().claim(run_id, epoch, owner) and self.inner.claim(run_id, epoch + 1, ELSEWHERE)


def test_a_run_that_somebody_else_took_at_the_same_time_is_no_failure_of_a_recovery(world: World) -> None:
    dead = world.open()
    held(dead, Gate())
    dead.kill()
    engine = Driver("async", Stolen(world.inner()), clock=world.clock, functions={"a": Outcomes("again")})
    recovery = engine.recover()
    assert (list(recovery.taken), dict(recovery.refused)) == ([], {})
    engine.close()


def test_child_runs_come_with_the_run_above_them(world: World) -> None:
    dead, gate = world.open(), Gate()
    inner = Workflow("inner")
    add(inner, "a", gate.ahold)
    outer = Workflow("outer")
    outer.child("c", inner)
    dead.start(outer, run_id="r")
    gate.begun()
    dead.kill()
    engine = world.open(functions={"c.a": Outcomes("again")})
    assert engine.recover().taken == ["r"]
    assert engine.wait("r").state == "completed"


def test_a_child_run_of_a_run_that_nobody_works_on_is_interrupted_and_goes_on_with_it(world: World) -> None:
    dead, gate, store = world.open(), Gate(), world.inner()
    inner = Workflow("inner")
    add(inner, "a", gate.ahold)
    outer = Workflow("outer")
    outer.child("c", inner)
    dead.start(outer, run_id="r")
    gate.begun()
    dead.kill()
    row = store.row("r")
    assert row is not None
    store.release("r", row.epoch)  # as if its owner had died while it let go of them both
    engine = world.open(functions={"c.a": Outcomes("again")})
    assert engine.recover().taken == []
    child = engine.wait("r.c")
    assert (child.state, child.steps["a"].state) == ("paused", "interrupted")
    engine.quiet()
    assert engine.list(owned=True) == []
    assert engine.resume("r").state == "completed"


def test_a_child_run_that_goes_on_after_the_end_of_the_run_above_it_is_taken_over_as_any(world: World) -> None:
    dead, gate = world.open(), Gate()
    gate.open(ValueError("no"))
    inner = Workflow("inner")
    add(inner, "a", gate.ahold)
    outer = Workflow("outer")
    outer.child("c", inner)
    assert dead.run(outer, run_id="r").state == "failed"
    dead.kill()
    again = Gate()
    dead = world.open(functions={"c.a": again.ahold, "a": again.ahold})
    dead.later("retry", "r.c")
    again.begun()
    dead.kill()
    engine = world.open(functions={"c.a": Outcomes("again"), "a": Outcomes("again")})
    assert engine.recover().taken == ["r.c"]
    assert engine.wait("r.c").state == "completed"


def test_what_is_known_to_be_left_is_taken_at_once_whoever_else_has_to_be_watched(world: World) -> None:
    dead, store = world.open(), world.inner()
    for run_id in ("watched", "left"):
        held(dead, Gate(), run_id)
    dead.kill()
    row = store.row("watched")
    assert row is not None
    assert store.claim("watched", row.epoch, ELSEWHERE)
    gate = Gate()
    engine = world.open(functions={"a": gate.ahold})
    recovery = engine.later("recover")
    assert gate.begun().run_id == "left"
    assert not recovery.done()
    gate.open("again")
    while not engine.core.ownership.observer._seen:
        engine.quiet()
    world.clock.advance(ELSEWHERE.lease)
    assert list(recovery.result(PATIENCE).taken) == ["left", "watched"]
    assert engine.wait("watched").state == "completed"


def test_an_owner_of_another_host_is_watched_for_its_lease_and_then_loses_its_run(world: World) -> None:
    dead, gate = world.open(), Gate()
    held(dead, gate)
    dead.kill()
    store = world.inner()
    row = store.row("r")
    assert row is not None
    assert store.claim("r", row.epoch, ELSEWHERE)
    engine = world.open(functions={"a": Outcomes("again")})
    resumed = engine.later("resume", "r")
    while not engine.core.ownership.observer._seen:
        engine.quiet()
    world.clock.advance(ELSEWHERE.lease)
    assert resumed.result(PATIENCE).state == "completed"


def test_an_owner_of_another_host_that_gives_a_sign_keeps_its_run(world: World) -> None:
    dead, gate = world.open(), Gate()
    held(dead, gate)
    dead.kill()
    store = world.inner()
    row = store.row("r")
    assert row is not None
    assert store.claim("r", row.epoch, ELSEWHERE)
    engine = world.open(functions={"a": Outcomes("again")})
    resumed = engine.later("resume", "r")
    while not engine.core.ownership.observer._seen:
        engine.quiet()
    store.beat(Beat(ELSEWHERE.nonce, 1, 0, 0.0), {"r": 2})
    with pytest.raises(ConflictError) as caught:
        resumed.result(PATIENCE)
    assert caught.value.kind == "run.owned"
