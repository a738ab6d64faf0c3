"""What goes into a run and what comes out of it and of its steps."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import math
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import InputError, SmfError
from tests.engine.harness import Driver, Gate, World, add, kinds


def echoing(**inputs: dict[str, Any]) -> Workflow:
    """A workflow that gives its inputs back as outputs."""
    workflow = Workflow("echo")
    for name, options in inputs.items():
        workflow.output(name, workflow.input(name, **options))
    add(workflow, "a", lambda: None)
    return workflow


# --- inputs


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x", "\U0001f600"], [1, True, ["x"], b"x"]),
        ("integer", [0, -5, 2**80], [True, 1.0, "1", [1]]),
        ("number", [0, 1.5, -2], [True, "1.5"]),
        ("boolean", [True, False], [0, 1, "true"]),
        ("array", [[], [1, "x", [2]]], ["x", {"a": 1}]),
        ("object", [{}, {"a": {"b": 1}}], ["x", [1]]),
    ],
)
def test_an_input_takes_its_type_and_nothing_like_it(
    engine: Driver, kind: str, good: list[Any], bad: list[Any]
) -> None:
    workflow = echoing(x={"type": kind})
    for value in good:
        outputs = engine.run(workflow, {"x": value}).outputs
        assert outputs == {"x": value}
        assert type(outputs["x"]) is type(value)
    count = len(engine.list())
    for value in bad:
        with pytest.raises(InputError) as caught:
            engine.run(workflow, {"x": value})
        assert [problem.kind for problem in caught.value.problems] == ["input.type"]
        assert caught.value.exit_code == 3
    assert len(engine.list()) == count


def test_every_problem_of_the_inputs_is_told_at_once_and_nothing_starts(engine: Driver) -> None:
    workflow = echoing(
        missing={"type": "string"},
        wrong={"type": "integer"},
        outside={"type": "string", "enum": ["a", "b"]},
        fine={"type": "boolean", "default": True},
    )
    with pytest.raises(InputError) as caught:
        engine.start(workflow, {"wrong": True, "outside": "c", "fin": 1, "stranger": 2})
    problems = {(problem.path, problem.kind) for problem in caught.value.problems}
    assert problems == {
        ("inputs.missing", "input.missing"),
        ("inputs.wrong", "input.type"),
        ("inputs.outside", "input.value"),
        ("inputs.fin", "input.unknown"),
        ("inputs.stranger", "input.unknown"),
    }
    hints = {problem.path: problem.hint for problem in caught.value.problems}
    assert "did you mean 'fine'" in (hints["inputs.fin"] or "")
    assert engine.list() == []


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({"type": "integer", "default": 3}, {}, 3),
        ({"type": "integer", "default": 3}, {"x": 0}, 0),
        ({"type": "integer", "default": 3}, {"x": None}, 3),
        ({"type": "integer", "required": False}, {}, None),
        ({"type": "boolean", "default": False}, {}, False),
        ({"type": "string", "default": ""}, {}, ""),
        ({"type": "string", "enum": ["a", "b"], "default": "b"}, {}, "b"),
        ({"type": "array", "default": [1]}, {}, [1]),
    ],
)
def test_defaults_fill_in_what_was_not_given(
    engine: Driver, options: dict[str, Any], given: dict[str, Any], expected: Any
) -> None:
    run = engine.run(echoing(x=options), given)
    assert (run.inputs, run.outputs) == ({"x": expected}, {"x": expected})


def test_a_required_input_is_asked_for_even_if_it_has_a_default(engine: Driver) -> None:
    with pytest.raises(InputError) as caught:
        engine.run(echoing(x={"type": "string", "default": "d", "required": True}), {})
    assert caught.value.kind == "input.missing"


def test_a_path_becomes_absolute_from_the_directory_the_run_was_started_in(
    engine: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workflow = echoing(x={"type": "path"}, y={"type": "path", "default": "sub/b"})
    cwd = Path.cwd()
    assert engine.run(workflow, {"x": "a.txt"}).outputs == {"x": f"{cwd}/a.txt", "y": f"{cwd}/sub/b"}
    assert engine.run(workflow, {"x": "/abs/a.txt"}).outputs["x"] == "/abs/a.txt"


@pytest.mark.parametrize("value", [object(), "\ud800", float], ids=["object", "surrogate", "class"])
def test_an_input_that_cannot_be_kept_is_refused_before_a_run_exists(engine: Driver, value: Any) -> None:
    with pytest.raises(SmfError) as caught:
        engine.run(echoing(x={"type": "array"}), {"x": [value]})
    assert caught.value.kind == "input.type"
    assert engine.list() == []


def test_an_input_changed_by_its_caller_after_the_start_is_not_changed_in_the_run(engine: Driver) -> None:
    gate = Gate()
    workflow = Workflow("mutated")
    workflow.input("x", "array")
    add(workflow, "a", gate.ahold)
    workflow.output("x", "${{ inputs.x }}")
    value = [1]
    run_id = engine.start(workflow, {"x": value})
    gate.begun()
    value.append(2)
    gate.open(1)
    assert engine.wait(run_id).outputs == {"x": [1]}


# --- outputs of steps


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        2**70,
        -0.0,
        math.inf,
        "",
        "\x00\u202e\U0001f600",
        b"",
        b"\xff\x00",
        [],
        {},
        (),
        set(),
        {1: "int key", "1": "text key"},
        (1, [2, {"a": (3,)}]),
        {"nested": [None, {"deep": frozenset({1})}]},
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
        dt.datetime(2026, 1, 2),  # noqa: DTZ001 - naive on purpose
        dt.date(2026, 1, 2),
        dt.timedelta(days=-1, microseconds=5),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
    ],
    ids=repr,
)
def test_case_64_an_output_comes_back_exactly(engine: Driver, value: Any) -> None:
    workflow = Workflow("exact")
    first = add(workflow, "first", lambda: value)
    add(workflow, "second", lambda x: x, with_={"x": first.output})
    run = engine.run(workflow)
    for step in ("first", "second"):
        found = engine.get(run.id).steps[step].output
        assert found == value
        assert repr(found) == repr(value)


def test_case_64_not_a_number_comes_back_as_not_a_number(engine: Driver) -> None:
    workflow = Workflow("nan")
    add(workflow, "a", lambda: [math.nan])
    assert math.isnan(engine.run(workflow).steps["a"].output[0])


class Text(str):
    """A subclass would come back as its base, so it is refused."""

    __slots__ = ()


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(1000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("make", "path", "word"),
    [
        (lambda: {"a": [1, 2, object()]}, "$.a[2]", "object"),
        (lambda: [lambda: 1], "$[0]", "function"),
        (lambda: Text("x"), "$", "Text"),
        (lambda: {"e": ValueError("x")}, "$.e", "ValueError"),
        (lambda: (digit for digit in "12"), "$", "generator"),
        (lambda: {"a": {(1, 2): 1}}, "$.a", "tuple"),
        (threading.Lock, "$", "lock"),
        (lambda: {"a": ["\udcff"]}, "$.a[0]", "Unicode"),
        (cyclic, "$", "nested"),
        (deep, "$", "nested"),
    ],
)
def test_case_63_a_result_that_cannot_be_kept_fails_the_step_with_its_path(
    engine: Driver, make: Callable[[], Any], path: str, word: str
) -> None:
    workflow = Workflow("unserializable")
    add(workflow, "a", make)
    run = engine.run(workflow)
    error = run.steps["a"].error
    assert error is not None
    assert (run.state, error.kind, error.name) == ("failed", "step.unserializable", "Unserializable")
    assert path in error.message
    assert word in error.message
    assert "step.complete:a" not in kinds(engine, run.id)


def test_case_70_what_happens_to_a_result_after_the_return_changes_nothing(engine: Driver) -> None:
    shared: dict[str, Any] = {"list": [1]}

    def first() -> dict[str, Any]:
        return shared

    def second(x: dict[str, Any]) -> list[int]:
        shared["list"].append("from outside")
        x["list"].append("from inside")
        return x["list"]  # type: ignore[no-any-return]

    workflow = Workflow("mutated")
    add(workflow, "first", first)
    add(workflow, "second", second, with_={"x": "${{ steps.first.output }}"})
    add(workflow, "third", lambda x: x, with_={"x": "${{ steps.first.output }}"}, needs=["second"])
    run = engine.run(workflow)
    assert run.steps["first"].output == {"list": [1]}
    assert run.steps["second"].output == [1, "from inside"]
    assert run.steps["third"].output == {"list": [1]}


def test_case_65_a_large_output_lies_in_a_blob_and_reads_back(world: World) -> None:
    engine = world.open()
    text = "0123456789abcdef" * (3 << 16)  # 3 MiB
    workflow = Workflow("large")
    first = add(workflow, "first", lambda: {"text": text, "small": 1})
    add(workflow, "second", lambda x: hashlib.sha256(x.encode()).hexdigest(), with_={"x": first.outputs.text})
    add(workflow, "third", lambda x: x, with_={"x": first.outputs.small})
    run = engine.run(workflow)
    assert run.steps["second"].output == hashlib.sha256(text.encode()).hexdigest()
    assert run.steps["third"].output == 1
    assert max(len(record.data) for record in world.inner().records(run.id)) < 10_000
    engine.close()
    assert world.open().get(run.id).steps["first"].output == {"text": text, "small": 1}


def test_case_66_a_blob_that_is_gone_is_told_by_the_step_that_reads_it(one_world: World) -> None:
    engine, gate = one_world.open(), Gate()
    workflow = Workflow("gone")
    add(workflow, "first", lambda: "x" * (2 << 20))
    add(workflow, "wait", gate.ahold, needs=["first"])
    add(workflow, "second", lambda x: x, with_={"x": "${{ steps.first.output }}"}, needs=["wait"], optional=True)
    add(workflow, "asks", lambda: 1, when="steps.first.output == 'x'", needs=["wait"], optional=True)
    add(workflow, "other", lambda: 1, needs=["wait"])
    run_id = engine.start(workflow)
    gate.begun()
    for blob in (one_world.folder / "runs.db.blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    gate.open(1)
    run = engine.wait(run_id)
    assert (run.state, run.steps["other"].state) == ("completed", "completed")
    for step in ("second", "asks"):
        assert run.steps[step].error is not None
        assert run.steps[step].error.kind == "store.corrupt"


# --- declared outputs


def test_declared_outputs_are_computed_from_the_result(engine: Driver) -> None:
    workflow = Workflow("declared")
    outputs = {"count": "len(result)", "first": "result[0]", "who": "inputs.who"}
    workflow.input("who", default="you")
    first = add(workflow, "first", lambda: [5, 6], outputs=outputs)
    add(workflow, "second", lambda **values: values, with_={"n": first.outputs.count, "whole": first.output})
    run = engine.run(workflow)
    assert run.steps["first"].outputs == {"count": 2, "first": 5, "who": "you"}
    assert run.steps["second"].output == {"n": 2, "whole": [5, 6]}


def test_without_a_declaration_the_keys_of_a_mapping_are_the_outputs(engine: Driver) -> None:
    workflow = Workflow("undeclared")
    first = add(workflow, "first", lambda: {"a": 1})
    add(workflow, "second", lambda x: x, with_={"x": first.outputs.a})
    assert engine.run(workflow).steps["second"].output == 1


def test_a_declared_output_that_cannot_be_computed_fails_the_step(engine: Driver) -> None:
    workflow = Workflow("declared")
    add(workflow, "first", lambda: [0][1:], outputs={"first": "result[0]"})
    run = engine.run(workflow)
    error = run.steps["first"].error
    assert error is not None
    assert (run.state, error.kind, error.name) == ("failed", "step.outputs", "OutputsError")
    assert "'first'" in error.message


def test_the_outputs_of_a_command_are_computed_from_its_streams(engine: Driver) -> None:
    workflow = Workflow("command")
    run_step = workflow.run("a", ["printf", "one\\ntwo\\n"], outputs={"lines": "lines(stdout)", "code": "exit_code"})
    workflow.output("lines", run_step.outputs.lines)
    run = engine.run(workflow)
    assert run.outputs == {"lines": ["one", "two"]}
    assert run.steps["a"].outputs == {"lines": ["one", "two"], "code": 0}


# --- outputs of the run


def test_the_outputs_of_a_run_keep_their_types_and_nest(engine: Driver) -> None:
    workflow = Workflow("outputs")
    first = add(workflow, "first", lambda: {"n": 3})
    workflow.output("nested", {"list": [first.outputs.n, f"n is {first.outputs.n}"], "whole": first.output})
    assert engine.run(workflow).outputs == {"nested": {"list": [3, "n is 3"], "whole": {"n": 3}}}


def test_run_outputs_that_cannot_be_computed_fail_the_run_and_keep_every_step(engine: Driver) -> None:
    workflow = Workflow("outputs")
    add(workflow, "first", lambda: {"n": 0})
    workflow.output("x", "${{ 1 / steps.first.outputs.n }}")
    run = engine.run(workflow)
    assert run.error is not None
    assert (run.state, run.error.kind, run.steps["first"].state) == ("failed", "run.outputs", "completed")


# --- text of every kind


STRANGE = [
    "\x1b[2J",
    "\u202egnp.exe",
    "a\u0000b",
    "'; DROP TABLE runs; --",
    "%s %(x)s {0} {{x}}",
    "\ufeff",
    "\U0001f468\u200d\U0001f469",
]


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_strange_text_passes_through_inputs_outputs_and_errors(engine: Driver, text: str) -> None:
    def body(x: str) -> str:
        if x != text:
            raise AssertionError(x)
        raise ValueError(text)

    workflow = Workflow("strange")
    workflow.input("x")
    add(workflow, "a", lambda x: {"k" + x: x}, with_={"x": "${{ inputs.x }}"})
    add(workflow, "b", body, with_={"x": "${{ inputs.x }}"}, optional=True)
    run = engine.get(engine.run(workflow, {"x": text}).id)
    assert run.steps["a"].output == {"k" + text: text}
    assert run.steps["b"].error is not None
    assert run.steps["b"].error.message == text


@pytest.mark.parametrize("step_id", ["a", "a-b", "a_1", "state", "to_completed", "x" * 64, "output", "null"])
def test_every_legal_step_id_works_through_and_through(engine: Driver, step_id: str) -> None:
    workflow = Workflow("ids")
    first = add(workflow, step_id, lambda: {"v": 1})
    add(workflow, "last", lambda x: x, with_={"x": first.outputs.v}, when=f'steps["{step_id}"].state == "completed"')
    assert engine.run(workflow).steps["last"].output == 1
