"""Many hands on one run at the same moment: one of them moves it, the others are told."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError, TransitionRefused
from statemachine_flow.journal import Created, Reason, RunFold, RunStarted
from statemachine_flow.stores.base import NewRun, Owner, RunRow, Store, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore

HANDS = 8
#: Rounds per store: memory shows more interleavings per second, SQLite is what counts.
ROUNDS = {"memory": 200, "sqlite": 30}


@pytest.fixture(params=ROUNDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "runs.db", durability="process")
    yield opened
    opened.close()


@pytest.fixture
def together() -> Iterator[Callable[[Callable[[int], Any]], list[Any]]]:
    """Run a function once per hand, all beginning at the same moment; what each returned or raised."""
    barrier = threading.Barrier(HANDS)
    with ThreadPoolExecutor(HANDS) as pool:

        def run(work: Callable[[int], Any]) -> list[Any]:
            def begin(hand: int) -> Any:
                barrier.wait()
                try:
                    return work(hand)
                except ConflictError as error:
                    return error

            return list(pool.map(begin, range(HANDS)))

        yield run


Together = Callable[[Callable[[int], Any]], list[Any]]


def owner(hand: int) -> Owner:
    return Owner(host="h", boot="b", pid=hand, started="s", nonce=f"n{hand}")


def create_running(store: Store, run_id: str) -> None:
    """A run that is running and that nobody owns."""
    fold = RunFold(run_id)
    created = Created(workflow="w", version="1", definition="d", inputs=msgspec.Raw(b"\x80"), steps=0, cwd="/")
    records = [fold.add("run.create", created, 1), fold.add("run.start", RunStarted(), 1)]
    row = RunRow(
        id=run_id,
        workflow="w",
        version="1",
        definition="d",
        state="pending",
        seq=0,
        epoch=1,
        owner=None,
        created_at=1,
        updated_at=1,
        started_at=None,
        ended_at=None,
        steps_total=0,
        steps_done=0,
        message="",
    )
    write = Write(run_id=run_id, epoch=1, seq=0, records=records, states=["running"])
    assert store.commit([NewRun(row=row, definition=b"d", write=write)]) == []


def fold_of(store: Store, run_id: str) -> RunFold:
    fold = RunFold(run_id)
    fold.replay(store.records(run_id))
    return fold


@pytest.mark.parametrize(
    ("trigger", "state"), [("cancel", "cancelling"), ("pause", "paused"), ("quarantine", "quarantined")]
)
def test_eight_threads_firing_one_trigger_have_one_winner(
    store: Store, kind: str, together: Together, trigger: str, state: str
) -> None:
    """Each reads, fires and commits as an owner of the same epoch would; the store lets one through."""
    for round_ in range(ROUNDS[kind]):
        run_id = f"run-{round_}"
        create_running(store, run_id)

        def work(_hand: int, run_id: str = run_id) -> bool:
            fold = fold_of(store, run_id)
            seq, record = fold.seq, fold.add(f"run.{trigger}", Reason(), 2)
            return store.commit([Write(run_id=run_id, epoch=1, seq=seq, records=[record], states=[fold.state])]) == []

        results = together(work)
        refused = [result for result in results if isinstance(result, TransitionRefused)]
        assert results.count(True) == 1
        assert results.count(False) + len(refused) == HANDS - 1
        row = store.row(run_id)
        assert row is not None
        assert (row.state, row.seq, fold_of(store, run_id).state) == (state, 3, state)


def test_eight_threads_claiming_and_committing_have_one_winner(store: Store, kind: str, together: Together) -> None:
    for round_ in range(ROUNDS[kind]):
        run_id = f"run-{round_}"
        create_running(store, run_id)

        def work(hand: int, run_id: str = run_id) -> int | None:
            if not store.claim(run_id, 1, owner(hand)):
                return None
            fold = fold_of(store, run_id)
            record = fold.add("run.cancel", Reason(by=str(hand)), 2)
            assert store.commit([Write(run_id=run_id, epoch=2, seq=2, records=[record], states=["cancelling"])]) == []
            return hand

        winners = [hand for hand in together(work) if hand is not None]
        assert len(winners) == 1
        row = store.row(run_id)
        assert row is not None
        assert (row.epoch, row.owner, row.state) == (2, owner(winners[0]), "cancelling")


# --- through an engine


class Gate:
    """What a step's body waits for, on whatever loop it runs, until the test opens it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def wait(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if self._is_open:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)


