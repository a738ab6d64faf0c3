"""What the code of a step's author may know about its attempt, and where it logs."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Mapping
from typing import Final, final

import attrs

from statemachine_flow.errors import SmfError
from statemachine_flow.secrets import NO_SECRETS, Redactor, Secrets

_LOGGER: Final = logging.getLogger("statemachine_flow.step")


@final
@attrs.define(kw_only=True, on_setattr=[])
class StepContext:
    """What a step's function may know about its attempt; taken by a parameter annotated `StepContext`.

    Example:
        >>> def charge(amount: int, context: StepContext) -> str:
        ...     return f"{amount} with key {context.idempotency_key}"
        >>> charge(3, StepContext(run_id="r1", workflow="shop", step_id="charge", attempt=2))
        '3 with key r1/charge'
    """

    run_id: str
    #: The workflow's name.
    workflow: str
    #: The step's id in its level.
    step_id: str
    #: Counts from 1.
    attempt: int
    #: The step's place in the run, such as `ci/review[src/a.py]`; the id for a step of the top level.
    path: str = attrs.field()
    #: Counts from 1; the next one begins when a finished step is carried out again, by a loop or a rewind.
    generation: int = 1
    #: Which item of a `for_each` or `matrix` the attempt is for; None outside of one.
    key: str | None = None
    #: The same for every attempt of this step of this run: hand it to outside systems that honour one.
    idempotency_key: str = attrs.field(repr=False)
    #: The secrets that the step names, by name.
    secrets: Mapping[str, str] = attrs.field(factory=Secrets, converter=Secrets, repr=False)
    #: Grows with each owner of the run: what comes with a lower one than was seen before comes from a lost owner.
    epoch: int = 1
    #: Why the attempt should stop, such as "cancel" or "timeout"; "" while it should go on.
    stop_reason: str = attrs.field(default="", init=False)
    _redactor: Redactor = attrs.field(default=NO_SECRETS, init=False, repr=False, eq=False)

    @path.default
    def _path(self) -> str:
        return self.step_id

    @idempotency_key.default
    def _idempotency_key(self) -> str:
        return f"{self.run_id}/{self.path}" + (f"@{self.generation}" if self.generation > 1 else "")

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs under `statemachine_flow.step`, with run, step and attempt as `extra`, and without secrets.

        A handler that raises an error does not fail the attempt.
        """
        logger = _StepLogger(self._redactor)
        return logging.LoggerAdapter(logger, {"run": self.run_id, "step": self.path, "attempt": self.attempt})

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop; a long-running function looks at it now and then."""
        return bool(self.stop_reason)

    def hide(self, redactor: Redactor) -> None:
        """Keep these secrets out of what is logged from now on."""
        self._redactor = redactor


class _StepLogger(logging.Logger):
    """Hands records on to the one logger of steps, without the secrets, and lets no error of a handler out."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(_LOGGER.name)
        self._redactor = redactor
        self.parent = _LOGGER

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's own name
        return _LOGGER.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        if self._redactor:
            self._redact(record)
        # Whatever is wrong with a log file or a log server, the step did what it did.
        with contextlib.suppress(Exception):
            _LOGGER.handle(record)

    def _redact(self, record: logging.LogRecord) -> None:
        redactor = self._redactor
        try:
            record.msg, record.args = redactor.text(record.getMessage()), None
        except Exception:  # noqa: BLE001 - a handler reports it, as for any other logger
            record.msg = redactor.text(str(record.msg))
            record.args = tuple(redactor.text(repr(argument)) for argument in record.args or ())
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        # The error itself would take its text, and the locals of its frames, to handlers that look at them.
        record.exc_info = None
        for name, value in vars(record).items():
            try:
                vars(record)[name] = redactor.value(value)
            except SmfError:
                vars(record)[name] = "(a value that holds itself)"
