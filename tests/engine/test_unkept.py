"""Case 57 and G13: an output too large for the journal that the store cannot take is held, or its run given up."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.unkept import Blobs, UnkeptError
from statemachine_flow.errors import ConflictError, StoreError
from statemachine_flow.stores.base import BlobSpill
from statemachine_flow.stores.memory import MemoryStore
from tests.engine.harness import PATIENCE, Driver, Gate, Outcomes, SlowCommit, World, add, kinds
from tests.engine.room import run_short_of_room
from tests.engine.test_patience import pass_time

LARGE = "x" * (1 << 21)
posix = pytest.mark.skipif(os.name == "nt", reason="commands and limits of POSIX")


class FullBlobs:
    """In the place of a store's `open_blob`: the call that `at` names fails while there is no room."""

    def __init__(self, store: Any, at: str, kind: str = "store.full") -> None:
        self._open = store.open_blob
        self.at = at
        self.kind = kind
        #: How often it failed.
        self.failed = 0
        #: Blobs that are let through before.
        self.spared = 0
        store.open_blob = self

    def __call__(self) -> Any:
        self.reach("open")
        return _FullBlob(self, self._open())

    def reach(self, moment: str) -> None:
        if moment != self.at:
            return
        if self.spared:
            self.spared -= 1
            return
        self.failed += 1
        raise StoreError("no room", kind=self.kind)


class _FullBlob:
    def __init__(self, full: FullBlobs, spill: BlobSpill) -> None:
        self._full = full
        self._spill = spill

    def write(self, data: bytes) -> None:
        self._spill.write(data)
        self._full.reach("write")

    def finish(self) -> str:
        self._full.reach("finish")
        return self._spill.finish()

    def discard(self) -> None:
        self._spill.discard()

    def taken(self) -> bytes:
        return self._spill.taken()

    def take_back(self) -> None:
        self._spill.take_back()


def with_large(what: str, undone: Outcomes) -> Workflow:
    workflow = Workflow("pays", compensate=True)
    add(workflow, "pay", Outcomes("paid"), compensate={"call": undone})
    if what == "command":
        workflow.run("large", "head -c 2000000 /dev/zero", needs=["pay"])
    else:
        options = {"transaction": True} if what == "transaction" else {}
        add(workflow, "large", (lambda connection: LARGE) if options else (lambda: LARGE), needs=["pay"], **options)
    return workflow


@pytest.mark.parametrize("what", ["function", "transaction", pytest.param("command", marks=posix)])
@pytest.mark.parametrize("at", ["open", "write", "finish"])
def test_case_57_the_run_is_given_up_and_goes_on_once_there_is_room(one_world: World, at: str, what: str) -> None:
    engine, undone = one_world.open(write_timeout=0), Outcomes("undone")
    full = FullBlobs(engine.store, at)
    with pytest.raises(StoreError) as caught:
        engine.run(with_large(what, undone), run_id="r")

    assert (caught.value.kind, caught.value.exit_code) == ("store.full", 6)
    assert kinds(engine, "r")[-1] == "step.start:large"
    full.at = "never"
    run = engine.resume("r")
    assert (run.state, run.steps["large"].attempt, undone.attempts) == ("completed", 2, 0)


def large(world: World, **options: Any) -> tuple[Driver, Gate, Outcomes, Any]:
    """A run whose first step is about to give a large output, which what follows reads."""
    engine, gate, after = world.open(**options), Gate(), Outcomes("after")
    workflow = Workflow("held")
    add(workflow, "a", gate.ahold)
    add(workflow, "b", after, needs=["a"], when="len(steps.a.output) > 1000")
    engine.start(workflow, run_id="r")
    gate.begun()
    waiting = engine.later("wait", "r")
    engine.turn()
    return engine, gate, after, waiting


@pytest.mark.parametrize("kind", ["store.full", "store.io", "store.busy"])
@pytest.mark.parametrize("at", ["open", "write", "finish"])
def test_a_large_output_is_held_until_the_store_takes_it(world: World, at: str, kind: str) -> None:
    engine, gate, after, waiting = large(world)
    full = FullBlobs(engine.store, at, kind)
    gate.open(LARGE)
    pass_time(world, engine, lambda: full.failed > 4)
    assert (kinds(engine, "r")[-1], after.attempts, waiting.done()) == ("step.start:a", 0, False)
    full.at = "never"
    pass_time(world, engine, waiting.done)

    run = waiting.result(PATIENCE)
    assert (run.state, run.steps["a"].attempt, len(gate.attempts), after.attempts) == ("completed", 1, 1, 1)
    assert run.steps["a"].output == LARGE
    assert engine.verify().ok


