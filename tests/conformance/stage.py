"""The world of one run of a conformance case: scripted functions and people, and a clock that moves on by itself.

Knows the public API and the case files, nothing of the library's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.agents import AgentReply
from statemachine_flow.testing import ManualClock

#: By how much the clock moves at a time, in seconds; times in cases are multiples of it.
TICK = 0.25
#: A run that takes longer is stuck.
LONGEST = 10_000.0
RUN = "case"

#: What a record makes of a step, for signals that are sent `when`.
_STATES = {"start": "running", "wait": "waiting", "complete": "completed", "fail": "failed", "skip": "skipped"}


class Stage:
    """The world of one run: scripted functions and people, and a clock that moves on when nothing else can happen."""

    def __init__(self, case: Mapping[str, Any], workflow: smf.Workflow) -> None:
        self.clock = ManualClock()
        self.arguments: dict[str, list[Mapping[str, Any]]] = {}
        self.engine: smf.AsyncEngine
        self._case = case
        self._max_parallel = workflow.definition.max_parallel or math.inf
        self._goes_on = workflow.definition.continue_on_error
        self._changed = asyncio.Event()
        self._heard = 0
        #: Steps of the run and its children with an attempt under way, and how many of these sleep.
        self._running: set[str] = set()
        self._asleep = 0
        #: Step -> when it goes on by itself, in microseconds, and whether it takes a place then.
        self._due: dict[str, tuple[int, bool]] = {}
        decisions = [{**one, "step": path} for path, ones in case.get("decisions", {}).items() for one in ones]
        acts = [*case.get("signals", ()), *decisions, *case.get("controls", ())]
        #: What happens outside: at a time, when a step gets a state, and when the run waits for nothing else.
        self._timed = sorted((act for act in acts if "at" in act), key=lambda act: float(act["at"]))
        self._prompted = [act for act in acts if "when" in act]
        self._asked = [act for act in acts if "at" not in act and "when" not in act]
        self._start = self.clock.now()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Whether the engine works on the run.
        self._is_on = True

    # --- what the document calls

    async def function(self, context: smf.StepContext, **arguments: Any) -> Any:
        """Stands for every function that the document calls."""
        return (await self._attempt(context, arguments)).get("output")

    async def agent(self, request: Any) -> Any:
        """Stands for every agent that the document asks."""
        script = await self._attempt(request.context, {"prompt": request.prompt, **request.with_})
        return AgentReply(script.get("output"), **script.get("usage", {}))

    async def _attempt(self, context: smf.StepContext, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        path = named_in(context.run_id, context.path)
        self.arguments.setdefault(path, []).append(arguments)
        script = dict(enumerate(self._case.get("attempts", {}).get(path, ()), 1)).get(context.attempt, {})
        if "takes" in script:
            await self._sleep(script["takes"])
        if "error" in script:
            raise error_class(script["error"])(script["error"].get("message", ""))
        return {"output": object()} if "unserializable" in script else script

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.clock.call_later(seconds, woken.set)
        self._asleep += 1
        self._changed.set()
        try:
            await woken.wait()
        finally:
            self._asleep -= 1

    # --- the passing of time

    def hear(self, event: smf.Event) -> None:
        self._heard += 1
        trigger = event.kind.removeprefix("step.")
        path = named_in(event.run_id, event.step or "")
        if event.step is not None:
            self._running.discard(path)
            self._due.pop(path, None)
            if event.data.get("due") is not None:
                self._due[path] = (event.data["due"], trigger != "wait")
        if event.kind == "step.start":
            self._running.add(path)
        elif event.kind == "step.fail" and not event.data.get("optional") and not self._goes_on:
            level = path.rpartition("/")[0]  # is going to fail: nothing that has to begin does any more
            for stopped in [each for each, (_, begins) in self._due.items() if begins and each.startswith(level)]:
                del self._due[stopped]
        for act in [act for act in self._prompted if act["when"] == {"step": path, "state": _STATES.get(trigger)}]:
            self._prompted.remove(act)
            task = asyncio.get_running_loop().create_task(self._do(act))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        self._changed.set()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def pass_time(self) -> None:
        while True:
            await self._settle()
            if self._is_idle():
                await self._tick()
            else:
                self._changed.clear()
                await self._changed.wait()

    @staticmethod
    async def _settle() -> None:
        for _ in range(20):  # what the last tick set off, on the loop
            await asyncio.sleep(0)

    async def _tick(self) -> None:
        self.clock.advance(TICK)
        assert self.clock.monotonic() < LONGEST, "the run is stuck: nothing happens any more"
        while self._timed and self._start + self._timed[0]["at"] * 1e6 <= self.clock.now():
            await self._do(self._timed.pop(0))

    def _is_idle(self) -> bool:
        has_place = len(self._running) < self._max_parallel
        overdue = any(due <= self.clock.now() and (has_place or not begins) for due, begins in self._due.values())
        is_quiet = self._heard and not self._tasks and not overdue
        return bool(self._is_on and is_quiet) and len(self._running) == self._asleep

    def rest(self) -> None:
        """Time passes by itself no more."""
        self._is_on = False

    def go_on(self) -> None:
        """The engine works on the run again."""
        self._is_on = True
        self._changed.set()

    # --- what happens outside

    async def answer(self, run: smf.Run) -> bool:
        """Do what the run waits for, or let time pass until something is done; whether there was anything."""
        for view in run.waiting:
            for act in self._asked:
                if act.get("step") == view.path or (view.on == "event" and "event" in act):
                    self._asked.remove(act)
                    await self._do(act)
                    return True
        heard, left = self._heard, len(self._timed)
        has_end = any(view.due_at is not None for view in run.waiting)
        if not run.waiting or not (left or has_end):
            return False
        while self._heard == heard and len(self._timed) == left:
            await self._tick()
            await self._settle()
        return True

    async def _do(self, act: Mapping[str, Any]) -> None:
        with refused(act["refused"]) if "refused" in act else contextlib.nullcontext():
            if "do" in act:
                await getattr(self.engine, act["do"])(RUN)
                return
            if "event" in act:
                await self.engine.signal(RUN, act["event"], act.get("payload"), key=act.get("key"))
                return
            more = {key: act[key] for key in ("form", "by", "reason") if key in act}
            if act["decision"] == "reject":
                await self.engine.reject(RUN, act["step"], **more)
            else:
                await self.engine.approve(RUN, act["step"], choice=act["decision"], **more)


@contextlib.contextmanager
def refused(kind: str) -> Iterator[None]:
    with pytest.raises(smf.errors.SmfError) as caught:
        yield

    assert caught.value.kind == kind


def named_in(run_id: str, path: str) -> str:
    """What a case calls a step: its path, behind the id of the run if that is a child."""
    return path if run_id == RUN else f"{run_id}:{path}"


def error_class(error: Mapping[str, Any]) -> type[Exception]:
    cls: type[Exception] = Exception
    for name in [*reversed(error.get("is", ())), error["name"]]:
        cls = type(name, (cls,), {})
    return cls


def named(tree: Any, *keys: str) -> Iterator[str]:
    """What stands under the keys, at any depth: names of functions or agents."""
    if isinstance(tree, Mapping):
        yield from (tree[key] for key in keys if isinstance(tree.get(key), str))
    for part in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        yield from named(part, *keys)


async def carry_out(document: Path, case: Mapping[str, Any], store: str) -> tuple[smf.Run, list[smf.Event], Stage]:
    workflow = smf.load(document)
    children = {name: smf.load(json.dumps(tree, indent=1)) for name, tree in case.get("workflows", {}).items()}
    trees = [workflow.definition.tree(), *case.get("workflows", {}).values()]
    stage = Stage(case, workflow)

    def engine() -> smf.AsyncEngine:
        stage.engine = smf.AsyncEngine(
            store,
            functions=dict.fromkeys(case.get("functions", named(trees, "call", "verify")), stage.function),
            agents=dict.fromkeys(case.get("agents", named(trees, "agent")), stage.agent),
            workflows=children,
            secrets=case.get("secrets"),
            clock=None if "real_time" in case else stage.clock,
        )
        return stage.engine

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(engine())
        passing = asyncio.create_task(stage.pass_time())

        async def outcome(going: Awaitable[smf.Run]) -> smf.Run:
            task = asyncio.ensure_future(going)
            await asyncio.wait((task, passing), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await passing  # which failed
            return await task

        run = await outcome(stage.engine.run(workflow, case.get("inputs"), run_id=RUN, on_event=stage.hear))
        retries = case.get("retries", 0)
        while True:
            stage.rest()
            if case.get("kill_at_waits") and run.waiting:
                await stack.aclose()
                await stack.enter_async_context(engine())
            if run.state == "failed" and retries:
                retries -= 1
                stage.go_on()
                run = await outcome(stage.engine.retry(RUN, on_event=stage.hear))
            elif await stage.answer(run):
                stage.go_on()
                is_new = case.get("kill_at_waits")
                going = stage.engine.resume(RUN, on_event=stage.hear) if is_new else stage.engine.wait(RUN)
                run = await outcome(going)
            else:
                break
        passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await passing
        return run, list(await stage.engine.events(RUN)), stage
