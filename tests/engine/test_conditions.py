"""`when`, skips that spread, steps the run can do without, and what expressions may read of steps that gave nothing."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import Driver, Outcomes, add, kinds, states


@pytest.mark.parametrize(
    ("when", "state"),
    [
        ("inputs.n > 1", "completed"),
        ("inputs.n > 5", "skipped"),
        ("steps.first.output == 'x' and inputs.n == 3", "completed"),
        ("steps.first.state == 'completed'", "completed"),
        ("not steps.first.output == 'x'", "skipped"),
    ],
)
def test_a_step_runs_if_its_condition_holds(engine: Driver, when: str, state: str) -> None:
    workflow = Workflow("when")
    workflow.input("n", "integer")
    add(workflow, "first", lambda: "x")
    add(workflow, "second", lambda: 1, needs=["first"], when=when)
    run = engine.run(workflow, {"n": 3})
    assert (run.state, run.steps["second"].state) == ("completed", state)
    assert run.steps["second"].attempt == (1 if state == "completed" else 0)
    assert run.steps["second"].reason == ("" if state == "completed" else "its condition is false")


@pytest.mark.parametrize("value", ["false", [], None, 0, 1, "", {}], ids=repr)
def test_case_32_a_condition_that_gives_no_bool_fails_the_step(engine: Driver, value: Any) -> None:
    workflow = Workflow("when")
    body = Outcomes("never")
    add(workflow, "first", lambda: {"flag": value})
    retry = RetryPolicy(max_attempts=5)
    add(workflow, "second", body, when="steps.first.outputs.flag", needs=["first"], retry=retry)
    run = engine.run(workflow)
    error = run.steps["second"].error
    assert (run.state, run.steps["second"].state, body.attempts) == ("failed", "failed", 0)
    assert error is not None
    assert error.kind == "expression.type"
    assert "steps.first.outputs.flag" in error.message


@pytest.mark.parametrize(
    ("when", "kind"),
    [
        ("1 / (inputs.n - 3) > 0", "expression.evaluation"),  # case 33
        ("steps.first.outputs.nothing == 1", "expression.undefined"),
        ("inputs.n + 'x' == ''", "expression.evaluation"),
    ],
)
def test_case_33_a_condition_that_fails_fails_the_step_and_names_the_expression(
    engine: Driver, when: str, kind: str
) -> None:
    workflow = Workflow("when")
    workflow.input("n", "integer")
    add(workflow, "first", lambda: {"a": 1})
    add(workflow, "second", lambda: 1, when=when, needs=["first"], retry=RetryPolicy(max_attempts=3))
    run = engine.run(workflow, {"n": 3})
    error = run.steps["second"].error
    assert error is not None
    assert (run.state, error.kind, run.steps["second"].attempt) == ("failed", kind, 1)
    assert when[:20] in error.message
    assert "step.back_off:second" not in kinds(engine, run.id)


def test_a_failed_condition_of_an_optional_step_lets_the_run_complete(engine: Driver) -> None:
    workflow = Workflow("when")
    add(workflow, "first", lambda: {"flag": "no bool"})
    add(workflow, "second", lambda: 1, when="steps.first.outputs.flag", optional=True)
    run = engine.run(workflow)
    assert (run.state, run.steps["second"].state) == ("completed", "failed")


def test_a_skip_spreads_to_everything_behind_it_and_to_nothing_else(engine: Driver) -> None:
    workflow = Workflow("skips")
    add(workflow, "source", lambda: 1)
    add(workflow, "left", lambda: 1, needs=["source"], when="1 == 2")
    add(workflow, "right", lambda: 1, needs=["source"])
    add(workflow, "left2", lambda: 1, needs=["left"])
    add(workflow, "join", lambda: 1, needs=["left2", "right"])
    add(workflow, "right2", lambda: 1, needs=["right"])
    run = engine.run(workflow)
    assert states(run) == {
        "source": "completed",
        "left": "skipped",
        "right": "completed",
        "left2": "skipped",
        "join": "skipped",
        "right2": "completed",
    }
    assert run.state == "completed"
    assert run.steps["left2"].reason == "needs 'left', which is skipped"


def test_a_step_whose_need_failed_is_skipped_whatever_its_condition_says(engine: Driver) -> None:
    workflow = Workflow("skips")
    add(workflow, "first", Outcomes(ValueError("no")))
    add(workflow, "second", lambda: 1, needs=["first"], when="1 == 1")
    run = engine.run(workflow)
    assert states(run) == {"first": "failed", "second": "skipped"}


def test_the_failure_of_an_optional_step_satisfies_its_dependents(engine: Driver) -> None:
    workflow = Workflow("optional")
    add(workflow, "lint", Outcomes(ValueError("no linter")), optional=True)
    add(
        workflow, "report", lambda found: found, needs=["lint"], with_={"found": "${{ default(steps.lint.output, 7) }}"}
    )
    run = engine.run(workflow)
    assert (run.state, run.error) == ("completed", None)
    assert (states(run), run.steps["report"].output) == ({"lint": "failed", "report": "completed"}, 7)
    assert run.steps["lint"].error is not None


@pytest.mark.parametrize(
    "read",
    [
        "${{ steps.first.output }}",
        "${{ steps.first.outputs }}",
        "${{ steps.first.outputs.name }}",
        "text ${{ steps.first.output }} text",
    ],
)
def test_case_29_reading_the_output_of_a_failed_step_is_an_error_and_never_empty_text(
    engine: Driver, read: str
) -> None:
    workflow = Workflow("reading")
    add(workflow, "first", Outcomes(ValueError("no")), optional=True)
    add(workflow, "second", lambda x: x, with_={"x": read}, retry=RetryPolicy(max_attempts=3))
    run = engine.run(workflow)
    error = run.steps["second"].error
    assert error is not None
    assert (run.state, error.kind, run.steps["second"].attempt) == ("failed", "expression.undefined", 1)
    assert "'first'" in error.message
    assert "failed" in error.message


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("${{ steps.first.state }}", "skipped"),
        ("${{ steps.first.error }}", None),
        ("${{ default(steps.first.output, 'none') }}", "none"),
        ("${{ default(steps.first.outputs.a, 'none') }}", "none"),
    ],
)
def test_state_error_and_default_may_be_asked_of_a_skipped_step(engine: Driver, value: str, result: Any) -> None:
    """Through the run's outputs, which are computed whatever was skipped."""
    workflow = Workflow("reading")
    add(workflow, "first", lambda: 1, when="1 == 2")
    workflow.output("x", value)
    run = engine.run(workflow)
    assert (run.state, run.outputs) == ("completed", {"x": result})


