"""`smf resume`: go on with a run that was paused, or whose process died."""

from __future__ import annotations

from typing import Any

import click

from statemachine_flow.cli.carry import add_import_folders, carry, engine_options, errand_of
from statemachine_flow.cli.control import Asked, wait_options
from statemachine_flow.cli.describe import is_elsewhere, owner_text
from statemachine_flow.cli.elsewhere import elsewhere_text, is_carried_elsewhere
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import working_engine
from statemachine_flow.cli.times import span


@click.command("resume", epilog=examples("smf resume @last", "smf resume 0199c3 --strict"))
@run_argument
@click.option("--take-over", is_flag=True, help="Take the run from an owner on another host that is known to be dead.")
@click.option("--strict", is_flag=True, help="Pause instead of going on if the code of a step's function changed.")
@reason_option
@wait_options
@engine_options
@db_option
@common_options
def command(
    *,
    run: str,
    take_over: bool,
    strict: bool,
    reason: str,
    asked: Asked,
    engine_arguments: dict[str, Any],
    db: str | None,
    as_json: bool,
) -> int:
    """Go on with a run that was paused or interrupted.

    RUN is an id, the beginning of one, or @last. What completed is kept; what was interrupted begins anew. A run that
    another process is still pausing goes on there: it is followed, unless --no-wait is given; if that process has not
    heard of it within --timeout the exit code is 5. Any other run is carried here.
    """
    with working_engine(db, strict_code=strict, **engine_arguments) as engine:
        found = engine.get(engine.find(run))
        add_import_folders(found.origin)
        if found.owner is not None and is_elsewhere(found.owner) and not take_over:
            seconds = span(found.owner.lease)
            say(
                f"{sanitize(owner_text(found.owner))}: if it gives no sign of life for {seconds}, the run is taken over"
            )
        options = {"take_over": take_over, "reason": reason, **asked.options(found)}
        is_asked = found.state == "paused" and is_carried_elsewhere(found)
        if asked.wait or not is_asked:
            options["wait"] = True
            return carry(
                engine,
                errand_of(found, db),
                lambda hear: engine.resume(found.id, on_event=hear, **options),
                as_json=as_json,
            )
        now = engine.resume(found.id, **options)
        if not is_carried_elsewhere(now):  # it came to rest meanwhile, and goes on here
            return carry(engine, errand_of(now, db), lambda _hear: engine.wait(now.id), as_json=as_json)
    if as_json:
        write(to_json({"run": now.id, "state": now.state, "pending": now.state == "paused"}))
    else:
        say(elsewhere_text(now, db))
    return Exit.OK
