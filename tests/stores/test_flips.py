"""Damage of any byte: what is read of a store is what was written, or an error of the store; never something else."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.owner import new_owner
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import StoreError
from statemachine_flow.journal import Record
from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Store, Write

IDS = ("r1", "r2", "r3", "r4")
#: What else than the data may come of a damaged store: nothing that is said of a run.
REPORTED = (
    "store.corrupt",
    "store.not_ours",
    "store.newer",
    "store.io",
    "store.schema_mismatch",
    "store.lost_tail",
)


def text_of(size: int) -> str:
    return "x" * size


def fail() -> None:
    raise ValueError("no luck")


def steps(size: int) -> Workflow:
    workflow = Workflow("w")
    for number in range(3):
        workflow.call(f"s{number}", text_of, with_={"size": size})
    return workflow


def failing() -> Workflow:
    workflow = Workflow("failing", version="2")
    workflow.call("a", fail)
    return workflow


def waiting() -> Workflow:
    workflow = Workflow("waiting")
    workflow.wait("w", event="go")
    return workflow


def fill(path: Path, size: int) -> None:
    late, owner = Record(10, "run.note", 1, None, b"\x80", bytes(16)), new_owner()
    with Engine(path) as engine:
        engine.run(steps(size), run_id="r1")
        engine.run(failing(), run_id="r2")
        engine.run(waiting(), run_id="r3")
        engine.run(steps(size), run_id="r4")
        engine._engine._core.workers.clear()  # nobody is there to answer
        engine.signal("r3", "other", "payload", by="ann")
        engine._engine._core.store.reject(Write(run_id="r1", epoch=1, seq=9, records=[late]), owner, 1)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Pages as they are used: an empty one tells nothing.
        assert connection.execute("PRAGMA freelist_count").fetchall() == [(0,)]


async def answers(path: Path) -> dict[str, object]:
    """What reading commands say of a store, each answer on its own: the data, or the kind of error."""
    try:
        store = open_store(path, readonly=True)
    except StoreError as error:
        return {"open": error.kind}
    found: dict[str, object] = {}
    async with AsyncEngine(store) as engine:
        for name, look in _looks(engine, store).items():
            try:
                found[name] = await look()
            except StoreError as error:
                found[name] = error.kind
    return found


def _looks(engine: AsyncEngine, store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    async def requests() -> object:
        return store.requests()

    async def rejected() -> object:
        return [str(event) for event in await engine.rejected("r1")]

    async def listed(**which: Any) -> object:
        rows = await engine.list(**which)
        return "store.corrupt" if any(row.damage for row in rows) else list(rows)

    return {
        "list": listed,
        "list failed": partial(listed, states=("failed",)),
        "list of w": partial(listed, workflow="w", limit=1),
        "requests": requests,
        "rejected": rejected,
        **{f"get {run_id}": partial(_run, engine, run_id) for run_id in IDS},
        **{f"events {run_id}": partial(_events, engine, run_id) for run_id in IDS},
    }


async def _events(engine: AsyncEngine, run_id: str) -> object:
    return [str(event) for event in await engine.events(run_id)]


async def _run(engine: AsyncEngine, run_id: str) -> object:
    run = await engine.get(run_id)
    steps = {step.id: (step.state, step.output, str(step.error)) for step in run.steps.values()}
    return run.state, run.seq, run.workflow, run.definition_hash, run.reason, str(run.owner), steps


class Damaged:
    """A store that is damaged again and again, and what is wrong with what is read of it then."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._loop = asyncio.Runner()
        self.good = self._loop.run(answers(path))
        self.data = path.read_bytes()
        self._mark = Path(f"{path}-mark")
        self._path = folder / "damaged" / "runs.db"
        self._path.parent.mkdir()

    def wrong(self, data: bytes, *, marked: bool = True) -> list[str]:
        """The answers that are neither right nor an error of the store; any other exception is one as well."""
        for suffix in ("-wal", "-shm", "-mark"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        if marked:
            shutil.copy(self._mark, f"{self._path}-mark")
        self._path.write_bytes(data)
        self._path.chmod(0o600)
        try:
            found = self._loop.run(answers(self._path))
        except Exception as error:  # noqa: BLE001 - collected, to show every place at once
            return [repr(error)]
        return [
            f"{name}: {answer!r}"[:300]
            for name, answer in found.items()
            if answer != self.good.get(name) and answer not in REPORTED
        ]

    def close(self) -> None:
        self._loop.close()

    def flipped(self, *places: int, bit: int | None = None) -> list[str]:
        data = bytearray(self.data)
        for place in places:
            data[place] ^= 1 << (place % 8 if bit is None else bit)
        return self.wrong(bytes(data))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Damaged]:
    path = tmp_path / "runs.db"
    fill(path, 4)
    with contextlib.closing(Damaged(path, tmp_path)) as damaged:
        yield damaged


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Damaged]:
    path = tmp_path / "runs.db"
    fill(path, 24_000)
    with contextlib.closing(Damaged(path, tmp_path)) as damaged:
        assert 190 <= len(damaged.data) // 1024 <= 260
        yield damaged


