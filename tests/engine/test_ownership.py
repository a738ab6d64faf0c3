"""One owner per run: what others are refused, when they may take over, and what a fenced owner still does: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.owner import _started, is_alive, new_owner, retire
from statemachine_flow.errors import ConflictError, NotFoundError, StoreError
from statemachine_flow.stores.base import Owner
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, World, add, check_run, kinds, states


def held(engine: Driver, gate: Gate, run_id: str = "r") -> None:
    workflow = Workflow("owned")
    add(workflow, "a", gate.ahold)
    add(workflow, "b", Outcomes("b"), needs=["a"])
    engine.start(workflow, run_id=run_id)
    gate.begun()


def named(engine: Driver, **names: str) -> None:
    """Have an engine that has done nothing yet go by another name."""
    core = engine.core
    owner = msgspec.structs.replace(core.owner, **names)
    core.owner = core.ownership.me = core.ownership._heart._owner = owner


def why_interrupted(engine: Driver, run_id: str) -> str:
    """What the journal says of the owner that left the run."""
    said = [event.data["reason"] for event in engine.events(run_id) if event.kind == "step.interrupt"]
    assert len(said) == 1
    return str(said[0])


def test_case_109_a_second_engine_is_refused_while_the_owner_lives(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    with pytest.raises(ConflictError) as caught:
        second.resume("r")
    assert (caught.value.kind, caught.value.exit_code, caught.value.run) == ("run.owned", 5, "r")
    assert "process" in str(caught.value)
    gate.open(1)
    assert first.wait("r").state == "completed"
    assert len(gate.attempts) == 1


def test_a_second_engine_reads_and_waits_for_what_another_works_on(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    run = second.get("r")
    assert (run.state, states(run)["a"], run.owner) == ("running", "running", first.core.owner)
    waiting = second.later("wait", "r")
    gate.open("seen")
    assert waiting.result(PATIENCE).steps["a"].output == "seen"


def test_a_second_engine_takes_over_after_the_first_has_closed(world: World) -> None:
    first, gate = world.open(), Gate()
    second = world.open(functions={"a": gate.ahold, "b": Outcomes("b")})
    held(first, gate)
    first.close()
    gate.open(1)
    assert second.resume("r").state == "completed"


def test_a_second_engine_takes_over_from_one_that_died(world: World) -> None:
    first, gate = world.open(), Gate()
    held(first, gate)
    first.kill()
    second = world.open(functions={"a": gate.ahold, "b": Outcomes("b")})
    gate.open(1)
    run = second.resume("r")
    assert (run.state, run.steps["a"].attempt) == ("completed", 2)
    assert why_interrupted(second, "r").endswith(", is gone")


def test_a_living_owner_of_this_host_keeps_its_run_even_if_it_is_said_to_be_dead(world: World) -> None:
    first, gate, other = world.open(), Gate(), Gate()
    second = world.open(functions={"a": other.ahold, "b": Outcomes("b")})
    held(first, gate)
    with pytest.raises(ConflictError) as caught:
        second.resume("r", take_over=True)
    assert (caught.value.kind, caught.value.exit_code) == ("run.owned", 5)
    gate.open("kept")
    assert first.wait("r").steps["a"].output == "kept"
    assert other.attempts == []


@pytest.mark.parametrize("name", ["host", "namespace"])
def test_of_an_owner_of_another_host_or_container_a_person_is_believed(world: World, name: str) -> None:
    first, gate = world.open(), Gate()
    second = world.open(functions={"a": Outcomes("taken"), "b": Outcomes("b")})
    named(first, **{name: "another"})
    held(first, gate)
    with pytest.raises(ConflictError) as caught:
        second.resume("r")
    assert caught.value.kind == "run.owned"
    assert second.resume("r", take_over=True).steps["a"].output == "taken"


def test_a_silent_owner_of_this_host_loses_its_run_after_its_lease_and_not_before(world: World) -> None:
    first, gate = world.open(lease=30), Gate()
    second = world.open(functions={"a": Outcomes("a"), "b": Outcomes("b")})
    held(first, gate)
    first.kill()
    store = world.inner()
    row = store.row("r")
    assert row is not None
    parent = new_owner(world.clock.monotonic(), 30.0)
    retire(parent)
    silent = msgspec.structs.replace(parent, pid=os.getppid(), started=_started(os.getppid()))
    assert store.claim("r", row.epoch, silent)
    world.clock.advance(30)
    with pytest.raises(ConflictError) as caught:
        second.resume("r", take_over=True)
    assert caught.value.kind == "run.owned"
    world.clock.advance(0.1)
    assert second.resume("r", take_over=True).state == "completed"
    assert why_interrupted(second, "r") == f"its owner, process {os.getppid()} on {silent.host}, gives no sign of life"


def test_a_run_of_another_host_may_be_taken_over_by_order_and_the_old_owner_is_fenced(world: World) -> None:
    first, gate, other = world.open(), Gate(), Gate()
    named(first, host="elsewhere")
    second = world.open(functions={"a": other.ahold, "b": Outcomes("b")})
    held(first, gate)
    waiting = first.later("wait", "r")
    first.quiet()
    taken = second.later("resume", "r", take_over=True)
    other.begun()
    before = kinds(second, "r")
    gate.open("of the old owner")
    with pytest.raises(ConflictError) as caught:
        waiting.result(PATIENCE)
    assert (caught.value.kind, caught.value.run) == ("run.fenced", "r")
    first.quiet()
    assert kinds(second, "r") == before  # not one record of the old owner came after
    other.open("of the new owner")
    run = taken.result(PATIENCE)
    assert (run.state, run.steps["a"].output) == ("completed", "of the new owner")
    assert "r" not in first.core.workers
    assert why_interrupted(second, "r") == f"its owner, process {os.getpid()} on elsewhere, was said to be dead"


def test_a_stolen_claim_stops_every_attempt_of_the_old_owner(world: World) -> None:
    """The claim is stolen in the store itself; the first write of the old owner finds out."""
    first, one, two = world.open(), Gate(), Gate()
    workflow = Workflow("stolen")
    add(workflow, "a", one.ahold)
    add(workflow, "b", two.ahold)
    add(workflow, "c", Outcomes("never"), needs=["a"])
    first.start(workflow, run_id="r")
    one.begun(), two.begun()
    waiting = first.later("wait", "r")
    store = world.inner()
    row = store.row("r")
    assert row is not None
    thief = new_owner()
    assert store.claim("r", row.epoch, thief)
    before = store.records("r")
    one.open("late")
    with pytest.raises(ConflictError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == "run.fenced"
    first.quiet()
    assert (two.cancelled, two.attempts[0].stop_reason) == (1, "lost")
    assert store.records("r") == before
    for engine in (first, world.open()):
        with pytest.raises(ConflictError) as caught:
            engine.resume("r")
        assert caught.value.kind == "run.owned"
    retire(thief)
    last = world.open(functions={name: Outcomes(1) for name in "abc"})
    assert last.resume("r").state == "completed"


def test_a_fenced_engine_may_take_its_run_back(world: World) -> None:
    first, gate = world.open(), Gate()
    held(first, gate)
    waiting = first.later("wait", "r")
    first.quiet()
    store = world.inner()
    row = store.row("r")
    assert row is not None
    thief = new_owner()
    store.claim("r", row.epoch, thief)
    retire(thief)
    gate.open(1)
    with pytest.raises(ConflictError):
        waiting.result(PATIENCE)
    assert first.resume("r").state == "completed"


# --- a write that fails


@pytest.mark.parametrize("kind", ["store.full", "store.io", "store.busy"])
def test_a_store_that_fails_loses_the_run_and_the_same_engine_may_take_it_up_again(world: World, kind: str) -> None:
    """G13: the journal stays at its last commit, nothing new starts, and the run goes on when there is space."""
    engine, gate, after = world.open(write_timeout=0), Gate(), Outcomes("after")
    workflow = Workflow("full")
    add(workflow, "a", gate.ahold)
    add(workflow, "b", after, needs=["a"])
    engine.start(workflow, run_id="r")
    gate.begun()
    waiting = engine.later("wait", "r")
    engine.quiet()
    before = kinds(engine, "r")

    def fail(_batch: object) -> list[str]:
        raise StoreError("no", kind=kind)

    engine.store.commit = fail  # type: ignore[assignment]  # the disk fills up
    gate.open("unwritten")
    with pytest.raises(StoreError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == kind
    engine.quiet()
    assert (kinds(engine, "r"), after.attempts) == (before, 0)
    del engine.store.commit  # and is freed
    run = engine.resume("r")
    assert (run.state, run.steps["a"].attempt, after.attempts) == ("completed", 2, 1)


def test_a_store_that_fails_at_the_start_leaves_no_run_and_the_next_start_works(world: World) -> None:
    engine = world.open()

    def fail(_batch: object) -> list[str]:
        raise StoreError("no", kind="store.full")

    engine.store.commit = fail  # type: ignore[assignment]  # the disk is full
    workflow = Workflow("full")
    body = Outcomes(1)
    add(workflow, "a", body)
    with pytest.raises(StoreError):
        engine.start(workflow, run_id="r")
    with pytest.raises(NotFoundError):
        engine.get("r")
    del engine.store.commit  # and is freed
    assert (engine.run(workflow, run_id="r").state, body.attempts) == ("completed", 1)


def test_a_bug_in_a_commit_is_told_to_whoever_waits(world: World) -> None:
    engine, gate = world.open(), Gate()
    held(engine, gate)
    waiting = engine.later("wait", "r")
    engine.quiet()

    def fail(_batch: object) -> list[str]:
        raise ZeroDivisionError("bug")

    engine.store.commit = fail  # type: ignore[assignment]  # something unheard of
    gate.open(1)
    error = waiting.exception(PATIENCE)
    assert "ZeroDivisionError: bug" in str(error)
    assert getattr(error, "kind", None) == "internal"


def test_a_run_that_came_to_rest_between_a_look_and_a_claim_is_released_again(world: World) -> None:
    """The claim asks for the epoch, which the end of a run does not change."""
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    gate.open(1)
    first.wait("r")
    stale = second.core.row("r")
    stale.owner, stale.state = None, "running"

    async def take() -> None:
        second.core.row = lambda run_id: stale  # type: ignore[method-assign]  # what it saw before the run ended
        worker = second.core.take_hold("r")
        await worker.finished
        del second.core.row

    second.on_loop(take())
    assert second.get("r").owner is None


# --- who is alive


def test_an_owner_is_alive_while_its_engine_is_open() -> None:
    owner = new_owner()
    assert is_alive(owner)
    retire(owner)
    assert not is_alive(owner)


def test_owners_of_other_hosts_are_taken_to_be_alive_and_of_other_boots_to_be_dead() -> None:
    owner = new_owner()
    retire(owner)
    assert is_alive(Owner(host="elsewhere", boot="", pid=1, started="", nonce="x"))
    assert not is_alive(Owner(host=owner.host, boot="earlier", pid=owner.pid, started=owner.started, nonce="x"))


def test_a_pid_that_was_given_to_another_process_is_not_its_owner() -> None:
    owner = new_owner()
    retire(owner)
    assert not is_alive(Owner(host=owner.host, boot=owner.boot, pid=1, started="0-never", nonce="x"))


CHILD = """
import sys
from statemachine_flow import Engine, Workflow
def body():
    print("working", flush=True)
    sys.stdin.read()
