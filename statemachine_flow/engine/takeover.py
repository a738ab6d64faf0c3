"""Taking over the runs of owners that are gone: all of a store, or one whose owner has to be watched first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from statemachine_flow.engine import entry
from statemachine_flow.engine.hold import hold
from statemachine_flow.errors import ConflictError, SmfError, StoreError
from statemachine_flow.lifecycle import RunState
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


async def until_known(core: Core, owner: Owner) -> None:
    """Wait until it is known whether an owner of another host is gone: for the length of its lease at most."""
    end = core.clock.monotonic() + owner.lease
    first = core.store.last_beat(owner.nonce)
    while core.ownership.observer.is_doubtful(owner) and not core.ownership.observer.is_gone(owner):
        await asyncio.sleep(_POLL_SECONDS)
        if core.store.last_beat(owner.nonce) != first or core.clock.monotonic() > end:
            return


async def recover(core: Core, by: str | None, listener: Listener | None) -> Recovery:
    """Take over every run whose owner is gone. Those of owners that live, and those nobody owns, are left alone.

    Args:
        core: the engine.
        by: who asks, for the journal.
        listener: told each new record of the runs.
    """
    taken: list[str] = []
    refused: dict[str, SmfError] = {}
    owners = {row.owner for row in _owned_by_others(core) if row.owner is not None}
    await asyncio.gather(*(until_known(core, owner) for owner in owners))
    for row in _owned_by_others(core):
        if row.damage:
            refused[row.id] = StoreError(row.damage, kind="store.corrupt", run=row.id)
            continue
        if row.id in core.workers or not core.ownership.is_left(row):
            continue
        try:
            if _is_child(core, row):
                continue
            worker = await hold(core, row.id, listener=listener)
            if worker.fold.state != RunState.PAUSED:
                await entry.go_on(core, worker, by)
        except ConflictError as error:
            if error.kind != "run.owned":  # somebody else was faster
                refused[row.id] = error
        except SmfError as error:
            refused[row.id] = error
        else:
            taken.append(row.id)
    return Recovery(taken, refused)


def _is_child(core: Core, row: RunRow) -> bool:
    """Whether another run started this one: whoever works on that follows it."""
    # Every child run has a dot in its id; most others have none, and need not be read for this.
    return "." in row.id and core.load(row)[1].created.parent is not None


def _owned_by_others(core: Core) -> list[RunRow]:
    rows = core.store.rows(RunFilter(owned=True, limit=_ALL))
    return [row for row in reversed(rows) if row.owner != core.owner]
