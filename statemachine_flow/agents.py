"""Agents: what they are asked, what they may answer, and which of them an engine has.

An agent is any callable that takes one `AgentRequest`. Where agents come from, and how a step waits for their
answer, is the callers' business: `Agents.resolve` is the one place where a name becomes an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.context import StepContext
from statemachine_flow.errors import SmfError, UsageError
from statemachine_flow.expressions.values import suggestion

#: More is no count but a mistake.
_MOST: Final = 2**53


def _is_cost(_reply: object, _attribute: object, value: Any) -> None:
    if _cost(value) is None:
        raise ValueError(f"cost_usd is a number from 0 on, not {value!r}")


def _is_count(_reply: object, _attribute: object, value: Any) -> None:
    if _count(value) is None:
        raise ValueError(f"tokens is a whole number from 0 on, not {value!r}")


@final
@attrs.frozen(kw_only=True)
class AgentRequest:
    """What an agent is asked; its repr shows for whom, never what.

    Example:
        >>> def echo(request: AgentRequest) -> str:
        ...     return request.prompt.upper()
        >>> context = StepContext(run_id="r1", workflow="w", step_id="s", attempt=1)
        >>> echo(AgentRequest(agent="echo", prompt="hello", context=context))
        'HELLO'
    """

    #: The name by which it is asked.
    agent: str
    prompt: str = attrs.field(repr=False)
    #: Whatever else the step gives it.
    with_: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    #: The attempt it is asked for.
    context: StepContext
    #: JSON Schema that the answer is going to be checked against.
    output_schema: Mapping[str, Any] | None = attrs.field(default=None, repr=False)


@final
@attrs.frozen
class AgentReply:
    """An answer, and what it cost; an agent that keeps no count returns the answer alone.

    Example:
        >>> AgentReply("fine", cost_usd=0.02, tokens=1200)
        AgentReply(cost_usd=0.02, tokens=1200, model=None)
    """

    #: Text or plain data.
    output: Any = attrs.field(repr=False)
    #: In US dollars.
    cost_usd: float = attrs.field(default=0.0, kw_only=True, validator=_is_cost)
    #: Of the prompt and the answer together.
    tokens: int = attrs.field(default=0, kw_only=True, validator=_is_count)
    #: Who answered, for people.
    model: str | None = attrs.field(default=None, kw_only=True)


Agent = Callable[[AgentRequest], Any]


class AgentError(SmfError):
    """A name that leads to no agent."""

    default_kind = "definition.agent"
    exit_code = 3


@final
class Agents:
    """The agents of one engine.

    Args:
        given: name -> agent.

    Raises:
        UsageError: one of them cannot be called.

    Example:
        >>> agents = Agents({"echo": lambda request: request.prompt})
        >>> agents.resolve("ecko")
        Traceback (most recent call last):
        ...
        statemachine_flow.agents.AgentError: the engine has no agent 'ecko'; did you mean 'echo'?
    """

    def __init__(self, given: Mapping[str, Agent] | None = None) -> None:
        self._given = dict(given or {})
        for name, agent in self._given.items():
            if not callable(agent):
                raise UsageError(f"the agent {name!r} is of the type {type(agent).__name__}, which cannot be called")

    def __repr__(self) -> str:
        return f"<Agents: {', '.join(self._given) or 'none'}>"

    def resolve(self, name: str) -> Agent:
        """The agent with that name.

        Raises:
            AgentError: there is none.
        """
        agent = self._given.get(name)
        if agent is None:
            hint = suggestion(name, self._given) or f"give it with Engine(agents={{{name!r}: ...}})"
            raise AgentError(f"the engine has no agent {name!r}", hint=hint)
        return agent


@final
class Meter:
    """Adds up what one attempt used.

    Example:
        >>> meter = Meter()
        >>> meter.add(AgentReply("", cost_usd=0.5, tokens=10))
        >>> meter.cost_usd, meter.tokens
        (0.5, 10)
    """

    def __init__(self) -> None:
        self.cost_usd = 0.0
        self.tokens = 0

    def add(self, source: object) -> None:
        """Count `cost_usd` and `tokens` of a reply, or of an error that has them; what is no count is left out."""
        self.cost_usd += _cost(getattr(source, "cost_usd", None)) or 0.0
        self.tokens += _count(getattr(source, "tokens", None)) or 0


def _cost(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _MOST else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else None