workflow = Workflow("owned")
workflow.call("a", lambda: body())
Engine(sys.argv[1]).run(workflow, run_id="r")
"""


def test_another_process_owns_its_run_until_it_is_dead(one_world: World, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(one_world.path)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        engine = one_world.open(functions={"a": Outcomes("here")})
        assert engine.get("r").owner.pid == child.pid
        with pytest.raises(ConflictError) as caught:
            engine.resume("r")
        assert caught.value.kind == "run.owned"
        assert str(child.pid) in str(caught.value)
        child.kill()
        child.wait(PATIENCE)
        run = engine.resume("r")
    assert (run.state, run.steps["a"].output, run.steps["a"].attempt) == ("completed", "here", 2)


# --- requests of others


def test_a_cancel_from_another_engine_reaches_the_owner(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    cancelled = second.later("cancel", "r", reason="from elsewhere", by="me")
    asked(second)
    world.clock.advance(1)  # the owner looks
    run = cancelled.result(PATIENCE)
    assert (run.state, run.reason, gate.cancelled) == ("cancelled", "from elsewhere", 1)
    events = {event.kind: event.data for event in second.events("r")}
    assert events["run.cancel"] == {"reason": "from elsewhere", "by": "me"}
    assert world.inner().requests() == []


def asked(engine: Driver) -> None:
    """Wait until the request is in the store."""
    while not engine.store.requests():
        engine.quiet()


def test_a_cancel_that_is_not_waited_for_happens_all_the_same(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    assert second.cancel("r", timeout=0).state == "running"
    world.clock.advance(1)
    assert first.wait("r").state == "cancelled"


def test_a_cancel_whose_owner_dies_before_it_looked_is_done_by_the_one_who_asked(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    cancelled = second.later("cancel", "r", reason="enough")
    asked(second)
    first.kill()
    run = cancelled.result(PATIENCE)
    assert (run.state, run.reason, world.inner().requests()) == ("cancelled", "enough", [])


def test_a_request_that_the_last_owner_left_is_granted_by_the_next(world: World) -> None:
    """Also when the next owner has looked at the store's requests before it took the run."""
    first, second, third, gate, other = world.open(), world.open(), world.open(), Gate(), Gate()
    held(first, gate)
    held(third, other, "another")
    second.cancel("r", timeout=0)
    third.on_loop(look(third))
    first.kill()
    third.register("a", gate.ahold)
    assert third.resume("r").state == "cancelled"
    assert third.get("r").steps["a"].attempt == 1, "an attempt was begun although the run was asked to end"
    other.open(1)
    assert third.wait("another").state == "completed"


