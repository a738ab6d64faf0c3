"""Runs that another process carries, in words."""

from __future__ import annotations

from statemachine_flow.cli.describe import is_elsewhere, is_worked_on
from statemachine_flow.cli.output import sanitize
from statemachine_flow.cli.stores import command_line
from statemachine_flow.engine.owner import is_mine
from statemachine_flow.engine.view import Run


def is_carried_elsewhere(run: Run) -> bool:
    """Whether a run goes on, or is asked to go on, in another process."""
    return is_worked_on(run.owner) and run.owner is not None and not is_mine(run.owner)


def elsewhere_text(run: Run, db: str | None) -> str:
    """What is to come of a run that another process carries; safe to print.

    Args:
        run: the run.
        db: the store that was named.
    """
    owner = run.owner
    assert owner is not None  # noqa: S101 - the caller knows
    does = "was asked and will go on with it" if run.state == "paused" else "goes on with it"
    text = f"run {run.id} is {run.state}: process {owner.pid} on {owner.host} {does}"
    return sanitize(f"{text}; {take_over_hint(run.id, db)}" if is_elsewhere(owner) else text)


def take_over_hint(run_id: str, db: str | None) -> str:
    """What can be done about a run whose owner is on another host."""
    return f"if that host is known to be dead: {command_line('resume', run_id, db, '--take-over')}"
