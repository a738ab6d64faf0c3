"""What callers read of runs: lists, journals, and which run a name stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from statemachine_flow.engine.core import Core
from statemachine_flow.engine.view import Event, event_of, rejected_event
from statemachine_flow.errors import NotFoundError, UsageError
from statemachine_flow.journal import require_end, verified
from statemachine_flow.lifecycle import RunState
from statemachine_flow.stores.base import RunFilter, RunRow


def rows(  # noqa: PLR0917 - by what a list is narrowed
    core: Core, states: Iterable[str], workflow: str | None, since: int | None, limit: int, owned: bool
) -> Sequence[RunRow]:
    """Runs, newest first; see `AsyncEngine.list`."""
    if limit < 1:
        raise UsageError(f"a list of {limit} runs is none", hint="give a limit of 1 or more")
    wanted = tuple(states)
    for state in wanted:
        if state not in tuple(RunState):
            raise UsageError(f"there is no run state {state!r}", hint=f"states: {', '.join(RunState)}")
    which = RunFilter(states=wanted, workflow=workflow, since=since, limit=limit, owned=owned)
    return core.store.rows(which)


def events(core: Core, run_id: str, after: int) -> Sequence[Event]:
    """A run's journal; see `AsyncEngine.events`."""
    row = core.row(run_id)
    # The record before says what the first one has to follow.
    records = core.store.records(run_id, max(0, min(after, row.seq) - 1))
    require_end(run_id, records[-1].seq if records else 0, row.seq)
    before = records[0] if after > 0 and records else None
    following = records[1:] if before else records
    return [event_of(run_id, record) for record in verified(run_id, following, before) if record.seq > after]


def rejected(core: Core, run_id: str) -> Sequence[Event]:
    """What came too late for a run's journal; see `AsyncEngine.rejected`."""
    core.row(run_id)
    return [rejected_event(record) for record in core.store.rejected(run_id)]


def find(core: Core, name: str) -> str:
    """The id of the run that a name stands for; see `AsyncEngine.find`."""
    store = core.store
    if name != "@last" and store.row(name) is not None:
        return name
    found = store.match("" if name == "@last" else name, 1 if name == "@last" else 6) if name else []
    if not found:
        store.confirm_absent(name)
        raise NotFoundError(f"no run {name[:100]!r}", hint="`smf list --all` shows every run")
    if len(found) > 1:
        some = ", ".join(found[:5])
        raise UsageError(f"{name!r} is the beginning of several runs: {some}", kind="usage.ambiguous")
    run_id = found[0]
    while name == "@last" and "." in run_id:  # as in the id of every child run
        parent = core.load(core.row(run_id))[1].created.parent
        if parent is None:
            break
        run_id = parent[0]
    return run_id
