"""How long a journal may get: first a note, then a pause, so that a run that goes in circles cannot fill the disk."""

from __future__ import annotations

from typing import Final

from statemachine_flow.engine.reasons import FULL
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import ConflictError
from statemachine_flow.journal import Note, Reason

#: Records of one run, beyond which nothing more of it begins. A loop over as many items as are allowed makes 20,000 of
#: them, with some attempts each 100,000; a run that comes to five times that is going in circles.
MAX_RECORDS: Final = 500_000
#: The part of the limit at which the journal gets a note.
_NOTED_AT: Final = 5


def is_full(rules: Rules, now: int) -> bool:
    """Whether nothing more of the run may begin because of its journal; before that there is a note in it, once."""
    seq, limit = rules.fold.seq, rules.max_records
    if seq >= limit:
        return True
    if not rules.is_told and seq >= limit // _NOTED_AT:
        rules.is_told = True
        if not any(note.startswith(FULL) for note in rules.fold.notes):
            text = f"{FULL}: the journal has {seq:,} records; at {limit:,} the run is paused"
            rules.add("run.note", Note(reason=text), now)
    return False


def pause(rules: Rules, now: int) -> None:
    """Pause a run whose journal is full; what is under way of it ends."""
    rules.add("run.pause", Reason(reason=f"{FULL}: {_fault(rules)}"), now)
    rules.pause_children()


def require_room(rules: Rules) -> None:
    """Refuse to have more happen to a run whose journal is full.

    Raises:
        ConflictError: `run.limit`.
    """
    if rules.fold.seq >= rules.max_records:
        hint = "look why it is that long; cancel the run, or allow more with Engine(max_records=...) or --max-records"
        raise ConflictError(_fault(rules), kind=FULL, run=rules.fold.id, hint=hint)


def _fault(rules: Rules) -> str:
    return f"the journal has {rules.fold.seq:,} records, and {rules.max_records:,} are allowed"
