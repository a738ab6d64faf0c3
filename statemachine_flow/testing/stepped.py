"""An engine for tests: all its work is done inside the calls that wait for it, and waiting takes no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, final

from statemachine_flow.agents import Agents
from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.engine.asynchronous import AsyncEngine, WorkflowLike
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import UsageError
from statemachine_flow.journal import RunFold
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.testing.crash import CrashStore
from statemachine_flow.testing.life import Setting
from statemachine_flow.testing.player import Player
from statemachine_flow.testing.script import Script
from statemachine_flow.testing.threads import cut_off
from statemachine_flow.testing.timers import Stuck
from statemachine_flow.testing.virtual import VirtualClock

T = TypeVar("T")


@final
class SteppedEngine(Engine):
    """An `Engine` that works in the caller's thread, and only while a call lasts.

    Between two calls nothing happens and no time passes; inside a call time jumps to whatever comes next, so that a
    retry after an hour takes no longer than one at once. Bodies that a script speaks of are answered from it; people
    are not: for them the caller speaks, with `approve`, `reject` and `signal`.

    Args:
        store: stays open when the engine is closed.
        clock: moved on by the engine's work.
        script: outcomes of bodies by path, see `Script`; it may grow while the engine is in use.
        **options: see `AsyncEngine`.

    Example:
        >>> from statemachine_flow.stores.memory import MemoryStore
        >>> workflow = Workflow("patient")
        >>> _ = workflow.call("fetch", "net:fetch", retry={"max_attempts": 2, "delay": "1m", "jitter": "none"})
        >>> clock = VirtualClock()
        >>> script = {"fetch": [{"fail": "ConnectionError"}, {"return": 7}]}
        >>> with SteppedEngine(MemoryStore(), clock=clock, script=script) as engine:
        ...     run = engine.run(workflow)
        >>> run.steps["fetch"].output, clock.monotonic()
        (7, 60.0)
    """

    def __init__(
        self, store: Store, *, clock: VirtualClock, script: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self.clock = clock
        self.script = {} if script is None else script
        self._player = Player(Script(), store)
        self._options = options
        self._virtual = clock.loop()
        self._store = store
        #: Whether its runs are left as a death leaves them.
        self._is_cut_off = False
        super().__init__(CrashStore(store), clock=clock, stand_in=self._player, **options)

    def close(self) -> None:
        """See `Engine.close`; what does not end is left as a process that dies leaves it."""
        if self._virtual.is_closed():
            return
        if not self._virtual.is_dead:
            try:
                super().close()
                self._virtual.run_until_complete(_dismiss())
            except Stuck:
                self._is_cut_off = True
        self._closed = True
        self._virtual.bury()

    def check(self) -> None:
        """Hold its runs against their journals, see `check_store`, unless the engine could not be closed as it is due.

        Raises:
            AssertionError: a run is not what its journal says.
        """
        if not self._is_cut_off:
            check_store(self._store)

    def start(self, workflow: WorkflowLike, inputs: Mapping[str, Any] | None = None, **options: Any) -> str:
        """See `Engine.start`; the run goes on in the calls that follow, such as `wait`."""
        return super().start(self._prepared(workflow), inputs, **options)

    def run(self, workflow: WorkflowLike, inputs: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """See `Engine.run`."""
        return super().run(self._prepared(workflow), inputs, **options)

    def _prepared(self, workflow: WorkflowLike) -> Workflow:
        """The workflow, held against the script; what only the script knows can be called."""
        checked, script = as_workflow(workflow), Script.of(self.script)
        script.check(checked, self._options.get("workflows"))
        options = Setting(workflow=checked, script=script, options=self._options).engine_options()
        for name, function in (options.get("functions") or {}).items():
            self.register(name, function)
        self._engine._core.agents = Agents(options.get("agents"))  # noqa: SLF001 - whom only the script knows
        return checked

    def _call(self, make: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
        if self._closed or self._virtual.is_dead:
            raise UsageError("the engine is closed", kind="usage.closed")
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - `get_running_loop` raises where there is none
            raise UsageError("the engine was called on an event loop", hint="call it from a plain function")
        self._player.script = Script.of(self.script)
        task = self._virtual.create_task(self._settled(make))
        try:
            return self._virtual.live(task)
        except KeyboardInterrupt:
            self._is_cut_off = True
            cut_off(self._virtual.turns)
            raise
        finally:
            if not task.done():  # it is stuck
                task.cancel()

    async def _settled(self, make: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
        """What a call answers, once all has happened that fell due since the last one."""
        await self._virtual.turns.settled()
        return await make(self._engine)

    def _interruptible(self, run_id: str, make: Callable[[AsyncEngine], Coroutine[Any, Any, Run]]) -> Run:  # noqa: ARG002 - nobody goes on with it
        return self._call(make)


async def _dismiss() -> None:
    """End what is left on the loop."""
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def check_store(store: Store) -> None:
    """Hold every run of a store against its journal.

    Raises:
        AssertionError: a run is not what its journal says, or is owned by somebody although nobody works on it.
        StoreError: a record is damaged, or missing.
    """
    for row in store.rows(RunFilter(limit=100_000)):
        fold = RunFold(row.id)
        fold.replay(store.records(row.id))
        if (fold.state, fold.seq) != (row.state, row.seq):
            raise AssertionError(f"run {row.id} is {row.state} at {row.seq}, its journal {fold.state} at {fold.seq}")
        if row.owner is not None:
            raise AssertionError(f"run {row.id} is owned by {row.owner} although nobody works on it")
