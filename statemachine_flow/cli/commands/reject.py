"""`smf reject`: decide against an approval that a run waits for."""

from __future__ import annotations

import click

from statemachine_flow.cli.options import TEXT, common_options, db_option, examples, run_argument
from statemachine_flow.cli.outside import Answer, answer_options, decide


@click.command("reject", epilog=examples("smf reject @last merge --reason 'the tests are red'"))
@run_argument
@click.argument("step", metavar="STEP", type=TEXT)
@answer_options
@db_option
@common_options
def command(*, run: str, step: str, answer: Answer, db: str | None, as_json: bool) -> None:
    """Decide against an approval.

    RUN is an id, the beginning of one, or @last; STEP is the path of the approval. What a rejection does, the document
    says: the step fails or is skipped, or the run goes back to an earlier step.
    """
    decide(run, step, "reject", answer, db=db, as_json=as_json)
