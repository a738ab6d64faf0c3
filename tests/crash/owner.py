"""One process that owns runs, started as a script; each line it prints says what became of one.

usage: owner.py hold STORE LEASE COUNT GATE     start runs whose bodies wait until the file GATE is there; a line of
                                                stdin ends it
       owner.py block STORE LEASE GATE         the same for one run, whose body holds up the loop of its engine
       owner.py race STORE SEED COUNT EFFECTS   try to resume the runs, in a random order; bodies append to EFFECTS
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import ConflictError
from statemachine_flow.stores.sqlite import SqliteStore

DOCUMENT = 'dsl = "1"\nname = "owned"\nsteps.a.call = "BODY"\n'
#: Bodies of runs, by turns: a coroutine, and a function in a thread.
BODIES = ("coroutine", "thread")


def run_ids(count: str) -> list[str]:
    """The runs that everybody means."""
    return [f"run-{number}" for number in range(int(count))]


def body_of(run_id: str) -> str:
    """The body of a run's only step."""
    return BODIES[int(run_id.removeprefix("run-")) % 2]


def say(*words: str) -> None:
    """One line, out at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def hold(path: str, lease: str, count: str, gate: str) -> None:
    begun, all_begun = itertools.count(1), int(count)

    def begin() -> None:
        if next(begun) == all_begun:
            say("begun")

    async def coroutine() -> str:
        begin()
        while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it, on this very disk
            await asyncio.sleep(0.01)
        return "of the first owner"

    def thread() -> str:
        begin()
        while not Path(gate).exists():
            time.sleep(0.01)
        return "of the first owner"

    async def own(engine: AsyncEngine, run_id: str) -> None:
        try:
            run = await engine.run(DOCUMENT.replace("BODY", body_of(run_id)), run_id=run_id)
            say(run_id, run.state)
        except ConflictError as error:
            say(run_id, error.kind)

    async with AsyncEngine(
        SqliteStore(path, durability="process"),
        functions={"coroutine": coroutine, "thread": thread},
        lease=float(lease),
    ) as engine:
        await asyncio.gather(*(own(engine, run_id) for run_id in run_ids(count)))
        await asyncio.to_thread(sys.stdin.readline)


async def block(path: str, lease: str, gate: str) -> None:
    def body() -> str:
        say("begun")
        while not Path(gate).exists():
            time.sleep(0.01)
        return "of the first owner"

    document = DOCUMENT.replace("BODY", BODIES[0]) + 'steps.a.isolation = "inline"\n'
    async with AsyncEngine(
        SqliteStore(path, durability="process"), functions={BODIES[0]: body}, lease=float(lease)
    ) as engine:
        run = await engine.run(document, run_id="run-0")
        say("run-0", run.state)


async def race(path: str, seed: str, count: str, effects: str) -> None:
    async def body() -> int:
        descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"x")
        os.close(descriptor)
        return os.getpid()

    ids = run_ids(count)
    random.Random(seed).shuffle(ids)
    functions = dict.fromkeys(BODIES, body)
    async with AsyncEngine(SqliteStore(path, durability="process"), functions=functions) as engine:
        say("ready")
        sys.stdin.readline()
        for run_id in ids:
            try:
                say(run_id, "won" if (await engine.resume(run_id)).state == "completed" else "?")
            except ConflictError as error:
                say(run_id, error.kind)


if __name__ == "__main__":
    modes: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"hold": hold, "block": block, "race": race}
    asyncio.run(modes[sys.argv[1]](*sys.argv[2:]))
