"""What a journal records: one type of data per kind, and the record around it with its place in the chain.

A record's kind is `<machine>.<trigger>`, so a journal is a trace of legal transitions; only the kinds of `STATELESS`
change no state. Sequence numbers count from 1 without gaps, and each record carries a digest
over itself and its predecessor's digest, so that a lost, altered or reordered record shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, final

import msgspec

from statemachine_flow.errors import StoreError
from statemachine_flow.lifecycle import RUN, STEP

DIGEST_SIZE: Final = 16

#: Stands for "no value" where a record may hold one; msgspec knows no optional `Raw`.
ABSENT: Final = msgspec.Raw()


class Data(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Base of what a record says beyond its kind; stored as a MessagePack map without the defaults."""


class Forked(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a run comes from that took over the beginning of another one."""

    #: That run, and the last of its records that were looked at.
    run: str
    seq: int
    #: The step from which on it was carried out anew; "" for an exact copy.
    step: str = ""
    #: Digest over what was edited in the copy, secrets left out; "" where nothing was.
    edits: str = ""


class Created(Data, frozen=True):
    """`run.create`: all a later process needs to go on with the run."""

    #: Name and version of the workflow, for people; the definition's content hash, for the engine.
    workflow: str
    version: str
    definition: str
    #: Encoded by `values`.
    inputs: msgspec.Raw
    #: How many steps the definition has.
    steps: int
    #: Where commands run and relative paths begin.
    cwd: str
    #: The document's file, if there was one.
    origin: str | None = None
    #: Function name -> digest of its source when the run began.
    code: dict[str, str] = {}
    #: Content hash of a definition and how its `workflow` step names the child -> content hash of the child's.
    children: dict[str, str] = {}
    #: The run and the step that started this one; None for a run of its own.
    parent: tuple[str, str] | None = None
    #: How many runs stand above it.
    depth: int = 0
    #: The run whose records it begins with; None for one that began by itself.
    forked: Forked | None = None


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an attempt, a step or a run failed."""

    #: A key of `errors.KINDS`.
    kind: str
    #: The name that `retry_on` and `abort_on` matched, such as `TimeoutError`.
    name: str
    message: str
    #: The last place in the user's own code, `file:line in function`.
    where: str | None = None
    #: The step, in the error of a run.
    step: str | None = None


class Reason(Data, frozen=True):
    """Any change that an operator, the engine or a rule asked for."""

    reason: str = ""
    #: Who asked, where it was somebody.
    by: str | None = None


class Note(Reason, frozen=True):
    """`run.note`: a remark; with a label it marks a point that one wants to find again."""

    label: str = ""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What agents used up."""

    cost_usd: float = 0.0
    tokens: int = 0


class Signalled(Data, frozen=True):
    """`run.signal`: something happened outside."""

    event: str
    #: Encoded by `values`.
    payload: msgspec.Raw
    key: str | None = None
    by: str | None = None


class Unwinding(Data, frozen=True):
    """`run.unwind`: the steps are at rest, and what the workflow wants done at the end begins."""

    #: How the run is going to end.
    outcome: str
    error: ErrorInfo | None = None
    #: Of a run that is going to complete.
    outputs: msgspec.Raw = ABSENT


class RunRetried(Reason, frozen=True):
    """`run.retry`: the run has its whole timeout again."""

    #: The run's new deadline, microseconds UTC.
    deadline: int | None = None


class RunStarted(Data, frozen=True):
    """`run.start`."""

    #: The run's own deadline, microseconds UTC.
    deadline: int | None = None


class RunCompleted(Data, frozen=True):
    """`run.complete`."""

    outputs: msgspec.Raw


class Failed(Data, frozen=True):
    """`step.fail` and `run.fail`."""

    error: ErrorInfo
    #: The run may complete all the same.
    optional: bool = False
    #: In a level of states: where the token goes.
    next: str | None = None
    #: Number of the `run.signal` record that it took.
    signal: int | None = None
    usage: Usage | None = None


class StepStarted(Data, frozen=True):
    """`step.start`."""

    #: Counts from 1.
    attempt: int


class StepCompleted(Data, frozen=True):
    """`step.complete`."""

    #: Encoded by `values`; absent when it lies in a blob.
    output: msgspec.Raw = ABSENT
    #: Declared outputs; absent when the step declares none.
    outputs: msgspec.Raw = ABSENT
    #: Digest of the blob that holds `output`.
    blob: str | None = None
    #: In a level of states: where the token goes.
    next: str | None = None
    #: Number of the `run.signal` record that it took.
    signal: int | None = None
    usage: Usage | None = None


class StepSkipped(Reason, frozen=True):
    """`step.skip`."""

    #: In a level of states: where the token goes.
    next: str | None = None


class StepWaiting(Data, frozen=True):
    """`step.wait`: nothing of the step itself is under way."""

    #: `steps` or `items` of its own; a `timer`, an `event`, an `approval`; a child `run`.
    on: str
    #: When waiting ends by itself, microseconds UTC.
    due: int | None = None
    event: str = ""
    key: str | None = None
    #: Id of the child run.
    run: str = ""
    #: Of a loop: the key of each item; None where those of before hold.
    keys: tuple[str, ...] | None = None
    #: Of a loop: the list of its items, encoded by `values`.
    items: msgspec.Raw = ABSENT
    #: Of an approval: what is asked, encoded by `values`; and the digest of all that it rests on.
    shown: msgspec.Raw = ABSENT
    digest: str = ""


class StepInterrupted(Reason, frozen=True):
    """`step.interrupt`."""

    #: The process that worked on it died, and may have died of it.
    killed: bool = False


class StepReset(Reason, frozen=True):
    """`step.reset`."""

    #: The step's new generation, when it begins anew; None when it takes up where it failed.
    generation: int | None = None
    #: Of a repeated step: which round begins.
    round: int | None = None
    #: When it may begin, microseconds UTC.
    due: int | None = None
    #: The step's result so far, where that is made of the results of other steps.
    previous: msgspec.Raw = ABSENT
    #: The decision that sent the run back here.
    feedback: msgspec.Raw = ABSENT
    #: Whether the run was sent back: an approval that rests on the same still holds.
    rewound: bool = False
    #: How often in a row its process died so far, where that is not forgotten.
    deaths: int = 0


class BackedOff(Data, frozen=True):
    """`step.back_off`."""

    error: ErrorInfo
    #: When the next attempt may begin, microseconds UTC.
    due: int
    usage: Usage | None = None


#: Kinds of records about a run that change no state.
STATELESS: Final[Mapping[str, type[Data]]] = {
    "run.create": Created,
    "run.note": Note,
    "run.signal": Signalled,
    "run.unwind": Unwinding,
}
#: kind -> the type of its data: the closed list of records.
KINDS: Final[Mapping[str, type[Data]]] = {
    **STATELESS,
    **{f"run.{trigger}": Reason for trigger in RUN.sources},
    **{f"step.{trigger}": Reason for trigger in STEP.sources},
    "run.start": RunStarted,
    "run.retry": RunRetried,
    "run.complete": RunCompleted,
    "run.fail": Failed,
    "step.start": StepStarted,
    "step.complete": StepCompleted,
    "step.fail": Failed,
    "step.interrupt": StepInterrupted,
    "step.skip": StepSkipped,
    "step.wait": StepWaiting,
    "step.reset": StepReset,
    "step.back_off": BackedOff,
}


@final
class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of a journal, as stored."""

    seq: int
    #: A key of `KINDS`.
    kind: str
    #: Microseconds UTC.
    at: int
    #: The step it is about; None for the run itself.
    step: str | None
    #: The encoded `Data`.
    data: bytes
    #: Over this record and its predecessor's digest.
    digest: bytes

    def decode(self) -> Data:
        """What the record says.

        Raises:
            StoreError: `store.corrupt`, or `store.newer` for a kind this version does not know.
        """
        try:
            return _DECODERS[self.kind].decode(self.data)
        except KeyError:
            raise StoreError(f"unknown record kind {self.kind!r}", kind="store.newer", seq=self.seq) from None
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"a {self.kind} record cannot be read: {error}", kind="store.corrupt", seq=self.seq
            ) from error


def chain(previous: bytes, seq: int, kind: str, at: int, step: str | None, data: bytes) -> bytes:  # noqa: PLR0917 - a record's own fields
    """The digest of a record: BLAKE2b over its predecessor's digest and all its own fields."""
    # The step is quoted so that no text of one field can pass for part of the next.
    head = f"{seq} {kind} {at} {step!r} ".encode()
    return hashlib.blake2b(previous + head + data, digest_size=DIGEST_SIZE).digest()


#: Encode the data of a record.
encode_data: Final = msgspec.msgpack.Encoder().encode
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(data) for kind, data in KINDS.items()}
