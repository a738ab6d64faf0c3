"""`smf resume`: go on with a run that was paused, or whose process died."""

from __future__ import annotations

from typing import Any

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.carry import add_import_folders, carry, engine_options, errand_of
from statemachine_flow.cli.describe import is_elsewhere, owner_text
from statemachine_flow.cli.options import by_option, common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.output import sanitize, say
from statemachine_flow.cli.stores import working_engine
from statemachine_flow.cli.times import span


@click.command("resume", epilog=examples("smf resume @last", "smf resume 0199c3 --strict"))
@run_argument
@click.option("--take-over", is_flag=True, help="Take the run from an owner on another host that is known to be dead.")
@click.option("--strict", is_flag=True, help="Pause instead of going on if the code of a step's function changed.")
@reason_option
@by_option
@engine_options
@db_option
@common_options
def command(
    *,
    run: str,
    take_over: bool,
    strict: bool,
    reason: str,
    by: str | None,
    engine_arguments: dict[str, Any],
    db: str | None,
    as_json: bool,
) -> int:
    """Go on with a run that was paused or interrupted.

    RUN is an id, the beginning of one, or @last. What completed is kept; what was interrupted begins anew.
    """
    with working_engine(db, strict_code=strict, **engine_arguments) as engine:
        found = engine.get(engine.find(run))
        add_import_folders(found.origin)
        if found.owner is not None and is_elsewhere(found.owner) and not take_over:
            seconds = span(found.owner.lease)
            say(
                f"{sanitize(owner_text(found.owner))}: if it gives no sign of life for {seconds}, the run is taken over"
            )
        return carry(
            engine,
            errand_of(found, db),
            lambda hear: engine.resume(found.id, take_over=take_over, reason=reason, by=by or actor(), on_event=hear),
            as_json=as_json,
        )
