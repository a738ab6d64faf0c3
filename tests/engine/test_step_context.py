"""What a step's function is given, where it runs, and that nothing it raises or does ends the engine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.builder import Workflow
from statemachine_flow.errors import DefinitionError, NotFoundError
from statemachine_flow.model import RetryPolicy
from statemachine_flow.steps.base import StepContext
from tests.engine.harness import Driver, Gate, Outcomes, World, add, states

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def by_text(x: int, ctx: StepContext) -> list[Any]:
    return [x, ctx.step_id]


def by_dotted_text(x: int, ctx: smf.StepContext) -> list[Any]:
    return [x, ctx.step_id]


def keyword_only(x: int, *, anything: StepContext) -> list[Any]:
    return [x, anything.step_id]


async def as_coroutine(x: int, ctx: StepContext) -> list[Any]:
    return [x, ctx.step_id]


def by_class(x: int, ctx: Any) -> list[Any]:
    return [x, ctx.step_id]


by_class.__annotations__["ctx"] = StepContext


class Called:
    """An object that is called like a function."""

    def __call__(self, x: int, ctx: StepContext) -> list[Any]:
        return [x, ctx.step_id]

    def method(self, x: int, ctx: StepContext) -> list[Any]:
        return [x, ctx.step_id]


class AsyncCallable:
    """An object whose call is a coroutine."""

    async def __call__(self, x: int, ctx: StepContext) -> list[Any]:
        return [x, ctx.step_id]


class Unhashable(Called):
    """An object that is equal to others, and so has no hash of its own."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        by_text,
        by_dotted_text,
        by_class,
        keyword_only,
        as_coroutine,
        Called(),
        Called().method,
        AsyncCallable(),
        Unhashable(),
        decorated(by_text),
        functools.partial(by_text),
    ],
    ids=lambda function: getattr(function, "__name__", type(function).__name__),
)
def test_a_parameter_annotated_as_the_context_gets_it(engine: Driver, function: Callable[..., Any]) -> None:
    workflow = Workflow("context")
    workflow.call("a", "the_function", with_={"x": 3})
    engine.register("the_function", function)
    run = engine.run(workflow)
    assert run.steps["a"].output == [3, "a"]


def test_the_context_names_the_run_the_step_and_the_attempt(engine: Driver) -> None:
    gate = Gate()
    workflow = Workflow("context")
    add(workflow, "a", gate.ahold)
    engine.start(workflow, run_id="the-run")
    context = gate.begun()
    gate.open(1)
    found = (context.run_id, context.workflow, context.step_id, context.attempt, context.cancelled, context.stop_reason)
    assert found == ("the-run", "context", "a", 1, False, "")
    engine.wait("the-run")


def test_the_idempotency_key_is_the_same_for_every_attempt_across_retries_and_deaths(world: World) -> None:
    keys: list[tuple[int, str]] = []
    failures = Outcomes(ValueError(), ValueError(), 1)
    gate = Gate()

    async def body(context: StepContext) -> Any:
        keys.append((context.attempt, context.idempotency_key))
        if len(keys) == 2:
            gate._arrive(context)
            await asyncio.Event().wait()
        return failures()

    def hurry(event: Any) -> None:
        if event.kind == "step.back_off":
            world.clock.advance(10)

    workflow = Workflow("keys")
    add(workflow, "a", body, retry=RetryPolicy(max_attempts=2, delay=1))
    first = world.open()
    first.start(workflow, run_id="r", on_event=hurry)
    gate.begun()
    first.kill()
    second = world.open(functions={"a": body})
    assert second.resume("r", on_event=hurry).state == "failed"
    assert second.retry("r", on_event=hurry).state == "completed"
    assert keys == [(1, "r/a"), (2, "r/a"), (3, "r/a"), (4, "r/a")]


def test_keys_differ_between_runs_and_steps(engine: Driver) -> None:
    keys: list[str] = []

    def body(context: StepContext) -> None:
        keys.append(context.idempotency_key)

    workflow = Workflow("keys")
    add(workflow, "a", body)
    add(workflow, "b", body)
    engine.run(workflow)
    engine.run(workflow)
    assert len(set(keys)) == 4


