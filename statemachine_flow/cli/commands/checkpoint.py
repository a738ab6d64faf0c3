"""`smf checkpoint`: mark the point that a run has come to."""

from __future__ import annotations

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.commands.checkpoints import checkpoint_data
from statemachine_flow.cli.options import (
    DURATION,
    TEXT,
    by_option,
    common_options,
    db_option,
    examples,
    reason_option,
    run_argument,
)
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import working_engine


@click.command("checkpoint", epilog=examples("smf checkpoint @last --label before-deploy"))
@run_argument
@click.option("--label", metavar="NAME", type=TEXT, required=True, help="Letters, digits, '.', '_' and '-'.")
@reason_option
@by_option
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
def command(
    *, run: str, label: str, reason: str, by: str | None, timeout: float, db: str | None, as_json: bool
) -> None:
    """Mark the point that a run has come to.

    RUN is an id, the beginning of one, or @last. `smf restore RUN@NAME` begins a new run there.
    """
    with working_engine(db) as engine:
        found = engine.checkpoint(engine.find(run), label, reason=reason, by=by or actor(), timeout=timeout)
    if as_json:
        write(to_json(checkpoint_data(found)))
    else:
        say(sanitize(f"{found.id} is marked {label}"))
