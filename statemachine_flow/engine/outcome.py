"""How an attempt ended, as data; and how an exception becomes an error that a journal keeps."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from statemachine_flow.executors.capture import TAIL_BYTES
from statemachine_flow.executors.faults import fault_of
from statemachine_flow.executors.thread import ThreadExit
from statemachine_flow.journal import ErrorInfo, Usage
from statemachine_flow.secrets import NO_SECRETS, Redactor

#: Room for the last words of a command, which are the end of its message, and for a headline above them.
_MESSAGE_LIMIT: Final = TAIL_BYTES + 512

#: Kinds whose next attempt would fail in the same way.
_PERMANENT: Final = ("expression.", "definition.", "step.unserializable", "step.secret")


class Outcome(msgspec.Struct, kw_only=True):
    """The end of one attempt."""

    #: `aborted`: it was given up before it ended by itself.
    status: Literal["completed", "failed", "aborted"]
    #: Encoded by `values`.
    output: bytes = b""
    outputs: bytes | None = None
    blob: str | None = None
    error: ErrorInfo | None = None
    #: Names that `retry_on` and `abort_on` may match: the error's class and its bases.
    names: tuple[str, ...] = ()
    #: Whether another attempt could end otherwise.
    retryable: bool = True
    #: What agents used up, as far as they said, however the attempt ended.
    usage: Usage | None = None
    #: It was left to itself in its thread, which cannot be stopped.
    abandoned: bool = False
    #: Number of the signal that ended the waiting.
    signal: int | None = None


def failed(error: BaseException, redactor: Redactor = NO_SECRETS) -> Outcome:
    """The outcome of an attempt that raised `error`.

    Args:
        error: what it raised.
        redactor: keeps secrets out of what is kept of the error, before it is cut to size.

    Example:
        >>> failed(ValueError("bad")).error
        ErrorInfo(kind='step.failed', name='ValueError', message='bad', where=None, step=None)
    """
    if isinstance(error, ThreadExit) and error.__cause__ is not None:
        error = error.__cause__
    fault = fault_of(error)
    info = ErrorInfo(
        fault.kind,
        clean_text(redactor.text(fault.name)),
        clean_text(redactor.text(fault.message)),
        fault.where and clean_text(redactor.text(fault.where)),
    )
    retryable = not fault.kind.startswith(_PERMANENT)
    return Outcome(status="failed", error=info, names=fault.names, retryable=retryable)


def clean_text(text: str) -> str:
    r"""`text` as a journal keeps it: valid Unicode, and not too much of it.

    Example:
        >>> clean_text("caf\udce9")
        'caf?'
    """
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[:_MESSAGE_LIMIT]}... ({len(text)} characters)"
