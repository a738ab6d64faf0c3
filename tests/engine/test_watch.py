"""What an engine looks at again and again: requests, whatever is wrong with some of them, and with the store."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import StoreError
from tests.engine.harness import PATIENCE, Gate, World, add


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_damaged_request_keeps_no_other_from_being_heard(kind: str, tmp_path: Path) -> None:
    world, gate = World(kind, "sqlite", tmp_path), Gate()  # type: ignore[arg-type]  # one of the two kinds
    engine, other = world.open(), world.open()
    for run_id in ("r1", "r2"):
        workflow = Workflow("owned")
        add(workflow, "a", gate.ahold)
        engine.start(workflow, run_id=run_id)
        gate.begun()
    store = world.inner()
    store.request("r1", "pause", "ann", "", 1)
    with contextlib.closing(apsw.Connection(str(world.path))) as connection:
        connection.execute("UPDATE requests SET action = 'cancel'")
    store.request("r2", "cancel", "ann", "", 1)
    waiting = other.later("wait", "r2")
    world.clock.advance(1)

    assert waiting.result(PATIENCE).state == "cancelled"
    assert engine.get("r1").state == "running"
    with contextlib.closing(apsw.Connection(str(world.path))) as connection:
        connection.execute("DELETE FROM requests")
    gate.open(1)
    assert engine.wait("r1").state == "completed"
    world.close()


def test_a_store_that_cannot_be_read_for_a_moment_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, other, gate = world.open(), world.open(), Gate()
    workflow = Workflow("owned")
    add(workflow, "a", gate.ahold)
    engine.start(workflow, run_id="r")
    gate.begun()
    heard: list[object] = []
    engine._loop.call_soon_threadsafe(engine._loop.set_exception_handler, lambda _, context: heard.append(context))

    def version() -> int:
        raise StoreError("no", kind="store.io")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "version", version)
        for _ in range(3):
            world.clock.advance(1)
            engine.turn()
            engine.turn()
    waiting = other.later("cancel", "r", wait=True)
    while not waiting.done():
        world.clock.advance(1)
        engine.turn()

    assert waiting.result(PATIENCE).state == "cancelled"
    assert heard == []
