"""`smf resolve`: say what became of a step that was cut off and may not begin again by itself."""

from __future__ import annotations

from typing import Any, cast

import click

from statemachine_flow.cli.control import Asked, wait_options
from statemachine_flow.cli.describe import is_worked_on, owner_text
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.output import sanitize, say
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
@wait_options
@db_option
@common_options
def command(
    *,
    run: str,
    step: str,
    as_: str,
    output: str | None,
    reason: str,
    asked: Asked,
    db: str | None,
    as_json: bool,
) -> int:
    """Say what became of a step that was cut off.

    RUN is an id, the beginning of one, or @last. Steps with `delivery = "at_most_once"` never begin again by
    themselves: if their process dies, somebody has to say whether they took effect. If another process works on the
    run and does not hear of it within --timeout, the exit code is 5; it will all the same.
    """
    if output is not None and as_ != "completed":
        raise UsageError("only a step that completed has an output", hint="leave --output out")
    value = None if output is None else read_json(output, "--output")
    with working_engine(db) as engine:
        found = engine.get(engine.find(run))
        with naming_steps(found, step, db):
            now = engine.resolve(found.id, step, cast(Any, as_), output=value, reason=reason, **asked.options(found))
        tell(engine, found, f"step {step} of run {found.id} counts as {as_}", db, as_json=as_json)
    is_heard = not is_worked_on(now.owner) or now.steps[step].state != "interrupted"
    if is_heard or not asked.wait:
        return Exit.OK
    if not as_json and now.owner is not None:
        say(f"{sanitize(owner_text(now.owner))} has not heard of it yet, and will")
    return Exit.CONFLICT
