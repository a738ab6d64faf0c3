"""The verb `call`: a Python function, named by registration or as `module:function`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import keyword
import re
import types
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, final

import attrs
import msgspec

from statemachine_flow.errors import StepError
from statemachine_flow.model import Finding
from statemachine_flow.steps.base import Attempt, ExecutableVerb, StepContext

_REGISTERED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_IMPORTABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")
_PRIVATE: Final = re.compile(r"(?:^|[.:])_")
_KEYWORDS: Final = frozenset(keyword.kwlist)
_UNION: Final = re.compile(r"(?:\w+\.)*(?:Optional|Union)\[(.*)\]", re.DOTALL)
#: Most of what values are made of; what is not here is only looked at a little longer.
_UNCHANGEABLE: Final = frozenset({str, int, float, bool, type(None), bytes})


@final
@attrs.frozen(kw_only=True)
class Call(ExecutableVerb):
    """Call a Python function with keyword arguments; its return value is the step's output.

    A coroutine function runs on the engine's loop, any other in a thread; what it gives back to be awaited is awaited
    on the loop.
    """

    key: ClassVar[str] = "call"
    is_body: ClassVar[bool] = True
    templates: ClassVar[tuple[str, ...]] = ("with_",)

    #: A registered name, or `module:function`.
    call: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    #: Keyword arguments; placeholders keep their types.
    with_: Mapping[str, Any] = attrs.field(factory=dict)
    #: Run the function inside the transaction that keeps its result; it is handed the store's SQLite connection.
    transaction: bool = False

    def check(self) -> Iterator[Finding]:
        """Whether the name is one; nothing is imported, and who may be called is for the engine to say."""
        wrong = name_fault(self.call)
        if wrong is not None:
            hint = "write a registered name, or a public function as 'module:function'"
            yield Finding("definition.callable", wrong, ("call",), hint)

    async def execute(self, attempt: Attempt) -> Any:
        """See `ExecutableVerb.execute`."""
        function = attempt.functions.resolve(self.call)
        # What the function does to its arguments is nothing to the definition, to other attempts and other steps.
        arguments: dict[str, Any] = _fresh(self.with_) if self.with_ else {}
        try:
            is_async, context_parameter = _shape(function)
        except TypeError:  # an object that cannot be hashed is looked at each time
            is_async, context_parameter = _shape.__wrapped__(function)
        if context_parameter is not None:
            if context_parameter in arguments:
                message = f"the parameter '{context_parameter}' takes the attempt's context, and `with` gives it too"
                raise StepError(message, name="TypeError", hint="leave it out of `with`")
            arguments[context_parameter] = attempt.context
        if is_async:
            return await function(**arguments)
        # A thread that overran its time is not waited for; one that is asked to stop has its grace to notice.
        result = await attempt.threads.run(
            functools.partial(function, **arguments),
            patience=lambda: 0.0 if attempt.context.stop_reason == "timeout" else attempt.grace,
        )
        return await _awaited(result, attempt.context) if inspect.isawaitable(result) else result


async def _awaited(result: Awaitable[Any], context: StepContext) -> Any:
    """The result of what a function gave back to be awaited, as a lambda does that calls a coroutine function."""
    future = asyncio.ensure_future(result)
    if context.cancelled:  # asked to stop while the function was in its thread; this was not told
        future.cancel()
    return await future


def _fresh(value: Any) -> Any:
    """A copy of plain data down to what cannot change."""
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return value
    if isinstance(value, Mapping):
        return {key: item if type(item) in _UNCHANGEABLE else _fresh(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(item if type(item) in _UNCHANGEABLE else _fresh(item) for item in value)
    return set(value) if kind is set else value


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a function; None if a document can hold it."""
    if _REGISTERED.fullmatch(name):
        return None
    if not _IMPORTABLE.fullmatch(name) or not _KEYWORDS.isdisjoint(re.split("[.:]", name)):
        return f"{name!r} is not the name of a function"
    return f"{name!r} names something private" if _PRIVATE.search(name) else None


@functools.lru_cache(maxsize=1024)
def _shape(function: Callable[..., Any]) -> tuple[bool, str | None]:
    """Whether calling it gives a coroutine, and the name of its parameter annotated `StepContext`, if it has one."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - an object that is called like a function
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    return is_async, _context_parameter(function)


def _context_parameter(function: Callable[..., Any]) -> str | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # some builtins have no signature
        return None
    hints = _hints(function)
    for parameter in parameters:
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_named and _is_context(hints.get(parameter.name, parameter.annotation)):
            return parameter.name
    return None


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


def _is_context(hint: Any) -> bool:
    """Whether an annotation says `StepContext`, perhaps among others, as a type or as the text of one."""
    if isinstance(hint, typing.ForwardRef):
        hint = hint.__forward_arg__
    if isinstance(hint, str):
        union = _UNION.fullmatch(hint.strip())
        parts = re.split(r"[|,]", union[1] if union else hint)
        return any(part.strip(" '\"").split(".")[-1] == "StepContext" for part in parts)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(_is_context, typing.get_args(hint)))
    return hint is StepContext
