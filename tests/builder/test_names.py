"""Which function a step runs, and under which name: two functions never share one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.compiler.read import read_text
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import UsageError


def shared() -> str:
    return "shared"


def _private() -> str:
    return "private"


def closure(value: Any) -> Callable[[], Any]:
    def work() -> Any:
        return value

    return work


class Greeter:
    def __init__(self, word: str) -> None:
        self.word = word

    def greet(self) -> str:
        return self.word


def wrapped(function: Callable[[], Any]) -> Callable[[], Any]:
    @functools.wraps(function)
    def wrapper() -> Any:
        return ["wrapped", function()]

    return wrapper


def local_b() -> Callable[[], Any]:
    def b() -> str:
        return "the function b"

    return b


def größe() -> str:  # noqa: PLC2401 - Python allows it, a document does not
    return "größe"


def outputs_of(workflow: Workflow) -> dict[str, Any]:
    with Engine("memory://") as engine:
        run = engine.run(workflow)
    assert run.state == "completed", run.error
    return {step.id: step.output for step in run.steps.values()}


CASES: list[tuple[str, dict[str, Callable[[], Any]], list[Any]]] = [
    ("closures of one function", {"a": closure(1), "b": closure(2)}, [1, 2]),
    ("methods of two objects", {"a": Greeter("hi").greet, "b": Greeter("ho").greet}, ["hi", "ho"]),
    ("a wrapper beside what it wraps", {"a": shared, "b": wrapped(shared)}, ["shared", ["wrapped", "shared"]]),
    ("two wrappers", {"a": wrapped(shared), "b": wrapped(closure(3))}, [["wrapped", "shared"], ["wrapped", 3]]),
    ("a function with the name of another step", {"a": local_b(), "b": lambda: "step b"}, ["the function b", "step b"]),
    ("the same, the other way round", {"b": lambda: "step b", "a": local_b()}, ["step b", "the function b"]),
    ("names that go round in a circle", {"work": local_b(), "b": closure(4)}, ["the function b", 4]),
    ("a private function", {"a": _private}, ["private"]),
    ("a name that a document cannot hold", {"a": größe, "b": functools.wraps(größe)(closure(5))}, ["größe", 5]),
    ("a partial", {"a": functools.partial(closure, 6)(), "b": functools.partial(shared)}, [6, "shared"]),
]


@pytest.mark.parametrize(("functions", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_step_runs_the_function_it_was_given(
    functions: dict[str, Callable[[], Any]], expected: list[Any]
) -> None:
    workflow = Workflow("names")
    for step_id, function in functions.items():
        workflow.call(step_id, function)
    assert list(outputs_of(workflow).values()) == expected


def names_of(**functions: Callable[[], Any] | str) -> list[Any]:
    workflow = Workflow("names")
    for step_id, function in functions.items():
        workflow.call(step_id, function)
    return [step["call"] for step in workflow.definition.tree()["steps"].values()]


def test_a_function_keeps_its_own_name_while_nothing_else_has_it() -> None:
    assert names_of(a=closure(1), b=lambda: None) == ["work", "b"]


def test_functions_of_one_name_are_named_after_their_steps() -> None:
    assert names_of(a=closure(1), b=closure(2)) == ["a", "b"]


def test_one_function_in_two_steps_has_one_name() -> None:
    function = closure(1)
    assert names_of(a=function, work=function) == ["work", "work"]


def test_what_can_be_imported_is_named_by_its_module() -> None:
    workflow = Workflow("names")
    workflow.call("a", read_text)
    assert workflow.definition.tree()["steps"]["a"]["call"] == "statemachine_flow.compiler.read:read_text"


def test_a_name_in_text_stays_the_engines_own() -> None:
    workflow = Workflow("names")
    workflow.call("a", "work")
    workflow.call("b", closure("handed in"))
    with Engine("memory://", functions={"work": lambda: "registered"}) as engine:
        run = engine.run(workflow)
    assert [step.output for step in run.steps.values()] == ["registered", "handed in"]


def test_a_name_in_text_that_is_also_the_id_of_a_functions_step_is_refused() -> None:
    with pytest.raises(UsageError, match="step 'a' calls 'lint', which is also the name of the function of step"):
        names_of(a="lint", lint=lambda: None)


def test_the_same_program_has_the_same_hash() -> None:
    def build() -> Workflow:
        workflow = Workflow("names")
        workflow.call("a", closure(1))
        workflow.call("b", closure(2))
        return workflow

    assert build().content_hash == build().content_hash


def test_a_step_that_was_refused_leaves_the_function_of_its_id_alone() -> None:
    workflow = Workflow("names")
    workflow.call("a", lambda: "first")
    with pytest.raises(UsageError):
        workflow.call("a", lambda: "second")
    assert outputs_of(workflow) == {"a": "first"}
