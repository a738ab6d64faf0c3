"""G2, G3: death before and after every single write of reference workflows, simulated in this process.

`CrashStore` cuts an engine off from its store at its n-th write, before or after it is kept. What is left is what a
dead process leaves; a new engine then does what the operator wanted. `test_processes.py` does it with real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import NewRun, Store, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing.crash import CrashStore, Died, When, records_of
from tests.crash.books import Books, outcome
from tests.crash.scenarios import SCENARIOS
from tests.crash.scene import RUN_ID, Operator, Scene


class Stage:
    """One scenario on one store, with what bodies found when they began."""

    def __init__(self, inner: Store, operator: Operator) -> None:
        self.inner = inner
        self.operator = operator
        self.scene = Scene(self._on_body)
        self.books = Books(inner, self.scene)

    def _on_body(self, context: StepContext) -> None:
        """The attempt whose body begins is in the journal already."""
        found = [record for record in self.inner.records(context.run_id) if record.step == context.path]
        assert found
        assert found[-1].kind == "step.start"
        assert found[-1].decode().attempt == context.attempt  # type: ignore[attr-defined]

    def act(self, at: int = 0, when: When = "before") -> tuple[bool, Any]:
        """One process: whether it died, and what became of the run if it did not."""
        return asyncio.run(self._act(CrashStore(self.inner, at, when)))

    async def _act(self, store: CrashStore) -> tuple[bool, Any]:
        self.scene.clock.advance(3600)  # nobody comes at once
        engine = AsyncEngine(store, clock=self.scene.clock, rng=random.Random(0), grace=0.05)
        try:
            async with asyncio.timeout(30):
                run = await self.operator(engine, self.scene)
                return False, (outcome(run), store.writes)
        except (Died, SmfError):
            assert store.dead
            return True, None
        finally:
            with contextlib.suppress(Died):
                await engine.close()

    def check(self) -> None:
        """What must hold of the store whenever somebody looks."""
        self.books.check()


@pytest.fixture(params=["memory", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def new() -> Store:
        if request.param == "memory":
            return MemoryStore()
        opened.append(SqliteStore(tmp_path / f"{len(opened)}.db", durability="process"))
        return opened[-1]

    yield new
    for store in opened:
        store.close()


#: Workflows of which a death changes more than the number of attempts: when they are told to pause or to cancel,
#: and how far they are by then.
FREE = {"pause", "cancel", "said_meanwhile", "paused_parent", "cancelled_parent", "cancelled_saga"}
#: What is retried fails in its first attempt only, which a death may keep from failing.
FREE |= {"group_with_retry", "schema"}
#: When it is set aside; and a step of a copy that fails in its first attempt, as above.
FREE |= {"quarantine", "fork", "rerun", "restore"}


def undisturbed(new_store: Callable[[], Store], operator: Operator) -> tuple[Any, int, Any]:
    stage = Stage(new_store(), operator)
    died, (result, writes) = stage.act()
    assert not died
    stage.check()
    stage.books.check_end()
    return result, writes, stage.books.changes()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_death_at_any_write_ends_like_no_death(new_store: Callable[[], Store], name: str, when: When) -> None:
    expected, writes, changes = undisturbed(new_store, SCENARIOS[name])
    deaths = 0
    for at in range(1, writes + 1):
        stage = Stage(new_store(), SCENARIOS[name])
        died, result = stage.act(at, when)
        deaths += died
        if died:
            stage.check()
            again, result = stage.act()
            assert not again
        stage.check()
        stage.books.check_end()
        assert result[0] == expected, f"{name} differs after a death {when} write {at}"
        assert name in FREE or stage.books.changes() == changes, (
            f"{name} took another way after a death {when} write {at}"
        )
    assert deaths >= writes - 1  # the last write may have been shared with the one before


SAMPLE = int(os.environ.get("SMF_DEATHS", "60"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_several_deaths_in_a_row_end_like_none(name: str) -> None:
    """Also deaths in the middle of a recovery."""
    rng = random.Random(f"{name} 1")
    expected, writes, changes = undisturbed(MemoryStore, SCENARIOS[name])
    for trial in range(SAMPLE // len(SCENARIOS) + 1):
        stage = Stage(MemoryStore(), SCENARIOS[name])
        points: list[tuple[int, When]] = []
        for _ in range(rng.randint(2, 5)):
            points.append((rng.randint(1, writes), rng.choice(["before", "after"])))
            died, result = stage.act(*points[-1])
            stage.check()
            if not died:
                break
        else:
            _, result = stage.act()
            stage.check()
        stage.books.check_end()
        assert result[0] == expected, f"trial {trial} of {name} differs after deaths at {points}"
        assert name in FREE or stage.books.changes() == changes, f"trial {trial} of {name}: another way at {points}"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_in_a_start_leaves_no_run_or_a_whole_one(new_store: Callable[[], Store], when: When) -> None:
    """G1: the row, the inputs and the definition are there together or not at all."""
    stage = Stage(new_store(), SCENARIOS["linear"])
    died, _ = stage.act(1, when)
    assert died
    row = stage.inner.row(RUN_ID)
    if when == "before":
        assert row is None
        assert stage.inner.match("", 10) == []
    else:
        assert row is not None
        assert stage.inner.definition(row.definition) is not None
        assert [record.kind for record in stage.inner.records(RUN_ID)] == ["run.create", "run.start", "step.start"]
    assert stage.scene.begun == []


# --- the kill table: (which write of the second step, when) -> bodies that began, attempts recorded


KILL_TABLE: dict[str, tuple[str, When, int, int]] = {
    "K0 before the start is kept": ("step.start", "before", 1, 1),
    "K1 the start is kept, the body has not begun": ("step.start", "after", 1, 2),
    "K3 the body has ended, its completion is not kept": ("step.complete", "before", 2, 2),
    "K4 the completion is kept": ("step.complete", "after", 1, 1),
}


@pytest.mark.parametrize("point", KILL_TABLE)
def test_the_kill_table(new_store: Callable[[], Store], point: str) -> None:
    kind, when, begun, attempts = KILL_TABLE[point]
    probe = Stage(new_store(), SCENARIOS["linear"])
    batches: list[list[str]] = []
    keep = probe.inner.commit

    def note(batch: Sequence[NewRun | Write]) -> list[str]:
        batches.append(records_of(batch))
        return keep(batch)

    probe.inner.commit = note  # type: ignore[method-assign]  # to learn which write holds which record
    probe.act()
    at = next(number for number, records in enumerate(batches, 1) if f"{kind} s1" in records)
    stage = Stage(new_store(), SCENARIOS["linear"])
    died, _ = stage.act(at, when)
    assert died
    _, result = stage.act()
    stage.check()
    assert result[0]["state"] == "completed"
    assert sum(entry.startswith("s1 ") for entry in stage.scene.begun) == begun
    starts = [record for record in stage.inner.records(RUN_ID) if (record.kind, record.step) == ("step.start", "s1")]
    assert len(starts) == attempts


def test_k2_a_death_inside_a_body_interrupts_the_attempt_and_begins_another(new_store: Callable[[], Store]) -> None:
    stage = Stage(new_store(), SCENARIOS["linear"])
    store = CrashStore(stage.inner, 0, "before")
    on_body = stage.scene.on_body

    def die(context: StepContext) -> None:
        on_body(context)
        if (context.step_id, context.attempt) == ("s1", 1):
            store.dead = True

    stage.scene.on_body = die
    died, _ = asyncio.run(stage._act(store))
    assert died
    _, result = stage.act()
    stage.check()
    assert result[0]["state"] == "completed"
    assert [entry for entry in stage.scene.begun if entry.startswith("s1")] == ["s1 1", "s1 2"]
    journal = [record.kind for record in stage.inner.records(RUN_ID) if record.step == "s1"]
    assert journal == ["step.start", "step.interrupt", "step.start", "step.complete"]
