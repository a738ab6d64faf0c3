"""Taking a workflow through failing calls of the file system, one after the other, until a run meets none."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError, StoreError
from statemachine_flow.journal import Record
from statemachine_flow.stores.base import RunFilter, Store
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing.crash import CrashStore
from tests.crash.books import Books, outcome
from tests.crash.faults import KINDS, Fault, Faulty, unheard
from tests.crash.proving import NAME, nothing
from tests.crash.references import Reference, agents_of
from tests.crash.scene import Scene

#: Who goes on once the fault is gone: the same engine, another one on the same open store, or another process.
Next = Literal["engine", "store", "process"]
NEXT: tuple[Next, ...] = ("engine", "store", "process")

Journals = dict[str, list[Record]]
T = TypeVar("T")


def journals(store: Store) -> Journals:
    """Every run's journal."""
    return {row.id: store.records(row.id) for row in store.rows(RunFilter(limit=10_000))}


class _Acknowledging(CrashStore):
    """Keeps the journals as they were when a write was last acknowledged."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, 0, "before")
        self.acknowledged: Journals = {}

    def _write(self, what: str, write: Callable[[], T]) -> T:
        result = super()._write(what, write)
        self.acknowledged = journals(self.inner)
        return result

    def transact(self, work: Any, write: Any) -> bool:
        is_kept = super().transact(work, write)
        self.acknowledged = journals(self.inner)
        return is_kept


@attrs.define
class Trial:
    """One run of a workflow, in which one call fails.

    Args:
        reference: the workflow.
        folder: where its store is.
        faulty: what fails.
        following: who goes on afterwards.
    """

    reference: Reference
    folder: Path
    faulty: Faulty
    following: Next
    scene: Scene = attrs.field(factory=lambda: Scene(nothing))
    #: The kind of error that came out of it; "" if none did.
    told: str = ""
    store: SqliteStore | None = None

    def run(self) -> tuple[Any, Counter[tuple[str, str, str | None]]]:
        """Run into the fault, look, lift it, go on; how the run ended, and by which changes."""
        recorder = self.faulty.recorder()
        try:
            with unheard():
                return asyncio.run(self._run(recorder.open))
        finally:
            if self.store is not None:
                self.store.close()

    async def _run(self, open_store: Any) -> tuple[Any, Counter[tuple[str, str, str | None]]]:
        path = self.folder / NAME
        try:
            self.store = store = open_store(path)
        except StoreError as error:
            self._hear(error)
            self.faulty.lift()
            self.store = store = open_store(path)
        handle = _Acknowledging(store)
        engine = self._engine(handle)
        try:
            return await self._act(engine, store)
        except SmfError as error:
            self._hear(error)
        finally:
            if self.following != "engine" or not self.told:
                await engine.close()
        if self.faulty.fault != "read":
            self._look(handle, store)
        self.faulty.lift()
        self.scene.clock.advance(3600)  # nobody comes at once
        if self.following == "process":
            store.close()
            self.store = store = open_store(path)
        self._look(handle, store)
        if self.following != "engine":
            engine = self._engine(CrashStore(store))
        try:
            return await self._act(engine, store)
        finally:
            await engine.close()

    def _engine(self, store: Store) -> AsyncEngine:
        scene = self.scene
        return AsyncEngine(
            store, clock=scene.clock, rng=random.Random(0), grace=0.05, agents=agents_of(scene), write_timeout=0
        )

    async def _act(self, engine: AsyncEngine, store: SqliteStore) -> tuple[Any, Counter[tuple[str, str, str | None]]]:
        async with asyncio.timeout(30):
            ended = outcome(await self.reference.operator(engine, self.scene))
        books = Books(store, self.scene)
        books.check()
        books.check_end()
        return ended, books.changes()

    def _hear(self, error: SmfError) -> None:
        """What people are told is which kind of fault it was."""
        assert isinstance(error, StoreError), f"{type(error).__name__}: {error}"
        assert error.kind in KINDS[self.faulty.fault], error
        self.told = error.kind

    def _look(self, handle: _Acknowledging, store: SqliteStore) -> None:
        """The store can be read, by whoever has it open and by others, and has what was acknowledged."""
        reader = SqliteStore(self.folder / NAME, readonly=True)
        try:
            # After a sync that failed nobody knows what the disk has: whoever has it open may be refused.
            readers = [reader] if self.faulty.fault == "sync" else [store, reader]
            for found in map(journals, readers):
                for run_id, records in handle.acknowledged.items():
                    assert found[run_id][: len(records)] == records
        finally:
            reader.close()


def break_all(
    reference: Reference, folder: Path, fault: Fault, *, is_sticky: bool, step: int = 1, begin: int = 1
) -> Counter[str]:
    """Let the n-th call fail for n = begin, begin + step, ... until a run meets no failing call.

    Returns:
        How often which kind of error was told.

    Raises:
        AssertionError: something was lost, repeated, unreadable, or told in other words.
    """
    told: Counter[str] = Counter()
    expected: tuple[Any, Any] | None = None
    at = begin
    calm = Trial(reference, folder / "calm", Faulty(fault, 0, is_sticky=False), "store")
    calm.folder.mkdir(parents=True)
    expected = calm.run()
    while True:
        following = "process" if fault == "sync" else NEXT[at % len(NEXT)]
        trial = Trial(reference, folder / str(at), Faulty(fault, at, is_sticky), following)
        trial.folder.mkdir(parents=True)
        found = trial.run()
        assert found[0] == expected[0], f"{fault} {at}, {trial.following}: ends otherwise"
        if not reference.free:
            assert found[1] == expected[1], f"{fault} {at}, {trial.following}: takes another way"
        if not trial.faulty.failed:
            return told
        told[trial.told] += 1
        at += step
