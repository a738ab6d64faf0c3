"""What the parameters of a function ask for: which of them the engine fills, and whether `with` fits the rest."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.context import StepContext
from statemachine_flow.expressions.values import suggestion

_UNION: Final = re.compile(r"(?:\w+\.)*(?:Optional|Union)\[(.*)\]", re.DOTALL)

Parameters = Mapping[str, inspect.Parameter]


@final
@attrs.frozen
class Shape:
    """How a function is called."""

    #: Whether calling it gives a coroutine.
    is_async: bool
    #: The parameter that takes the attempt's context.
    context: str | None
    #: The parameter that takes the store's connection, inside a transaction.
    connection: str | None


def shape_of(function: Callable[..., Any]) -> Shape:
    """How a function is called.

    Example:
        >>> def pay(amount: int, *, about: StepContext) -> None: ...
        >>> shape_of(pay)
        Shape(is_async=False, context='about', connection=None)
    """
    try:
        return _shape(function)
    except TypeError:  # an object that cannot be hashed is looked at each time
        return _shape.__wrapped__(function)


@functools.lru_cache(maxsize=1024)
def _shape(function: Callable[..., Any]) -> Shape:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - an object that is called like a function
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    named = _named(parameters_of(function) or {})
    hints = _hints(function)
    meant = {name: hints.get(name, parameter.annotation) for name, parameter in named.items()}
    context = next((name for name, hint in meant.items() if _means(hint, _is_context)), None)
    connection = next((name for name, hint in meant.items() if _means(hint, _is_connection)), None)
    if connection is None and "connection" in named:
        connection = "connection"
    return Shape(is_async, context, connection)


def parameters_of(function: Callable[..., Any]) -> Parameters | None:
    """The parameters; None when they cannot be known, as of some builtins."""
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return None


def argument_problems(
    function: Callable[..., Any], names_given: Collection[str], *, transaction: bool = False
) -> str | None:
    """Why a function cannot be called with these arguments by name; None if it can, or if that cannot be known.

    Args:
        function: what is going to be called.
        names_given: the names under `with`.
        transaction: whether it is called inside a transaction, and so is given a connection.

    Returns:
        A sentence that goes on after the function's name.

    Example:
        >>> def pay(amount: int, to: str, context: StepContext) -> None: ...
        >>> argument_problems(pay, ["amount", "too"])
        "has no parameter 'too'; did you mean 'to'?"
        >>> argument_problems(pay, ["amount"])
        "needs 'to', which `with` does not give"
    """
    parameters = parameters_of(function)
    if parameters is None:
        return None
    shape, named = shape_of(function), _named(parameters)
    filled = {shape.context, shape.connection if transaction else None}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in names_given:
        if name in filled:
            return f"takes '{name}' from the engine, and `with` gives it too"
        if name not in named and not takes_any:
            hint = suggestion(name, [known for known in named if known not in filled])
            return f"has no parameter '{name}'" + (f"; {hint}" if hint else "")
    for name, parameter in parameters.items():
        is_many = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if is_many or parameter.default is not parameter.empty or name in filled:
            continue
        if name not in named:
            return f"needs '{name}' by its place, and `with` gives arguments by name"
        if name not in names_given:
            return f"needs '{name}', which `with` does not give"
    return None


def accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the function has parameters for.

    Example:
        >>> accepted(lambda a, b=1: None, {"a": 1, "c": 3})
        {'a': 1}
    """
    parameters = parameters_of(function)
    if parameters is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(arguments)
    named = _named(parameters)
    return {name: value for name, value in arguments.items() if name in named}


def _named(parameters: Parameters) -> dict[str, inspect.Parameter]:
    """Those that can be given by name."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in kinds}


def _hints(function: Any) -> Mapping[str, Any]:
    """What the annotations of the function mean; nothing if one of them names what cannot be found."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            break
    if inspect.isclass(function):
        function = function.__init__
    elif not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - evaluating the text of an annotation may raise anything
        return {}


def _means(hint: Any, is_meant: Callable[[Any], bool]) -> bool:
    """Whether an annotation says what is asked for, perhaps among others, as a type or as the text of one."""
    if isinstance(hint, typing.ForwardRef):
        hint = hint.__forward_arg__
    if isinstance(hint, str):
        union = _UNION.fullmatch(hint.strip())
        parts = re.split(r"[|,]", union[1] if union else hint)
        return any(is_meant(part.strip(" '\"")) for part in parts)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_means(part, is_meant) for part in typing.get_args(hint))
    return is_meant(hint)


def _is_context(hint: Any) -> bool:
    return hint.split(".")[-1] == "StepContext" if isinstance(hint, str) else hint is StepContext


def _is_connection(hint: Any) -> bool:
    # By its name: of the store's library nothing is loaded here.
    if isinstance(hint, str):
        return hint == "apsw.Connection"
    return isinstance(hint, type) and (hint.__module__, hint.__qualname__) == ("apsw", "Connection")
