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
        if (name := _context_parameter(function)) is not None:
            arguments[name] = attempt.context
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        # A thread that overran its time is not waited for; one that is asked to stop has its grace to notice.
        return await attempt.threads.run(
            functools.partial(function, **arguments),
            patience=lambda: 0.0 if attempt.context.stop_reason == "timeout" else attempt.grace,
        )


def _name_fault(name: str) -> str | None:
    if _REGISTERED.fullmatch(name):
        return None
    parts = re.split("[.:]", name)
    if not _IMPORTABLE.fullmatch(name) or any(map(keyword.iskeyword, parts)):
        return f"{name!r} is not the name of a function"
    if any(part.startswith("_") for part in parts):
        return f"{name!r} names something private"
    return None


@functools.lru_cache(maxsize=1024)
def _context_parameter(function: Callable[..., Any]) -> str | None:
    """The name of the parameter annotated `StepContext`, if there is one."""
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