def test_other_runs_go_on_while_one_waits_for_room(world: World) -> None:
    engine, gate, _, waiting = large(world)
    full = FullBlobs(engine.store, "open")
    gate.open(LARGE)
    pass_time(world, engine, lambda: full.failed > 2)
    other = Workflow("other")
    add(other, "a", Outcomes("small"))
    assert engine.run(other).state == "completed"
    assert not waiting.done()
    full.at = "never"
    pass_time(world, engine, waiting.done)


def test_a_large_output_is_given_up_after_the_time_for_it(world: World) -> None:
    engine, gate, after, waiting = large(world, write_timeout=5)
    full = FullBlobs(engine.store, "finish")
    gate.open(LARGE)
    took = pass_time(world, engine, waiting.done)
    with pytest.raises(StoreError) as caught:
        waiting.result(PATIENCE)

    assert (caught.value.kind, caught.value.exit_code) == ("store.full", 6)
    assert 5 <= took <= 6.5
    full.at = "never"
    run = engine.resume("r")
    assert (run.state, run.steps["a"].attempt, after.attempts) == ("completed", 2, 1)


@pytest.mark.parametrize("kind", ["store.unsafe_path", "store.moved"])
def test_what_does_not_pass_by_itself_is_told_at_once(world: World, kind: str) -> None:
    engine, gate, _, waiting = large(world)
    full = FullBlobs(engine.store, "open", kind)
    gate.open(LARGE)
    with pytest.raises(StoreError):
        waiting.result(PATIENCE)
    assert full.failed == 1


def test_what_ends_beside_a_held_output_is_held_with_it_and_stopping_waits(world: World) -> None:
    engine, gates, workflow = world.open(), (Gate(), Gate()), Workflow("held")
    for name, gate in zip("ab", gates, strict=True):
        add(workflow, name, gate.ahold)
    engine.start(workflow, run_id="r")
    for gate in gates:
        gate.begun()
    waiting = engine.later("wait", "r")
    full = FullBlobs(engine.store, "open")
    gates[0].open(LARGE)
    pass_time(world, engine, lambda: full.failed > 1)
    gates[1].open("small")
    cancelled = engine.later("cancel", "r")
    pass_time(world, engine, lambda: full.failed > 3)
    assert (kinds(engine, "r")[-1], cancelled.done()) == ("step.start:b", False)
    full.at = "never"
    pass_time(world, engine, waiting.done)

    run = waiting.result(PATIENCE)
    assert [step.attempt for step in run.steps.values()] == [1, 1]
    assert (run.steps["a"].output, run.steps["b"].output) == (LARGE, "small")


@pytest.mark.parametrize("is_full", [False, True])
def test_closing_gives_a_held_output_one_more_chance_and_waits_no_longer(world: World, is_full: bool) -> None:
    engine, gate, _, waiting = large(world)
    full = FullBlobs(engine.store, "open")
    gate.open(LARGE)
    while not engine.core._committer._blocked:
        engine.turn()
    full.at = "open" if is_full else "never"
    engine.close()  # and the clock stands still

    again = world.open(functions={"a": gate.ahold, "b": Outcomes("after")})
    full.at = "never"
    run = again.resume("r")
    assert (run.state, run.steps["a"].attempt) == ("completed", 2 if is_full else 1)
    assert waiting.done()


def test_what_is_held_of_a_run_that_was_taken_away_is_dropped(world: World) -> None:
    engine, gate, _, waiting = large(world, write_timeout=1000)
    full = FullBlobs(engine.store, "open")
    gate.open(LARGE)
    pass_time(world, engine, lambda: full.failed > 1)
    other = world.open()
    assert other.core.store.claim("r", 1, other.core.owner)
    world.clock.advance(11)  # a sign of life tells that another has taken the run
    assert isinstance(waiting.exception(PATIENCE), ConflictError)
    other.close()
    full.at = "never"
    resumed = engine.later("resume", "r")
    pass_time(world, engine, resumed.done)
    assert (resumed.result(PATIENCE).state, engine.get("r").steps["a"].attempt) == ("completed", 2)
    assert not engine.core._committer._blocked


