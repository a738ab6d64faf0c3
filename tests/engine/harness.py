"""What the engine and crash suites share: engines in blocking and in async use, a store that outlives them, held steps.

Tests wait for what step functions and records say, never for time; `PATIENCE` only ends a test that hangs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import queue
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import apsw

from statemachine_flow.builder import Ref, Workflow
from statemachine_flow.builder.level import Level
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.journal import Record, RunFold
from statemachine_flow.lifecycle import STEP, STEP_AT_REST
from statemachine_flow.plan import Plan
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import NewRun, RunFilter, Store, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing import CrashStore, Died, ManualClock

#: Seconds after which a wait is a failed test.
PATIENCE = 30.0

EngineKind = Literal["sync", "async"]
StoreKind = Literal["memory", "sqlite"]


class SlowCommit(CrashStore):
    """Holds the commit that keeps a certain record until it is let go; the engine has to be busy with another run."""

    def __init__(self, inner: Store, run_id: str, kind: str) -> None:
        super().__init__(inner)
        self.held = run_id, kind
        self.under_way, self.go_on = threading.Event(), threading.Event()

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        writes = [item.write if isinstance(item, NewRun) else item for item in batch]
        if self.held in {(write.run_id, record.kind) for write in writes for record in write.records}:
            self.under_way.set()
            assert self.go_on.wait(PATIENCE)
        return super().commit(batch)


class Driver:
    """An engine in blocking use: `Engine` itself, or `AsyncEngine` on a loop in a thread of the test's own."""

    def __init__(self, kind: EngineKind, store: CrashStore, **options: Any) -> None:
        self.store = store
        if kind == "sync":
            self._sync: Engine | None = Engine(store, **options)
            self._engine: AsyncEngine = self._sync._engine
            self._loop = self._sync._running_loop()
            self._thread: threading.Thread | None = None
        else:
            self._sync = None
            self._engine = AsyncEngine(store, **options)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="test-loop", daemon=True)
            self._thread.start()

    @property
    def core(self) -> Core:
        return self._engine._core

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A method of the engine, in blocking form."""
        if self._sync is not None:
            return functools.partial(_in_time, getattr(self._sync, name))
        method = getattr(self._engine, name)
        if not asyncio.iscoroutinefunction(method):
            return method  # type: ignore[no-any-return]  # `register`
        return lambda *args, **options: self.on_loop(method(*args, **options))

    def on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def later(self, name: str, *args: Any, **options: Any) -> concurrent.futures.Future[Any]:
        """Call an engine's method without waiting for it."""
        method = getattr(self._engine, name)
        return asyncio.run_coroutine_threadsafe(method(*args, **options), self._loop)

    def turn(self) -> None:
        """Wait until the engine's loop has gone round once."""
        self.on_loop(asyncio.sleep(0))

    def quiet(self) -> None:
        """Wait until the engine has drawn every conclusion from what happened so far."""
        self.on_loop(self._quiet())

    async def _quiet(self) -> None:
        rounds = 0
        while rounds < 5:  # a conclusion takes a few turns of the loop
            await asyncio.sleep(0)
            rounds = 0 if self.core._committer._scheduled else rounds + 1

    def close(self) -> None:
        if self._sync is not None:
            _in_time(self._sync.close)
        elif self._thread is not None:
            self.on_loop(self._engine.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()
            self._thread = None

    def kill(self) -> None:
        """As if the process died: not one more byte reaches the store. What it left behind is up to the next."""
        self.store.dead = True
        self.close()


def _in_time(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call in a thread, so that a call that hangs fails the test instead of blocking it."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(function(*args, **options))
        except BaseException as error:  # noqa: BLE001 - whatever it is goes to the test
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result(PATIENCE)


class World:
    """A store that outlives its engines, a clock, and every engine a test opened."""

    def __init__(self, engine: EngineKind, store: StoreKind, folder: Path) -> None:
        self.engine_kind: EngineKind = engine
        self.store_kind: StoreKind = store
        self.folder = folder
        self.path = folder / "runs.db"
        self.clock = ManualClock()
        self._drivers: list[Driver] = []
        self._memory = MemoryStore()
        self._opened: list[SqliteStore] = []

    def open(self, kind: EngineKind | None = None, **options: Any) -> Driver:
        """A new engine on the store; an engine that a test opened before goes on beside it."""
        options = {"clock": self.clock, "grace": 0.2, **options}
        driver = Driver(kind or self.engine_kind, CrashStore(self.inner()), **options)
        self._drivers.append(driver)
        return driver

    def inner(self) -> Store:
        """Another handle on the store."""
        if self.store_kind == "memory":
            return self._memory
        self._opened.append(SqliteStore(self.path, durability="process"))
        return self._opened[-1]

    def close(self) -> None:
        for driver in self._drivers:
            with contextlib.suppress(Died):
                driver.close()
        store = self.inner()
        try:
            for row in store.rows(RunFilter(limit=10_000)):
                check_run(store, row.id)
        finally:
            for opened in self._opened:
                opened.close()


# --- what must hold for every run, whatever happened to it ----------------------------------------------------


def check_run(store: Store, run_id: str) -> RunFold:
    """The journal is gap-free and legal, folds to what the row says, and starts nothing before its needs ended."""
    row = store.row(run_id)
    assert row is not None
    records = store.records(run_id)
    assert [record.seq for record in records] == list(range(1, row.seq + 1))
    fold = RunFold(run_id)
    fold.replay(records)
    done = fold.created.steps - fold.open_steps
    assert (row.state, row.seq, row.steps_done) == (fold.state, fold.seq, done)
    body = store.definition(row.definition)
    assert body is not None
    check_order(Plan(decode_definition(body)), records)
    if isinstance(store, SqliteStore):
        assert stored_steps(store, run_id) == {step.id: (step.state, step.attempt) for step in fold.steps.values()}
    return fold


def stored_steps(store: SqliteStore, run_id: str) -> dict[str, tuple[str, int]]:
    """Step -> its state and attempts, as the store's own table has them."""
    connection = apsw.Connection(store.name.removeprefix("sqlite:///"), flags=apsw.SQLITE_OPEN_READONLY)
    query = "SELECT step, steps.state, attempt FROM steps JOIN runs ON no = run WHERE id = ?"
    try:
        return {step: (state, attempt) for step, state, attempt in connection.execute(query, (run_id,))}
    finally:
        connection.close()


def check_order(plan: Plan, records: Sequence[Record]) -> None:
    """G7: a step starts only after its needs are at rest; what is at rest starts again only after a reset."""
    states: dict[str, str] = {}
    for record in records:
        path = record.step
        if path is None:
            continue
        before, trigger = states.get(path, "pending"), record.kind.removeprefix("step.")
        if trigger == "start":
            assert before not in STEP_AT_REST, f"{path} was started again after it was {before}"
            open_needs = [need for need in needs_of(plan, path) if states.get(need) not in STEP_AT_REST]
            assert not open_needs, f"{path} started before {open_needs}"
        states[path] = STEP.dest(before, trigger) or "?"


def needs_of(plan: Plan, path: str) -> list[str]:
    """The paths that a step under a path needs; none for items of a loop, and for what undoes a step."""
    if path.endswith("]") or path.startswith("@compensate/"):
        return []
    level, prefix, rest = plan.level, "", path
    for name, handlers in (("@on_failure/", plan.on_failure), ("@finally/", plan.finally_)):
        if path.startswith(name):
            level, prefix, rest = handlers, name, path.removeprefix(name)
    *outer, last = re.findall(r"[^/\[]+(?:\[[^\]]*\])?", rest)
    for part in outer:
        inner = level[part.partition("[")[0]].level
        assert inner is not None
        level, prefix = inner, f"{prefix}{part}/"
    return [f"{prefix}{need}" for need in level[last].step.needs]


# --- steps that tests hold in their hand ----------------------------------------------------------------------


class Gate:
    """A step body that says when it began, waits until it is let go, and then returns or raises what it was told."""

    def __init__(self) -> None:
        self._begun: queue.SimpleQueue[StepContext] = queue.SimpleQueue()
        self._open = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        #: Contexts of all attempts so far.
        self.attempts: list[StepContext] = []
        #: How coroutine attempts were ended from outside.
        self.cancelled = 0
        self.result: Any = None

    def hold(self, context: StepContext) -> Any:
        """The body, for a thread."""
        self._arrive(context)
        assert self._open.wait(PATIENCE)
        return self._leave()

    async def ahold(self, context: StepContext) -> Any:
        """The body, as a coroutine."""
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        if self._open.is_set():
            event.set()
        self._arrive(context)
        try:
            await event.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self._leave()

    def _arrive(self, context: StepContext) -> None:
        self.attempts.append(context)
        self._begun.put(context)

    def _leave(self) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def begun(self) -> StepContext:
        """Wait for the next attempt to begin."""
        return self._begun.get(timeout=PATIENCE)

    def open(self, result: Any = None) -> None:
        """Let all attempts end, those to come included."""
        if result is not None:
            self.result = result
        self._open.set()
        for loop, event in self._waiting:
            with contextlib.suppress(RuntimeError):  # that loop is gone
                loop.call_soon_threadsafe(event.set)


class Counter:
    """A step body that counts its calls and how many of them are alive at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: list[str] = []
        self.alive = 0
        self.most = 0

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        with self._lock:
            self.calls.append(name)
            self.alive += 1
            self.most = max(self.most, self.alive)
        try:
            yield
        finally:
            with self._lock:
                self.alive -= 1


class Outcomes:
    """A step body that does in its n-th attempt what a list says: raise an error, or return a value."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = outcomes
        self.attempts = 0

    def __call__(self) -> Any:
        outcome = self.outcomes[min(self.attempts, len(self.outcomes) - 1)]
        self.attempts += 1
        if isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException)):
            raise outcome
        return outcome


