"""What steps and the engine log, where nobody set up logging: on stderr, through the same gate as all else."""

from __future__ import annotations

import logging
from typing import Final, final

from statemachine_flow.cli.output import say

_LOGGER: Final = logging.getLogger("statemachine_flow")


def tell_logs() -> None:
    """From now on, tell warnings and errors that are logged; calling it again does nothing."""
    if not any(isinstance(handler, _Teller) for handler in _LOGGER.handlers):
        _LOGGER.addHandler(_Teller(logging.WARNING))


@final
class _Teller(logging.Handler):
    """Stands in for Python's own last resort, which would write control characters to the terminal as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return  # somebody set up logging, and has it
        try:
            say(self.format(record))
        except Exception:  # noqa: BLE001 - as in any handler: logging says so, and the step goes on
            self.handleError(record)
