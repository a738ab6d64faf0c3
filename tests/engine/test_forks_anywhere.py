"""Every reference workflow, forked behind its records and rerun from its steps: none of those hangs or breaks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.checkpoints import is_point
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import NotFoundError
from statemachine_flow.journal import RunFold
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore
from tests.crash.copies import OPERATORS
from tests.crash.scenarios import SCENARIOS
from tests.crash.scene import RUN_ID, Scene
from tests.engine.harness import check_run

NAMES = sorted(set(SCENARIOS) - {operator.__name__ for operator in OPERATORS} - {"commands"})
#: Forks of one workflow, and reruns; of longer journals some are left out.
MOST = 8
#: So many turns of the loop later, what goes on has no end.
TURNS = 1000


async def every_copy(name: str) -> tuple[int, int]:
    """How many forks and reruns of a workflow there were."""
    store, scene = MemoryStore(), Scene(lambda _context: None)
    engine = AsyncEngine(CrashStore(store), clock=scene.clock, rng=random.Random(0), grace=0.05)
    source = await SCENARIOS[name](engine, scene)
    records = store.records(RUN_ID)
    points, fold = [], RunFold(RUN_ID)
    for record in records:
        fold.replay([record])
        if is_point(records, record.seq, fold.state):
            points.append(record.seq)
    scene.mended = True
    rng = random.Random(name)
    for seq in sorted(rng.sample(points, min(MOST, len(points)))):
        await comes_to_rest(engine, scene, f"f{seq}", engine.fork(RUN_ID, at=seq, run_id=f"f{seq}", until="rest"))
    steps = [path for path in source.steps if not path.startswith("@")]
    made = 0
    for place, path in enumerate(rng.sample(steps, min(MOST, len(steps)))):
        try:
            await comes_to_rest(
                engine, scene, f"r{place}", engine.rerun(RUN_ID, from_=path, run_id=f"r{place}", until="rest")
            )
        except NotFoundError:  # the token never came there, or it was never begun
            continue
        made += 1
    assert store.records(RUN_ID) == records
    await engine.close()
    for row in store.rows(RunFilter(limit=10_000)):
        check_run(store, row.id)
    return len(points), made


async def comes_to_rest(engine: AsyncEngine, scene: Scene, run_id: str, copying: Coroutine[Any, Any, Run]) -> None:
    """Time passes until it is at rest, or only the world can bring it on; a step that never ends is interrupted."""
    making = asyncio.ensure_future(copying)
    for _ in range(TURNS):
        if making.done():
            break
        scene.clock.advance(600)
        await asyncio.sleep(0)
    if not making.done():
        run = await engine.get(run_id)
        is_alive = any(step.state == "running" or step.on == "run" for step in run.steps.values())
        assert is_alive or run.waiting, f"{run_id} hangs"
        await engine.pause(run_id, interrupt=True)
    assert (await making).at_rest


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_can_be_forked_anywhere_and_rerun_from_any_step(name: str) -> None:
    async def in_time() -> tuple[int, int]:
        async with asyncio.timeout(60):
            return await every_copy(name)

    points, reruns = asyncio.run(in_time())
    assert points
    assert reruns
