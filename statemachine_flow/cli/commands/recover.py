"""`smf recover`: take over every run whose process died."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.carry import add_import_folders, engine_options
from statemachine_flow.cli.describe import result_data
from statemachine_flow.cli.exits import Exit, exit_of_state
from statemachine_flow.cli.options import common_options, db_option, examples
from statemachine_flow.cli.output import error_line, paint_state, sanitize, say, to_json, write
from statemachine_flow.cli.progress import Lines
from statemachine_flow.cli.signals import Interruption
from statemachine_flow.cli.stores import working_engine
from statemachine_flow.cli.times import clock_time
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.takeover import Recovery
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.errors import SmfError

_MANY: Final = 10_000
#: Exit codes, the gravest first.
_GRAVE: Final = (Exit.STORE, Exit.CONFLICT, Exit.DEFINITION, Exit.FAILED, Exit.PAUSED, Exit.CANCELLED)


@click.command("recover", epilog=examples("smf recover", "smf recover --json"))
@engine_options
@db_option
@common_options
def command(*, engine_arguments: dict[str, Any], db: str | None, as_json: bool) -> int:
    """Take over every run whose process died.

    They are carried to their rest, and so are those that were left while they were being cancelled. Runs of processes
    that live, and runs that are paused or wait for a person, are left alone. An owner on another host that has not been
    heard of for a while is watched first, for as long as its lease.
    """
    with working_engine(db, **engine_arguments) as engine:
        for row in (*engine.list(owned=True, limit=_MANY), *engine.list(states=["cancelling"], limit=_MANY)):
            with contextlib.suppress(SmfError):  # what cannot be read is told of when it is taken over
                add_import_folders(engine.get(row.id).origin)
        return _carry(engine, as_json=as_json)


def _carry(engine: Engine, *, as_json: bool) -> int:
    taken: list[str] = []
    interruption = Interruption(engine, taken)
    with contextlib.redirect_stdout(sys.stderr), interruption.watching():
        recovery = engine.recover(by=actor(), on_event=_listener())
        taken += recovery.taken
        for run_id in taken:
            say(f"run {sanitize(run_id)} taken over")
        runs = [engine.wait(run_id) for run_id in taken]
    _conclude(recovery, runs)
    if as_json:
        refused = {run_id: {"kind": error.kind, "message": str(error)} for run_id, error in recovery.refused.items()}
        write(to_json({"runs": [result_data(run) for run in runs], "refused": refused}))
    if interruption.signal is not None:
        return 128 + interruption.signal
    return _exit(recovery, runs)


def _listener() -> EventListener:
    """Says what happens to each run, with its name before each step's."""
    progress = Lines("")

    def hear(event: Event) -> None:
        line = progress.line(event)
        if line is not None:
            say(f"{clock_time(event.at)} {line}")

    return hear


def _conclude(recovery: Recovery, runs: Sequence[Run]) -> None:
    for run in runs:
        state = "waiting" if run.state == "running" else run.state
        reason = f": {sanitize(run.reason)}" if run.reason else ""
        say(f"run {sanitize(run.id)} {paint_state(state, stream=sys.stderr)}{reason}")
    for run_id, error in recovery.refused.items():
        say(error_line(error.kind, f"run {run_id}: {error}", None))
    if not runs and not recovery.refused:
        say("No run's process is gone.")


def _exit(recovery: Recovery, runs: Sequence[Run]) -> Exit:
    """The gravest of how the runs ended, as if each had had a command of its own."""
    codes = {Exit(error.exit_code) for error in recovery.refused.values()}
    codes |= {Exit.PAUSED if run.state == "running" else exit_of_state(run.state) for run in runs}
    return next((code for code in _GRAVE if code in codes), Exit.OK)
