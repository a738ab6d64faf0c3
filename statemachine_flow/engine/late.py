"""What an attempt gives after another owner has taken its run: nothing for the journal, kept beside it for people."""

from __future__ import annotations

from statemachine_flow.engine.endings import completion
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.journal import Failed, Record, encode_data
from statemachine_flow.stores.base import Write


def late_write(run_id: str, epoch: int, path: str, outcome: Outcome, now: int) -> Write:
    """What an owner that has lost its run says of an attempt's end, for the store to reject.

    Args:
        run_id: the run.
        epoch: of the owner that has lost it.
        path: the attempt's step.
        outcome: how the attempt ended by itself.
        now: the time.

    Returns:
        One record, without a place in the journal.
    """
    if outcome.error is None:
        kind, data = "step.complete", encode_data(completion(outcome))
    else:
        failure = Failed(error=outcome.error, signal=outcome.signal, usage=outcome.usage)
        kind, data = "step.fail", encode_data(failure)
    record = Record(0, kind, now, path, data, b"")
    return Write(run_id=run_id, epoch=epoch, seq=0, records=[record])
