"""What a builder is given and what the document holds then."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from statemachine_flow.builder import Ref, Workflow, as_workflow, load
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import DefinitionError, UsageError
from statemachine_flow.model import RetryPolicy

INPUT = Ref("inputs")


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (INPUT["in"], "inputs['in']"),
        (INPUT["class"].x, "inputs['class'].x"),
        (getattr(INPUT, "is"), "inputs['is']"),
        (INPUT["None"], "inputs['None']"),
        (INPUT.match, "inputs.match"),
        (INPUT["dry-run"], "inputs['dry-run']"),
        (INPUT["größe"], "inputs['größe']"),
        (INPUT.x[0], "inputs.x[0]"),
        (INPUT.x[-1], "inputs.x[-1]"),
        (INPUT.x[0:1], "inputs.x[0:1]"),
        (INPUT.x[:], "inputs.x[:]"),
        (INPUT.x[1:], "inputs.x[1:]"),
        (INPUT.x[:-1], "inputs.x[:-1]"),
        (INPUT.x[::2], "inputs.x[::2]"),
        (INPUT.x[INPUT.n], "inputs.x[inputs.n]"),
        (INPUT.x[: INPUT.n], "inputs.x[:inputs.n]"),
    ],
)
def test_a_reference_is_written_so_that_an_expression_can_read_it(reference: Ref, text: str) -> None:
    assert str(reference) == f"${{{{ {text} }}}}"


def test_inputs_outputs_and_steps_may_be_named_with_reserved_words() -> None:
    workflow = Workflow("words")
    given = workflow.input("in", "array")
    step = workflow.call("class", lambda x: {"for": x}, with_={"x": given[0:1]}, outputs={"for": "result['for']"})
    workflow.output("from", step.outputs["for"])
    with Engine("memory://") as engine:
        assert engine.run(workflow, {"in": [1, 2]}).outputs == {"from": [1]}


def needs_of(needs: Any) -> Any:
    workflow = Workflow("needs")
    workflow.run("ab", ["true"])
    workflow.run("c", ["true"])
    workflow.input("x")
    workflow.run("last", ["true"], needs=needs)
    return workflow.definition.step("last").needs


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ("ab", ("ab",)),
        (Ref("steps.ab"), ("ab",)),
        (Ref("steps.ab.output.stdout"), ("ab",)),
        (["ab", Ref("steps.c")], ("ab", "c")),
        (("ab",), ("ab",)),
        ({"ab": 1}, ("ab",)),
        ([], ()),
    ],
)
def test_needs_are_steps_by_id_or_reference_and_one_may_stand_alone(needs: Any, expected: Any) -> None:
    assert needs_of(needs) == expected


@pytest.mark.parametrize("needs", [3, True, [3], [["ab"]], [None], Ref("inputs.x"), [Ref("inputs.x")]])
def test_needs_that_are_no_steps_are_refused(needs: Any) -> None:
    with pytest.raises(UsageError, match="needs takes steps"):
        needs_of(needs)


@pytest.mark.parametrize(
    "retry",
    [
        {"max_attempts": 3, "delay": "2s"},
        {"max_attempts": 3, "delay": 2},
        {"max_attempts": 3, "delay": dt.timedelta(seconds=2)},
        RetryPolicy(max_attempts=3, delay=2.0),
    ],
)
def test_a_retry_policy_may_be_written_as_in_a_document(retry: Any) -> None:
    workflow = Workflow("retry", retry=retry)
    workflow.run("a", ["true"], retry=retry)
    expected = RetryPolicy(max_attempts=3, delay=2.0)
    assert (workflow.definition.step("a").retry, workflow.definition.defaults.retry) == (expected, expected)


def test_a_mapping_that_is_no_retry_policy_is_a_problem_of_the_document() -> None:
    workflow = Workflow("retry")
    workflow.run("a", ["true"], retry={"attempts": 3})
    with pytest.raises(DefinitionError) as caught:
        workflow.definition  # noqa: B018 - it is checked when it is read
    assert [problem.kind for problem in caught.value.problems] == ["definition.unknown_field"]


@pytest.mark.parametrize("retry", [3, True, "3", [1]])
def test_a_retry_policy_of_another_type_is_refused(retry: Any) -> None:
    with pytest.raises(UsageError, match="retry takes a RetryPolicy, or a mapping"):
        Workflow("retry").run("a", ["true"], retry=retry)


@pytest.mark.parametrize("timeout", [True, False, [], {}, object(), float("nan"), float("inf"), 10**400, 0, -1])
def test_a_timeout_that_is_no_duration_is_refused(timeout: Any) -> None:
    with pytest.raises(UsageError, match="a duration"):
        Workflow("timeout").run("a", ["true"], timeout=timeout)
    with pytest.raises(UsageError, match="a duration"):
        Workflow("timeout", timeout=timeout)


@pytest.mark.parametrize("given", [42, None, object(), ["a"], print])
def test_what_is_no_workflow_is_refused_with_what_would_be(given: Any) -> None:
    for take in (as_workflow, load):
        with pytest.raises(UsageError, match="a Workflow, a Definition, the path of a document, or its text"):
            take(given)
