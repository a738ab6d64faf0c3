"""The verb `call`: a Python function, named by registration or as `module:function`."""

from __future__ import annotations

import functools
import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, final

import attrs
import msgspec

from statemachine_flow.model import Finding
from statemachine_flow.steps.base import Attempt, ExecutableVerb, StepContext

_REGISTERED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_IMPORTABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")
_PRIVATE: Final = re.compile(r"(?:^|[.:])_")
_KEYWORDS: Final = frozenset(keyword.kwlist)


@final
@attrs.frozen(kw_only=True)
class Call(ExecutableVerb):
    """Call a Python function with keyword arguments; its return value is the step's output.

    A coroutine function runs on the engine's loop, any other in a thread.
    """

    key: ClassVar[str] = "call"
    templates: ClassVar[tuple[str, ...]] = ("with_",)

    #: A registered name, or `module:function`.
    call: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    #: Keyword arguments; placeholders keep their types.
    with_: Mapping[str, Any] = attrs.field(factory=dict)

    def check(self) -> Iterator[Finding]:
        """Whether the name is one; nothing is imported, and who may be called is for the engine to say."""
        wrong = _name_fault(self.call)
        if wrong is not None:
            hint = "write a registered name, or a public function as 'module:function'"
            yield Finding("definition.callable", wrong, ("call",), hint)

    async def execute(self, attempt: Attempt) -> Any:
        """See `ExecutableVerb.execute`."""
        function = attempt.functions.resolve(self.call)
        arguments = dict(self.with_)
        try:
            is_async, context_parameter = _shape(function)
        except TypeError:  # an object that cannot be hashed is looked at each time
            is_async, context_parameter = _shape.__wrapped__(function)
        if context_parameter is not None:
            arguments[context_parameter] = attempt.context
        if is_async:
            return await function(**arguments)
        # A thread that overran its time is not waited for; one that is asked to stop has its grace to notice.
        return await attempt.threads.run(
            functools.partial(function, **arguments),
            patience=lambda: 0.0 if attempt.context.stop_reason == "timeout" else attempt.grace,
        )


def _name_fault(name: str) -> str | None:
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
    for parameter in parameters:
        annotation = parameter.annotation
        # Under `from __future__ import annotations` it is text, perhaps with a module before it.
        if annotation is StepContext or (isinstance(annotation, str) and annotation.split(".")[-1] == "StepContext"):
            return parameter.name
    return None
