"""`smf resolve`: say what became of a step that was cut off and may not begin again by itself."""

from __future__ import annotations

from typing import Any, cast

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.options import (
    TEXT,
    by_option,
    common_options,
    db_option,
    examples,
    reason_option,
    run_argument,
)
from statemachine_flow.cli.outside import naming_steps, read_json, tell
from statemachine_flow.cli.stores import working_engine
from statemachine_flow.errors import UsageError


@click.command(
    "resolve",
    epilog=examples("smf resolve @last pay --as completed --output '{\"id\": 7}'", "smf resolve @last pay --as retry"),
)
@run_argument
@click.argument("step", metavar="STEP", type=TEXT)
@click.option(
    "--as",
    "as_",
    type=click.Choice(["completed", "failed", "retry"]),
    required=True,
    help="It took effect; it failed; or it took no effect and begins again.",
)
@click.option("--output", metavar="JSON", type=TEXT, help="With --as completed: the step's output.")
@reason_option
@by_option
@db_option
@common_options
def command(
    *, run: str, step: str, as_: str, output: str | None, reason: str, by: str | None, db: str | None, as_json: bool
) -> None:
    """Say what became of a step that was cut off.

    RUN is an id, the beginning of one, or @last. Steps with `delivery = "at_most_once"` never begin again by
    themselves: if their process dies, somebody has to say whether they took effect.
    """
    if output is not None and as_ != "completed":
        raise UsageError("only a step that completed has an output", hint="leave --output out")
    value = None if output is None else read_json(output, "--output")
    with working_engine(db) as engine:
        found = engine.get(engine.find(run))
        with naming_steps(found, step, db):
            engine.resolve(found.id, step, cast(Any, as_), output=value, reason=reason, by=by or actor())
        tell(engine, found, f"step {step} of run {found.id} counts as {as_}", db, as_json=as_json)
