"""The points of a run that one can go back to: found in its journal, or marked there with a label."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final, final

import attrs

from statemachine_flow.engine.copies import Entry
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from statemachine_flow.journal import Failed, Note, Record, RunFold
from statemachine_flow.lifecycle import RUN, RunState

_LABEL: Final = re.compile(r"(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENDS: Final = ("step.complete", "step.fail", "step.skip", "step.cancel")
#: The first record behind which a run is under way: `run.start`.
_FIRST: Final = 2


@final
@attrs.frozen(kw_only=True)
class Checkpoint:
    """A point of a run that a new run can begin at, see `AsyncEngine.restore`."""

    #: `RUN@SEQ`.
    id: str
    #: The record behind which it lies.
    seq: int
    #: Of the run.
    state: str
    #: Steps of the workflow's own level that were at rest, and all of them.
    done: tuple[int, int]
    at: dt.datetime
    #: The step that came to rest there; None where it was something else.
    step: str | None
    #: As somebody marked it; "" for one that was found.
    label: str


def checkpoints_of(run_id: str, records: Sequence[Record]) -> list[Checkpoint]:
    """The points of a run, in order: its start, each end of a step, and each one with a label.

    Raises:
        StoreError: the journal is damaged.
    """
    fold, found = RunFold(run_id), list[Checkpoint]()
    for place, record in enumerate(records):
        fold.replay([record])
        following = records[place + 1 : place + 2]
        label = _label_of(record)
        is_end = record.kind in _ENDS and not any(_is_end(record, other) for other in following)
        if (label or is_end or record.kind == "run.start") and is_point(records, record.seq, fold.state):
            at = dt.datetime.fromtimestamp(record.at / 1e6, dt.UTC)
            done = (fold.created.steps - fold.open_steps, fold.created.steps)
            found.append(
                Checkpoint(
                    id=f"{run_id}@{record.seq}",
                    seq=record.seq,
                    state=fold.state,
                    done=done,
                    at=at,
                    step=record.step,
                    label=label,
                )
            )
    return found


def _label_of(record: Record) -> str:
    data = record.decode() if record.kind == "run.note" else None
    return data.label if isinstance(data, Note) else ""


def _is_end(record: Record, following: Record) -> bool:
    """Whether more came to rest in the same moment."""
    return following.kind in _ENDS and following.at == record.at


def is_point(records: Sequence[Record], seq: int, state: str) -> bool:
    """Whether a run can begin behind a record: it is not over there, and no decision was only half written down.

    Args:
        records: all of the run.
        seq: the record's number.
        state: of the run behind it.
    """
    if state in RUN.terminal or seq < _FIRST:
        return False
    for place in range(seq, len(records)):
        record = records[place]
        if record.kind == "step.reset":
            return False
        if record.kind != "step.cancel" or record.at != records[seq - 1].at:
            break
    return True


def require_point(fold: RunFold, records: Sequence[Record], seq: int) -> None:
    """That a run can begin behind a record.

    Args:
        fold: what the records up to that one add up to.
        records: all of the run.
        seq: the record's number.

    Raises:
        ConflictError: `run.state`: the run is over there.
        UsageError: the record lies inside a decision.
    """
    if is_point(records, seq, fold.state):
        return
    if fold.state in RUN.terminal:
        last = last_point(fold.id, records[:seq])
        message = f"behind record {seq} the run is {fold.state}: nothing goes on from there"
        raise ConflictError(message, run=fold.id, hint=f"the last record from which it does is {last}")
    before = next((one for one in range(seq, 1, -1) if is_point(records, one, "running")), _FIRST)
    after = next((one for one in range(seq + 1, len(records) + 1) if is_point(records, one, "running")), None)
    near = str(before) if after is None or after == before else f"{before} and {after}"
    message = f"record {seq} is a part of one decision, and no run was ever there"
    raise UsageError(message, hint=f"the nearest points are {near}")


def last_point(run_id: str, records: Sequence[Record]) -> int:
    """The last record behind which a run goes on, or can be retried; not one that was being cancelled there.

    Nor one at which a step had just failed for having killed its processes: its run would fail of that at once.

    Raises:
        StoreError: the journal is damaged.
    """
    fold, last = RunFold(run_id), _FIRST
    for record in records:
        fold.replay([record])
        is_over = fold.state == RunState.CANCELLING or _is_poisoned(record)
        if not is_over and is_point(records, record.seq, fold.state):
            last = record.seq
    return last


def _is_poisoned(record: Record) -> bool:
    data = record.decode() if record.kind == "step.fail" else None
    return isinstance(data, Failed) and data.error.kind == "step.poison"


def check_label(label: str) -> str:
    """`label` itself if it may mark a point.

    Raises:
        UsageError: it may not.

    Example:
        >>> check_label("before-deploy")
        'before-deploy'
    """
    if _LABEL.fullmatch(label) is None:
        hint = "use up to 100 letters, digits, '.', '_' or '-', not digits alone"
        raise UsageError(f"{label[:100]!r} cannot be a label", hint=hint)
    return label


def parse_checkpoint(text: str) -> tuple[str, str]:
    """The run and the point that `RUN@SEQ` or `RUN@label` names.

    Raises:
        UsageError: it names neither.

    Example:
        >>> parse_checkpoint("nightly@12"), parse_checkpoint("@last@before-deploy")
        (('nightly', '12'), ('@last', 'before-deploy'))
    """
    run, at, point = text.rpartition("@")
    if not at or not run or not point:
        raise UsageError(f"{text[:200]!r} names no checkpoint", hint="write RUN@SEQ or RUN@label")
    return run, point


def find_point(run_id: str, entries: Sequence[Entry], point: str) -> int:
    """The number of the record that a point of a run stands for; of several with one label, the last.

    Raises:
        NotFoundError: there is none.
    """
    if point.isascii() and point.isdigit():
        return int(point[:18])
    marked = [entry.seq for entry in entries if isinstance(entry.data, Note) and entry.data.label == point]
    if not marked:
        hint = f"`smf checkpoints {run_id}` lists them"
        raise NotFoundError(f"the run has no checkpoint {point[:100]!r}", run=run_id, hint=hint)
    return marked[-1]
