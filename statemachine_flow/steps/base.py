"""What an attempt of a step may use to do its work, and what every verb owes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, final

import attrs

from statemachine_flow.agents import Agents, Meter
from statemachine_flow.context import StepContext
from statemachine_flow.executors.process import Spill
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.expressions import Template
from statemachine_flow.functions import Functions
from statemachine_flow.model import Verb
from statemachine_flow.secrets import NO_SECRETS, Redactor

__all__ = ["Attempt", "ExecutableVerb", "StandIn", "StepContext"]


class StandIn(Protocol):
    """Does the work of step bodies in their place, in rehearsals and tests."""

    #: Where bodies are called that are called in threads.
    threads: ThreadExecutor

    async def execute(self, verb: ExecutableVerb, attempt: Attempt) -> Any:
        """What `verb.execute` would return, or raise."""
        ...

    def execute_in(self, verb: ExecutableVerb, connection: Any, attempt: Attempt) -> Any:
        """The same for a `call` inside the store's transaction."""
        ...

    def verdict(self, attempt: Attempt) -> Any:
        """What the step's `verify` would return; None to have it asked."""
        ...


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
    env: Mapping[str, str] = attrs.field(repr=False)
    #: Seconds between asking a command to end and ending it.
    grace: float
    #: Where a command's output beyond the cap goes.
    open_spill: Callable[[], Spill]
    #: The variable by which the processes of the attempt are found when its engine is dead; nothing where none is.
    mark: Mapping[str, str] = attrs.field(factory=dict)
    #: The agents that may be asked.
    agents: Agents = attrs.field(factory=Agents)
    #: JSON Schema of the step's result.
    output_schema: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    #: Keeps the run's secrets out of what the attempt leaves behind.
    redactor: Redactor = NO_SECRETS
    #: Does the body's work; None leaves it to the verb.
    stand_in: StandIn | None = attrs.field(default=None, repr=False)
    #: Counts what the attempt used up.
    meter: Meter = attrs.field(factory=Meter, init=False)

    def __attrs_post_init__(self) -> None:
        if self.redactor:
            self.context.hide(self.redactor)


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
