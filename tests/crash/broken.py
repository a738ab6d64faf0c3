"""Engines broken on purpose, in one place each, as the simulator has to find out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

from statemachine_flow.engine import recovery
from statemachine_flow.engine.lease import Observer
from statemachine_flow.engine.owner import is_alive, is_own
from statemachine_flow.engine.ownership import Ownership
from statemachine_flow.engine.rules import Rules
from statemachine_flow.engine.worker import Worker
from statemachine_flow.stores.base import NewRun, Owner, Write
from statemachine_flow.stores.memory import MemoryStore

Mutant = Callable[[pytest.MonkeyPatch], None]


def epoch_not_asked(patch: pytest.MonkeyPatch) -> None:
    """A write is kept whatever epoch it was made under."""

    def refuse(self: Any, item: NewRun | Write, sound: Any = MemoryStore._refuse) -> str:
        row = None if isinstance(item, NewRun) else self._rows.get(item.run_id)
        if row is not None:
            item = msgspec.structs.replace(item, epoch=row.epoch)
        return sound(self, item)  # type: ignore[no-any-return]  # the method

    patch.setattr(MemoryStore, "_refuse", refuse)


def lease_by_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """Who seems silent for a lease by the wall clocks of two hosts is taken for gone."""

    def is_gone(self: Any, owner: Owner, sound: Any = Observer.is_gone) -> bool:
        beat = self._store.last_beat(owner.nonce)
        if beat is None or not is_alive(owner) or is_own(owner):
            return sound(self, owner)  # type: ignore[no-any-return]  # the method
        return (self._clock.now() - beat.at) / 1e6 > owner.lease  # type: ignore[no-any-return]  # a float

    patch.setattr(Observer, "is_gone", is_gone)


def nothing_interrupted(patch: pytest.MonkeyPatch) -> None:
    """Who takes a run over leaves its attempts as they are."""

    def recover(rules: Rules, _reason: str, _now: int, **_limits: Any) -> None:
        rules.set_timers()
        recovery.follow_children(rules)

    patch.setattr(recovery, "recover", recover)


def late_result_kept(patch: pytest.MonkeyPatch) -> None:
    """What a lost owner wanted to keep is written once more, as if it had never lost the run."""

    def reject(self: Any, write: Write) -> None:
        row = self._store.row(write.run_id)
        self._store.commit([msgspec.structs.replace(write, epoch=row.epoch, seq=row.seq)])

    patch.setattr(Ownership, "reject", reject)


def body_before_its_start(patch: pytest.MonkeyPatch) -> None:
    """An attempt begins before the record of its start is durable."""

    def take(self: Any, sound: Any = Worker.take) -> NewRun | Write | None:
        write = sound(self)
        for decision in self._uncommitted:
            launches, decision.launches = decision.launches, []
            for launch in launches:
                self._attempts.launch(launch)
        return write  # type: ignore[no-any-return]  # the method

    patch.setattr(Worker, "take", take)


def never_gone(patch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for gone before he was silent for three leases."""
    sound = Observer.is_gone

    def is_gone(self: Any, owner: Owner) -> bool:
        return sound(self, msgspec.structs.replace(owner, lease=3 * owner.lease))

    patch.setattr(Observer, "is_gone", is_gone)


def forgotten_requests(patch: pytest.MonkeyPatch) -> None:
    """A request is never struck out, and is granted to every owner anew."""

    def commit(self: Any, batch: Sequence[NewRun | Write], sound: Any = MemoryStore.commit) -> list[str]:
        return sound(  # type: ignore[no-any-return]  # the method
            self,
            [item if isinstance(item, NewRun) else msgspec.structs.replace(item, answered=()) for item in batch],
        )

    patch.setattr(MemoryStore, "commit", commit)


MUTANTS: Final[Mapping[str, Mutant]] = {
    mutant.__name__: mutant
    for mutant in (
        epoch_not_asked,
        lease_by_wall_clock,
        nothing_interrupted,
        late_result_kept,
        body_before_its_start,
        never_gone,
        forgotten_requests,
    )
}
