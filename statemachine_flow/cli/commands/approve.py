"""`smf approve`: decide an approval that a run waits for."""

from __future__ import annotations

import click

from statemachine_flow.cli.options import TEXT, common_options, db_option, examples, run_argument
from statemachine_flow.cli.outside import Answer, answer_options, decide


@click.command(
    "approve",
    epilog=examples("smf approve @last merge", "smf approve @last gate --choice edit --form 'feedback=too long'"),
)
@run_argument
@click.argument("step", metavar="STEP", type=TEXT)
@click.option("--choice", metavar="CHOICE", type=TEXT, default="approve", show_default=True, help="What is decided.")
@answer_options
@db_option
@common_options
def command(*, run: str, step: str, choice: str, answer: Answer, db: str | None, as_json: bool) -> None:
    """Decide an approval.

    RUN is an id, the beginning of one, or @last; STEP is the path of the approval, which `smf status` shows. A run
    that nobody works on takes the decision when it is resumed.
    """
    decide(run, step, choice, answer, db=db, as_json=as_json)
