"""One process of a reference workflow, started as a script: it prints what became of the run, unless it dies first.

usage: child.py STORE SCENARIO WRITE before|after BODY EFFECTS

It dies by SIGKILL before or after its WRITE-th write (0: never), or in the body of the step BODY ("-": in none).
Each body that begins appends `step attempt` to EFFECTS.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
import time
from pathlib import Path

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing.crash import CrashStore
from tests.crash.books import outcome
from tests.crash.scenarios import SCENARIOS
from tests.crash.scene import Scene, place_of


def die() -> None:
    """End at once, with nothing flushed and nothing closed."""
    os.kill(os.getpid(), signal.SIGKILL)


def begin(dying: str, effects: str, context: StepContext) -> None:
    """The one side effect of a body, and perhaps its end."""
    with Path(effects).open("a", encoding="utf-8") as file:
        file.write(f"{place_of(context)} {context.attempt}\n")
    if dying == place_of(context) and context.attempt == 1:
        die()


async def main(*words: str) -> None:
    path, scenario, write, when, body, effects = words
    store = CrashStore(SqliteStore(path), int(write), "before" if when == "before" else "after", die)
    scene = Scene(functools.partial(begin, body, effects))
    scene.clock.advance(time.monotonic() * 1e5)  # each process comes hours after the one before
    async with AsyncEngine(store, clock=scene.clock, grace=0.05, poison_after=None) as engine:
        run = await SCENARIOS[scenario](engine, scene)
        sys.stdout.write(json.dumps([outcome(run), store.writes]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