def test_a_transaction_that_was_about_to_begin_waits_for_the_held_output_of_another_step(tmp_path: Path) -> None:
    with contextlib.closing(World("sync", "sqlite", tmp_path)) as world:
        store, gates, entered = SlowCommit(world.inner(), "r", "step.complete"), (Gate(), Gate()), list[str]()
        engine, workflow = Driver("sync", store, clock=world.clock), Workflow("held")
        for name, gate in zip("ab", gates, strict=True):
            add(workflow, name, gate.ahold)
        add(workflow, "c", lambda connection: entered.append("c"), needs=["b"], transaction=True)
        full = FullBlobs(store, "open")
        engine.start(workflow, run_id="r")
        for gate in gates:
            gate.begun()
        waiting = engine.later("wait", "r")
        gates[1].open("b")
        assert store.under_way.wait(PATIENCE)  # what lets `c` begin is being kept, while the loop goes on
        gates[0].open(LARGE)
        while not engine.core.unkept.is_holding("r"):
            engine.turn()
        store.go_on.set()
        pass_time(world, engine, lambda: full.failed > 2)
        assert entered == []
        full.at = "never"
        pass_time(world, engine, waiting.done)

        assert (waiting.result(PATIENCE).state, entered) == ("completed", ["c"])
        engine.close()


# --- what nothing names


class Names:
    """A memory store, of which only the blobs are asked for."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    @property
    def left(self) -> set[str]:
        return set(self.store._blobs)


def spill(blobs: Blobs, data: bytes) -> str:
    begun = blobs.open()
    begun.write(data[:1])
    begun.write(data[1:])
    return begun.finish()


@pytest.mark.parametrize("at", ["open", "write", "finish"])
def test_of_several_blobs_all_are_kept_or_none(at: str) -> None:
    names = Names()
    blobs = Blobs(names.store)
    full = FullBlobs(names.store, at)
    full.spared = 2 if at == "write" else 1
    spilled = {spill(blobs, data) for data in (b"first", b"second")}
    assert spilled == {hashlib.sha256(data).hexdigest() for data in (b"first", b"second")}
    assert (len(names.left), len(blobs.held)) == (1, 1)
    with pytest.raises(StoreError):
        blobs.keep()
    assert len(blobs.held) == 1
    full.at = "never"
    blobs.keep()
    assert (names.left, blobs.held) == (spilled, {})
    blobs.take_back()
    assert names.left == set()


def test_what_is_not_to_be_held_is_told_and_the_blob_before_it_is_taken_back() -> None:
    names = Names()
    blobs = Blobs(names.store, is_holding=False)
    FullBlobs(names.store, "finish").spared = 1
    spill(blobs, b"first")
    with pytest.raises(UnkeptError):
        spill(blobs, b"second")
    blobs.take_back()
    assert names.left == set()


@posix
@pytest.mark.parametrize("ending", ["given up", "fails"])
def test_the_blobs_of_a_command_whose_result_is_not_kept_do_not_stay(tmp_path: Path, ending: str) -> None:
    with contextlib.closing(World("sync", "sqlite", tmp_path)) as world:
        engine = world.open(write_timeout=0)
        if ending == "given up":
            FullBlobs(engine.store, "finish").spared = 1
        workflow = Workflow("two")
        streams = "head -c 2000000 /dev/zero; head -c 1900000 /dev/zero >&2"
        workflow.run("both", streams if ending == "given up" else f"{streams}; exit 3")
        with pytest.raises(StoreError) if ending == "given up" else contextlib.nullcontext():
            assert engine.run(workflow).state == "failed"
        assert list(world.path.with_name(f"{world.path.name}.blobs").iterdir()) == []


FULL = """
def body() -> str:
    bodies["large"] += 1
    may_grow_to(1_000_000)
    return "x" * 3_000_000

workflow = Workflow("large")
workflow.call("large", body)
workflow.run("long", "head -c 2000000 /dev/zero", needs=["large"])
with Engine(sys.argv[1]) as engine:
    run = engine.run(workflow, run_id="r")
    print(json.dumps([str(run.state), len(said), bodies["large"], run.steps["large"].attempt, engine.verify().ok]))
"""


@posix
def test_case_57_a_large_output_is_kept_once_there_is_room(tmp_path: Path) -> None:
    assert run_short_of_room(FULL, tmp_path / "runs.db") == ["completed", 1, 1, 1, True]
