"""What one tick decided, as data: records to store, then commands to carry out once they are stored."""

from __future__ import annotations

import msgspec

from statemachine_flow.journal import Record
from statemachine_flow.plan import Node


class Launch(msgspec.Struct, frozen=True):
    """Begin an attempt."""

    node: Node
    attempt: int


class Timer(msgspec.Struct, frozen=True):
    """Wake a step."""

    path: str
    #: Microseconds UTC.
    due: int


class Abort(msgspec.Struct, frozen=True):
    """Give up an attempt."""

    path: str
    attempt: int
    reason: str


class StartChild(msgspec.Struct, frozen=True):
    """Begin a child run, or follow the one that a process before this one began."""

    node: Node
    run_id: str
    #: One that somebody paused goes on, for the run above it was paused and does.
    resumes: bool = False


class StopChild(msgspec.Struct, frozen=True):
    """Cancel or pause a child run."""

    run_id: str
    #: `cancel`, `pause` or `interrupt`.
    action: str


class Decision(msgspec.Struct):
    """What one tick decided."""

    records: list[Record] = []
    #: Run states passed through.
    states: list[str] = []
    #: Path, the state it entered, attempts begun.
    changes: list[tuple[str, str, int]] = []
    launches: list[Launch] = []
    timers: list[Timer] = []
    aborts: list[Abort] = []
    children: list[StartChild] = []
    child_stops: list[StopChild] = []
    #: Attempts that were cut off, and whose effect is to be looked for.
    verifications: list[Node] = []
