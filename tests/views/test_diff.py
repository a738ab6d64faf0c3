"""How workflows differ: by meaning, not by text; and what a change means for a run."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from statemachine_flow import Engine, Workflow, diff, load
from statemachine_flow.model import Definition, Input, RetryPolicy, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.workflow import Child
from tests.views.workflows import GATE, REVIEW, call, graphs, run, workflow


def told(before: Definition, after: Definition) -> list[str]:
    return [str(change) for change in diff(before, after).changes]


def group(*steps: Step) -> Step:
    return Step(id="g", verb=Group(steps=steps))


READER = Step(id="c", verb=Call(call="f", with_={"x": "${{ steps.a.output }}"}), needs=("a",))

CASES = {
    "added": ([call("a")], [call("a"), run("b")], ["added b"]),
    "removed": ([call("a"), run("b")], [call("a")], ["removed b"]),
    "renamed, and those that name it follow": (
        [run("a"), READER],
        [run("b"), attrs.evolve(READER, needs=("b",), verb=Call(call="f", with_={"x": "${{ steps.b.output }}"}))],
        ["renamed a to b"],
    ),
    "renamed and changed a little": (
        [Step(id="a", verb=Run(run=("make", "all", "the", "things", "that", "there", "are")))],
        [Step(id="b", verb=Run(run=("make", "all", "the", "things", "that", "there", "be")))],
        ["renamed a to b", "code b.run: "],
    ),
    "another step": ([call("a")], [run("b")], ["removed a", "added b"]),
    "rewired": (
        [call("a"), call("b"), run("c", "a")],
        [call("a"), call("b"), run("c", "b")],
        ['rewired c.needs: ["a"] -> ["b"]'],
    ),
    "code": ([run("a")], [Step(id="a", verb=Run(run="make"))], ['code a.run: ["make"] -> "make"']),
    "verb": ([call("a")], [run("a")], ['code a.call: "kit:f" -> null', 'code a.run: null -> ["make"]']),
    "policy": (
        [call("a", retry=RetryPolicy(max_attempts=2))],
        [call("a", timeout=60.0, optional=True)],
        [
            'policy a.retry: {"max_attempts": 2} -> null',
            'policy a.timeout: null -> "1m"',
            "policy a.optional: null -> true",
        ],
    ),
    "text": ([call("a")], [call("a", description="x")], ['text a.description: null -> "x"']),
    "order": ([call("a"), run("b")], [run("b"), call("a")], ["order *: a, b -> b, a"]),
    "order of a matrix": (
        [call("a", matrix={"x": (1,), "y": (2,)})],
        [call("a", matrix={"y": (2,), "x": (1,)})],
        ["policy a.matrix: "],
    ),
    "inside": ([group(call("a"))], [group(call("a", optional=True), run("b"))], ["policy g/a.optional: ", "added g/b"]),
    "order inside": ([group(call("a"), run("b"))], [group(run("b"), call("a"))], ["order g/*: a, b -> b, a"]),
    "compensation": (
        [call("a", compensate=call("a"))],
        [call("a", compensate=call("a", timeout=1.0))],
        ['policy @compensate/a.timeout: null -> "1s"'],
    ),
    "inline child": (
        [Step(id="a", verb=Child(workflow=workflow(call("x"))))],
        [Step(id="a", verb=Child(workflow=workflow(call("x"), run("y"))))],
        ["added a/y"],
    ),
}


@pytest.mark.parametrize(("before", "after", "expected"), CASES.values(), ids=CASES)
def test_a_change_is_told_as_what_it_is(before: list[Step], after: list[Step], expected: list[str]) -> None:
    changes = told(workflow(*before), workflow(*after))

    assert len(changes) == len(expected)
    assert all(change.startswith(start) for change, start in zip(changes, expected, strict=True))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"max_parallel": 2}, {}, "workflow max_parallel: 2 -> null"),
        (
            {"inputs": {"n": Input()}},
            {"inputs": {"n": Input(default="x")}},
            'workflow inputs.n: {} -> {"default": "x"}',
        ),
        ({}, {"outputs": {"n": None}}, "workflow outputs.n: null -> null"),
        ({}, {"version": "2"}, 'text version: null -> "2"'),
        (
            {"finally_": (call("x"),)},
            {"finally_": (call("x", optional=True),)},
            "policy @finally/x.optional: null -> true",
        ),
    ],
)
def test_changes_of_the_document_itself(before: dict[str, Any], after: dict[str, Any], expected: str) -> None:
    assert told(workflow(call("a"), **before), workflow(call("a"), **after)) == [expected]


def test_a_start_and_routes_are_wiring() -> None:
    other = attrs.evolve(GATE, start="gate", steps=(attrs.evolve(GATE.steps[0], next="build"), *GATE.steps[1:]))

    assert {change.kind for change in diff(GATE, other).changes} == {"rewired"}


def test_layout_and_format_are_no_difference() -> None:
    one = load('dsl = "1"\nname = "w"\n[steps]\na = { run = "true", timeout = "60s" }\n')
    other = load("# the same\nname: w\ndsl: '1'\nsteps: {a: {timeout: 1m, run: 'true'}}\n")

    assert diff(one, other).same
    assert diff(one, other).changes == ()


@given(graphs(), graphs())
def test_workflows_are_the_same_exactly_if_nothing_is_told(one: Definition, other: Definition) -> None:
    difference = diff(one, other)

    assert difference.same == (not difference.changes)


@given(graphs(), st.randoms())
def test_renaming_steps_is_told_as_that_alone(definition: Definition, random: Any) -> None:
    # Each does something of its own, or nobody could tell which became which.
    steps = [attrs.evolve(step, verb=Call(call=f"kit:{step.id}")) for step in definition.steps]
    names = {step.id: f"t{random.randrange(10**6)}-{step.id}" for step in steps}
    other = [attrs.evolve(step, id=names[step.id], needs=tuple(names[need] for need in step.needs)) for step in steps]

    assert sorted(told(workflow(*steps), workflow(*other))) == sorted(
        f"renamed {old} to {new}" for old, new in names.items()
    )


def test_a_big_workflow_is_its_own_equal() -> None:
    assert diff(REVIEW, REVIEW).same


# --- a run under way


def test_a_change_tells_what_it_means_for_a_run() -> None:
    old, new = Workflow("w"), Workflow("w")
    for built, command in ((old, "true"), (new, "exit 0")):
        first = built.run("first", command)
        built.run("second", "exit 1" if built is old else "true", needs=["first"])
        if built is old:
            built.run("third", ["echo", first.output.stdout], needs=["second"])
        else:
            built.run("fourth", "true && true", needs=["second"])
    with Engine("memory://") as engine:
        run = engine.run(old)
        changes = diff(old, new, run=run).changes

    assert {change.path: change.effect for change in changes} == {
        "first": "already completed: its result would stay",
        "second": "already failed: a retry would use the new form",
        "third": "skipped: it would not run",
        "fourth": "new: it would begin once what it needs is at rest",
    }