def test_the_logger_of_a_step_says_which_step_it_is(engine: Driver, caplog: pytest.LogCaptureFixture) -> None:
    def body(context: StepContext) -> None:
        context.logger.warning("hello")

    workflow = Workflow("logging")
    add(workflow, "a", body)
    with caplog.at_level(logging.WARNING, "statemachine_flow.step"):
        run = engine.run(workflow)
    (record,) = [record for record in caplog.records if record.message == "hello"]
    assert record.name == "statemachine_flow.step"
    assert (record.__dict__["run"], record.__dict__["step"], record.__dict__["attempt"]) == (run.id, "a", 1)


def test_case_110_a_handler_that_raises_does_not_touch_the_run(engine: Driver) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    def body(context: StepContext) -> str:
        with_handler.warning("hello")
        return "done"

    with_handler = logging.getLogger("statemachine_flow.step")
    handler = Broken()
    with_handler.addHandler(handler)
    try:
        workflow = Workflow("logging")
        add(workflow, "a", body, optional=True)
        assert engine.run(workflow).state == "completed"
    finally:
        with_handler.removeHandler(handler)


# --- where functions run


def test_plain_functions_run_in_threads_and_coroutines_on_the_loop(engine: Driver) -> None:
    def plain() -> bool:
        return threading.current_thread().name.startswith("smf-step-")

    async def coroutine() -> bool:
        return asyncio.get_running_loop() is engine._loop

    workflow = Workflow("where")
    add(workflow, "plain", plain)
    add(workflow, "coroutine", coroutine)
    run = engine.run(workflow)
    assert {step.id: step.output for step in run.steps.values()} == {"plain": True, "coroutine": True}


@pytest.mark.parametrize("is_async", [True, False])
def test_context_variables_of_the_starter_reach_the_step_and_changes_stay_in_it(
    quick_world: World, is_async: bool
) -> None:
    def plain() -> str:
        before = VARIABLE.get()
        VARIABLE.set("changed")
        return before

    async def coroutine() -> str:
        return plain()

    workflow = Workflow("variables", max_parallel=1)
    add(workflow, "a", coroutine if is_async else plain)
    add(workflow, "b", coroutine if is_async else plain)
    driver = quick_world.open()

    async def play() -> Any:
        VARIABLE.set("starter")
        return await driver._engine.run(workflow)

    run = driver.on_loop(play())
    assert [step.output for step in run.steps.values()] == ["starter", "starter"]


def test_a_function_in_a_thread_may_use_an_event_loop_of_its_own(engine: Driver) -> None:
    def body() -> int:
        async def inner() -> int:
            return 7

        return asyncio.run(inner())

    workflow = Workflow("loop")
    add(workflow, "a", body)
    assert engine.run(workflow).steps["a"].output == 7


# --- what functions raise and do


class OwnBase(BaseException):
    pass


