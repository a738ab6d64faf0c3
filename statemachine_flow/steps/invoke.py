"""Call one callable of a user for an attempt: on the loop, in a thread, or in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from statemachine_flow.context import StepContext
from statemachine_flow.errors import StepError
from statemachine_flow.executors.isolated import call_isolated
from statemachine_flow.executors.messages import Logged, Request
from statemachine_flow.executors.thread import awaitable
from statemachine_flow.steps.base import Attempt
from statemachine_flow.steps.parameters import shape_of
from statemachine_flow.values import decode_value, encode_value

#: What the context of an isolated function is made of, its secrets besides.
_CONTEXT_FIELDS: Final = (
    *("run_id", "workflow", "step_id", "path", "attempt", "generation", "key", "idempotency_key", "epoch"),
)
#: Most of what values are made of; what is not here is only looked at a little longer.
_UNCHANGEABLE: Final = frozenset({str, int, float, bool, type(None), bytes})


async def invoke(function: Callable[..., Any], attempt: Attempt, /, *args: Any, **options: Any) -> Any:
    """What the function returns, called on the loop if it is a coroutine function, else in a thread.

    What it gives back to be awaited is awaited on the loop.

    Raises:
        StepError: `step.abandoned`: the engine begins no more threads.
        Exception: whatever the function raised.
    """
    if shape_of(function).is_async:
        return await function(*args, **options)
    attempt.threads.require_room()
    # A thread that overran its time is not waited for; one that is asked to stop has its grace to notice.
    result = await attempt.threads.run(
        functools.partial(function, *args, **options),
        patience=lambda: 0.0 if attempt.context.stop_reason == "timeout" else attempt.grace,
        # What comes too late for a run that another owner has taken is kept for people to see, whenever it comes.
        waits_on=lambda: attempt.context.stop_reason == "lost",
    )
    return await _awaited(result, attempt.context) if inspect.isawaitable(result) else result


async def invoke_inline(function: Callable[..., Any], attempt: Attempt, /, **arguments: Any) -> Any:
    """What the function returns, called on the loop, where everything else waits for it."""
    try:
        result = function(**arguments)
    except BaseException as error:
        if (other := awaitable(error)) is error:
            raise
        raise other from error
    return await _awaited(result, attempt.context) if inspect.isawaitable(result) else result


async def invoke_isolated(name: str, context_parameter: str | None, attempt: Attempt, arguments: Any) -> Any:
    """What the function returns, called in a fresh process.

    Args:
        name: `module:function`.
        context_parameter: the parameter that takes the attempt's context.
        attempt: what it may use.
        arguments: the others, by name.

    Raises:
        StepError: see `call_isolated`; `step.unserializable`: an argument cannot be handed over.
    """
    context = attempt.context
    request = Request(
        function=name,
        arguments=encode_value(arguments),
        context={field: getattr(context, field) for field in _CONTEXT_FIELDS} | {"secrets": dict(context.secrets)},
        context_parameter=context_parameter,
        log_level=context.logger.getEffectiveLevel(),
    )

    def hear(logged: Logged) -> None:
        context.logger.log(logged.level, "%s", logged.text.decode("utf-8", "surrogatepass"))

    env = {**os.environ, **attempt.mark}
    return decode_value(await call_isolated(request, env=env, grace=attempt.grace, hear=hear))


async def _awaited(result: Awaitable[Any], context: StepContext) -> Any:
    """The result of what a function gave back to be awaited, as a lambda does that calls a coroutine function."""
    future = asyncio.ensure_future(result)
    if context.cancelled:  # asked to stop while the function was in its thread; this was not told
        future.cancel()
    return await future


def fill(arguments: dict[str, Any], parameter: str | None, value: Any, what: str) -> None:
    """Give a parameter what the engine has for it.

    Raises:
        StepError: `with` gives it too.
    """
    if parameter is None:
        return
    if parameter in arguments:
        message = f"the parameter '{parameter}' takes {what}, and `with` gives it too"
        raise StepError(message, name="TypeError", hint="leave it out of `with`")
    arguments[parameter] = value


def fresh(value: Any) -> Any:
    """A copy of plain data down to what cannot change.

    What a function does to its arguments is nothing to the definition, to other attempts and other steps.
    """
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return value
    if isinstance(value, Mapping):
        return {key: item if type(item) in _UNCHANGEABLE else fresh(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(item if type(item) in _UNCHANGEABLE else fresh(item) for item in value)
    return set(value) if kind is set else value
