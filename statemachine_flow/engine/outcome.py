"""How an attempt ended, as data; and how an exception becomes an error that a journal keeps."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final, Literal

import msgspec

from statemachine_flow.errors import ExpressionError, SmfError, StepError
from statemachine_flow.executors.capture import TAIL_BYTES
from statemachine_flow.executors.thread import ThreadExit
from statemachine_flow.journal import ErrorInfo, Usage
from statemachine_flow.secrets import NO_SECRETS, Redactor

#: Room for the last words of a command, which are the end of its message, and for a headline above them.
_MESSAGE_LIMIT: Final = TAIL_BYTES + 512
#: Where code lies that is not the user's: this library's, and Python's own.
_NOT_THEIRS: Final = (
    str(Path(__file__).parent.parent) + os.sep,
    str(Path(traceback.__file__).parent) + os.sep,
    "<frozen",
)
#: Folders of installed packages; in some installations they lie inside that of Python's own code.
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

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
    name, kind = type(error).__name__, "step.failed"
    names = [cls.__name__ for cls in type(error).__mro__ if cls not in (object, BaseException)]
    message = _message(error)
    if isinstance(error, StepError):
        name, kind = error.name, error.kind
        names.insert(0, name)
    elif isinstance(error, ExpressionError):
        kind = error.kind
        message = f"{error} (in {error.expression[:200]!r})" if error.expression else str(error)
    elif isinstance(error, SmfError):
        kind = error.kind
    names.append(f"{type(error).__module__}.{type(error).__qualname__}")
    where = _where(error)
    info = ErrorInfo(
        kind,
        clean_text(redactor.text(name)),
        clean_text(redactor.text(message)),
        where and clean_text(redactor.text(where)),
    )
    return Outcome(status="failed", error=info, names=tuple(names), retryable=not kind.startswith(_PERMANENT))


def clean_text(text: str) -> str:
    r"""`text` as a journal keeps it: valid Unicode, and not too much of it.

    Example:
        >>> clean_text("caf\udce9")
        'caf?'
    """
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[:_MESSAGE_LIMIT]}... ({len(text)} characters)"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001 - the user's own `__str__` may raise anything
        return f"the text of the error cannot be had: its __str__ raised {type(fault).__name__}"


def _where(error: BaseException) -> str | None:
    """The innermost line of the user's own code, else of a package's; values of variables are never looked at."""
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    theirs = [frame for frame in frames if not _is_installed(frame) and not frame.filename.startswith(_NOT_THEIRS)]
    packages = [frame for frame in frames if _is_installed(frame) and not frame.filename.startswith(_NOT_THEIRS[0])]
    for frame in theirs or packages:
        return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return None


def _is_installed(frame: traceback.FrameSummary) -> bool:
    return any(folder in frame.filename for folder in _INSTALLED)
