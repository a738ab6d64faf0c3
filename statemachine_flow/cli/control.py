"""What `pause`, `cancel` and `quarantine` share: they ask whoever works on a run, wait, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import DURATION, by_option
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.engine.view import Run

_F = TypeVar("_F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Asked:
    """The options that the commands share."""

    by: str | None
    timeout: float
    wait: bool

    def options(self) -> dict[str, Any]:
        """What each of the engine's methods takes."""
        return {"by": self.by or actor(), "timeout": self.timeout, "wait": self.wait}


def control_options(command: _F) -> _F:
    """`--by`, `--timeout` and `--wait`; the command gets them as `asked`."""

    def collected(*, by: str | None, timeout: float, wait: bool, **arguments: Any) -> Any:
        return command(asked=Asked(by=by, timeout=timeout, wait=wait), **arguments)

    collected.__doc__ = command.__doc__
    collected.__dict__.update(command.__dict__)  # the options that stand below this one
    for option in (
        by_option,
        click.option(
            "--timeout",
            metavar="DURATION",
            type=DURATION,
            default="15s",
            show_default=True,
            help="How long to wait for the process that works on the run.",
        ),
        click.option(
            "--wait/--no-wait",
            default=True,
            show_default=True,
            help="Whether to wait until it is done, or only until it is durable that it was asked for.",
        ),
    ):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # it takes what the options give


def tell_change(before: Run, after: Run, wanted: str, asked: Asked, *, as_json: bool) -> int:
    """Say what came of a change that was asked for.

    Args:
        before: the run when it was asked for.
        after: the run now.
        wanted: the state it was to come to.
        asked: whether and how long somebody waited.
        as_json: whether to say it as an object on stdout.

    Returns:
        The exit code: 5 while the run's owner has not done it yet, though somebody waited for it.
    """
    was_there = before.state == "pending" or (before.state == wanted and before.owner is None)
    already = was_there and after.state == before.state
    pending = not already and (after.state != wanted or after.owner is not None)
    if as_json:
        write(to_json({"run": after.id, "state": after.state, "already": already, "pending": pending}))
    elif pending:
        owner = "its owner" if after.owner is None else f"process {after.owner.pid} on {after.owner.host}"
        doing = f"was asked and will bring it to {wanted}"
        if after.state == wanted:
            doing = "lets what is under way come to its end"
        say(f"run {sanitize(after.id)} is {after.state}: {sanitize(owner)} {doing}")
    else:
        say(f"run {sanitize(after.id)} is {'already ' if already else ''}{after.state}")
    return Exit.CONFLICT if pending and asked.wait else Exit.OK
