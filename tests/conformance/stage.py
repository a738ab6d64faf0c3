"""The world of one run of a conformance case: scripted functions, and a clock that moves on by itself.

Knows the public API and the case files, nothing of the library's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import statemachine_flow as smf
from statemachine_flow.testing import ManualClock

#: By how much the clock moves at a time, in seconds; times in cases are multiples of it.
TICK = 0.25


class Stage:
    """The world of one run: scripted functions, and a clock that moves on when nothing else can happen."""

    def __init__(self, attempts: Mapping[str, Any], max_parallel: int | None) -> None:
        self.clock = ManualClock()
        self.arguments: dict[str, list[Mapping[str, Any]]] = {}
        self._attempts = attempts
        self._max_parallel = max_parallel or math.inf
        self._changed = asyncio.Event()
        self._running: set[str] = set()
        self._asleep = 0
        #: Step -> when its next attempt may begin, in microseconds.
        self._due: dict[str, int] = {}

    async def function(self, context: smf.StepContext, **arguments: Any) -> Any:
        """Stands for every function that the document calls."""
        self.arguments.setdefault(context.step_id, []).append(arguments)
        script = dict(enumerate(self._attempts.get(context.step_id, ()), 1)).get(context.attempt, {})
        if "takes" in script:
            await self._sleep(script["takes"])
        if "error" in script:
            raise error_class(script["error"])(script["error"].get("message", ""))
        return object() if "unserializable" in script else script.get("output")

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.clock.call_later(seconds, woken.set)
        self._asleep += 1
        self._changed.set()
        try:
            await woken.wait()
        finally:
            self._asleep -= 1

    def hear(self, event: smf.Event) -> None:
        if event.step is not None:
            self._running.discard(event.step)
            self._due.pop(event.step, None)
        if event.kind == "step.start":
            self._running.add(str(event.step))
        elif event.kind == "step.back_off":
            self._due[str(event.step)] = event.data["due"]
        elif event.kind == "step.fail" and not event.data.get("optional"):
            self._due.clear()  # the run is going to fail: nothing begins any more
        self._changed.set()

    async def pass_time(self) -> None:
        while True:
            for _ in range(10):  # what the last tick set off, on the loop
                await asyncio.sleep(0)
            if self._is_idle():
                self.clock.advance(TICK)
            else:
                self._changed.clear()
                await self._changed.wait()

    def _is_idle(self) -> bool:
        has_place = len(self._running) < self._max_parallel
        begins = has_place and any(due <= self.clock.now() for due in self._due.values())
        return bool(self._running or self._due) and len(self._running) == self._asleep and not begins


def error_class(error: Mapping[str, Any]) -> type[Exception]:
    cls: type[Exception] = Exception
    for name in [*reversed(error.get("is", ())), error["name"]]:
        cls = type(name, (cls,), {})
    return cls


async def carry_out(document: Path, case: Mapping[str, Any]) -> tuple[smf.Run, list[smf.Event], Stage]:
    workflow = smf.load(document)
    stage = Stage(case.get("attempts", {}), workflow.definition.max_parallel)
    called = [step.verb.call for step in workflow.definition.steps if hasattr(step.verb, "call")]
    functions = dict.fromkeys(case.get("functions", called), stage.function)
    clock = None if "real_time" in case else stage.clock
    async with smf.AsyncEngine("memory://", functions=functions, clock=clock) as engine:
        passing = asyncio.create_task(stage.pass_time())
        run = await engine.run(workflow, case.get("inputs"), run_id="case", on_event=stage.hear)
        passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await passing
        return run, list(await engine.events(run.id)), stage