def test_case_29_a_run_output_that_reads_a_skipped_step_fails_the_run(engine: Driver) -> None:
    workflow = Workflow("reading")
    add(workflow, "first", lambda: 1, when="1 == 2")
    workflow.output("x", "${{ steps.first.output }}")
    run = engine.run(workflow)
    assert run.error is not None
    assert (run.state, run.error.kind, run.outputs) == ("failed", "run.outputs", {})
    again = engine.retry(run.id)
    assert (again.state, again.steps["first"].state) == ("failed", "skipped")


def test_the_error_of_a_step_is_plain_data_for_expressions(engine: Driver) -> None:
    workflow = Workflow("errors")
    add(workflow, "first", Outcomes(KeyError("k")), optional=True)
    read = {"error": "${{ steps.first.error }}", "name": "${{ steps.first.error.name }}"}
    add(workflow, "second", lambda **seen: seen, needs=["first"], with_=read)
    output = engine.run(workflow).steps["second"].output
    assert output == {"error": {"kind": "step.failed", "name": "KeyError", "message": "'k'"}, "name": "KeyError"}


def test_case_30_a_placeholder_in_a_value_stays_text(engine: Driver) -> None:
    workflow = Workflow("once")
    add(workflow, "first", lambda: "${{ inputs.secret }} {{ 7*7 }}")
    add(
        workflow,
        "second",
        lambda x, y: [x, y],
        with_={"x": "${{ steps.first.output }}", "y": "<${{ steps.first.output }}>"},
    )
    output = engine.run(workflow).steps["second"].output
    assert output == ["${{ inputs.secret }} {{ 7*7 }}", "<${{ inputs.secret }} {{ 7*7 }}>"]


def test_case_31_a_value_in_a_shell_command_is_one_word(engine: Driver) -> None:
    workflow = Workflow("words")
    add(workflow, "evil", lambda: "; echo pwned $(id)\n`id`")
    workflow.run("shell", "printf '[%s]' ${{ steps.evil.output }}")
    workflow.run("argv", ["printf", "[%s]", "${{ steps.evil.output }}"])
    run = engine.run(workflow)
    assert run.steps["shell"].output["stdout"] == "[; echo pwned $(id)\n`id`]"
    assert run.steps["argv"].output["stdout"] == "[; echo pwned $(id)\n`id`]"


def test_a_condition_is_asked_once_and_not_again_for_later_attempts(engine: Driver) -> None:
    """It is the choice to run the step at all, so an attempt that failed does not turn into a skip."""
    flag = {"go": True}
    workflow = Workflow("once")
    add(workflow, "first", lambda: dict(flag))

    def body() -> None:
        raise ValueError("again")

    add(workflow, "second", body, when="steps.first.outputs.go", needs=["first"])
    run = engine.run(workflow)
    assert run.steps["second"].state == "failed"
    flag["go"] = False  # the journal keeps what the first step returned
    again = engine.retry(run.id)
    assert again.steps["second"].state == "failed"
    assert again.steps["second"].attempt == 2
