"""`smf pause`: let a run come to rest."""

from __future__ import annotations

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples, run_argument
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import command_line, working_engine


@click.command("pause", epilog=examples("smf pause @last --reason 'waiting for the release'"))
@run_argument
@click.option("--reason", metavar="TEXT", default="", type=TEXT, help="Why, for the journal.")
@db_option
@common_options
def command(*, run: str, reason: str, db: str | None, as_json: bool) -> None:
    """Let a run come to rest; `resume` goes on with it.

    RUN is an id, the beginning of one, or @last.
    """
    with working_engine(db) as engine:
        before = engine.get(engine.find(run))
        after = engine.pause(before.id, reason=reason, by=actor())
    already = before.state == after.state
    if as_json:
        write(to_json({"run": after.id, "state": after.state, "already": already}))
    else:
        say(f"run {sanitize(after.id)} is {'already ' if already else ''}{after.state}")
        say(f"go on with: {sanitize(command_line('resume', after.id, db))}")