class Events:
    """A listener that keeps events and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __call__(self, event: Event) -> None:
        self.seen.append(event)
        self._queue.put(event)

    def wait(self, kind: str, step: str | None = None) -> Event:
        """The next event of that kind, and of that step."""
        while True:
            event = self._queue.get(timeout=PATIENCE)
            if event.kind == kind and step in (None, event.step):
                return event


def add(workflow: Level, step_id: str, function: Callable[..., Any], **options: Any) -> Ref:
    """A `call` step of a function of the test, named after the step."""
    return workflow.call(step_id, functools.partial(function), **options)


def chain(length: int, function: Callable[..., Any], name: str = "chain") -> Workflow:
    """s0 -> s1 -> ..., built without a builder call per need."""
    workflow = Workflow(name)
    for index in range(length):
        add(workflow, f"s{index}", function, needs=[f"s{index - 1}"] if index else None)
    return workflow


def states(run: Run) -> Mapping[str, str]:
    """Step -> state."""
    return {step.id: str(step.state) for step in run.steps.values()}


def kinds(driver: Driver, run_id: str) -> list[str]:
    """The journal as `kind:step`."""
    return [f"{event.kind}:{event.step}" if event.step else event.kind for event in driver.events(run_id)]


def final(run: Run) -> dict[str, Any]:
    """What must be the same however often a run was interrupted: states and outputs, not attempts or times."""
    return {
        "state": str(run.state),
        "outputs": dict(run.outputs),
        "steps": {step.id: (str(step.state), step.output, dict(step.outputs)) for step in run.steps.values()},
    }
