"""`smf quarantine`: set a run aside for good."""

from __future__ import annotations

import click

from statemachine_flow.cli.control import Asked, let_go, tell_change, wait_options
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples, run_argument
from statemachine_flow.cli.stores import working_engine


@click.command("quarantine", epilog=examples("smf quarantine @last --reason 'its data are wrong'"))
@run_argument
@click.option("--reason", metavar="TEXT", required=True, type=TEXT, help="Why, for whoever finds it.")
@wait_options
@db_option
@common_options
def command(*, run: str, reason: str, asked: Asked, db: str | None, as_json: bool) -> int:
    """Set a run aside for good; `fork` makes a new run of it.

    RUN is an id, the beginning of one, or @last. What is under way is stopped. If another process works on the run
    it is asked to do that; if it takes longer than --timeout the exit code is 5, and it will be done all the same.
    """
    with working_engine(db) as engine:
        before = engine.get(engine.find(run))
        after = engine.quarantine(before.id, reason=reason, **asked.options(before))
        after = let_go(engine, after)
    return tell_change(before, after, "quarantined", asked, db, as_json=as_json)
