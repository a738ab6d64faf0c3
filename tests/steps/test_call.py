"""The verb `call`: what a function is given, which parameter gets the context, and what becomes of an awaitable."""

from __future__ import annotations

import asyncio
import functools
import typing
from collections.abc import Callable, Generator, Iterator
from typing import Any, Optional

import pytest

import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError, StepError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.steps.call import Call

Alias = StepContext


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    executor = ThreadExecutor()
    yield executor
    executor.close()


def attempt_of(function: Callable[..., Any], threads: ThreadExecutor) -> Attempt:
    def no_spill() -> Any:
        raise AssertionError

    context = StepContext(run_id="r", workflow="w", step_id="s", attempt=1)
    functions = Functions({"f": function})
    return Attempt(
        context=context, functions=functions, threads=threads, cwd="/", env={}, grace=1.0, open_spill=no_spill
    )


def execute(function: Callable[..., Any], threads: ThreadExecutor, **arguments: Any) -> Any:
    return asyncio.run(Call(call="f", with_=arguments).execute(attempt_of(function, threads)))


# --- arguments


@pytest.mark.parametrize(
    "value", [[1], {"k": 1}, {1, 2}, ([1],), {"k": [{"deep": ([],)}]}, [[[]]], [None, True, 1, 1.5, b"x", "x"]]
)
def test_a_function_gets_its_own_copy_of_what_is_written_under_with(value: Any, threads: ThreadExecutor) -> None:
    def spoil(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                spoil(item)
        elif isinstance(value, list | tuple):
            for item in value:
                spoil(item)
        if isinstance(value, dict | list | set):
            value.clear()

    seen: list[Any] = []

    def function(x: Any) -> None:
        seen.append(repr(x))
        spoil(x)

    verb = Call(call="f", with_={"x": value})
    attempt = attempt_of(function, threads)
    for _ in range(2):
        asyncio.run(verb.execute(attempt))
    assert seen == [repr(value)] * 2
    assert verb.with_ == {"x": value}


def test_changed_constants_reach_neither_retries_nor_later_runs_nor_the_definition() -> None:
    calls: list[Any] = []

    def flaky(items: list[int]) -> list[int]:
        items.append(1)
        calls.append(list(items))
        if len(calls) == 1:
            raise ValueError
        return items

    workflow = smf.Workflow("changes")
    workflow.call("a", flaky, with_={"items": []}, retry={"max_attempts": 2, "delay": "1ms"})
    before = workflow.content_hash
    with smf.Engine("memory://") as engine:
        outputs = [engine.run(workflow).steps["a"].output for _ in range(2)]
    assert (outputs, calls) == ([[1], [1]], [[1], [1], [1]])
    assert smf.load(workflow.to_toml()).content_hash == before


def test_changed_inputs_and_outputs_reach_no_other_step() -> None:
    def spoil(x: list[int]) -> list[int]:
        x.append(9)
        return x

    workflow = smf.Workflow("changes")
    given = workflow.input("x", "array")
    made = workflow.call("made", lambda: [0])
    workflow.call("a", spoil, with_={"x": given})
    workflow.call("b", spoil, with_={"x": made.output}, needs=["a"])
    workflow.call("c", lambda x: x, with_={"x": [given, made.output]}, needs=["a", "b"])
    with smf.Engine("memory://") as engine:
        assert engine.run(workflow, {"x": [0]}).steps["c"].output == [[0], [0]]


def test_all_inputs_as_one_value_are_a_mapping_of_the_functions_own() -> None:
    def spoil(x: dict[str, Any]) -> str:
        x.clear()
        return type(x).__name__

    workflow = smf.Workflow("changes")
    workflow.input("n", "integer", default=1)
    workflow.call("a", spoil, with_={"x": "${{ inputs }}"})
    workflow.call("b", lambda x: x, with_={"x": "${{ inputs }}"}, needs=["a"], outputs={"all": "inputs"})
    workflow.output("all", "${{ inputs }}")
    with smf.Engine("memory://") as engine:
        run = engine.run(workflow)
    found = (run.steps["a"].output, run.steps["b"].output, run.steps["b"].outputs, run.outputs)
    assert found == ("dict", {"n": 1}, {"all": {"n": 1}}, {"all": {"n": 1}})


# --- the context


def as_union(x: int, ctx: smf.StepContext | None = None) -> Any:
    return ctx


def as_optional(x: int, ctx: Optional[StepContext] = None) -> Any:  # noqa: UP045 - what people write
    return ctx


def as_quoted(x: int, ctx: "smf.StepContext | None" = None) -> Any:  # noqa: UP037 - what people write
    return ctx


def as_alias(x: int, ctx: Alias | None = None) -> Any:
    return ctx


def as_quoted_alias(x: int, ctx: "Alias") -> Any:  # noqa: UP037 - what people write
    return ctx


def beside_unknown(x: Unknown, ctx: Optional[smf.StepContext] = None) -> Any:  # type: ignore[name-defined]  # noqa: F821, UP045 - as under TYPE_CHECKING
    return ctx


def union_beside_unknown(x: Unknown, ctx: "None | smf.StepContext" = None) -> Any:  # type: ignore[name-defined]  # noqa: F821, UP037, RUF036 - as under TYPE_CHECKING
    return ctx


def as_object(x: int, ctx: Any = None) -> Any:
    return ctx


as_object.__annotations__.update(ctx=Optional[StepContext], x="Unknown")  # noqa: UP045 - what people write


class Called:
    def __call__(self, x: int, ctx: Alias | None = None) -> Any:
        return ctx

    def method(self, x: int, ctx: Alias | None = None) -> Any:
        return ctx

    @classmethod
    def class_method(cls, x: int, ctx: Alias | None = None) -> Any:
        return ctx

    @staticmethod
    def static_method(x: int, ctx: Alias | None = None) -> Any:
        return ctx


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        as_union,
        as_optional,
        as_quoted,
        as_alias,
        as_quoted_alias,
        beside_unknown,
        union_beside_unknown,
        as_object,
        Called(),
        Called().method,
        Called.class_method,
        Called.static_method,
        wrapped(as_alias),
        wrapped(wrapped(Called().method)),
        functools.partial(as_alias),
        functools.partial(functools.partial(Called().method)),
        wrapped(functools.partial(as_alias)),
        functools.partial(Called()),
    ],
)
def test_the_context_goes_to_whatever_says_that_it_takes_it(
    function: Callable[..., Any], threads: ThreadExecutor
) -> None:
    assert isinstance(execute(function, threads, x=1), StepContext)


