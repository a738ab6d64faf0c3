"""The hosts of a simulation: an engine each, the store as it has it, and the bodies of its steps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.owner import _live, new_owner, retire
from statemachine_flow.errors import StoreError
from statemachine_flow.steps.base import StepContext
from statemachine_flow.stores.base import Beat, BlobSpill, NewRun, Owner, Seen, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore
from tests.crash.hosts import Disk, HostLoop, Machine, Time
from tests.crash.referee import Referee

#: What hosts know of each other: nothing, one monotonic clock (containers), or also whose process is dead.
Neighbours = Literal["hosts", "containers", "processes"]

#: How long bodies take, in seconds.
_SECONDS: Final = (0.0, 0.01, 0.3, 2.0, 3.9, 6.0, 9.0)


class Stage(Time):
    """What all hosts share.

    Args:
        seed: all that happens follows from it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(random.Random(seed))
        self.seed = seed
        self.inner = MemoryStore()
        self.referee = Referee(self)
        self.neighbours: Neighbours = self.rng.choice(("hosts", "hosts", "containers", "processes"))
        self.lease: float = self.rng.choice((3.0, 6.0, 30.0))
        #: Whether anything goes wrong.
        self.is_rough = True
        #: Loops of processes that died.
        self.graves: list[HostLoop] = []


class HostStore(CrashStore):
    """The store as one engine has it: it may fail for a while, and is gone with the engine's death."""

    def __init__(self, inner: MemoryStore, host: Host, owner: Owner) -> None:
        super().__init__(inner)
        self._host = host
        self._referee = host.world.referee
        self._nonce = owner.nonce

    def _writable(self) -> None:
        self.alive()
        if self._host.world.now < self._host.faulty_until:
            raise StoreError("simulated", kind=self._host.fault)

    def claim(self, run_id: str, epoch: int, owner: Owner) -> bool:
        self._writable()
        before = self.inner.row(run_id)
        is_done = self.inner.claim(run_id, epoch, owner)
        if is_done and before is not None:
            self._referee.claimed(before, owner)
        return is_done

    def release(self, run_id: str, epoch: int) -> None:
        self._writable()
        self.inner.release(run_id, epoch)

    def beat(self, beat: Beat, runs: Mapping[str, int]) -> list[str]:
        self._writable()
        self._referee.beat(beat.nonce)
        return self.inner.beat(beat, runs)

    def reject(self, write: Write, owner: Owner, at: int) -> None:
        self._writable()
        self.inner.reject(write, owner, at)

    def commit(self, batch: Sequence[NewRun | Write]) -> list[str]:
        self._writable()
        refused = self.inner.commit(batch)
        self._referee.committed(self._nonce, batch, refused)
        return refused

    def open_blob(self) -> BlobSpill:
        self._writable()
        return self.inner.open_blob()

    def request(  # noqa: PLR0917 - as in the contract
        self, run_id: str, action: str, by: str, reason: str, at: int, data: bytes = b"", *, seen: Seen | None = None
    ) -> int:
        self._writable()
        kept = self.inner.request(run_id, action, by, reason, at, data, seen=seen)
        if kept and action != "signal" and self._host.world.rng.random() < 0.2:  # twice, as after a lost answer
            return self.inner.request(run_id, action, by, reason, at, data)
        return kept


class Host(Machine):
    """A machine with an engine on it, when it is not dead."""

    world: Stage

    def __init__(self, world: Stage, number: int) -> None:
        offset = 1000.0 if world.neighbours != "hosts" else world.rng.uniform(0, 1e6)
        super().__init__(world, f"h{number}", offset)
        self.faulty_until = 0.0
        self.fault = "store.busy"
        #: When it last was not well: dead, frozen or without a store.
        self.ill = -1.0
        self.engine: AsyncEngine | None = None
        self.store: HostStore
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """A new process, with an engine."""
        self.boots += 1
        self.ill = self.world.now
        self.loop = HostLoop(self)  # type: ignore[abstract]  # it has what the engine uses
        owner = self._owner()
        self.store = HostStore(self.world.inner, self, owner)
        world = self.world
        functions = {"work": self.work}
        with self.loop.running():
            self.engine = AsyncEngine(
                self.store, functions=functions, clock=self, rng=world.rng, grace=1.0, lease=world.lease
            )
        core = self.engine._core
        core.owner = core.ownership.me = core.ownership._heart._owner = owner
        core.threads = core._committer._threads = Disk(world.rng)  # type: ignore[assignment]  # all that is used of it
        world.referee.made(owner, f"{self.name}.{self.boots}")

    def _owner(self) -> Owner:
        """A name by which others know no more of this host than they would."""
        made = new_owner(self.monotonic(), self.world.lease)
        retire(made)  # under a name that is the same each time the seed is played
        owner = msgspec.structs.replace(made, nonce=f"{self.name}.{self.boots}.{self.world.seed}")
        if self.world.neighbours == "containers":
            return msgspec.structs.replace(owner, namespace=f"pid:[{self.name}]")
        if self.world.neighbours == "hosts":
            return msgspec.structs.replace(owner, host=self.name, boot=f"boot {self.boots}")
        _live.add(owner.nonce)
        return owner

    @property
    def is_up(self) -> bool:
        return self.engine is not None

    @property
    def nonce(self) -> str:
        assert self.engine is not None
        return self.engine._core.owner.nonce

    def crash(self) -> str:
        """Not one more byte of it reaches the store."""
        nonce = self.nonce
        assert self.engine is not None
        retire(self.engine._core.owner)
        self.world.referee.lives[nonce].is_over = True
        self.store.dead = True
        self.loop.die()
        self.world.graves.append(self.loop)
        self.engine = None
        self.ill = self.world.now
        return nonce

    async def work(self, context: StepContext) -> str:
        """What steps do: it takes some time, it may fail, and it does not always stop when it is asked to."""
        rng = self.world.rng
        self.world.referee.begins(context)
        seconds = rng.choice(_SECONDS)
        try:
            if seconds:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if rng.random() < 0.6:
                raise
            await asyncio.sleep(rng.choice((0.0, 0.5, 5.0)))  # and what it gives then comes late
        if self.world.is_rough and rng.random() < 0.2:
            raise RuntimeError("by chance")
        return f"work {context.attempt} {context.epoch}"
