"""The verb `agent`: a named agent answers a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NoReturn, final

import attrs
import msgspec

from statemachine_flow.agents import AgentReply, AgentRequest
from statemachine_flow.errors import StepError
from statemachine_flow.expressions import Template
from statemachine_flow.expressions.values import to_text
from statemachine_flow.steps.base import Attempt, ExecutableVerb
from statemachine_flow.steps.invoke import fresh, invoke

#: What opens a block of JSON; one that says so comes before one that says nothing.
_FENCES: Final = (re.compile(r"^[ \t]*```json[ \t]*\r?\n", re.IGNORECASE | re.MULTILINE), re.compile(r"```[ \t]*\r?\n"))
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


@final
@attrs.frozen(kw_only=True)
class Agent(ExecutableVerb):
    """Ask an agent that the engine was given; its answer is the step's output.

    A coroutine function answers on the engine's loop, any other agent in a thread. If the step has an
    `output_schema`, an answer that is text is read as JSON, alone or in a block of a longer text.
    """

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
        agent = attempt.agents.resolve(self.agent)
        request = AgentRequest(
            agent=self.agent,
            prompt=self.prompt,
            with_=fresh(self.with_),
            context=attempt.context,
            output_schema=None if attempt.output_schema is None else fresh(attempt.output_schema),
        )
        try:
            reply = await invoke(agent, attempt, request)
        except BaseException as error:
            attempt.meter.add(error)  # a failed answer may have cost something too
            raise
        if not isinstance(reply, AgentReply):
            reply = AgentReply(reply)
        attempt.meter.add(reply)
        output = reply.output
        if output is None or (isinstance(output, str) and not output.strip()):
            raise StepError(f"the agent '{self.agent}' gave no answer", kind="step.agent", name="AgentError")
        return read_json(output) if isinstance(output, str) and attempt.output_schema is not None else output

    def render_field(self, name: str, template: Template, names: Mapping[str, Any]) -> Any:
        """See `ExecutableVerb.render_field`."""
        rendered = template.render(names)
        return to_text(rendered) if name == "prompt" else rendered


def read_json(text: str) -> Any:
    r"""The value that an answer holds as JSON: as the whole text, or in its first fenced block.

    Raises:
        StepError: `step.schema`, there is none.

    Example:
        >>> read_json('Here you are:\n```json\n{"severity": "low"}\n```\nAnything else?')
        {'severity': 'low'}
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for start in _starts(text):
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        rest = text[_end_of_blanks(text, end) :]
        if not rest or (rest.startswith("```") and start > _end_of_blanks(text, 0)):
            return value
    raise StepError("the answer holds no JSON", kind="step.schema", name="SchemaError", hint="ask for JSON and no more")


def _starts(text: str) -> list[int]:
    """Where JSON may begin."""
    blocks = (fence.search(text) for fence in _FENCES)
    return [_end_of_blanks(text, place) for place in (0, *(block.end() for block in blocks if block))]


def _end_of_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found else start


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
