"""What `pause` and `cancel` share: they ask whoever works on a run, wait a while, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import DURATION, TEXT
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.engine.view import Run

_F = TypeVar("_F", bound=Callable[..., Any])


def control_options(command: _F) -> _F:
    """`--reason` and `--timeout`."""
    command = click.option(
        "--timeout",
        metavar="DURATION",
        type=DURATION,
        default="15s",
        show_default=True,
        help="How long to wait for the process that works on the run.",
    )(command)
    return click.option("--reason", metavar="TEXT", default="", type=TEXT, help="Why, for the journal.")(command)


def tell_change(before: Run, after: Run, wanted: str, *, as_json: bool) -> int:
    """Say what came of a change that was asked for.

    Args:
        before: the run when it was asked for.
        after: the run now.
        wanted: the state it was to come to.
        as_json: whether to say it as an object on stdout.

    Returns:
        The exit code: 5 while the run's owner has not done it yet.
    """
    already = before.state == wanted
    pending = after.state != wanted or after.owner is not None
    if as_json:
        write(to_json({"run": after.id, "state": after.state, "already": already, "pending": pending}))
    elif pending:
        owner = "its owner" if after.owner is None else f"process {after.owner.pid} on {after.owner.host}"
        say(f"run {sanitize(after.id)} is {after.state}: {sanitize(owner)} was asked and will bring it to {wanted}")
    else:
        say(f"run {sanitize(after.id)} is {'already ' if already else ''}{wanted}")
    return Exit.CONFLICT if pending else Exit.OK
