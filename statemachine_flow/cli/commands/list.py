"""`smf list`: runs, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from statemachine_flow.cli.describe import row_data, shown_state
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import columns, error_line, sanitize, say, to_json, write
from statemachine_flow.cli.stores import DEFAULT_STORE, reading_store
from statemachine_flow.cli.times import ago, from_micros, local_now, parse_since
from statemachine_flow.lifecycle import RunState
from statemachine_flow.stores.base import RunFilter, RunRow

#: What a list leaves out unless it is asked for: nobody has to do anything about these.
_HIDDEN = (RunState.COMPLETED, RunState.CANCELLED)
_HEADER = ("ID", "WORKFLOW", "STATE", "PROGRESS", "UPDATED", "MESSAGE")
_MESSAGE_LENGTH = 80


@click.command("list", epilog=examples("smf list", "smf list --all --since yesterday --state failed --json"))
@click.option("--all", "everything", is_flag=True, help="Show completed and cancelled runs as well.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RunState]),
    metavar="STATE",
    help="Only runs in it; repeatable.",
)
@click.option("--workflow", metavar="NAME", type=TEXT, help="Only runs of this workflow.")
@click.option(
    "--since", metavar="WHEN", type=TEXT, help="Only runs created since: 2h, 1d, today, yesterday or an ISO time."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@db_option
@common_options
def command(
    *,
    everything: bool,
    states: tuple[str, ...],
    workflow: str | None,
    since: str | None,
    limit: int,
    db: str | None,
    as_json: bool,
) -> int:
    """List runs, newest first.

    Completed and cancelled runs are left out unless --all or --state asks for them. Runs whose row is damaged are
    always shown, and make the exit code 6.
    """
    wanted = states or (() if everything else tuple(state.value for state in RunState if state not in _HIDDEN))
    which = RunFilter(
        states=wanted,
        workflow=workflow,
        since=None if since is None else parse_since(since, local_now()),
        limit=limit,
    )
    rows = _read(db, which)
    if as_json:
        write(to_json({"runs": [row_data(row) for row in rows]}))
    elif rows:
        write(_table(rows))
    else:
        say("No runs.")
    damaged = [row for row in rows if row.damage]
    if damaged and not as_json:
        for row in damaged:
            say(error_line("store.corrupt", f"run {row.id}: {row.damage}", "`smf verify` says more"))
    return Exit.STORE if damaged else Exit.OK


def _read(db: str | None, which: RunFilter) -> Sequence[RunRow]:
    if db is None and not Path(DEFAULT_STORE).exists():
        return []  # nothing was ever run here, which is no error
    store = reading_store(db)
    try:
        return store.rows(which)
    finally:
        store.close()


def _table(rows: Sequence[RunRow]) -> str:
    now = local_now()
    return columns(_HEADER, [_cells(row, (now - from_micros(row.updated_at)).total_seconds()) for row in rows], state=2)


def _cells(row: RunRow, seconds: float) -> list[str]:
    if row.damage:
        return [row.id, "?", "damaged", "?", "?", sanitize(row.damage, _MESSAGE_LENGTH)]
    message = sanitize(row.message, _MESSAGE_LENGTH)
    state = shown_state(row.state, row.owner)
    return [row.id, row.workflow, state, f"{row.steps_done}/{row.steps_total}", ago(seconds), message]
