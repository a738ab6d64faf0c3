"""The verb `call`: a Python function, named by registration or as `module:function`."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, final

import attrs
import msgspec

from statemachine_flow.errors import StepError
from statemachine_flow.functions import FunctionError, Functions
from statemachine_flow.model import Finding
from statemachine_flow.steps.base import Attempt, ExecutableVerb
from statemachine_flow.steps.invoke import fill, fresh, invoke, invoke_inline, invoke_isolated
from statemachine_flow.steps.parameters import shape_of

_REGISTERED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_IMPORTABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*")
_PRIVATE: Final = re.compile(r"(?:^|[.:])_")
_KEYWORDS: Final = frozenset(keyword.kwlist)
_CONTEXT: Final = "the attempt's context"


@final
@attrs.frozen(kw_only=True)
class Call(ExecutableVerb):
    """Call a Python function with keyword arguments; its return value is the step's output.

    A coroutine function runs on the engine's loop, any other in a thread, on the loop, or in a process of its own, as
    `isolation` says; what it gives back to be awaited is awaited there. Inside a transaction it is a plain function,
    called where the store commits.
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
    #: Where the function is called: in a thread; in a process of its own, which can be ended; or on the engine's loop,
    #: where everything waits for it.
    isolation: Literal["thread", "process", "inline"] = "thread"

    def check(self) -> Iterator[Finding]:
        """Whether the name is one; nothing is imported, and who may be called is for the engine to say."""
        wrong = name_fault(self.call)
        if wrong is not None:
            hint = "write a registered name, or a public function as 'module:function'"
            yield Finding("definition.callable", wrong, ("call",), hint)
        if self.transaction and self.isolation != "thread":
            message = "a function inside a transaction is called where the store commits, and nowhere else"
            yield Finding("definition.range", message, ("isolation",), "leave out one of the two", about_key=True)

    async def execute(self, attempt: Attempt) -> Any:
        """See `ExecutableVerb.execute`."""
        function = attempt.functions.resolve(self.call)
        arguments: dict[str, Any] = fresh(self.with_) if self.with_ else {}
        parameter = shape_of(function).context
        fill(arguments, parameter, attempt.context, _CONTEXT)
        if self.isolation == "inline":
            return await invoke_inline(function, attempt, **arguments)
        if self.isolation == "thread":
            return await invoke(function, attempt, **arguments)
        if parameter is not None:
            del arguments[parameter]  # it is made anew over there
        return await invoke_isolated(import_name(attempt.functions, self.call), parameter, attempt, arguments)

    def execute_in(self, connection: Any, attempt: Attempt) -> Any:
        """Call the function inside the transaction that keeps its result, and return the step's output.

        Args:
            connection: the store's own; the parameter annotated `apsw.Connection`, or called `connection`, gets it.
                What is done with it is kept together with the result, or not at all.
            attempt: what the function may use.

        Raises:
            StepError: the function is asynchronous: a transaction waits for nothing.
            Exception: anything the function raised.
        """
        function = attempt.functions.resolve(self.call)
        shape = shape_of(function)
        if shape.is_async:
            raise self._asynchronous()
        arguments: dict[str, Any] = fresh(self.with_) if self.with_ else {}
        fill(arguments, shape.context, attempt.context, _CONTEXT)
        fill(arguments, shape.connection, connection, "the store's connection")
        result = function(**arguments)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # or it would warn that nobody awaited it
            raise self._asynchronous()
        return result

    def _asynchronous(self) -> StepError:
        message = f"'{self.call}' is asynchronous, and a function inside a transaction must not be"
        return StepError(message, name="TypeError", hint="make it a plain function, or leave out `transaction`")


def import_name(functions: Functions, name: str) -> str:
    """The `module:function` under which a process of its own finds a function.

    Raises:
        FunctionError: it would find another, or none.
    """
    found = functions.import_name(name)
    if found is None:
        message = f"{name!r} cannot be called in a process of its own, which has to import it"
        hint = "make it a function of a module: not a lambda, a method, or one inside another function"
        raise FunctionError(message, hint=hint)
    return found


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a function; None if a document can hold it."""
    if _REGISTERED.fullmatch(name):
        return None
    if not _IMPORTABLE.fullmatch(name) or not _KEYWORDS.isdisjoint(re.split("[.:]", name)):
        return f"{name!r} is not the name of a function"
    return f"{name!r} names something private" if _PRIVATE.search(name) else None
