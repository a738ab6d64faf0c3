"""The names of a run: decoded when they are read, once for all who read them, and within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import statemachine_flow as smf
from statemachine_flow.builder import Workflow
from statemachine_flow.engine import results
from statemachine_flow.engine.inputs import complete_inputs
from statemachine_flow.engine.scope import RunNames
from statemachine_flow.errors import InputError, UsageError
from statemachine_flow.expressions import Expression
from statemachine_flow.journal import Created, RunFold
from statemachine_flow.model import Definition, Input
from statemachine_flow.plan import Plan
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import decode_value, encode_value


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is decoded."""
    sizes: list[int] = []

    def decode(data: bytes | msgspec.Raw) -> Any:
        sizes.append(memoryview(data).nbytes)
        return decode_value(data)

    monkeypatch.setattr(results, "decode_value", decode)
    return sizes


def run_of(outputs: Mapping[str, Any], inputs: Any = None) -> tuple[RunNames, RunFold]:
    """The names of a run whose steps have completed with these outputs."""
    workflow = Workflow("names")
    for step_id in outputs:
        workflow.call(step_id, "nothing")
    fold = RunFold("r")
    fold.created = Created(
        workflow="names",
        version="1",
        definition="",
        inputs=msgspec.Raw(encode_value(inputs)),
        steps=len(outputs),
        cwd="/",
        origin=None,
        code={},
    )
    for step_id, output in outputs.items():
        complete(fold, step_id, output)
    return RunNames(Plan(workflow.definition), fold, MemoryStore(), {"HOME": "/"}), fold


def complete(fold: RunFold, step_id: str, output: Any) -> None:
    step = fold.step(step_id)
    step.state, step.attempt, step.output = "completed", step.attempt + 1, msgspec.Raw(encode_value(output))


def read(names: RunNames, text: str) -> Any:
    return Expression.parse(text).evaluate(names())


def test_what_is_not_read_is_not_decoded(decoded: list[int]) -> None:
    names, _ = run_of({"a": [1, 2, 3]}, {"x": [1, 2, 3]})
    found = (read(names, "run.id"), read(names, "env.HOME"), read(names, "steps.a.state"))
    assert (found, decoded) == (("r", "/", "completed"), [])


def test_what_is_read_often_is_decoded_once(decoded: list[int]) -> None:
    names, _ = run_of({"a": [1, 2, 3]}, {"x": [4, 5]})
    found = [(read(names, f"steps.a.output[{i}]"), read(names, "inputs.x[1]")) for i in range(3)]
    assert (found, len(decoded)) == ([(1, 5), (2, 5), (3, 5)], 2)


def test_another_attempt_gives_another_value() -> None:
    names, fold = run_of({"a": "first"})
    before = read(names, "steps.a.output")
    complete(fold, "a", "second")
    assert (before, read(names, "steps.a.output")) == ("first", "second")


def test_what_is_kept_stays_within_its_bound(decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_KEPT_BYTES", 250)
    names, _ = run_of({name: name * 100 for name in "abc"})
    for name in "abacab":  # c comes in for b, which was not read for longest, and b again for c
        assert read(names, f"steps.{name}.output") == name * 100
    assert len(decoded) == 4
    assert names._decoded._size == sum(size for _, size in names._decoded._kept.values()) <= 250


def test_what_is_too_large_to_be_kept_is_decoded_once_for_each_use(
    decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_KEPT_BYTES", 50)
    names, _ = run_of({"a": ["x" * 60], "b": "small"})
    read(names, "steps.b.output")
    assert read(names, "steps.a.output[0] + steps.a.output[0]") == "x" * 120
    read(names, "steps.a.output")
    read(names, "steps.b.output")
    assert [size > 50 for size in decoded] == [False, True, True]


def test_the_inputs_are_a_plain_mapping_as_a_whole() -> None:
    names, _ = run_of({"a": 1}, {"x": 1})
    assert type(read(names, "inputs")) is dict


def test_names_are_those_that_expressions_may_read() -> None:
    names, _ = run_of({"a": 1})
    assert list(names()) == ["inputs", "run", "env", "steps"]


# --- inputs

TYPES: dict[str, Input] = {
    "file": Input(type="path"),
    "list": Input(type="array", default=[]),
    "text": Input(default=""),
}
DEFINITION = Definition(name="inputs", steps=(), inputs=TYPES)


class Bytes:
    """A path of the kind that text cannot hold."""

    def __fspath__(self) -> bytes:
        return b"x"


@pytest.mark.parametrize("given", ["x/y", Path("x/y"), Path("/at/x/y")])
def test_a_path_may_be_given_as_one(given: Any) -> None:
    assert complete_inputs(DEFINITION, {"file": given}, "/at")["file"] == str(Path("/at/x/y"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"file": Bytes()}, "input 'file' takes a path, not a bytes"),
        ({"text": Path("x")}, "input 'text' takes a string, not a"),
        ({"list": [0, object()]}, "input 'list' cannot be kept: the value at $[1] has the type object"),
        ({"list": [Path("x")]}, "input 'list' cannot be kept"),
        ({"text": "\ud800"}, "input 'text' cannot be kept: the value at $ is text that is not valid Unicode"),
        ({"file": "\ud800"}, "input 'file' cannot be kept"),
    ],
)
def test_an_input_that_cannot_be_kept_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        complete_inputs(DEFINITION, {"file": "x", **given}, "/")
    (problem,) = caught.value.problems
    assert (problem.kind, problem.path) == ("input.type", f"inputs.{next(iter(given))}")
    assert problem.message.startswith(message)


@pytest.mark.parametrize("given", [{1: 2}, {None: 1}, [("file", "x")], 42, "file"])
def test_inputs_that_are_not_given_by_name_are_a_wrong_call(given: Any) -> None:
    with pytest.raises(UsageError, match="inputs are given as a mapping by name"):
        complete_inputs(DEFINITION, given, "/")


def test_a_run_takes_a_path_as_one() -> None:
    workflow = Workflow("path")
    workflow.call("a", lambda file: file, with_={"file": workflow.input("file", "path")})
    with smf.Engine("memory://") as engine:
        assert engine.run(workflow, {"file": Path("/x")}).steps["a"].output == str(Path("/x"))
