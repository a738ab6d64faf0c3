"""Clients that do what comes to their mind to the runs of one store, each a process of its own, and write it down."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError
from statemachine_flow.stores.sqlite import SqliteStore

#: So many calls a client has under way at most.
_MOST: Final = 3
#: For how long a client waits for one of them before it makes another, in seconds.
_PATIENCE: Final = 0.1
_OPERATIONS: Final = {
    "start": 5,
    "resume": 5,
    "pause": 4,
    "cancel": 1,
    "retry": 4,
    "signal": 4,
    "wait": 3,
    "get": 4,
    "recover": 2,
}


def workflow_of(run_id: str) -> Workflow:
    """What a run with that id carries out: every other one waits for a signal."""
    workflow = Workflow("asked")
    workflow.call("a", "work")
    workflow.call("b", "work", needs=["a"])
    if int(run_id[1:]) % 2:
        workflow.wait("ear", event="go", needs=["a"])
    workflow.call("c", "work", needs=["b", "ear"] if int(run_id[1:]) % 2 else ["b"])
    return workflow


class Client:
    """One process.

    Args:
        name: differs from that of every other.
        store: the file.
        tell: a pipe on which it says that it was told something.
        runs: how many runs there are.
    """

    def __init__(self, name: str, store: Path, tell: int, runs: int) -> None:
        self._name = name
        self._store = store
        log = store.with_name(f"{name}.log")  # its own, for the last line may be cut off
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._tell = tell
        self._rng = random.Random(name)
        self._runs = [f"r{number}" for number in range(runs)]
        self._calls = 0

    async def live(self) -> None:
        """Call and call until it is killed, or nobody is left to do that."""
        parent = os.getppid()
        store = SqliteStore(self._store, durability="process")
        async with AsyncEngine(store, functions={"work": self._work}) as engine:
            under_way: set[asyncio.Task[None]] = set()
            while os.getppid() == parent:
                under_way.add(asyncio.ensure_future(self._call(engine)))
                if len(under_way) >= _MOST:
                    done, under_way = await asyncio.wait(
                        under_way, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()

    async def _work(self) -> str:
        await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.002, 0.02)))
        if self._rng.random() < 0.1:
            raise ValueError("by chance")
        return "done"

    async def _call(self, engine: AsyncEngine) -> None:
        operation = self._rng.choices(list(_OPERATIONS), list(_OPERATIONS.values()))[0]
        run_id = self._rng.choice(self._runs) if operation != "recover" else ""
        self._calls += 1
        number, word = f"{self._name}.{self._calls}", f"{self._name}.{self._calls}" if operation == "signal" else ""
        asked: dict[str, Any] = {"operation": operation, "run_id": run_id, "word": word}
        self._write({"call": number, **asked, "begun": time.monotonic()})
        answer, said, text = "ok", "", ""
        try:
            run = await self._do(engine, operation, run_id, word)
            said = str(getattr(run, "state", ""))
        except SmfError as error:
            # Whether a store that was busy kept it is not known.
            answer, said = ("unknown" if error.kind.startswith("store.") else "fail"), error.kind
            text = str(error)
        self._write({"call": number, "ended": time.monotonic(), "answer": answer, "said": said, "text": text})
        os.write(self._tell, b"\n")

    async def _do(self, engine: AsyncEngine, operation: str, run_id: str, word: str) -> Any:
        simple: dict[str, Callable[[], Awaitable[Any]]] = {
            "start": lambda: engine.start(workflow_of(run_id), run_id=run_id),
            "pause": lambda: engine.pause(run_id, interrupt=self._rng.random() < 0.5, timeout=1.0),
            "cancel": lambda: engine.cancel(run_id, timeout=1.0),
            "signal": lambda: engine.signal(run_id, "go", word),
            "recover": engine.recover,
        }
        if operation in simple:
            return await simple[operation]()
        return await getattr(engine, operation)(run_id)

    def _write(self, entry: dict[str, Any]) -> None:
        os.write(self._log, (json.dumps(entry) + "\n").encode())


def begin(name: str, store: Path, runs: int) -> tuple[int, int]:
    """A client in a process of its own; its id, and a pipe on which it says each time that it was told something."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        asyncio.run(Client(name, store, writing, runs).live())
    finally:
        os._exit(1)  # it never ends by itself
