"""What outlives the death of an engine: the world outside, with its clock, its step bodies, and the people in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.steps.base import StepContext
from statemachine_flow.testing import ManualClock

RUN_ID = "r"


def place_of(context: StepContext) -> str:
    """Which step of which run: of the run itself, its path alone."""
    return context.path if context.run_id == RUN_ID else f"{context.run_id}:{context.path}"


@attrs.define
class Scene:
    """What outlives the death of an engine: the world outside."""

    #: Called when a body begins.
    on_body: Callable[[StepContext], None]
    clock: ManualClock = attrs.field(factory=ManualClock)
    #: `step attempt` of every body that began, in order.
    begun: list[str] = attrs.field(factory=list)
    #: Whether what made a step fail has been mended.
    mended: bool = False
    #: What an operator did once and need not do again.
    acted: bool = False
    #: What was said to runs, each with a word of its own; and what of it the engine said it has kept.
    tried: list[str] = attrs.field(factory=list)
    kept: list[str] = attrs.field(factory=list)

    # --- bodies: coroutines, so that a run writes the same records in every execution

    async def body(self, context: StepContext) -> str:
        """Note that it began, take a turn, return."""
        self.begun.append(f"{place_of(context)} {context.attempt}")
        self.on_body(context)
        await asyncio.sleep(0)
        return f"result of {context.path}"

    async def echo(self, context: StepContext, value: Any) -> Any:
        """Give back what it was given."""
        await self.body(context)
        return value

    async def flaky(self, context: StepContext) -> str:
        """Fail in the first attempt."""
        result = await self.body(context)
        if context.attempt == 1:
            raise ConnectionError("first attempt")
        return result

    async def broken(self, context: StepContext) -> str:
        """Fail until it is mended."""
        result = await self.body(context)
        if not self.mended:
            raise ConnectionError("broken")
        return result

    async def useless(self, context: StepContext) -> str:
        """Fail always."""
        await self.body(context)
        raise ConnectionError("useless")

    async def picky(self, context: StepContext, value: Any) -> Any:
        """Give back what it was given, but fail for what is bad until it is mended."""
        await self.body(context)
        if value == "bad" and not self.mended:
            raise ConnectionError("bad")
        return value

    async def endless(self, context: StepContext) -> None:
        """Never end."""
        await self.body(context)
        await asyncio.Event().wait()

    async def slow(self, context: StepContext) -> None:
        """Take ten hours, and then not end."""
        await self.body(context)
        self.clock.advance(36_000)
        await asyncio.Event().wait()

    # --- people

    def hurry(self, event: Event) -> None:
        """A listener that lets time pass while something waits for its time; groups and child runs do not hurry."""
        if event.data.get("due") and event.data.get("on") not in ("steps", "run"):
            self.clock.advance(3600)

    async def send(self, engine: AsyncEngine, event: str, word: str, *, key: str | None = None) -> None:
        """Send a signal whose payload is a word of its own, with a number that tells how much was said before."""
        payload = f"{word} #{len(self.tried)}"
        self.tried.append(payload)
        await engine.signal(RUN_ID, event, payload, key=key)
        self.kept.append(payload)

    async def decide(self, engine: AsyncEngine, step: StepView, choice: str, run_id: str = RUN_ID, **form: Any) -> None:
        """Decide an approval, for a reason of its own."""
        reason = f"reason #{len(self.tried)}"
        self.tried.append(reason)
        digest = step.question["digest"]
        await engine.approve(run_id, step.path, choice=choice, form=form, by="ann", reason=reason, digest=digest)
        self.kept.append(reason)


Operator = Callable[[AsyncEngine, Scene], Awaitable[Run]]
#: What a person does about a step that waits.
Answer = Callable[[Run, StepView], Awaitable[None]]


async def run_to_rest(engine: AsyncEngine, workflow: Workflow, scene: Scene) -> Run:
    """Go on with the run until nothing more happens by itself."""
    return await engine.run(workflow, run_id=RUN_ID, on_event=scene.hurry)


async def attend(engine: AsyncEngine, workflow: Workflow, scene: Scene, answer: Answer) -> Run:
    """Go on with the run, and answer whatever it waits for, until it is at rest."""
    run = await run_to_rest(engine, workflow, scene)
    while not run.at_rest:
        assert run.waiting
        await answer(run, run.waiting[0])
        run = await run_to_rest(engine, workflow, scene)
    return run
