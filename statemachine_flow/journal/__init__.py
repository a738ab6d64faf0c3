"""The journal: records of what happened to a run, and the fold that turns them into its state.

Layout:
    records   the kinds of records, their data, their chain
    links     whether records follow each other, and are as they were written
    step      what the records of one step add up to
    fold      what a run's records add up to
    streams   the blobs that outputs of commands name
"""

from statemachine_flow.journal.fold import RunFold
from statemachine_flow.journal.links import require_end, verified
from statemachine_flow.journal.records import (
    ABSENT,
    DIGEST_SIZE,
    KINDS,
    BackedOff,
    Created,
    Data,
    ErrorInfo,
    Failed,
    Forked,
    Note,
    Reason,
    Record,
    RunCompleted,
    RunRetried,
    RunStarted,
    Signalled,
    StepCompleted,
    StepInterrupted,
    StepReset,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Unwinding,
    Usage,
    chain,
    encode_data,
)
from statemachine_flow.journal.step import StepFold, is_top
from statemachine_flow.journal.streams import stream_blobs

__all__ = [
    "ABSENT",
    "DIGEST_SIZE",
    "KINDS",
    "BackedOff",
    "Created",
    "Data",
    "ErrorInfo",
    "Failed",
    "Forked",
    "Note",
    "Reason",
    "Record",
    "RunCompleted",
    "RunFold",
    "RunRetried",
    "RunStarted",
    "Signalled",
    "StepCompleted",
    "StepFold",
    "StepInterrupted",
    "StepReset",
    "StepSkipped",
    "StepStarted",
    "StepWaiting",
    "Unwinding",
    "Usage",
    "chain",
    "encode_data",
    "is_top",
    "require_end",
    "stream_blobs",
    "verified",
]
