"""`smf pause`: let a run come to rest, wherever it is worked on."""

from __future__ import annotations

import click

from statemachine_flow.cli.control import Asked, let_go, tell_change, wait_options
from statemachine_flow.cli.options import common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.output import sanitize, say
from statemachine_flow.cli.stores import command_line, working_engine


@click.command("pause", epilog=examples("smf pause @last --reason 'waiting for the release'"))
@run_argument
@click.option("--interrupt", is_flag=True, help="Stop the steps under way instead of letting them finish.")
@reason_option
@wait_options
@db_option
@common_options
def command(*, run: str, interrupt: bool, reason: str, asked: Asked, db: str | None, as_json: bool) -> int:
    """Let a run come to rest; `resume` goes on with it.

    RUN is an id, the beginning of one, or @last. If another process works on the run it is asked to pause it; if that
    takes longer than --timeout the exit code is 5, and the run will be paused all the same.
    """
    with working_engine(db) as engine:
        before = engine.get(engine.find(run))
        after = engine.pause(before.id, interrupt=interrupt, reason=reason, **asked.options(before))
        after = let_go(engine, after)
    code = tell_change(before, after, "paused", asked, db, as_json=as_json)
    if not as_json:
        say(f"go on with: {sanitize(command_line('resume', after.id, db))}")
    return code
