"""The journal: records of what happened to a run, and the fold that turns them into its state.

Layout:
    records   the kinds of records, their data, their chain
    fold      what a run's records add up to
"""

from statemachine_flow.journal.fold import RunFold, StepFold, is_top, verified
from statemachine_flow.journal.records import (
    ABSENT,
    DIGEST_SIZE,
    KINDS,
    BackedOff,
    Created,
    Data,
    ErrorInfo,
    Failed,
    Reason,
    Record,
    RunCompleted,
    RunRetried,
    RunStarted,
    Signalled,
    StepCompleted,
    StepReset,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Unwinding,
    Usage,
    chain,
)

__all__ = [
    "ABSENT",
    "DIGEST_SIZE",
    "KINDS",
    "BackedOff",
    "Created",
    "Data",
    "ErrorInfo",
    "Failed",
    "Reason",
    "Record",
    "RunCompleted",
    "RunFold",
    "RunRetried",
    "RunStarted",
    "Signalled",
    "StepCompleted",
    "StepFold",
    "StepReset",
    "StepSkipped",
    "StepStarted",
    "StepWaiting",
    "Unwinding",
    "Usage",
    "chain",
    "is_top",
    "verified",
]
