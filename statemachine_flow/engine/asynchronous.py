"""The public engine on an event loop; `engine.sync` has its twin for everybody else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from typing import Any, Self, final

from statemachine_flow.agents import Agent, Agents
from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.clock import Clock, SystemClock
from statemachine_flow.engine import control, entry, resuming
from statemachine_flow.engine.answers import Answers
from statemachine_flow.engine.control import Until
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.length import MAX_RECORDS
from statemachine_flow.engine.operations import EventListener, Operations, as_listener
from statemachine_flow.engine.outcome import clean_text
from statemachine_flow.engine.owner import LEASE_SECONDS, require_lease
from statemachine_flow.engine.patience import WRITE_TIMEOUT
from statemachine_flow.engine.reading import Reading
from statemachine_flow.engine.takeover import Recovery, recover
from statemachine_flow.engine.view import Run
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import UsageError
from statemachine_flow.executors.process import inherited_env
from statemachine_flow.executors.thread import MAX_ABANDONED
from statemachine_flow.functions import Function, Functions, imported_now
from statemachine_flow.secrets import SecretSource
from statemachine_flow.steps.base import StandIn
from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Store

WorkflowLike = Workflow | str | os.PathLike[str]


@final
class AsyncEngine(Operations, Answers, Reading):
    """Runs workflows on the event loop it is used on, durable in a store.

    Args:
        store: `sqlite:///PATH`, a path, `memory://`, or a `Store`.
        functions: name -> function that `call` steps may name, besides `module:function`.
        allow: patterns for the `module:function` names that are allowed; None allows all but the standard library
            and private names, an empty list only registered functions.
        pass_env: names, or patterns ending in `*`, of further environment variables that commands inherit and
            expressions may read.
        grace: seconds an attempt has to end after it was asked to.
        strict_code: pause a resumed run whose functions' code changed, instead of leaving a note.
        max_records: how many records the journal of one run may have; at a fifth of them it gets a note, and a run that
            reaches them is paused, with the reason `run.limit`.
        clock: time; tests hand in their own.
        rng: random numbers for the jitter of retries.
        agents: name -> whom `agent` steps ask: a callable that takes one `AgentRequest`.
        secrets: name -> value of secrets that steps and inputs name; others are looked for in the environment.
        workflows: name -> what `workflow` steps start by that name: a workflow, or the path of a document.
        lease: for how many seconds a sign of life of this engine holds; one that gives none for so long, such as a
            stopped process, loses its runs to whoever asks for them. They come from a thread, so an engine whose loop
            is held up by a function keeps its runs, even if it is held up for ever: end its process then.
        take_up: `recover` as soon as the engine is entered with `async with`.
        max_abandoned: how many functions that were given up may go on in their threads before no other begins in one
            (`step.abandoned`); None for any number.
        poison_after: how often in a row a step may be cut off by the death of its process before its run is
            quarantined (`step.poison`); None for any number.
        write_timeout: for how many seconds what has finished is held, and tried again to be written, while the store is
            full, locked or fails; after that its runs are given up, and go on once they are resumed.
        stand_in: does the work of step bodies in their place; what `testing` rehearses with.

    Raises:
        StoreError: the store cannot be opened.
        UsageError: a limit that allows nothing.

    Example:
        >>> import asyncio
        >>> async def main() -> None:
        ...     workflow = Workflow("hello")
        ...     workflow.call("greet", lambda name: f"Hello {name}", with_={"name": "you"})
        ...     async with AsyncEngine("memory://") as engine:
        ...         run = await engine.run(workflow)
        ...         print(run.state, run.steps["greet"].output)
        >>> asyncio.run(main())
        completed Hello you
    """

    def __init__(  # noqa: PLR0913 - what an engine is made of
        self,
        store: str | os.PathLike[str] | Store = "sqlite:///.smf/runs.db",
        *,
        functions: Mapping[str, Function] | None = None,
        allow: Iterable[str] | None = None,
        pass_env: Iterable[str] = (),
        grace: float = 10.0,
        strict_code: bool = False,
        max_records: int = MAX_RECORDS,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        agents: Mapping[str, Agent] | None = None,
        secrets: Mapping[str, str] | None = None,
        workflows: Mapping[str, WorkflowLike] | None = None,
        lease: float = LEASE_SECONDS,
        take_up: bool = False,
        max_abandoned: int | None = MAX_ABANDONED,
        poison_after: int | None = 3,
        write_timeout: float = WRITE_TIMEOUT,
        stand_in: StandIn | None = None,
    ) -> None:
        if max_records < 1:
            raise UsageError(f"a run with {max_records} records is none", hint="allow some thousands")
        if max_abandoned is not None and max_abandoned < 1:
            hint = "allow some, or None for any number"
            raise UsageError(f"with max_abandoned={max_abandoned} no function begins in a thread", hint=hint)
        require_lease(lease)
        self._core = Core(
            open_store(store),
            clock or SystemClock(),
            Functions(functions, allow),
            inherited_env(os.environ, pass_env),
            agents=Agents(agents),
            secrets=SecretSource(secrets),
            workflows=dict(workflows or {}),
            grace=grace,
            strict_code=strict_code,
            max_records=max_records,
            rng=rng or random.Random(),  # noqa: S311 - jitter is no secret
            lease=lease,
            max_abandoned=max_abandoned,
            poison_after=poison_after,
            write_timeout=write_timeout,
            stand_in=stand_in,
        )
        self._takes_up = take_up
        self._closed = False

    # --- life

    async def __aenter__(self) -> Self:
        if self._takes_up:
            await self.recover()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Interrupt the runs under way, so that they can be resumed, and close the store. Twice does nothing."""
        if not self._closed:
            self._closed = True
            await self._core.close()

    def register(self, name: str, function: Function) -> None:
        """Allow `call` steps to name a function; see `functions`."""
        self._core.library.functions.register(name, function)

    @property
    def abandoned(self) -> int:
        """How many functions that were given up go on in their threads, which nothing can stop."""
        return self._core.threads.abandoned

    # --- starting and going on

    async def start(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_event: EventListener | None = None,
    ) -> str:
        """Start a run and return at once, its start being durable.

        Args:
            workflow: a workflow, or the path or text of a document.
            inputs: by name.
            run_id: chosen by the caller, so that starting twice starts once: an existing run with the same
                definition and inputs is returned, and goes on if it had stopped before its end.
            on_event: called on the loop with each record once it is durable.

        Returns:
            The run's id.

        Raises:
            DefinitionError: the document is not valid, or names a function that cannot be called.
            InputError: the inputs do not fit.
            ConflictError: `run.conflict` if the id belongs to a run that began otherwise; `run.owned`.
        """
        started = await self._start(workflow, inputs, run_id, on_event)
        return started.id if isinstance(started, Run) else started.fold.id

    async def run(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """`start`, then `wait`: the run as it came to rest, failed runs included.

        Args:
            workflow: see `start`.
            inputs: see `start`.
            run_id: see `start`.
            on_event: see `start`.
            until: see `wait`.
        """
        started = await self._start(workflow, inputs, run_id, on_event)
        return started if isinstance(started, Run) else await control.rest(self._core, started, until)

    async def resume(
        self,
        run_id: str,
        *,
        take_over: bool = False,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """Go on with a run that was paused, that waits, or whose process died, until it is at rest or waits again.

        A run that another process is still pausing goes on there, and is followed.

        Args:
            run_id: the run.
            take_over: an owner on another host is known to be dead, so its lease need not be waited for. One of this
                host that lives keeps its run.
            reason: for the journal, of a run that was paused.
            by: who asks, for the journal.
            timeout: how long to wait for a process that is pausing the run to hear of it, in seconds; None waits until
                it has.
            wait: False returns as soon as it is durable: in the journal, or as a request to that process.
            on_event: see `start`.
            until: see `wait`.

        Returns:
            The run. It is paused if a step was cut off of which it is not known whether it took effect, see `resolve`;
            and while the process that pauses it, its owner then, has not heard of this yet.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state` if it is at rest for good, `run.owned` if a living process owns it,
                `run.uncertain` if it was paused for a step of which somebody has to say whether it took effect,
                `run.limit` if its journal is full.
        """
        core, listener = self._core, as_listener(on_event)
        if not take_over:
            run = await resuming.resume_elsewhere(core, run_id, reason, by, listener, until, timeout=timeout, wait=wait)
            if run is not None:
                return run
        worker = await resuming.resume(core, run_id, reason, by, listener, take_over=take_over)
        return await control.rest(core, worker, until) if wait else core.view(run_id)

    async def recover(self, *, by: str | None = None, on_event: EventListener | None = None) -> Recovery:
        """Take over every run whose owner is gone: dead, or without a sign of life for as long as its lease.

        So are those that were left while they were being cancelled: their end is owed. What nobody owns otherwise waits
        for people or for a `resume`, and is left alone.

        The runs go on in this engine; `wait` waits for them. One that cannot go on, such as for a damaged journal,
        keeps none of the others from it. An owner of another host that has not been heard of for long is watched for
        the length of its lease first.

        Args:
            by: who asks, for the journal.
            on_event: see `start`.

        Returns:
            Which runs were taken, and which could not be.
        """
        return await recover(self._core, by and clean_text(by), as_listener(on_event))

    async def retry(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: str | None = None,
        reason: str = "",
        by: str | None = None,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """Go on with a failed run: what failed begins anew, what completed is kept.

        Args:
            run_id: the run.
            step: the path of the one failed step that begins anew; the failures of others stay as they are.
            item: with `step`, the key of the one item of it.
            reason: for the journal.
            by: who asks, for the journal.
            on_event: see `start`.
            until: see `wait`.

        Raises:
            NotFoundError: no such run, step or item.
            ConflictError: it has not failed.
            UsageError: an item without its step.
        """
        worker = resuming.retry(self._core, run_id, step, item, reason, by, as_listener(on_event))
        return await control.rest(self._core, worker, until)

    async def wait(self, run_id: str, *, until: Until = "waiting") -> Run:
        """The run once it is at rest, whichever living process works on it, or once it was left here, see `leave`.

        Args:
            run_id: the run.
            until: `"waiting"` also returns a run that only people or signals can bring on, see `Run.waiting`;
                `"rest"` waits for it to come to rest.

        Raises:
            NotFoundError: no such run.
            ConflictError: `run.state`: nobody works on it, so waiting would have no end.
        """
        return await control.wait(self._core, run_id, until)

    # --- inside

    async def _start(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None,
        run_id: str | None,
        on_event: EventListener | None,
    ) -> Worker | Run:
        if (name := imported_now()) is not None:
            raise UsageError(
                f"a run cannot be started while {name!r} is imported for another run",
                hint='put the code that starts runs under `if __name__ == "__main__":`',
            )
        return await entry.start(self._core, as_workflow(workflow), inputs or {}, run_id, as_listener(on_event))
