"""The proving ground of the store: one run is recorded with every change of its files, and every moment is a death.

An image is what one fault at one moment leaves of the files. A store opened on it must show what was there after the
last write that was acknowledged by then, or after the one under way: all of it, and nothing else. Then the run goes
on from there, in the world as it was at that moment, to the end of an undisturbed run.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import Beat, NewRun, Owner, Store, Write
from statemachine_flow.stores.database import Durability
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing import ManualClock
from statemachine_flow.testing.crash import CrashStore
from tests.crash.books import Books, outcome
from tests.crash.disk import Change, Disk, Files
from tests.crash.recorder import Recorder
from tests.crash.references import Reference, agents_of
from tests.crash.scene import Scene

NAME = "runs.db"
#: SQLite's own files; what else lies beside them is copied as it is at the moment of death.
_OWN = frozenset({NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal"})
#: Pages of the log after which they are moved to the main file, where a test wants to see that.
SMALL_LOG = 12


T = TypeVar("T")


def nothing(_context: StepContext) -> None:
    """What happens when a body begins, here."""


@attrs.frozen
class World:
    """What is outside the files at one moment."""

    acknowledged: int
    begun: tuple[str, ...]
    tried: tuple[str, ...]
    kept: tuple[str, ...]
    mended: bool
    acted: bool
    now: int
    #: Files beside the store, which are nobody's but the library's.
    beside: tuple[tuple[str, bytes], ...]

    def scene(self) -> Scene:
        """The same world again."""
        scene = Scene(nothing, clock=ManualClock(self.now))
        scene.begun, scene.tried, scene.kept = list(self.begun), list(self.tried), list(self.kept)
        scene.mended, scene.acted = self.mended, self.acted
        return scene


@attrs.frozen
class Finding:
    """What is wrong with an image."""

    what: str
    fault: str
    moment: int


@attrs.define
class Recording:
    """An undisturbed run."""

    changes: list[Change] = attrs.field(factory=list)
    #: The world right before each change, and at the end.
    worlds: list[World] = attrs.field(factory=list)
    #: What the store held when it was opened, and after each write it acknowledged.
    states: list[str] = attrs.field(factory=list)
    #: Numbers of those states that only have to outlive the process.
    passing: set[int] = attrs.field(factory=set)
    outcome: Any = None
    journal: Counter[tuple[str, str, str | None]] = attrs.field(factory=Counter)


def contents(store: SqliteStore) -> str:
    """A digest of every row of every table, but for the name of its own that a store draws when it is made."""
    read = store._database.read
    digest = hashlib.blake2b(digest_size=16)
    for (table,) in read("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", ()):
        rows = sorted(map(repr, read(f"SELECT * FROM {table}", ()))) if table != "smf_store" else []
        digest.update(f"{table} {rows}\n".encode())
    return digest.hexdigest()


class _Acknowledging(CrashStore):
    """Notes what the store holds after each write, before anybody hears that it is kept."""

    def __init__(self, inner: SqliteStore, recorder: Recorder, recording: Recording) -> None:
        super().__init__(inner, 0, "before")
        self._sqlite = inner
        self._recorder = recorder
        self._states = recording.states
        self._passing = recording.passing

    def _write(self, what: str, write: Callable[[], T]) -> T:
        with self._recorder.lock:
            result = super()._write(what, write)
            self._states.append(contents(self._sqlite))
            return result

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        return self._pass(lambda: self.inner.beat(beat, runs))  # type: ignore[no-any-return]

    def leave(self, nonce: str) -> None:
        self._pass(lambda: self.inner.leave(nonce))

    def _pass(self, write: Callable[[], Any]) -> Any:
        """Signs of life of an engine that the loss of power ends are nothing that anybody misses."""
        with self._recorder.lock:
            self._passing.add(len(self._states))
            return self._write("beat", write)

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        self._write("reject", lambda: self.inner.reject(write, owner, at))

    def transact(self, work: Callable[[Any], object], write: Callable[[], NewRun | Write | None]) -> bool:
        with self._recorder.lock:
            is_kept = super().transact(work, write)
            self._states.append(contents(self._sqlite))
            return is_kept


async def live(store: Store, reference: Reference, scene: Scene) -> Any:
    """One process that goes on with the run, and how the run ended."""
    engine = AsyncEngine(store, clock=scene.clock, rng=random.Random(0), grace=0.05, agents=agents_of(scene))
    try:
        async with asyncio.timeout(30):
            return outcome(await reference.operator(engine, scene))
    finally:
        await engine.close()


def record(
    reference: Reference, folder: Path, *, durability: Durability = "power", small_log: bool = False
) -> Recording:
    """Run a workflow once, and keep all that its store did to its files.

    Args:
        reference: the workflow.
        folder: where to.
        durability: of the store.
        small_log: move pages from the log to the main file often.
    """
    folder.mkdir(parents=True)
    recording, scene = Recording(), Scene(nothing)

    def look() -> World:
        beside = ((str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*") if _is_beside(path))
        return World(
            acknowledged=max(0, len(recording.states) - 1),
            begun=tuple(scene.begun),
            tried=tuple(scene.tried),
            kept=tuple(scene.kept),
            mended=scene.mended,
            acted=scene.acted,
            now=scene.clock.now(),
            beside=tuple(beside),
        )

    def on_change(change: Change) -> None:
        recording.worlds.append(look())
        recording.changes.append(change)

    recorder = Recorder(on_change)
    store = recorder.open(folder / NAME, durability)
    try:
        if small_log:
            store._database.run(f"PRAGMA wal_autocheckpoint = {SMALL_LOG}")
        recording.states.append(contents(store))
        recording.outcome = asyncio.run(live(_Acknowledging(store, recorder, recording), reference, scene))
        books = Books(store, scene)
        books.check()
        recording.journal = books.changes()
        recording.worlds.append(look())
    finally:
        store.close()
    return recording


def _unreadable(error: SmfError) -> str:
    """A store that says of itself that its last writes are gone is another matter than one that cannot be read."""
    return f"told: {error}" if error.kind == "store.lost_tail" else f"unreadable: {error}"


def _is_beside(path: Path) -> bool:
    return path.is_file() and path.name not in _OWN


class Examiner:
    """Looks at the images of a recording.

    Args:
        recording: what was recorded.
        reference: of which workflow.
        folder: where images are laid out.
    """

    def __init__(self, recording: Recording, reference: Reference, folder: Path) -> None:
        self.recording = recording
        self.reference = reference
        self.folder = folder
        self.moments = 0
        self.images = 0
        self.resumed = 0
        self._numbers = itertools.count()
        self._seen: set[tuple[Any, ...]] = set()
        self._gone_on: set[tuple[Any, ...]] = set()

    def examine(self, is_chosen: Callable[[int], bool] = lambda _: True) -> list[Finding]:
        """Look at every image of the chosen moments; what is wrong with them.

        An image that is the same as one of a moment before, in the same world, is counted and not looked at again.
        """
        findings = []
        for moment, world, fault, files in self._all_images(is_chosen):
            self.images += 1
            key = (_digest(files), world.acknowledged, world.beside, fault == "kill")
            if key not in self._seen:
                self._seen.add(key)
                if what := self._look(files, world, is_power=fault != "kill"):
                    findings.append(Finding(what, fault.split()[0], moment))
        return findings

    def _all_images(self, is_chosen: Callable[[int], bool]) -> Iterator[tuple[int, World, str, Files]]:
        disk = Disk({NAME: b""})
        changes = [*self.recording.changes, None]
        for moment, (change, world) in enumerate(zip(changes, self.recording.worlds, strict=True)):
            if is_chosen(moment):
                self.moments += 1
                for fault, files in disk.images(f"moment {moment}"):
                    yield moment, world, fault, files
            if change is not None:
                disk.apply(change)

    def _look(self, files: Files, world: World, *, is_power: bool) -> str:
        """What is wrong with one image; "" if nothing is."""
        place = self.folder / str(next(self._numbers))
        for name, content in (*files.items(), *world.beside):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        try:
            store = SqliteStore(place / NAME, durability="process")
        except SmfError as error:
            return _unreadable(error)
        try:
            return self._compare(store, world, is_power=is_power) or self._go_on(store, world)
        except SmfError as error:
            return _unreadable(error)
        finally:
            store.close()
            for path in sorted(place.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            place.rmdir()

    def _compare(self, store: SqliteStore, world: World, *, is_power: bool) -> str:
        """Whether the store holds what was acknowledged, or that and the whole of the write under way."""
        states, acknowledged = self.recording.states, world.acknowledged
        found, oldest = contents(store), acknowledged
        while is_power and oldest in self.recording.passing:
            oldest -= 1
        if found in states[oldest : acknowledged + 2]:
            return ""
        if found in states[:acknowledged]:
            return f"lost: {acknowledged - states.index(found)} acknowledged writes"
        return "half: a state that never was"

    def _go_on(self, store: SqliteStore, world: World) -> str:
        """Whether the run goes on to the end it would have had; once for each state and world."""
        key = (contents(store), attrs.evolve(world, acknowledged=0))
        if key in self._gone_on:
            return ""
        self._gone_on.add(key)
        self.resumed += 1
        scene = world.scene()
        scene.clock.advance(3600)  # nobody comes at once
        books = Books(store, scene)
        books.check()
        ended = asyncio.run(live(CrashStore(store), self.reference, scene))
        books.check()
        books.check_end()
        if ended != self.recording.outcome:
            return f"differs: {ended}"
        if not self.reference.free and books.changes() != self.recording.journal:
            return "differs: it took another way"
        return ""


def _digest(files: Files) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        digest.update(name.encode() + len(files[name]).to_bytes(8, "big"))
        digest.update(files[name])
    return digest.digest()
