"""`smf cancel`: end a run, wherever it is worked on."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from statemachine_flow.cli.carry import add_import_folders, engine_options
from statemachine_flow.cli.control import Asked, let_go, tell_change, wait_options
from statemachine_flow.cli.describe import error_text
from statemachine_flow.cli.options import common_options, db_option, examples, reason_option, run_argument
from statemachine_flow.cli.output import error_line, say
from statemachine_flow.cli.signals import Interruption
from statemachine_flow.cli.stores import working_engine
from statemachine_flow.engine.view import Run


@click.command("cancel", epilog=examples("smf cancel @last --reason 'wrong branch'", "smf cancel 0199c3 --no-wait"))
@run_argument
@reason_option
@wait_options
@engine_options
@db_option
@common_options
def command(
    *, run: str, reason: str, asked: Asked, engine_arguments: dict[str, Any], db: str | None, as_json: bool
) -> int:
    """End a run, wherever it is worked on.

    RUN is an id, the beginning of one, or @last. If another process works on the run it is asked to end it; if that
    takes longer than --timeout the exit code is 5, and the run will be cancelled all the same. Of a run that nobody
    works on, the handlers and compensations are carried out here; with --no-wait, or after --timeout, they are left
    to whoever cancels or resumes it next.
    """
    with working_engine(db, **engine_arguments) as engine:
        before = engine.get(engine.find(run))
        add_import_folders(before.origin)
        interruption = Interruption(engine, [before.id], "leaving")
        with contextlib.redirect_stdout(sys.stderr), interruption.watching():
            after = engine.cancel(before.id, reason=reason, carry=asked.wait, **asked.options(before))
        after = let_go(engine, after)
    _tell_failures(after)
    code = tell_change(before, after, "cancelled", asked, db, as_json=as_json)
    is_left = interruption.signal is not None and after.state != "cancelled"
    return 128 + interruption.signal if is_left and interruption.signal is not None else code


def _tell_failures(run: Run) -> None:
    """Say which handlers and compensations failed: it changes nothing about how the run ends."""
    for step in run.steps.values():
        if step.path.startswith("@") and step.state == "failed" and step.error is not None:
            text = f"step '{step.path}' failed: {error_text(step.error.name, step.error.message)}"
            say(error_line(step.error.kind, text, step.error.where))
