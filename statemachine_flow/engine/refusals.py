"""What callers ask of a run that is refused before anything of it is touched, and in which words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from statemachine_flow.engine.asked import ACTIONS
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from statemachine_flow.lifecycle import RUN, RUN_AT_REST, RunState
from statemachine_flow.plan.nodes import item_path
from statemachine_flow.stores.base import RunRow

#: What can be asked of a run; all else that its lifecycle has edges for follows by itself.
_ASKED: Final = frozenset(ACTIONS) | {"retry"}
#: State of a run that cannot be resumed -> what can be done instead.
_HINTS: Final[Mapping[str, str]] = {
    "failed": "`smf retry` goes on with a failed run",
    "quarantined": "`smf status` tells why; `smf fork` begins a new run where it was, `smf rerun` one from a step on",
}


def failed_step(core: Core, row: RunRow, step: str | None, item: str | None) -> str | None:
    """The path of the failed step that a retry is about; None for all.

    Raises:
        UsageError: an item without its step.
        NotFoundError: no such step or item.
        ConflictError: it did not fail.
    """
    if step is None:
        if item is not None:
            raise UsageError("an item is retried by its step and its key", hint="name the step, too")
        return None
    path = step if item is None else item_path(step, item)
    steps = core.load(row)[1].steps
    found = steps.get(path)
    if found is None:
        raise NotFoundError(f"the run has no step {path[:200]!r} that was begun", run=row.id)
    if found.state not in ("failed", "cancelled"):
        raise ConflictError(f"step '{path}' is {found.state}: only what failed is retried", run=row.id)
    around = [steps[path[:end]] for end, char in enumerate(path) if char in "/[" and path[:end] in steps]
    for part in (*around, found):
        if part.state not in ("failed", "cancelled") or part.forgiven:
            message = f"step '{part.id}' is {part.state}, and the run does without '{path}'"
            raise ConflictError(message, run=row.id, hint="only what made the run fail is retried")
    return path


def require_resumable(row: RunRow) -> None:
    """Refuse to resume a run that is at rest for good.

    Raises:
        ConflictError: `run.state`.
    """
    if row.state in RUN_AT_REST:
        hint = _HINTS.get(row.state)
        raise ConflictError(f"the run is {row.state}: there is nothing to resume", run=row.id, hint=hint)


def require_allowed(core: Core, row: RunRow, action: str, *, or_already: str) -> None:
    """Refuse what the lifecycle has no edge for, before anything is touched.

    Raises:
        ConflictError: `run.state`, naming what is allowed.
    """
    allowed = RUN.allowed(row.state)
    if action in allowed or row.state == or_already:
        return
    possible = [trigger for trigger in allowed if trigger in _ASKED]
    hint = f"it allows {', '.join(possible)}" if possible else "it allows nothing more"
    if row.state == RunState.CANCELLING:
        is_left = row.owner is None or core.ownership.is_left(row)
        hint = "resume it, or cancel it again: that brings it to its end" if is_left else "it is about to end"
    raise ConflictError(f"the run is {row.state}{worked_on(core, row)}: it cannot {action}", run=row.id, hint=hint)


@contextlib.contextmanager
def naming_the_dead(core: Core, run_id: str) -> Iterator[None]:
    """Say what has to come first where a step is refused whose attempt only seems to be under way."""
    try:
        yield
    except ConflictError as error:
        if error.kind == "run.refused" and core.ownership.is_left(core.row(run_id)):
            error.message += "; but the process that worked on the run is gone"
            error.hint = "resume the run or call `smf recover`, which finds out what was cut off; then say it again"
        raise


def worked_on(core: Core, row: RunRow) -> str:
    """Who works on a run, as a part of a sentence; "" for nobody."""
    owner = row.owner
    if owner is None:
        return ""
    process = f"process {owner.pid} on {owner.host}"
    does = ", which worked on it, is gone" if core.ownership.is_left(row) else " works on it"
    return f", and {process}{does}"


def ended_as(run: Run, wanted: RunState) -> Run:
    """The run if it is where the caller wanted it; it may have come to rest before it was asked.

    Raises:
        ConflictError: `run.state`.
    """
    if run.state != wanted:
        raise ConflictError(f"the run is {run.state}: it came to rest before it could be {wanted}", run=run.id)
    return run
