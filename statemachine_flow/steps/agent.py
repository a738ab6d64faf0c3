"""The verb `agent`: a named agent answers a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, final

import attrs
import msgspec

from statemachine_flow.steps.base import Attempt, ExecutableVerb


@final
@attrs.frozen(kw_only=True)
class Agent(ExecutableVerb):
    """Ask an agent that the engine was given; its answer is the step's output."""

    key: ClassVar[str] = "agent"
    templates: ClassVar[tuple[str, ...]] = ("prompt", "with_")
    is_body: ClassVar[bool] = True

    #: The name of an agent.
    agent: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    #: What it is asked.
    prompt: Annotated[str, msgspec.Meta(min_length=1)]
    #: Whatever else the agent takes; placeholders keep their types.
    with_: Mapping[str, Any] = attrs.field(factory=dict)

    async def execute(self, attempt: Attempt) -> Any:
        """See `ExecutableVerb.execute`."""
        return await attempt.ask(self.agent, self.prompt, self.with_)
