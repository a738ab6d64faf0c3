"""What an attempt of a step is given, and what every verb owes."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, final

import attrs

from statemachine_flow.executors.process import Spill
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.expressions import Template
from statemachine_flow.functions import Functions
from statemachine_flow.model import Verb


@final
@attrs.define(kw_only=True)
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
    step_id: str
    #: Counts from 1.
    attempt: int
    #: Why the attempt should stop, such as "cancel" or "timeout"; "" while it should go on.
    stop_reason: str = attrs.field(default="", init=False)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs under `statemachine_flow.step`, with run, step and attempt as `extra`."""
        return logging.LoggerAdapter(_LOGGER, {"run": self.run_id, "step": self.step_id, "attempt": self.attempt})

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step of this run: hand it to outside systems that honour one."""
        return f"{self.run_id}/{self.step_id}"

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop; a long-running function looks at it now and then."""
        return bool(self.stop_reason)


_LOGGER = logging.getLogger("statemachine_flow.step")


@final
@attrs.frozen(kw_only=True)
class Attempt:
    """Everything a verb may use to do its work."""

    context: StepContext
    functions: Functions
    threads: ThreadExecutor
    #: Absolute; where the run was started.
    cwd: str
    #: The variables a command inherits.
    env: Mapping[str, str]
    #: Seconds between asking a command to end and ending it.
    grace: float
    #: Where a command's output beyond the cap goes.
    open_spill: Callable[[], Spill]


class ExecutableVerb(Verb):
    """A verb that can be executed; its fields are rendered before."""

    @abstractmethod
    async def execute(self, attempt: Attempt) -> Any:
        """Do the work and return the step's output.

        Raises:
            StepError: what went wrong, with the error name that retry policies match.
            Exception: anything the user's own code raised.
            asyncio.CancelledError: the attempt was given up; nothing it started is left running.
        """

    def output_names(self, output: Any) -> Mapping[str, Any]:
        """The names that expressions under `outputs` may use for this output."""
        return {"result": output}

    def render_field(self, name: str, template: Template, names: Mapping[str, Any]) -> Any:  # noqa: ARG002 - verbs use it
        """The field `name` with its placeholders filled in."""
        return template.render(names)
