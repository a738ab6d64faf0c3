"""`smf rerun`: a new run that keeps what another one did up to a step."""

from __future__ import annotations

import click

from statemachine_flow.cli.copying import Given, copying_options, make
from statemachine_flow.cli.options import TEXT, examples, run_argument


@click.command("rerun", epilog=examples("smf rerun @last --from report", "smf rerun @last --from 'review[a.py]'"))
@run_argument
@click.option("--from", "from_", metavar="STEP", type=TEXT, required=True, help="The first step that is done anew.")
@copying_options
def command(*, run: str, from_: str, given: Given) -> int:
    """Begin a new run that does one step and all after it anew.

    RUN is an id, the beginning of one, or @last; it stays as it is. What does not come after the step is kept, but for
    what failed or was cancelled.
    """
    return make(given, lambda engine, options: engine.rerun(engine.find(run), from_=from_, **options))
