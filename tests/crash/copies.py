"""Reference workflows of which new runs are made, and which are set aside: forks, reruns, marked points, quarantine."""

from __future__ import annotations

import asyncio

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.lifecycle import RunState
from tests.crash.scene import RUN_ID, Operator, Scene, run_to_rest
from tests.engine.harness import add

COPY_ID = "copy"


def _source(scene: Scene) -> Workflow:
    workflow = Workflow("source")
    word = workflow.input("word", default="said")
    add(workflow, "first", scene.echo, with_={"value": word})
    with workflow.group("ci", needs=["first"]) as ci:
        add(ci, "build", scene.body)
        add(ci, "test", scene.flaky, needs=["build"], retry={"max_attempts": 3, "delay": "1m", "jitter": "none"})
    add(workflow, "last", scene.echo, with_={"value": workflow["first"].output}, needs=["ci"])
    workflow.output("word", workflow["last"].output)
    return workflow


async def fork(engine: AsyncEngine, scene: Scene) -> Run:
    """Behind the first step, with another result of it."""
    await run_to_rest(engine, _source(scene), scene)
    at = next(event.seq for event in await engine.events(RUN_ID) if event.kind == "step.complete")
    edits = {"steps.first.output": "edited"}
    return await engine.fork(RUN_ID, at=at, set=edits, run_id=COPY_ID, on_event=scene.hurry)


async def rerun(engine: AsyncEngine, scene: Scene) -> Run:
    """From inside a group."""
    await run_to_rest(engine, _source(scene), scene)
    return await engine.rerun(RUN_ID, from_="ci/test", run_id=COPY_ID, on_event=scene.hurry)


async def restore(engine: AsyncEngine, scene: Scene) -> Run:
    """A failed run is marked, restored there, mended and retried."""
    workflow = Workflow("marked", max_parallel=1)
    add(workflow, "first", scene.body)
    add(workflow, "broken", scene.broken, needs=["first"])
    await run_to_rest(engine, workflow, scene)
    if not scene.mended:
        if "broken" not in [point.label for point in await engine.checkpoints(RUN_ID)]:
            await engine.checkpoint(RUN_ID, "broken")
        run = await engine.restore(f"{RUN_ID}@broken", run_id=COPY_ID)
        scene.mended = True
    else:
        run = await engine.get(COPY_ID)
    if run.state == RunState.FAILED:
        return await engine.retry(COPY_ID)
    return run if run.at_rest else await engine.resume(COPY_ID)


async def quarantine(engine: AsyncEngine, scene: Scene) -> Run:
    """Once the endless step has begun; a run that was to be quarantined is quarantined again."""
    workflow = Workflow("quarantine")
    add(workflow, "first", scene.body)
    add(workflow, "endless", scene.endless, needs=["first"])
    begun = asyncio.Event()

    def listen(event: Event) -> None:
        if event.kind == "step.start" and event.step == "endless":
            begun.set()

    running = asyncio.ensure_future(engine.run(workflow, run_id=RUN_ID, on_event=listen))
    waiting = asyncio.ensure_future(begun.wait())
    try:
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await engine.quarantine(RUN_ID, reason="odd")
        return await running
    finally:
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


OPERATORS: tuple[Operator, ...] = (fork, rerun, restore, quarantine)
