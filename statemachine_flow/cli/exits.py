"""The exit codes of `smf`: what a script may rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a command ended; the reference documents each of them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEFINITION = 3
    NOT_FOUND = 4
    CONFLICT = 5
    STORE = 6
    CANCELLED = 7
    PAUSED = 8
    INTERNAL = 70
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


#: What each of them says, for people.
MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "done; a run completed",
    Exit.FAILED: "the run failed",
    Exit.USAGE: "the command line is wrong",
    Exit.DEFINITION: "a document or an input is not valid",
    Exit.NOT_FOUND: "there is no such run",
    Exit.CONFLICT: "the run's state or its owner does not allow it",
    Exit.STORE: "the store cannot be opened, read or written",
    Exit.CANCELLED: "the run was cancelled",
    Exit.PAUSED: "the run is paused or waits for a person",
    Exit.INTERNAL: "a bug in this program",
    Exit.HUNG_UP: "stopped by SIGHUP; the run can be resumed",
    Exit.INTERRUPTED: "stopped by Ctrl-C; the run can be resumed",
    Exit.TERMINATED: "stopped by SIGTERM; the run can be resumed",
}

_OF_STATES: Final[dict[str, Exit]] = {
    "completed": Exit.OK,
    "failed": Exit.FAILED,
    "quarantined": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
    "paused": Exit.PAUSED,
}


def exit_of_state(state: str) -> Exit:
    """The exit code of a command that brought a run to `state`; one that is not at rest is still busy.

    Example:
        >>> exit_of_state("failed"), exit_of_state("cancelling")
        (<Exit.FAILED: 1>, <Exit.CONFLICT: 5>)
    """
    return _OF_STATES.get(state, Exit.CONFLICT)
