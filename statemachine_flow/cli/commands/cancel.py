"""`smf cancel`: end a run, wherever it is worked on."""

from __future__ import annotations

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import DURATION, TEXT, common_options, db_option, examples, run_argument
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import working_engine


@click.command("cancel", epilog=examples("smf cancel @last --reason 'wrong branch'"))
@run_argument
@click.option("--reason", metavar="TEXT", default="", type=TEXT, help="Why, for the journal.")
@click.option(
    "--timeout",
    metavar="DURATION",
    type=DURATION,
    default="15s",
    show_default=True,
    help="How long to wait for the process that works on the run.",
)
@db_option
@common_options
def command(*, run: str, reason: str, timeout: float, db: str | None, as_json: bool) -> int:
    """End a run, wherever it is worked on.

    RUN is an id, the beginning of one, or @last. If another process works on the run it is asked to end it; if that
    takes longer than --timeout the exit code is 5, and the run will be cancelled all the same.
    """
    with working_engine(db) as engine:
        before = engine.get(engine.find(run))
        after = engine.cancel(before.id, reason=reason, by=actor(), timeout=timeout)
    already = before.state == "cancelled"
    pending = not after.at_rest
    if as_json:
        write(to_json({"run": after.id, "state": after.state, "already": already, "pending": pending}))
    elif pending:
        owner = f"process {after.owner.pid} on {after.owner.host}" if after.owner is not None else "its owner"
        say(f"run {sanitize(after.id)} is {after.state}: {sanitize(owner)} was asked to end it and will do so")
    else:
        say(f"run {sanitize(after.id)} is {'already ' if already else ''}{after.state}")
    return Exit.CONFLICT if pending else Exit.OK
