"""`smf fork`: a new run that begins where another one was."""

from __future__ import annotations

import click

from statemachine_flow.cli.copying import Given, copying_options, make
from statemachine_flow.cli.inputs import read_edits
from statemachine_flow.cli.options import TEXT, examples, run_argument


@click.command(
    "fork", epilog=examples("smf fork @last --at 12", "smf fork @last --at 12 --set steps.fetch.output.price=7")
)
@run_argument
@click.option(
    "--at",
    metavar="SEQ",
    type=click.IntRange(1, 2**62),
    help="The record behind which it begins, as in `smf events`; by default the last one from which a run can go on.",
)
@click.option(
    "--set",
    "pairs",
    metavar="PATH=VALUE",
    multiple=True,
    type=TEXT,
    help="Change inputs.NAME, steps.STEP.output or steps.STEP.outputs.NAME, or a part of it; repeatable.",
)
@copying_options
def command(*, run: str, at: int | None, pairs: tuple[str, ...], given: Given) -> int:
    """Begin a new run where another one was.

    RUN is an id, the beginning of one, or @last; it stays as it is. A VALUE is text for an input that is a string or a
    path; else it is JSON, or text if it is none.
    """
    return make(
        given,
        lambda engine, options: engine.fork(
            source := engine.find(run), at=at, set=read_edits(engine.get(source).declared_inputs, pairs), **options
        ),
    )
