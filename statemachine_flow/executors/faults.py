"""What is told of an error of the user's code: its kind, names, text and place, never the values of variables."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final, final

import msgspec

from statemachine_flow.errors import ExpressionError, SmfError, StepError

#: Where code lies that is not the user's: this library's, and Python's own.
_NOT_THEIRS: Final = (
    str(Path(__file__).parent.parent) + os.sep,
    str(Path(traceback.__file__).parent) + os.sep,
    "<frozen",
)
#: Folders of installed packages; in some installations they lie inside that of Python's own code.
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error as data, as it also comes from another process."""

    #: A key of `errors.KINDS`.
    kind: str
    name: str
    message: str
    #: The last place in the user's own code, `file:line in function`.
    where: str | None
    #: What `retry_on` and `abort_on` may name: the error's class and its bases.
    names: tuple[str, ...]


@final
class FaultError(StepError):
    """An error that was raised in another process.

    Args:
        fault: what is known of it.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message, kind=fault.kind, name=fault.name)
        self.fault = fault


def fault_of(error: BaseException) -> Fault:
    """What is told of an error.

    Example:
        >>> fault = fault_of(ValueError("bad"))
        >>> fault.kind, fault.name, fault.message, fault.names
        ('step.failed', 'ValueError', 'bad', ('ValueError', 'Exception', 'builtins.ValueError'))
    """
    if isinstance(error, FaultError):
        return error.fault
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
    return Fault(kind=kind, name=name, message=message, where=_where(error), names=tuple(names))


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