async def look(engine: Driver) -> None:
    engine.core.watch.look()


def test_a_request_to_a_run_that_has_ended_meanwhile_is_dropped_and_its_author_told(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    cancelled = second.later("cancel", "r")
    asked(second)
    gate.open(1)
    assert first.wait("r").state == "completed"
    with pytest.raises(ConflictError, match="completed") as caught:
        cancelled.result(PATIENCE)
    assert caught.value.kind == "run.state"
    assert world.inner().requests("r") == []
    check_run(world.inner(), "r")


def test_waiting_for_a_run_that_nobody_works_on_is_refused_instead_of_endless(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    waiting = second.later("wait", "r")
    second.quiet()
    first.kill()
    with pytest.raises(ConflictError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == "run.state"
    assert "resume" in str(caught.value)


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_pause_from_another_engine_reaches_the_owner(world: World, interrupt: bool) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    held(first, gate)
    paused = second.later("pause", "r", interrupt=interrupt, reason="from elsewhere")
    asked(second)
    world.clock.advance(1)  # the owner looks
    first.quiet()
    if not interrupt:
        gate.open("kept")
    run = paused.result(PATIENCE)
    assert (run.state, run.reason, run.owner) == ("paused", "from elsewhere", None)
    assert states(run) == {"a": "interrupted" if interrupt else "completed", "b": "pending"}
    assert world.inner().requests() == []
