"""`smf cancel`: end a run, wherever it is worked on."""

from __future__ import annotations

import click

from statemachine_flow.cli.control import Asked, control_options, tell_change
from statemachine_flow.cli.options import common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.stores import working_engine


@click.command("cancel", epilog=examples("smf cancel @last --reason 'wrong branch'"))
@run_argument
@reason_option
@control_options
@db_option
@common_options
def command(*, run: str, reason: str, asked: Asked, db: str | None, as_json: bool) -> int:
    """End a run, wherever it is worked on.

    RUN is an id, the beginning of one, or @last. If another process works on the run it is asked to end it; if that
    takes longer than --timeout the exit code is 5, and the run will be cancelled all the same.
    """
    with working_engine(db) as engine:
        before = engine.get(engine.find(run))
        after = engine.cancel(before.id, reason=reason, **asked.options())
    return tell_change(before, after, "cancelled", asked, as_json=as_json)
