"""Why an engine pauses a run by itself, as its journal says it."""

from __future__ import annotations

from typing import Final

ENGINE_CLOSED: Final = "the engine was closed"
ABOVE_STOPPED: Final = "the run above it was stopped"
#: What follows the colon in a journal says more.
CODE_MISSING: Final = "code_missing"
CODE_CHANGED: Final = "code_changed"
UNCERTAIN: Final = "uncertain"
FULL: Final = "run.limit"

_WHOLE: Final = (ENGINE_CLOSED, ABOVE_STOPPED)
_BEGUN: Final = tuple(f"{kind}: " for kind in (CODE_MISSING, CODE_CHANGED, UNCERTAIN, FULL))


def is_of_an_engine(reason: str) -> bool:
    """Whether no person paused a run: it may go on as soon as what is in its way is gone.

    Example:
        >>> is_of_an_engine("uncertain: pay"), is_of_an_engine("lunch")
        (True, False)
    """
    return reason in _WHOLE or reason.startswith(_BEGUN)
