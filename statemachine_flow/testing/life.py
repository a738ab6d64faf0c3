"""The world of one run, and one life in it: a process that carries the run to its rest, or to the process's death."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.agents import Agents
from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.errors import ConflictError, DefinitionError, Problem, UsageError
from statemachine_flow.functions import FunctionError, Functions
from statemachine_flow.lifecycle import RunState, StepState
from statemachine_flow.stores.base import Store
from statemachine_flow.testing.compare import Ending, ending
from statemachine_flow.testing.crash import CrashStore, When
from statemachine_flow.testing.loop import Killed, VirtualLoop
from statemachine_flow.testing.outcomes import Decide, Signal
from statemachine_flow.testing.places import Places
from statemachine_flow.testing.player import Player
from statemachine_flow.testing.script import Script
from statemachine_flow.testing.threads import cut_off
from statemachine_flow.testing.virtual import VirtualClock

#: The id of the run that is rehearsed.
RUN_ID: Final = "rehearsal"
#: How often people may be asked in one life before they lose patience.
_MOST_ANSWERS: Final = 10_000
#: The shortest time that people let pass, in seconds.
_TICK: Final = 1e-3


@final
@attrs.frozen(kw_only=True)
class Setting:
    """What is carried out, and what an engine needs for it."""

    workflow: Workflow
    inputs: Mapping[str, Any] = attrs.field(factory=dict)
    script: Script = attrs.field(factory=Script)
    #: Of the jitter of retries.
    seed: int = 0
    #: Called when a process dies, for what its memory held outside of the engine.
    forget: Callable[[], object] = lambda: None
    #: See `AsyncEngine`: functions, agents, secrets, workflows, allow, pass_env ...
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def engine_options(self) -> dict[str, Any]:
        """The options, with something callable where only the script will be asked."""
        options = dict(self.options)
        functions = Functions(options.get("functions"), options.get("allow"))
        agents = Agents(options.get("agents"))
        scripted: dict[tuple[str, str], bool] = {}
        for path, step in Places(self.workflow, options.get("workflows")).all():
            for kind, name in (
                ("functions", getattr(step.verb, "call", None)),
                ("functions", step.verify),
                ("agents", getattr(step.verb, "agent", None)),
            ):
                if name is not None:
                    is_scripted = self.script.outcome(path, 1) is not None
                    scripted[kind, name] = scripted.get((kind, name), True) and is_scripted
        for (kind, name), is_scripted in scripted.items():
            known = functions if kind == "functions" else agents
            if is_scripted and name not in self.workflow.functions and not _resolves(known, name):
                options[kind] = {**(options.get(kind) or {}), name: _only_scripted}
        return options


def _resolves(known: Functions | Agents, name: str) -> bool:
    try:
        known.resolve(name)
    except (FunctionError, UsageError):
        return False
    except Exception:  # noqa: BLE001 - an agent that is not there
        return False
    return True


def _only_scripted(*_arguments: Any, **_named: Any) -> Any:
    raise UsageError("only the script knows what this returns")


@final
class World:
    """What outlives the death of an engine: the store, the clock, and what bodies did.

    Args:
        setting: what is carried out.
        inner: the store.
        clock: time; by default one of its own.

    Example:
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> workflow = Workflow("hello")
        >>> _ = workflow.run("greet", ["echo", "hello"])
        >>> world = World(Setting(workflow=workflow), MemoryStore())
        >>> try:
        ...     world.live(at=2, when="before")
        ... except Killed:
        ...     print(world.live().state, world.lives)
        completed 2
        >>> world.end()
    """

    def __init__(self, setting: Setting, inner: Store, clock: VirtualClock | None = None) -> None:
        self.setting = setting
        self.inner = inner
        self.clock = clock or VirtualClock()
        self.player = Player(setting.script, inner)
        #: How many processes there were.
        self.lives = 0
        #: The place of each step of which somebody had to say what became of it, as often as they had to.
        self.asked: list[str] = []
        #: What became of the run, see `compare`; empty until it is at rest.
        self.ending: Ending = {}
        #: What the process of the last life wrote.
        self.written: list[str] = []
        self._options = setting.engine_options()
        self._loops: list[VirtualLoop] = []
        #: Set whenever something happens to the run.
        self._changed: asyncio.Event

    def live(self, at: int = 0, when: When = "before", on_event: EventListener | None = None) -> Run:
        """Start the run or go on with it, until it is at rest.

        Args:
            at: at which write of this life the process dies; 0 for never.
            when: whether that write is kept.
            on_event: told each record once it is durable.

        Returns:
            The run.

        Raises:
            Killed: the process died.
            KeyboardInterrupt: Ctrl-C; the run is left as it is.
            SmfError: the run cannot be started, is stuck, or waits for something that the script does not know.
        """
        self.lives += 1
        loop = self.clock.loop()
        self._loops.append(loop)
        store = CrashStore(self.inner, at, when, die=loop.kill)
        self.written = store.written
        rng = random.Random(self.setting.seed)  # noqa: S311 - jitter is no secret
        engine = AsyncEngine(store, clock=self.clock, stand_in=self.player, rng=rng, **self._options)
        try:
            return loop.live(self._carry(engine, on_event))
        finally:
            if loop.is_dead:
                cut_off(loop.turns)
                self.setting.forget()
            else:
                loop.bury()
                store.cut_off()

    async def _carry(self, engine: AsyncEngine, on_event: EventListener | None) -> Run:
        try:
            run = await self._to_rest(engine, on_event)
        except Exception:  # one that is dead closes nothing, so this is no `finally`
            await engine.close()
            raise
        await engine.close()
        return run

    async def _to_rest(self, engine: AsyncEngine, on_event: EventListener | None) -> Run:
        setting = self.setting
        self._changed = asyncio.Event()

        def hear(event: Event) -> None:
            self._changed.set()
            if on_event is not None:
                on_event(event)

        for _ in range(_MOST_ANSWERS):
            run = await engine.run(setting.workflow, setting.inputs, run_id=RUN_ID, on_event=hear)
            is_over = run.at_rest and run.state != RunState.PAUSED
            if is_over or not await self._attend(engine, run):
                self.ending = ending([one async for one in self.family(engine, run)], self.player.place)
                return run
        raise UsageError("the run asks without end", run=RUN_ID)

    # --- people, who act at their own moments, counted from when they were asked

    async def _attend(self, engine: AsyncEngine, run: Run) -> bool:
        """Do something about what the run waits for, or let time pass until it goes on by itself."""
        family = [one async for one in self.family(engine, run)]
        for one in family:
            if one.state == RunState.PAUSED and await self._resolve(engine, one):
                return True
        moments: list[tuple[int, Run, StepView, Signal | Decide | None]] = []
        waiting = [(one, step) for one in family for step in one.waiting]
        for one, step in waiting:
            answer = self.player.answer(one.id, step.path, step.attempt)
            if answer is not None:
                moments.append((_micros(step.started_at) + round(answer.takes * 1e6), one, step, answer))
            if step.due_at is not None:
                moments.append((_micros(step.due_at), one, step, None))
        if not moments and waiting:
            one, step = waiting[0]
            raise DefinitionError([unanswered(self.player.place(one.id, step.path), step.on, self.setting.script)])
        if not moments:
            return not run.at_rest  # what it waited for came while it was looked at
        moment, one, step, answer = min(moments, key=lambda entry: entry[0])
        if answer is None or moment > self.clock.now():
            await self._sleep((moment - self.clock.now()) / 1e6)
        else:
            await self._answer(engine, one, step, answer)
        return True

    async def _sleep(self, seconds: float) -> None:
        """Let time pass, until something happens to the run."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, _TICK)):
                await self._changed.wait()

    @staticmethod
    async def _answer(engine: AsyncEngine, run: Run, step: StepView, answer: Signal | Decide) -> None:
        if isinstance(answer, Decide):
            said: dict[str, Any] = {"form": answer.form, "by": answer.by, "reason": answer.reason}
            await engine.approve(run.id, step.path, choice=answer.choice, **said)
        else:
            await engine.signal(run.id, step.event or "", answer.payload, key=step.key)

    async def _resolve(self, engine: AsyncEngine, run: Run) -> bool:
        """Say what became of the steps that were cut off, as far as somebody can find out."""
        has_said = False
        for step in run.steps.values():
            if step.state != StepState.INTERRUPTED:
                continue
            verdict = self.player.truth(run.id, step.path, step.attempt)
            if verdict is None:
                continue
            try:
                await engine.resolve(run.id, step.path, verdict.as_, output=verdict.output)
            except ConflictError:
                continue  # it begins again by itself
            self.asked.append(self.player.place(run.id, step.path))
            has_said = True
        return has_said

    @staticmethod
    async def family(engine: AsyncEngine, run: Run) -> Any:
        """The run, and those below it that it started last."""
        yield run
        for child in run.children.values():
            async for one in World.family(engine, await engine.get(child)):
                yield one

    def end(self) -> None:
        """Let go of everything, the remains of dead processes included."""
        for loop in self._loops:
            loop.bury()
        self.inner.close()


def _micros(moment: dt.datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1e6)


def unanswered(place: str, on: str, script: Script) -> Problem:
    """What is wrong when a run waits for somebody of whom the script says nothing."""
    key = "decide" if on == "approval" else "signal"
    return Problem(
        kind="definition.missing_field",
        message=f"'{place}' waits for somebody, of whom {script.name} says nothing",
        path=f"steps.{place}",
        hint=f"add to the script: '{place}' = {{ {key} = ... }}",
    )


def lives_of(world: World, deaths: Iterator[tuple[int, When]]) -> Run:
    """Let one process after the other die, and the last one live.

    Args:
        world: where.
        deaths: of each process that dies: at which of its writes, and on which side of it.

    Returns:
        The run at its rest.
    """
    for at, when in deaths:
        try:
            return world.live(at, when)
        except Killed:
            continue
    return world.live()
