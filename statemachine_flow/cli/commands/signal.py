"""`smf signal`: tell a run that something happened outside."""

from __future__ import annotations

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.options import TEXT, by_option, common_options, db_option, examples, run_argument
from statemachine_flow.cli.outside import read_json, tell
from statemachine_flow.cli.stores import working_engine


@click.command(
    "signal",
    epilog=examples("smf signal @last ci.done", "smf signal @last ci.done --key main --payload '{\"ok\": true}'"),
)
@run_argument
@click.argument("event", metavar="EVENT", type=TEXT)
@click.option("--key", metavar="KEY", type=TEXT, help="Tells signals of one name apart.")
@click.option("--payload", metavar="JSON", type=TEXT, help="What the signal carries; null by default.")
@by_option
@db_option
@common_options
def command(
    *, run: str, event: str, key: str | None, payload: str | None, by: str | None, db: str | None, as_json: bool
) -> None:
    """Tell a run that something happened.

    RUN is an id, the beginning of one, or @last. The signal is kept until a step takes it. A run that nobody works on
    takes it when it is resumed.
    """
    value = None if payload is None else read_json(payload, "--payload")
    with working_engine(db) as engine:
        found = engine.get(engine.find(run))
        engine.signal(found.id, event, value, key=key, by=by or actor())
        tell(engine, found, f"signal {event} is kept for run {found.id}", db, as_json=as_json)
