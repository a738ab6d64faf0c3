"""Call one callable of a user for an attempt: on the loop if it is a coroutine function, else in a thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from statemachine_flow.context import StepContext
from statemachine_flow.errors import StepError
from statemachine_flow.steps.base import Attempt
from statemachine_flow.steps.parameters import shape_of

#: Most of what values are made of; what is not here is only looked at a little longer.
_UNCHANGEABLE: Final = frozenset({str, int, float, bool, type(None), bytes})


async def invoke(function: Callable[..., Any], attempt: Attempt, *args: Any, **options: Any) -> Any:
    """What the function returns; what it gives back to be awaited is awaited on the loop."""
    if shape_of(function).is_async:
        return await function(*args, **options)
    # A thread that overran its time is not waited for; one that is asked to stop has its grace to notice.
    result = await attempt.threads.run(
        functools.partial(function, *args, **options),
        patience=lambda: 0.0 if attempt.context.stop_reason == "timeout" else attempt.grace,
    )
    return await _awaited(result, attempt.context) if inspect.isawaitable(result) else result


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
