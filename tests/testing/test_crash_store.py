"""The store that dies at a chosen write, under a real engine on a loop that dies with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.stores.base import Store
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing import CrashStore, Died, Killed, VirtualClock


async def number() -> int:
    return 1


def two() -> smf.Workflow:
    """With bodies on the loop itself: of a thread it does not know that something is under way."""
    workflow = smf.Workflow("two")
    workflow.call("a", number)
    workflow.call("b", number, needs="a")
    return workflow


def live(store: CrashStore, clock: VirtualClock, loop: Any) -> smf.Run:
    async def main() -> smf.Run:
        async with smf.AsyncEngine(store, clock=clock) as engine:
            return await engine.run(two(), run_id="r")

    try:
        run: smf.Run = loop.live(main())
        return run
    finally:
        if not loop.is_dead:
            loop.bury()


@pytest.fixture(params=["memory", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "runs.db", durability="process")


@pytest.mark.parametrize(("at", "when", "kept"), [(1, "before", 0), (1, "after", 3), (2, "before", 3), (2, "after", 5)])
def test_what_was_committed_is_there_and_nothing_else(inner: Store, at: int, when: Any, kept: int) -> None:
    clock = VirtualClock()
    loop = clock.loop()
    store = CrashStore(inner, at, when, die=loop.kill)

    with pytest.raises(Killed):
        live(store, clock, loop)

    assert (store.dead, store.writes, len(inner.records("r"))) == (True, at, kept)
    loop.bury()
    assert len(inner.records("r")) == kept
    assert live(CrashStore(inner), clock, clock.loop()).state == "completed"
    inner.close()


def test_a_dead_store_refuses_everything_but_blobs() -> None:
    store = CrashStore(MemoryStore(), 1, "after")
    with pytest.raises(Died):
        store.release("r", 1)

    for call in (lambda: store.row("r"), store.requests, store.version, store.open_blob, lambda: store.commit([])):
        with pytest.raises(Died):
            call()


def test_the_writes_are_told_in_words() -> None:
    clock, store = VirtualClock(), CrashStore(MemoryStore())
    live(store, clock, clock.loop())
    store.request("r", "cancel", "", "", 0)

    assert store.written == [
        "run.create, run.start, step.start a",
        "step.complete a, step.start b",
        "step.complete b, run.complete",
        "request cancel",
    ]


@pytest.mark.parametrize(("when", "rows"), [("before", 0), ("after", 1)])
def test_a_transaction_is_kept_with_its_effect_or_not_at_all(tmp_path: Path, when: Any, rows: int) -> None:
    inner = SqliteStore(tmp_path / "runs.db", durability="process")
    calls: list[int] = []

    def book(connection: Any) -> None:
        calls.append(1)
        connection.execute("CREATE TABLE IF NOT EXISTS seats (n)")
        connection.execute("INSERT INTO seats VALUES (7)")

    workflow = smf.Workflow("seats")
    workflow.call("book", book, transaction=True)
    clock = VirtualClock()
    loop = clock.loop()

    async def main() -> smf.Run:
        async with smf.AsyncEngine(CrashStore(inner, 2, when, die=loop.kill), clock=clock) as engine:
            return await engine.run(workflow)

    with pytest.raises(Killed):
        loop.live(main())

    seen: list[Any] = []

    def look(connection: Any) -> None:
        if connection.table_exists(None, "seats"):
            seen.extend(connection.execute("SELECT n FROM seats"))

    inner.transact(look, lambda: None)
    assert (calls, len(seen)) == ([1], rows)
    loop.bury()
    inner.close()
