"""Reference workflows with an operator each, who takes them from wherever they stand to their end: steps and graphs.

An operator knows what he wants and nothing of what happened before: he may be called on an empty store, in the
middle, or after the end. `loops` and `waits` have the workflows of the rest of the language.
"""

from __future__ import annotations

import asyncio
from typing import Any

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.lifecycle import RunState
from statemachine_flow.model import RetryPolicy
from statemachine_flow.steps.base import StepContext
from tests.crash import copies, loops, waits
from tests.crash.scene import RUN_ID, Operator, Scene, run_to_rest
from tests.engine.harness import add


async def linear(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("linear")
    for index in range(5):
        add(workflow, f"s{index}", scene.body, needs=[f"s{index - 1}"] if index else None)
    workflow.output("last", "${{ steps.s4.output }}")
    return await run_to_rest(engine, workflow, scene)


async def diamond(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("diamond")
    add(workflow, "top", scene.body)
    add(workflow, "left", scene.body, needs=["top"])
    add(workflow, "right", scene.body, needs=["top"])
    add(workflow, "bottom", scene.body, needs=["left", "right"], outputs={"text": "result"})
    workflow.output("pair", ["${{ steps.left.output }}", "${{ steps.bottom.outputs.text }}"])
    return await run_to_rest(engine, workflow, scene)


async def fan_out(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("fan-out", max_parallel=6)
    add(workflow, "source", scene.body)
    names = [f"b{index}" for index in range(20)]
    for name in names:
        add(workflow, name, scene.body, needs=["source"])
    add(workflow, "sink", scene.body, needs=names)
    return await run_to_rest(engine, workflow, scene)


async def retry_with_back_off(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("retry")
    add(workflow, "first", scene.body)
    retry = RetryPolicy(max_attempts=3, delay=60.0, jitter="none")
    add(workflow, "flaky", scene.flaky, needs=["first"], retry=retry)
    add(workflow, "beside", scene.body, needs=["first"])
    add(workflow, "last", scene.body, needs=["flaky", "beside"])
    return await run_to_rest(engine, workflow, scene)


async def optional_failure(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("optional")
    add(workflow, "useless", scene.useless, optional=True)
    add(workflow, "last", scene.body, needs=["useless"])
    workflow.output("x", "${{ default(steps.useless.output, 'nothing') }}")
    return await run_to_rest(engine, workflow, scene)


async def skip(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("skip")
    add(workflow, "first", scene.body)
    add(workflow, "no", scene.body, needs=["first"], when="steps.first.output == 'other'")
    add(workflow, "behind_no", scene.body, needs=["no"])
    add(workflow, "yes", scene.body, needs=["first"], when="steps.first.output == 'result of first'")
    return await run_to_rest(engine, workflow, scene)


async def pause(engine: AsyncEngine, scene: Scene) -> Run:
    """Pause once in the middle; a run found paused is resumed."""
    workflow = Workflow("pause")
    for index in range(4):
        add(workflow, f"s{index}", scene.body, needs=[f"s{index - 1}"] if index else None)
    asked: list[asyncio.Task[Any]] = []

    def listen(event: Event) -> None:
        if event.kind == "step.complete" and event.step == "s1" and not scene.acted:
            scene.acted = True
            asked.append(asyncio.ensure_future(engine.pause(RUN_ID)))

    try:
        run = await engine.run(workflow, run_id=RUN_ID, on_event=listen)
    finally:
        await asyncio.gather(*asked, return_exceptions=True)
    return run if run.state != RunState.PAUSED else await engine.resume(RUN_ID)


async def cancel(engine: AsyncEngine, scene: Scene) -> Run:
    """Cancel once the endless step has begun; a run that was to be cancelled is cancelled again."""
    workflow = Workflow("cancel")
    add(workflow, "first", scene.body)
    add(workflow, "endless", scene.endless, needs=["first"])
    add(workflow, "last", scene.body, needs=["endless"])
    asked: list[asyncio.Task[Any]] = []

    def listen(event: Event) -> None:
        if event.kind == "step.start" and event.step == "endless":
            asked.append(asyncio.ensure_future(engine.cancel(RUN_ID)))

    try:
        return await engine.run(workflow, run_id=RUN_ID, on_event=listen)
    finally:
        await asyncio.gather(*asked, return_exceptions=True)


async def commands(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("commands")
    add(workflow, "first", scene.body)
    workflow.run("one", ["printf", "one"], needs=["first"], outputs={"text": "stdout"})
    workflow.run("two", "printf '%s' ${{ steps.one.outputs.text }}")
    workflow.output("text", "${{ steps.two.output.stdout }}")
    return await run_to_rest(engine, workflow, scene)


async def failure_and_retry(engine: AsyncEngine, scene: Scene) -> Run:
    """Run until it fails, mend what is broken, retry."""
    workflow = Workflow("failure", max_parallel=1)
    add(workflow, "first", scene.body)
    add(workflow, "broken", scene.broken, needs=["first"])
    add(workflow, "behind", scene.body, needs=["broken"])
    add(workflow, "beside", scene.body)
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.FAILED:
        scene.mended = True
        run = await engine.retry(RUN_ID)
    return run


async def large_output(engine: AsyncEngine, scene: Scene) -> Run:
    async def large(context: StepContext) -> str:
        await scene.body(context)
        return "x" * (1 << 20)

    workflow = Workflow("large")
    add(workflow, "first", large)
    workflow.output("length", "${{ len(steps.first.output) }}")
    return await run_to_rest(engine, workflow, scene)


#: The first language had these.
BASIC: tuple[Operator, ...] = (
    linear,
    diamond,
    fan_out,
    retry_with_back_off,
    optional_failure,
    skip,
    pause,
    cancel,
    commands,
    failure_and_retry,
    large_output,
)
SCENARIOS: dict[str, Operator] = {
    operator.__name__: operator for operator in (*BASIC, *loops.OPERATORS, *waits.OPERATORS, *copies.OPERATORS)
}