def test_case_49_a_flipped_bit_is_reported_or_changes_no_answer(store: Damaged) -> None:
    """Every 97th byte here, every byte of a larger store in the soak."""
    wrong = {place: said for place in range(0, len(store.data), 97) if (said := store.flipped(place))}

    assert wrong == {}


def test_case_49_a_run_whose_row_is_damaged_keeps_what_came_too_late(store: Damaged) -> None:
    """Its header says how long its id is: no bit of both may make it another run's."""
    row = store.data.index(b"r1w1.0.0")
    wrong = {(place, bit): store.flipped(place, bit=bit) for place in range(row - 24, row + 2) for bit in range(8)}

    assert {at: said for at, said in wrong.items() if said} == {}


def test_case_49_a_record_whose_number_is_damaged_is_reported(tmp_path: Path) -> None:
    """The heads of all pages say how many cells they have: one too many is a record without a number."""
    path = tmp_path / "runs.db"
    fill(path, 24_000)
    with contextlib.closing(Damaged(path, tmp_path)) as store:
        pages = [at for at in range(4096, len(store.data), 4096) if store.data[at] in (2, 5, 10, 13)]
        places = [(at + byte, bit) for at in pages for byte in range(8) for bit in range(8)]
        wrong = {(place, bit): store.flipped(place, bit=bit) for place, bit in places}

    assert {at: said for at, said in wrong.items() if said} == {}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_case_49_no_byte_of_200_kib_can_be_flipped_unnoticed(large: Damaged, tmp_path: Path) -> None:
    parts = os.cpu_count() or 1
    with ProcessPoolExecutor(parts, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(flip_every, [tmp_path] * parts, range(parts), [parts] * parts))

    assert sum(count for count, _ in found) == len(large.data)
    assert [wrong for _, wrong in found if wrong] == []


def flip_every(folder: Path, start: int, step: int) -> tuple[int, dict[int, list[str]]]:
    """Flip every `step`-th byte of the store in a folder: how many there were, and what is wrong."""
    own = folder / f"part {start}"
    own.mkdir()
    with contextlib.closing(Damaged(folder / "runs.db", own)) as damaged:
        places = range(start, len(damaged.data), step)
        return len(places), {place: said for place in places if (said := damaged.flipped(place))}


def test_case_48_a_store_cut_off_anywhere_is_reported_or_whole(store: Damaged) -> None:
    sizes = [1, 50, 99, 100, 511, 512, *range(4096, len(store.data), 8192), len(store.data) - 1]
    wrong = {size: said for size in sizes if (said := store.wrong(store.data[:size]))}

    assert wrong == {}


def test_case_48_any_zeroed_page_is_reported_or_changes_no_answer(store: Damaged) -> None:
    wrong = {}
    for start in range(0, len(store.data), 4096):
        if said := store.wrong(store.data[:start] + bytes(4096) + store.data[start + 4096 :], marked=False):
            wrong[start] = said

    assert wrong == {}


def mangled(store: Damaged, trials: int, seed: int) -> dict[int, list[str]]:
    rng, wrong = random.Random(seed), {}
    for trial in range(trials):
        places = [rng.randrange(len(store.data)) for _ in range(rng.choice((2, 3, 8, 64)))]
        if said := store.flipped(*places, bit=rng.randrange(8)):
            wrong[trial] = said
    return wrong


def test_many_flipped_bits_are_reported_or_change_no_answer(store: Damaged) -> None:
    assert mangled(store, 100, seed=3) == {}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_thousand_times_many_flipped_bits_are_reported(large: Damaged) -> None:
    assert mangled(large, 20_000, seed=4) == {}
