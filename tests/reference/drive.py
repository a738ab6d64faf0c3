"""Drives an engine through an example: bodies do what the script says, the world does what the reference foretold.

Knows the engine's public API and the records of a store; what the reference does not foretell, it does not do, so an
engine that takes another way stands still or ends otherwise, and the comparison says where.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import statemachine_flow as smf
from statemachine_flow.builder import load
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import ManualClock
from statemachine_flow.testing.crash import CrashStore, Died, When
from tests.reference.generate import Example
from tests.reference.interpreter import Result
from tests.reference.script import ERRORS, masked, returned
from tests.reference.world import Act

RUN_ID: Final = "r"
#: Turns of the loop without anything new after which nothing more happens by itself.
_TURNS: Final = 25
#: The triggers whose records are compared, in the order of each step.
_COMPARED: Final = frozenset({"start", "wait", "back_off", "fail", "skip", "cancel"})


class Play:
    """One run of an example, over as many engines as die.

    Args:
        example: the workflow and its world.
        expected: what the reference made of it.
    """

    def __init__(self, example: Example, expected: Result) -> None:
        self.workflow = load(example.tree)
        self.script = example.script
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.acts: list[Act] = list(expected.acts)
        #: The act that was under way, and how many records of its sort there were before it.
        self._acting: tuple[Act, int] | None = None
        self._changes = 0
        self._running = 0

    async def body(self, context: smf.StepContext, **arguments: Any) -> Any:
        """Stands for every function that the document calls."""
        self._running += 1
        try:
            kid = "" if context.run_id == RUN_ID else f"{context.workflow}!"
            path = kid + context.path
            records = self.store.records(context.run_id)
            cut_off = sum(record.kind == "step.interrupt" and record.step == context.path for record in records)
            outcome = self.script.outcome(path, context.attempt - cut_off)
            if outcome.error is not None:
                raise ERRORS[outcome.error](path)
            return returned(outcome, path, context.attempt - cut_off, arguments)
        finally:
            self._running -= 1
            self._changes += 1

    def _hear(self, _event: smf.Event) -> None:
        self._changes += 1

    async def undisturbed(self) -> smf.Run:
        """The run, carried out by one engine."""
        run = await self._live(CrashStore(self.store, 0, "after"))
        assert run is not None
        return run

    async def with_deaths(self, deaths: Sequence[tuple[int, When]]) -> smf.Run:
        """The run, carried out by engines that die before or after their n-th write, and by a last that does not."""
        for at, when in deaths:
            run = await self._live(CrashStore(self.store, at, when))
            if run is not None:
                return run
        return await self.undisturbed()

    async def _live(self, store: CrashStore) -> smf.Run | None:
        engine = smf.AsyncEngine(store, functions={"f": self.body}, clock=self.clock)
        try:
            return await self._drive(engine, store)
        except (Died, smf.errors.SmfError):
            if not store.dead:
                raise
            return None
        finally:
            with contextlib.suppress(Died):
                await engine.close()

    async def _drive(self, engine: smf.AsyncEngine, store: CrashStore) -> smf.Run:
        self._forget_what_was_done()
        task = asyncio.ensure_future(engine.run(self.workflow, run_id=RUN_ID, on_event=self._hear))
        try:
            while True:
                await self._idle(store)
                run = await engine.get(RUN_ID) if self.store.row(RUN_ID) is not None else task.result()
                if run.at_rest or not self.acts:
                    return run
                await self._do(engine)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Died, smf.errors.SmfError):
                await task

    async def _idle(self, store: CrashStore) -> None:
        """Until nothing more happens by itself."""
        seen, turns = (-1, -1), 0
        while turns < _TURNS and not store.dead:
            await asyncio.sleep(0)
            now = self._changes, store.writes
            turns = turns + 1 if seen == now and not self._running else 0
            seen = now
        if store.dead:
            raise Died

    async def _do(self, engine: smf.AsyncEngine) -> None:
        act = self.acts[0]
        self._acting = act, self._count(act)
        if act.kind == "advance":
            self.acts.pop(0)  # what time has passed has passed, whoever dies
            self.clock.advance(act.microseconds / 1e6)
            self.clock.advance(1e-7)  # its seconds are floats, whose sums may fall short of a timer; no time at all
        elif act.kind == "signal":
            await engine.signal(RUN_ID, act.target, act.payload, key=act.choice)
        elif act.choice == "reject":
            await engine.reject(RUN_ID, act.target, by="tester")
        else:
            await engine.approve(RUN_ID, act.target, choice=act.choice or "", by="tester")
        if act.kind != "advance":
            self.acts.pop(0)
        self._acting = None

    def _forget_what_was_done(self) -> None:
        """An engine may have died after it had recorded what the world did, before the world was told."""
        if (
            self._acting is not None
            and self._acting[0].kind != "advance"
            and self._count(self._acting[0]) > self._acting[1]
        ):
            self.acts.pop(0)
        self._acting = None

    def _count(self, act: Act) -> int:
        if self.store.row(RUN_ID) is None:
            return 0
        records = self.store.records(RUN_ID)
        if act.kind == "signal":
            return sum(record.kind == "run.signal" for record in records)
        ends = {"step.complete", "step.fail", "step.skip"}
        return sum(record.step == act.target and record.kind in ends for record in records)


def differences(expected: Result, run: smf.Run, store: MemoryStore, *, was_cut_off: bool = False) -> list[str]:
    """Where the engine and the reference do not agree; `was_cut_off`: attempts may be more."""
    found: list[str] = []

    def compare(what: str, wanted: Any, given: Any) -> None:
        if wanted != given:
            found.append(f"{what}: {wanted!r} by the reference, {given!r} by the engine")

    error = run.error
    compare("run", expected.state, str(run.state))
    compare("error of the run", expected.error, error and error.kind)
    compare("step of the error", expected.error_step, error and error.step)
    compare("outputs of the run", masked(expected.outputs), masked(dict(run.outputs)))
    triggers = _triggers(store)
    for path, wanted in expected.paths.items():
        view = run.steps.get(path)
        if view is None:
            if wanted.attempts:
                found.append(f"{path}: the engine does not have it")
            continue
        compare(f"state of {path}", wanted.state, str(view.state))
        if wanted.state == "failed" == view.state:
            compare(f"error of {path}", wanted.error, view.error and view.error.kind)
        if wanted.state == "completed" == view.state:
            compare(f"output of {path}", masked(wanted.output), masked(view.output))
        # What was cut off in a level that is being stopped does not get to its next round.
        if wanted.generation is not None and not was_cut_off:
            compare(f"generation of {path}", wanted.generation, 1 + triggers[path].count("reset"))
        if not was_cut_off:
            compare(f"attempts of {path}", wanted.attempts, view.attempt)
            compare(
                f"records of {path}",
                [each for each in wanted.triggers if each in _COMPARED],
                [each for each in triggers[path] if each in _COMPARED],
            )
    found += [
        f"{path}: the engine began it" for path in triggers if "start" in triggers[path] and path not in expected.begun
    ]
    return found


def _triggers(store: MemoryStore) -> Mapping[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in store.records(RUN_ID):
        if record.step is not None:
            found[record.step].append(record.kind.removeprefix("step."))
    return found