def takes_callback(callback: Callable[[StepContext], int] | None = None) -> Any:
    return callback


def takes_list(contexts: list[StepContext] | None = None) -> Any:
    return contexts


def takes_text(x: typing.Literal["StepContext"] | None = None) -> Any:
    return x


def takes_others(**contexts: StepContext) -> Any:
    return contexts or None


@pytest.mark.parametrize("function", [takes_callback, takes_list, takes_text, takes_others])
def test_a_parameter_that_only_mentions_the_context_does_not_get_it(
    function: Callable[..., Any], threads: ThreadExecutor
) -> None:
    assert execute(function, threads) is None


def test_a_value_for_the_contexts_parameter_keeps_the_run_from_starting() -> None:
    workflow = smf.Workflow("twice")
    workflow.call("a", as_union, with_={"x": 1, "ctx": 2})
    with smf.Engine("memory://") as engine, pytest.raises(DefinitionError, match="takes 'ctx' from the engine"):
        engine.run(workflow)


def test_a_value_for_the_contexts_parameter_fails_an_attempt(threads: ThreadExecutor) -> None:
    """Of a run that began when the function had another parameter."""
    with pytest.raises(StepError, match="'ctx'") as caught:
        execute(as_union, threads, x=1, ctx=2)
    assert (caught.value.kind, caught.value.name) == ("step.failed", "TypeError")


# --- awaitables


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


class Awaitable:
    """Something to be awaited that is no coroutine."""

    def __await__(self) -> Generator[Any, None, int]:
        return double(3).__await__()


class GivesBack:
    def __call__(self, x: int) -> Any:
        return double(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: double(x),  # noqa: PLW0108 - it is no coroutine function
        lambda x: Awaitable(),
        functools.partial(lambda y, x: double(x), 1),
        functools.partial(double),
        wrapped(double),
        GivesBack(),
    ],
)
def test_what_a_function_gives_back_to_be_awaited_is_awaited(
    function: Callable[..., Any], threads: ThreadExecutor
) -> None:
    assert execute(function, threads, x=3) == 6


def test_what_is_given_back_after_the_attempt_was_asked_to_stop_is_not_begun(threads: ThreadExecutor) -> None:
    begun: list[bool] = []

    async def work() -> None:
        begun.append(True)

    def function(context: StepContext) -> Any:
        context.stop_reason = "cancel"
        return work()

    with pytest.raises(asyncio.CancelledError):
        execute(function, threads)
    assert begun == []
