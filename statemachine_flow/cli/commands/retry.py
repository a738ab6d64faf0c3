"""`smf retry`: go on with a run that failed."""

from __future__ import annotations

from typing import Any

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.carry import add_import_folders, carry, engine_options, errand_of
from statemachine_flow.cli.options import (
    TEXT,
    by_option,
    common_options,
    db_option,
    examples,
    reason_option,
    run_argument,
)
from statemachine_flow.cli.stores import working_engine


@click.command("retry", epilog=examples("smf retry @last", "smf retry @last --step review --item src/a.py"))
@run_argument
@click.option("--step", metavar="STEP", type=TEXT, help="Only this failed step; other failures stay as they are.")
@click.option("--item", metavar="KEY", type=TEXT, help="With --step: only the item with this key.")
@reason_option
@by_option
@engine_options
@db_option
@common_options
def command(
    *,
    run: str,
    step: str | None,
    item: str | None,
    reason: str,
    by: str | None,
    engine_arguments: dict[str, Any],
    db: str | None,
    as_json: bool,
) -> int:
    """Go on with a failed run: what failed begins anew.

    RUN is an id, the beginning of one, or @last. What completed is kept.
    """
    with working_engine(db, **engine_arguments) as engine:
        found = engine.get(engine.find(run))
        add_import_folders(found.origin)
        return carry(
            engine,
            errand_of(found, db),
            lambda hear: engine.retry(found.id, step=step, item=item, reason=reason, by=by or actor(), on_event=hear),
            as_json=as_json,
        )
