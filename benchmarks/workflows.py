"""The workflows and bodies that the benchmarks run."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from statemachine_flow import AsyncEngine, Workflow
from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.stores.base import NewRun, Store, Write
from statemachine_flow.stores.sqlite import SqliteStore

#: What every step returns: about 200 bytes once encoded.
RESULT: dict[str, Any] = {
    "step": 1,
    "status": "ok",
    "score": 0.5,
    "tags": ["alpha", "beta"],
    "ref": "item-00000001",
    "note": "n" * 96,
}


async def body() -> dict[str, Any]:
    """Do nothing but return the result."""
    return RESULT


def _step(step_id: str, *needs: str) -> Step:
    return Step(id=step_id, verb=Call(call="body"), needs=needs)


def chain(length: int) -> Definition:
    """Steps one after the other."""
    return Definition(name="chain", steps=tuple(_step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(length)))


def fan_out(width: int) -> Definition:
    """One step, then `width` at once, then one that needs them all."""
    middle = [f"s{i}" for i in range(width)]
    steps = (_step("first"), *(_step(step, "first") for step in middle), _step("last", *middle))
    return Definition(name="fan-out", steps=steps)


def dense(size: int, edges: int) -> Definition:
    """A random acyclic graph with that many steps and edges, always the same."""
    rng = random.Random(size * 1_000_003 + edges)
    needs: list[set[int]] = [set() for _ in range(size)]
    while sum(map(len, needs)) < edges:
        for _ in range(edges - sum(map(len, needs))):
            low, high = sorted(rng.sample(range(size), 2))
            needs[high].add(low)
    return Definition(
        name="dense", steps=tuple(_step(f"s{i}", *(f"s{need}" for need in sorted(needs[i]))) for i in range(size))
    )


class CountingStore:
    """A SQLite store that counts what it is asked to keep."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore(path)
        self.commits = 0

    def commit(self, batch: list[NewRun | Write]) -> list[str]:
        """Count, and pass on."""
        self.commits += 1
        return self._store.commit(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def seconds_of_run(definition: Definition, store: Path) -> float:
    """Seconds from the start of a run to its end, in an engine that is open and has run something before."""

    async def go() -> float:
        async with AsyncEngine(store, functions={"body": body}) as engine:
            await engine.run(Workflow.of(chain(3)))
            begin = time.perf_counter()
            await engine.run(Workflow.of(definition))
            return time.perf_counter() - begin

    return asyncio.run(go())


def run(definition: Definition, store: str | Path | Store) -> None:
    """Run a workflow to its end in a fresh engine."""

    async def go() -> None:
        async with AsyncEngine(store, functions={"body": body}) as engine:
            finished = await engine.run(Workflow.of(definition))
        if not finished.ok:
            raise SystemExit(f"the benchmark's run ended {finished.state}: {finished.error}")

    asyncio.run(go())
