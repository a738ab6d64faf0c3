"""A few hundred interleavings of completion with cancel, pause, timeout and close: one end each, never none or two."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError
from statemachine_flow.model import RetryPolicy
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore, ManualClock
from tests.engine.harness import add, check_run

#: What an operator may be told who comes too late.
REFUSALS = frozenset({"run.state", "transition.refused", "usage.closed"})
#: What an operator does.
ACTIONS = ("cancel", "cancel", "pause", "interrupt", "resume", "time", "close", "quarantine", "checkpoint")
ENDS = frozenset({"run.complete", "run.settle", "run.fail", "run.quarantine"})
TRIALS = int(os.environ.get("SMF_RACES", "400"))


async def race(seed: int) -> str:
    """A run of four steps, and an operator who does two things to it at some turn of the loop."""
    rng = random.Random(seed)
    clock, store = ManualClock(), MemoryStore()
    engine = AsyncEngine(CrashStore(store), clock=clock, grace=0.05, rng=rng)

    async def body(turns: int, fails: bool) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if fails:
            raise ValueError

    workflow = Workflow("race", timeout=30 if rng.random() < 0.2 else None)
    for index in range(4):
        add(
            workflow,
            f"s{index}",
            body,
            needs=[f"s{index - 1}"] if index and rng.random() < 0.7 else None,
            with_={"turns": rng.randrange(4), "fails": rng.random() < 0.1},
            timeout=rng.choice([None, 5]),
            retry=RetryPolicy(max_attempts=2, delay=1, jitter="none") if rng.random() < 0.3 else None,
        )
    run_id = await engine.start(workflow)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(2):
            action = rng.choice(ACTIONS)
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(0)
            group.create_task(act(engine, clock, run_id, action))
        await end(store, engine, clock, run_id)
    fold = check_run(store, run_id)
    ends = [record.kind for record in store.records(run_id) if record.kind in ENDS]
    # One that failed is at rest, and may be set aside.
    assert len(ends) == 1 or ends == ["run.fail", "run.quarantine"], ends
    assert fold.alive_steps == 0
    await engine.close()
    return str(fold.state)


async def act(engine: AsyncEngine, clock: ManualClock, run_id: str, action: str) -> None:
    try:
        if action == "time":
            clock.advance(6)
        elif action == "close":
            await engine.close()
        elif action == "quarantine":
            await engine.quarantine(run_id, reason="odd")
        elif action == "checkpoint":
            await engine.checkpoint(run_id, "here")
        elif action == "interrupt":
            await engine.pause(run_id, interrupt=True)
        else:
            await getattr(engine, action)(run_id)
    except SmfError as error:
        if error.kind not in REFUSALS:
            raise


def brought_to(engine: AsyncEngine) -> dict[str, Any]:
    """The functions that came with the workflow an engine runs."""
    return {name: function for own in engine._core.library._own_functions.values() for name, function in own.items()}


async def end(store: MemoryStore, engine: AsyncEngine, clock: ManualClock, run_id: str) -> None:
    """Let time pass and resume what was paused, until the run is at its end."""
    while True:
        for _ in range(50):
            await asyncio.sleep(0)
        clock.advance(0.1)
        row = store.row(run_id)
        assert row is not None
        if row.state in {"completed", "cancelled", "failed", "quarantined"} and row.owner is None:
            return
        if row.state == "paused" and row.owner is None:
            other = engine
            if engine._closed:
                other = AsyncEngine(CrashStore(store), clock=clock, functions=brought_to(engine))
            try:
                resumed = asyncio.create_task(other.resume(run_id))
                while not resumed.done():
                    await asyncio.sleep(0)
                    clock.advance(0.1)
                resumed.result()
            except SmfError as error:
                if error.kind not in REFUSALS:
                    raise
            if other is not engine:
                await other.close()


@pytest.mark.parametrize("block", range(4))
def test_case_77_every_interleaving_has_one_end(block: int) -> None:
    size = TRIALS // 4
    for seed in range(block * size, (block + 1) * size):
        try:
            asyncio.run(race(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_the_interleavings_reach_every_end() -> None:
    ends = {asyncio.run(race(seed)) for seed in range(80)}
    assert ends == {"completed", "cancelled", "failed", "quarantined"}


#: What two operators do at once.
PAIRS = list(itertools.product(("cancel", "pause", "interrupt", "quarantine"), repeat=2))


async def meet(first: str, second: str, turn: int, later: int) -> str:
    """A run of one step that ends after four turns, one who asks at a turn of the loop, and one some turns later."""
    clock, store = ManualClock(), MemoryStore()
    engine = AsyncEngine(CrashStore(store), clock=clock, grace=0.05)

    async def body() -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    workflow = Workflow("race")
    add(workflow, "a", body)
    run_id = await engine.start(workflow)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for action, turns in ((first, turn), (second, later)):
            for _ in range(turns):
                await asyncio.sleep(0)
            group.create_task(act(engine, clock, run_id, action))
        await end(store, engine, clock, run_id)
    check_run(store, run_id)
    ends = [record.kind for record in store.records(run_id) if record.kind in ENDS]
    assert len(ends) == 1, ends
    assert store.requests() == []
    await engine.close()
    return ends[0]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_case_77_at_every_moment_two_operators_and_the_end_of_the_run_make_one_end(first: str, second: str) -> None:
    """Every turn of the loop around the end of the run, and every distance between the two."""
    ends = {asyncio.run(meet(first, second, turn, later)) for turn in range(12) for later in range(6)}
    wanted = {"cancel": "run.settle", "quarantine": "run.quarantine"}
    could = [action for action in (first, second) if action in wanted]
    could = could[:1]  # what is being cancelled is not set aside any more, and the other way round
    assert ends == {"run.complete", *(wanted[action] for action in could)}
