"""Taking over the runs of owners that are gone: all of a store, or one whose owner has to be watched first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from statemachine_flow.engine import entry
from statemachine_flow.engine.hold import hold
from statemachine_flow.engine.ownership import let_go
from statemachine_flow.errors import ConflictError, SmfError, StoreError, UsageError
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.stores.base import Owner, RunFilter, RunRow

if TYPE_CHECKING:
    from statemachine_flow.engine.core import Core, Listener

#: How often an owner that is watched is looked at, in seconds.
_POLL_SECONDS: Final = 0.1
#: More runs than any store has.
_ALL: Final = 2**62


@attrs.frozen
class Recovery:
    """What came of taking over the runs whose owners were gone."""

    #: Ids of the runs that were taken over: they go on in this engine.
    taken: Sequence[str]
    #: Id -> why a run was left as it is, such as a damaged journal.
    refused: Mapping[str, SmfError]


class _Doubt:
    """An owner of another host of which nothing was heard lately: it is watched for the length of its lease at most."""

    def __init__(self, core: Core, owner: Owner) -> None:
        self._core = core
        self._owner = owner
        self._end = core.clock.monotonic() + owner.lease
        self._first = core.store.last_beat(owner.nonce)

    @property
    def is_over(self) -> bool:
        """Whether it is known if the owner is gone."""
        core, owner = self._core, self._owner
        observer = core.ownership.observer
        if not observer.is_doubtful(owner) or observer.is_gone(owner):
            return True
        return core.store.last_beat(owner.nonce) != self._first or core.clock.monotonic() > self._end


async def until_known(core: Core, owner: Owner) -> None:
    """Wait until it is known whether an owner of another host is gone: for the length of its lease at most."""
    doubt = _Doubt(core, owner)
    while not doubt.is_over:  # noqa: ASYNC110 - the sign comes from another process
        await asyncio.sleep(_POLL_SECONDS)


async def recover(core: Core, by: str | None, listener: Listener | None) -> Recovery:
    """Take over every run whose owner is gone, and each that was left while it was being cancelled.

    Those of owners that live are left alone, and so are those that nobody owns and that wait for people or a resume.

    What is known to be left is taken at once, whoever else has to be watched; and while somebody is watched all owners
    are looked at, so that of one that dies meanwhile it is known since when it has been silent.

    Args:
        core: the engine.
        by: who asks, for the journal.
        listener: told each new record of the runs.
    """
    taken: list[str] = []
    refused: dict[str, SmfError] = {}
    owners = dict.fromkeys(row.owner for row in _of_others(core) if row.owner is not None)
    doubts = [_Doubt(core, owner) for owner in owners]
    while True:
        core.require_open()
        # Asked before the runs are looked at: who is found to be gone here loses them in this very round.
        is_known = all([doubt.is_over for doubt in doubts])  # noqa: C419 - each of them is to look
        for row in _of_others(core):
            is_left = row.owner is None or core.ownership.is_left(row)
            if row.damage:
                refused[row.id] = StoreError(row.damage, kind="store.corrupt", run=row.id)
            elif is_left and row.id not in core.workers and row.id not in refused and row.id not in taken:
                await _take(core, row, by, listener, taken, refused)
        if is_known:
            return Recovery(taken, refused)
        await asyncio.sleep(_POLL_SECONDS)


async def _take(  # noqa: PLR0917 - what is taken for whom, and what came of it
    core: Core, row: RunRow, by: str | None, listener: Listener | None, taken: list[str], refused: dict[str, SmfError]
) -> None:
    try:
        above = _above(core, row)
        if above is not None and above.owner is not None:
            return  # whoever works on that follows it
        worker = await hold(core, row.id, listener=listener)
        if above is not None:
            let_go(worker)  # it is interrupted, and goes on once somebody takes up the run above it
            return
        if worker.fold.state != RunState.PAUSED:
            await entry.go_on(core, worker, by)
    except ConflictError as error:
        if error.kind not in ("run.owned", "run.fenced"):  # somebody else was faster
            refused[row.id] = error
    except UsageError:  # the engine is closing, which says nothing about the run
        raise
    except SmfError as error:
        refused[row.id] = error
    else:
        taken.append(row.id)


def _above(core: Core, row: RunRow) -> RunRow | None:
    """The run that started this one and may wait for it; none for a child run that goes on after that came to rest."""
    # Every child run has a dot in its id; most others have none, and need not be read for this.
    parent = core.load(row)[1].created.parent if "." in row.id else None
    above = None if parent is None else core.row(parent[0])
    return None if above is None or above.state in RUN_AT_REST else above


def _of_others(core: Core) -> list[RunRow]:
    """The runs that others own, and those that nobody does though their end is owed; the oldest first."""
    owned = core.store.rows(RunFilter(owned=True, limit=_ALL))
    ending = core.store.rows(RunFilter(states=(RunState.CANCELLING,), limit=_ALL))
    rows = [row for row in owned if row.owner != core.owner] + [row for row in ending if row.owner is None]
    return sorted(rows, key=lambda row: row.created_at)