def gated() -> tuple[Gate, Workflow]:
    """A workflow of one step, and the gate it waits at."""
    gate, workflow = Gate(), Workflow("gated")
    workflow.call("gate", gate.wait)
    return gate, workflow


def kinds(engine: Engine, run_id: str) -> Counter[str]:
    return Counter(event.kind for event in engine.events(run_id))


def cancel(engine: Engine, run_id: str) -> Callable[[int], Run]:
    return lambda hand: engine.cancel(run_id, by=str(hand))


def pause(engine: Engine, run_id: str) -> Callable[[int], Run]:
    return lambda hand: engine.pause(run_id, interrupt=True, by=str(hand))


def resume(engine: Engine, run_id: str) -> Callable[[int], Run]:
    return lambda hand: engine.resume(run_id, by=str(hand))


def test_eight_threads_cancelling_one_run_cancel_it_once(store: Store, kind: str, together: Together) -> None:
    with Engine(store) as engine:
        for _ in range(ROUNDS[kind]):
            _, workflow = gated()
            run_id = engine.start(workflow)
            results = together(cancel(engine, run_id))

            assert [run.state for run in results] == ["cancelled"] * HANDS
            found = kinds(engine, run_id)
            assert (found["run.cancel"], found["run.settle"], found["step.cancel"]) == (1, 1, 1)


def test_eight_threads_pausing_and_resuming_one_run_do_each_once(store: Store, kind: str, together: Together) -> None:
    with Engine(store) as engine:
        for _ in range(ROUNDS[kind] // 2):
            gate, workflow = gated()
            run_id = engine.start(workflow)
            paused = together(pause(engine, run_id))
            assert [run.state for run in paused] == ["paused"] * HANDS
            gate.open()
            resumed = together(resume(engine, run_id))

            ended = {run.state for run in resumed if not isinstance(run, ConflictError)}
            late = {error.kind for error in resumed if isinstance(error, ConflictError)}
            assert ended == {"completed"}
            assert late <= {"run.state"}
            found = kinds(engine, run_id)
            assert (found["run.pause"], found["run.resume"], found["run.complete"]) == (1, 1, 1)
            assert (found["step.start"], found["step.interrupt"], found["step.complete"]) == (2, 1, 1)


def test_complete_pause_resume_and_cancel_at_once_end_in_one_way(store: Store, kind: str, together: Together) -> None:
    """Whoever comes first wins; the journal replays, and holds one end."""
    with Engine(store) as engine:
        for _ in range(ROUNDS[kind]):
            gate, workflow = gated()
            run_id = engine.start(workflow)
            together(_mixed(engine, gate, run_id))
            run = engine.get(run_id)
            if run.state not in ("completed", "cancelled"):
                run = engine.cancel(run_id)

            found = kinds(engine, run_id)
            assert found["run.complete"] + found["run.settle"] == 1
            assert run.state == ("completed" if found["run.complete"] else "cancelled")
            row = store.row(run_id)
            assert row is not None
            assert (row.state, row.seq, row.owner) == (run.state, run.seq, None)


def _mixed(engine: Engine, gate: Gate, run_id: str) -> Callable[[int], Any]:
    jobs = [lambda _: gate.open(), cancel(engine, run_id), pause(engine, run_id), resume(engine, run_id)]
    return lambda hand: jobs[hand % len(jobs)](hand)


def test_g5_eight_engines_resuming_one_run_have_one_winner(tmp_path: Path, together: Together) -> None:
    """The gate opens once seven engines could not have the run, so none of them met it at rest."""
    engines = [Engine(tmp_path / "runs.db") for _ in range(HANDS)]
    for _ in range(10):
        gate, workflow = gated()
        for engine in engines:
            engine.register("wait", gate.wait)
        run_id = engines[0].start(workflow)
        engines[0].pause(run_id, interrupt=True)
        before = engines[0].list(limit=1)[0].epoch
        results = Counter(together(_resume_behind(engines, gate, run_id)))

        assert results == {"completed": 1, "run.owned": HANDS - 1}
        row = engines[0].list(limit=1)[0]
        assert (row.id, row.epoch, row.owner) == (run_id, before + 1, None)
    for engine in engines:
        engine.close()


def _resume_behind(engines: list[Engine], gate: Gate, run_id: str) -> Callable[[int], str]:
    losers: list[int] = []

    def work(hand: int) -> str:
        try:
            return str(engines[hand].resume(run_id).state)
        except ConflictError as error:
            losers.append(hand)
            if len(losers) == HANDS - 1:
                gate.open()
            return error.kind

    return work
