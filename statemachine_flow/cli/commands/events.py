"""`smf events`: a run's journal."""

from __future__ import annotations

import click

from statemachine_flow.cli.describe import event_data
from statemachine_flow.cli.options import common_options, db_option, examples, run_argument
from statemachine_flow.cli.output import sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.cli.times import date_and_time
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Event

_DETAIL_LENGTH = 120


@click.command("events", epilog=examples("smf events @last", "smf events @last --after 12 --json"))
@run_argument
@click.option("--after", metavar="N", type=click.IntRange(0, 2**62), default=0, help="Only records behind number N.")
@click.option("--rejected", is_flag=True, help="Instead, what came from processes that had lost the run by then.")
@db_option
@common_options
def command(*, run: str, after: int, rejected: bool, db: str | None, as_json: bool) -> None:
    """Show a run's journal.

    With --json as JSON Lines, one record each. RUN is an id, the beginning of one, or @last.
    """
    with Engine(reading_store(db)) as engine:
        found = engine.find(run)
        for event in engine.rejected(found) if rejected else engine.events(found, after=after):
            write(to_json(event_data(event)) if as_json else _line(event))


def _line(event: Event) -> str:
    details = " ".join(f"{name}={to_json(value)}" for name, value in event.data.items())
    parts = [f"{event.seq:>4}", date_and_time(event.at), f"{event.kind:<14}", event.step or "-", details]
    return sanitize("  ".join(parts).rstrip(), _DETAIL_LENGTH)
