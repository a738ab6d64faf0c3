"""Processes that die at a write of their own, one run each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Self, final, get_args

from statemachine_flow.builder import as_workflow
from statemachine_flow.engine.asynchronous import WorkflowLike
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import UsageError
from statemachine_flow.stores.base import Store
from statemachine_flow.testing.crash import When
from statemachine_flow.testing.life import Setting, World
from statemachine_flow.testing.loop import Killed
from statemachine_flow.testing.places import Places
from statemachine_flow.testing.script import Script
from statemachine_flow.testing.stepped import check_store
from statemachine_flow.testing.stores import stores
from statemachine_flow.testing.virtual import VirtualClock


@final
class Crashes:
    """Runs workflows in processes that die, and goes on with them; the stores stay open until its end.

    Args:
        clock: of all processes.
        script: outcomes by path, see `Script`.
        options: of engines, see `AsyncEngine`.
        watch: told of each store.

    Example:
        >>> from statemachine_flow.builder import Workflow
        >>> workflow = Workflow("two")
        >>> _ = workflow.call("a", "kit:a")
        >>> with Crashes(VirtualClock(), {"a": {"return": 1}}, {}, lambda store: None) as crash:
        ...     run = crash(workflow, at=2, when="before")
        >>> run.state, run.steps["a"].attempt
        (<RunState.COMPLETED: 'completed'>, 2)
    """

    def __init__(
        self,
        clock: VirtualClock,
        script: Mapping[str, Any],
        options: Mapping[str, Any],
        watch: Callable[[Store], object],
    ) -> None:
        self._clock = clock
        self._script = script
        self._options = options
        self._watch = watch
        self._worlds: list[World] = []
        #: Those whose runs came to their rest.
        self._rested: list[World] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for world in self._worlds:
            world.end()
        self._stack.close()

    def __call__(
        self, workflow: WorkflowLike, inputs: Mapping[str, Any] | None = None, *, at: int, when: When = "after"
    ) -> Run:
        """Run a workflow in a process that dies at its n-th write, and go on with it in another one.

        Args:
            workflow: a workflow, or the path or text of a document.
            inputs: by name.
            at: which write, from 1.
            when: whether the process dies `"before"` the write is kept, or `"after"`.

        Raises:
            UsageError: it has fewer writes, or there is no such moment.
        """
        if at < 1 or when not in get_args(When):
            raise UsageError(f"a process cannot die {when} write {at}", hint='`at` counts from 1; "before" or "after"')
        checked, script = as_workflow(workflow), Script.of(self._script)
        script.check(checked, self._options.get("workflows"))
        places = Places(checked, self._options.get("workflows"))
        store = self._stack.enter_context(stores(None, places))()
        setting = Setting(workflow=checked, inputs=inputs or {}, script=script, options=self._options)
        world = World(setting, store, self._clock)
        self._worlds.append(world)
        self._watch(store)
        with contextlib.suppress(Killed):
            world.live(at, when)
            raise UsageError(f"the run ended before write {at}: it has {len(world.written)}")
        run = world.live()
        self._rested.append(world)
        return run

    def check(self) -> None:
        """Hold every run that came to its rest against its journal, see `check_store`."""
        for world in self._rested:
            check_store(world.inner)
