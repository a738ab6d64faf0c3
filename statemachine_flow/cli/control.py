"""What `pause`, `cancel` and `quarantine` share: they ask whoever works on a run, wait, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.describe import is_worked_on
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import DURATION, by_option
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import command_line
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run

_F = TypeVar("_F", bound=Callable[..., Any])

#: How long another process is waited for where nobody says so, in seconds.
PATIENCE: Final = 15.0

#: `--timeout` and `--wait`, for every command that asks something of a run's owner.
WAIT_OPTIONS: Final = (
    click.option(
        "--timeout",
        metavar="DURATION",
        type=DURATION,
        help=f"How long to wait; by default {PATIENCE:g}s for another process that works on the run, and as long as it "
        "takes for what is done here.",
    ),
    click.option(
        "--wait/--no-wait",
        default=True,
        show_default=True,
        help="Whether to wait until it is done, or only until it is durable that it was asked for.",
    ),
)


@attrs.frozen(kw_only=True)
class Asked:
    """The options that the commands share."""

    by: str | None
    timeout: float | None
    wait: bool

    def options(self, run: Run) -> dict[str, Any]:
        """What each of the engine's methods takes.

        Args:
            run: that is asked about.
        """
        return {"by": self.by or actor(), "timeout": self.patience(run), "wait": self.wait}

    def patience(self, run: Run) -> float | None:
        """How long to wait; None for as long as it takes."""
        return PATIENCE if self.timeout is None and is_worked_on(run.owner) else self.timeout


def wait_options(command: _F) -> _F:
    """`--by`, `--timeout` and `--wait`; the command gets them as `asked`."""

    def collected(*, by: str | None, timeout: float | None, wait: bool, **arguments: Any) -> Any:
        return command(asked=Asked(by=by, timeout=timeout, wait=wait), **arguments)

    collected.__doc__ = command.__doc__
    collected.__dict__.update(command.__dict__)  # the options that stand below this one
    for option in (by_option, *WAIT_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # it takes what the options give


def let_go(engine: Engine, run: Run) -> Run:
    """The run as this command leaves it: what it did not wait for is not done here any more."""
    engine.leave(run.id)
    return engine.get(run.id)


def tell_change(before: Run, after: Run, wanted: str, asked: Asked, db: str | None, *, as_json: bool) -> int:
    """Say what came of a change that was asked for.

    Args:
        before: the run when it was asked for.
        after: the run now.
        wanted: the state it was to come to.
        asked: whether and how long somebody waited.
        db: the store that was named.
        as_json: whether to say it as an object on stdout.

    Returns:
        The exit code: 5 while it has not been done yet, though somebody waited for it.
    """
    was_there = before.state == "pending" or (before.state == wanted and before.owner is None)
    already = was_there and after.state == before.state
    pending = not already and (after.state != wanted or after.owner is not None)
    if as_json:
        write(to_json({"run": after.id, "state": after.state, "already": already, "pending": pending}))
    elif pending:
        say(f"run {sanitize(after.id)} is {after.state}: {sanitize(_to_come(after, wanted))}")
        if after.owner is None:
            say(f"go on with: {sanitize(command_line('cancel', after.id, db))}")
    else:
        say(f"run {sanitize(after.id)} is {'already ' if already else ''}{after.state}")
    return Exit.CONFLICT if pending and asked.wait else Exit.OK


def _to_come(run: Run, wanted: str) -> str:
    """What is still to happen to a run, and who does it."""
    if run.owner is None:
        return "what its end asks for is left to whoever takes it up"
    does = (
        "lets what is under way come to its end" if run.state == wanted else f"was asked and will bring it to {wanted}"
    )
    return f"process {run.owner.pid} on {run.owner.host} {does}"
