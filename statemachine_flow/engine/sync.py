"""The public engine for code without an event loop, or with one of its own: the twin of `AsyncEngine`.

It runs an `AsyncEngine` on a loop in a thread of its own, so it works in a script, a thread, a notebook and inside
a running loop alike. Methods, arguments and errors are those of the twin.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

from statemachine_flow.engine.answers import Resolution
from statemachine_flow.engine.asynchronous import AsyncEngine, WorkflowLike
from statemachine_flow.engine.control import Until
from statemachine_flow.engine.examine import Verification
from statemachine_flow.engine.ids import new_run_id
from statemachine_flow.engine.left import leave_for_good
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.sync_operations import SyncOperations
from statemachine_flow.engine.takeover import Recovery
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.errors import SmfError, UsageError
from statemachine_flow.executors.orphans import mark_of, reap
from statemachine_flow.functions import Function
from statemachine_flow.stores.base import RunRow, Store

T = TypeVar("T")


class Engine(SyncOperations):
    """Runs workflows, durable in a store.

    Args:
        store: `sqlite:///PATH`, a path, `memory://`, or a `Store`.
        **options: see `AsyncEngine`.

    Raises:
        StoreError: the store cannot be opened.

    Example:
        >>> from statemachine_flow.builder import Workflow
        >>> workflow = Workflow("hello")
        >>> greet = workflow.call("greet", lambda name: f"Hello {name}", with_={"name": "you"})
        >>> with Engine("memory://") as engine:
        ...     run = engine.run(workflow)
        >>> run.state, run.steps["greet"].output
        (<RunState.COMPLETED: 'completed'>, 'Hello you')
    """

    def __init__(self, store: str | os.PathLike[str] | Store = "sqlite:///.smf/runs.db", **options: Any) -> None:
        self._engine = AsyncEngine(store, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False
        if options.get("take_up"):
            self.recover()

    # --- life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Interrupt the runs under way, so that they can be resumed, and close the store. Twice does nothing."""
        self._require_own()
        with self._closing:
            if self._closed:
                return
            self._call(lambda engine: engine.close())
            with self._lock:
                self._closed = True
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()

    def register(self, name: str, function: Function) -> None:
        """See `AsyncEngine.register`."""
        self._engine.register(name, function)

    @property
    def abandoned(self) -> int:
        """See `AsyncEngine.abandoned`."""
        return self._engine.abandoned

    def kill_processes(self) -> int:
        """End at once, by KILL, every process that steps under way here have started; for a program about to leave.

        Their attempts are interrupted once somebody takes up the runs, as after the death of this process.

        Returns:
            How many there were.

        Example:
            >>> with Engine("memory://") as engine:
            ...     engine.kill_processes()
            0
        """
        core = self._engine._core  # noqa: SLF001 - the other half of this class
        marks = [mark for run_id in list(core.workers) for mark in mark_of(core.owner.nonce, run_id).values()]
        return reap(marks, grace=0.0)

    # --- starting and going on

    def start(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_event: EventListener | None = None,
    ) -> str:
        """See `AsyncEngine.start`."""
        return self._call(lambda engine: engine.start(workflow, inputs, run_id=run_id, on_event=on_event))

    def run(
        self,
        workflow: WorkflowLike,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_event: EventListener | None = None,
        until: Until = "waiting",
    ) -> Run:
        """See `AsyncEngine.run`. Ctrl-C leaves the run paused, to be resumed."""
        # Chosen here, so that a Ctrl-C in the middle of the start knows which run to pause.
        chosen = new_run_id() if run_id is None else run_id
        return self._interruptible(
            chosen, lambda engine: engine.run(workflow, inputs, run_id=chosen, on_event=on_event, until=until)
        )

    def resume(
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
        """See `AsyncEngine.resume`. Ctrl-C leaves the run paused, to be resumed."""
        return self._interruptible(
            run_id,
            lambda engine: engine.resume(
                run_id,
                take_over=take_over,
                reason=reason,
                by=by,
                timeout=timeout,
                wait=wait,
                on_event=on_event,
                until=until,
            ),
        )

    def retry(
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
        """See `AsyncEngine.retry`. Ctrl-C leaves the run paused, to be resumed."""
        return self._interruptible(
            run_id,
            lambda engine: engine.retry(
                run_id, step=step, item=item, reason=reason, by=by, on_event=on_event, until=until
            ),
        )

    def recover(self, *, by: str | None = None, on_event: EventListener | None = None) -> Recovery:
        """See `AsyncEngine.recover`."""
        return self._call(lambda engine: engine.recover(by=by, on_event=on_event))

    def wait(self, run_id: str, *, until: Until = "waiting") -> Run:
        """See `AsyncEngine.wait`."""
        return self._call(lambda engine: engine.wait(run_id, until=until))

    # --- what the world has to say

    def signal(
        self, run_id: str, event: str, payload: Any = None, *, key: str | None = None, by: str | None = None
    ) -> None:
        """See `AsyncEngine.signal`."""
        self._call(lambda engine: engine.signal(run_id, event, payload, key=key, by=by))

    def approve(
        self,
        run_id: str,
        step: str,
        *,
        choice: str = "approve",
        form: Mapping[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
        digest: str | None = None,
    ) -> None:
        """See `AsyncEngine.approve`."""
        self._call(
            lambda engine: engine.approve(run_id, step, choice=choice, form=form, by=by, reason=reason, digest=digest)
        )

    def reject(
        self,
        run_id: str,
        step: str,
        *,
        form: Mapping[str, Any] | None = None,
        by: str | None = None,
        reason: str = "",
        digest: str | None = None,
    ) -> None:
        """See `AsyncEngine.reject`."""
        self._call(lambda engine: engine.reject(run_id, step, form=form, by=by, reason=reason, digest=digest))

    def resolve(
        self,
        run_id: str,
        step: str,
        as_: Resolution,
        *,
        output: Any = None,
        reason: str = "",
        by: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Run:
        """See `AsyncEngine.resolve`."""
        return self._call(
            lambda engine: engine.resolve(
                run_id, step, as_, output=output, reason=reason, by=by, timeout=timeout, wait=wait
            )
        )

    # --- reading

    def get(self, run_id: str) -> Run:
        """See `AsyncEngine.get`."""
        return self._call(lambda engine: engine.get(run_id))

    def list(
        self,
        *,
        states: Iterable[str] = (),
        workflow: str | None = None,
        since: int | None = None,
        limit: int = 100,
        owned: bool = False,
    ) -> Sequence[RunRow]:
        """See `AsyncEngine.list`."""
        return self._call(
            lambda engine: engine.list(states=states, workflow=workflow, since=since, limit=limit, owned=owned)
        )

    def events(self, run_id: str, *, after: int = 0) -> Sequence[Event]:
        """See `AsyncEngine.events`."""
        return self._call(lambda engine: engine.events(run_id, after=after))

    def rejected(self, run_id: str) -> Sequence[Event]:
        """See `AsyncEngine.rejected`."""
        return self._call(lambda engine: engine.rejected(run_id))

    def find(self, name: str) -> str:
        """See `AsyncEngine.find`."""
        return self._call(lambda engine: engine.find(name))

    def redact(self, run_id: str, text: str) -> str:
        """See `AsyncEngine.redact`."""
        return self._call(lambda engine: engine.redact(run_id, text))

    # --- the store

    def verify(self, run_id: str | None = None) -> Verification:
        """See `AsyncEngine.verify`."""
        return self._call(lambda engine: engine.verify(run_id))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `AsyncEngine.backup`."""
        self._call(lambda engine: engine.backup(path))

    def health(self) -> Mapping[str, Any]:
        """See `AsyncEngine.health`."""
        return self._call(lambda engine: engine.health())

    # --- inside

    def _call(self, make: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
        """Run one coroutine of the twin on the loop, and wait for it."""
        try:
            return self._submit(make).result()
        except concurrent.futures.CancelledError:
            if not self._closed:
                raise
            raise UsageError("the engine was closed meanwhile", kind="usage.closed") from None

    def _interruptible(self, run_id: str, make: Callable[[AsyncEngine], Coroutine[Any, Any, Run]]) -> Run:
        try:
            return self._call(make)
        except KeyboardInterrupt:
            self._call(lambda engine: _interrupt(engine, run_id))
            raise

    def _submit(self, make: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> concurrent.futures.Future[T]:
        self._require_own()
        with self._lock:
            if self._closed:
                raise UsageError("the engine is closed", kind="usage.closed")
            return asyncio.run_coroutine_threadsafe(make(self._engine), self._running_loop())

    def _require_own(self) -> None:
        """Refuse calls from another process than the engine's, and from the thread that would have to answer them."""
        if os.getpid() != self._pid:
            raise UsageError(
                "the engine was made before a fork", kind="usage.forked", hint="open a new one in the child process"
            )
        if threading.current_thread() is self._thread:
            raise UsageError(
                "a coroutine or listener on the engine's own loop would wait for itself",
                hint="use AsyncEngine, or call the engine from another thread",
            )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="smf-engine", daemon=True)
            self._thread.start()
        return self._loop


async def _interrupt(engine: AsyncEngine, run_id: str) -> None:
    """Leave a run whose caller is going away, unless it came to rest first."""
    try:
        await engine.leave(run_id, reason="interrupted from the keyboard")
    except SmfError:
        # The interrupt itself must reach the caller; the run can be resumed whether it was paused or not.
        return


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_dismiss())
        # What is left did not listen when it was asked to end, and what becomes of it is nothing to anybody.
        loop.set_exception_handler(lambda _loop, _context: None)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _dismiss() -> None:
    """Tell those who still wait, such as for the run of another process; a task that does not listen is left."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()
    for _ in range(3):  # to the task, to its future, to the waiting thread
        await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            leave_for_good(task)