class NoTextError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoTextBaseError(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def deep() -> None:
    deep()


ERRORS: list[Any] = [
    SystemExit(3),
    SystemExit,
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    RecursionError("deep"),
    StopIteration(1),
    StopAsyncIteration(),
    OwnBase("own"),
    NoTextError(),
    NoTextBaseError(),
    asyncio.CancelledError(),
    concurrent.futures.CancelledError(),
    TimeoutError(),
    AssertionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ExceptionGroup("many", [ValueError(1), TypeError(2)]),
    BaseExceptionGroup("many", [KeyboardInterrupt()]),
    ValueError("\udcff"),
]


@pytest.mark.parametrize("is_async", [True, False], ids=["coroutine", "thread"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: ascii(getattr(error, "__name__", type(error).__name__)))
def test_case_105_whatever_a_function_raises_fails_its_attempt_and_nothing_else(
    quick_world: World, error: Any, is_async: bool
) -> None:
    def plain() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    driver = quick_world.open()
    workflow = Workflow("raising")
    add(workflow, "a", coroutine if is_async else plain, optional=True)
    add(workflow, "b", lambda: "alive", needs=["a"])
    run = driver.run(workflow)
    assert (run.state, states(run), run.steps["b"].output) == ("completed", {"a": "failed", "b": "completed"}, "alive")
    found = run.steps["a"].error
    assert found is not None
    name = getattr(error, "__name__", type(error).__name__)
    if is_async and name == "StopIteration":
        assert found.name == "RuntimeError"  # Python's own rule for coroutines
    else:
        assert (found.kind, found.name) == ("step.failed", name)
        assert "test_step_context.py" in (found.where or "")
    assert driver.run(workflow).state == "completed"


def test_case_105_endless_recursion_fails_its_attempt(engine: Driver) -> None:
    workflow = Workflow("deep")
    add(workflow, "a", deep, optional=True)
    run = engine.run(workflow)
    assert run.steps["a"].error is not None
    assert (run.state, run.steps["a"].error.name) == ("completed", "RecursionError")


def test_an_error_that_is_a_megabyte_long_is_cut(engine: Driver) -> None:
    workflow = Workflow("long")
    add(workflow, "a", Outcomes(ValueError("x" * (1 << 20))))
    run = engine.run(workflow)
    assert run.steps["a"].error is not None
    assert len(run.steps["a"].error.message) < 5000
    assert "1048576 characters" in run.steps["a"].error.message


def test_case_106_a_function_that_moves_the_process_about_is_contained(engine: Driver) -> None:
    """It may change what belongs to the process; the engine does not depend on it."""
    before = Path.cwd()
    workflow = Workflow("moving")
    add(workflow, "moves", lambda: os.chdir("/"))
    workflow.run("pwd", ["pwd"], needs=["moves"])
    try:
        run = engine.run(workflow)
    finally:
        os.chdir(before)
    assert run.steps["pwd"].output["stdout"].strip() == str(before)


def test_a_function_that_takes_other_arguments_is_refused_before_anything_runs(engine: Driver) -> None:
    workflow = Workflow("arguments")
    add(workflow, "a", lambda x: x, with_={"y": 1})
    with pytest.raises(DefinitionError, match="has no parameter 'y'"):
        engine.run(workflow, run_id="r")
    with pytest.raises(NotFoundError):
        engine.get("r")


def test_a_coroutine_given_back_by_a_plain_function_is_awaited_on_the_loop(engine: Driver) -> None:
    async def inner() -> bool:
        return asyncio.get_running_loop() is engine._loop

    workflow = Workflow("given_back")
    add(workflow, "a", lambda: inner())  # noqa: PLW0108 - it is no coroutine function
    assert engine.run(workflow).steps["a"].output is True


def test_a_listener_that_raises_has_no_say_in_the_run(engine: Driver) -> None:
    told: list[Any] = []
    engine._loop.call_soon_threadsafe(engine._loop.set_exception_handler, lambda _, report: told.append(report))

    def listener(event: Any) -> None:
        raise ValueError(event.kind)

    workflow = Workflow("listened")
    add(workflow, "a", lambda: 1)
    assert engine.run(workflow, on_event=listener).state == "completed"
    assert [str(report["exception"]) for report in told] == [
        "run.create",
        "run.start",
        "step.start",
        "step.complete",
        "run.complete",
    ]


def test_functions_of_one_name_in_two_workflows_do_not_meet(engine: Driver) -> None:
    """Both bring a step `a` of their own; the run that began first keeps its own."""
    gate = Gate()
    one = Workflow("one")
    add(one, "first", gate.hold)
    add(one, "a", lambda: "one", needs=["first"])
    two = Workflow("two")
    add(two, "a", lambda: "two")
    run_id = engine.start(one)
    gate.begun()
    assert engine.run(two).steps["a"].output == "two"
    gate.open(1)
    assert engine.wait(run_id).steps["a"].output == "one"


def test_functions_of_one_name_in_one_workflow_do_not_meet(engine: Driver) -> None:
    def giving(value: int) -> Callable[[], int]:
        def give() -> int:
            return value

        return give

    workflow = Workflow("factory")
    for value in range(3):
        workflow.call(f"s{value}", giving(value))
    assert [step.output for step in engine.run(workflow).steps.values()] == [0, 1, 2]


def test_functions_of_one_name_in_two_workflows_do_not_meet_after_a_pause(engine: Driver) -> None:
    gate = Gate()
    one = Workflow("one")
    add(one, "first", gate.ahold)
    add(one, "a", lambda: "one", needs=["first"])
    two = Workflow("two")
    add(two, "a", lambda: "two")
    run_id = engine.start(one)
    gate.begun()
    engine.pause(run_id, interrupt=True)
    assert engine.run(two).steps["a"].output == "two"
    gate.open(1)
    run = engine.resume(run_id)
    assert (run.steps["a"].output, run.notes) == ("one", ())
