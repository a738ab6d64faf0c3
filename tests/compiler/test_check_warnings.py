"""Warnings: steps that never run and tokens that never end, and that no other is told of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from statemachine_flow.compiler import check
from statemachine_flow.compiler.conditions import always_holds, contradict, facts_of, never_holds
from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression
from statemachine_flow.model import Definition, Input, Step, TriggerRule
from statemachine_flow.plan.joins import End, holds
from statemachine_flow.steps.call import Call
from tests.compiler.meaning import told

MODE = "inputs.mode = {}\ninputs.n = { type = 'integer' }\n[steps]\n"


def branches(one: str, other: str) -> str:
    return MODE + (
        f'a = {{ call = "f", when = "{one}" }}\nb = {{ call = "f", when = "{other}" }}\n'
        "c = { call = 'f', needs = ['a', 'b'] }\n"
    )


EXCLUSIVE = [
    ("inputs.mode == 'x'", "inputs.mode == 'y'"),
    ("inputs.mode == 'x'", "'y' == inputs.mode"),
    ("inputs.mode == 'x'", "inputs.mode != 'x'"),
    ("inputs.mode == 'x'", "not (inputs.mode == 'x')"),
    ("inputs.mode", "not inputs.mode"),
    ("inputs.mode == true", "inputs.mode == false"),
    ("inputs.mode == null", "inputs.mode == 0"),
    ("inputs.mode in ['x', 'y']", "inputs.mode in ['z']"),
    ("inputs.mode in ['x', 'y']", "inputs.mode not in ['x', 'y', 'z']"),
    ("inputs.mode == 'x'", "inputs.mode not in ['x']"),
    ("inputs.n < 3", "inputs.n >= 3"),
    ("inputs.n <= 3", "inputs.n > 3"),
    ("inputs.n < 3", "inputs.n == 3"),
    ("inputs.n > 3", "3 >= inputs.n"),
    ("inputs.n < -1", "inputs.n > 1.5"),
    ("len(inputs.mode) == 1", "len(inputs.mode) == 2"),
    ("inputs.n == 1 and inputs.mode == 'x'", "inputs.mode == 'y' and inputs.n == 1"),
    ("inputs.n == 1 or inputs.mode == 'x'", "not (inputs.n == 1 or inputs.mode == 'x')"),
    ("inputs.n == 1 or inputs.mode == 'x'", "inputs.n != 1 and not (inputs.n == 1 or inputs.mode == 'x')"),
    ("inputs.mode in inputs.n", "inputs.mode not in inputs.n"),
    ("inputs.n == inputs.mode", "inputs.mode != inputs.n"),
    ("1 < inputs.n < 5", "inputs.n == 7"),
]

TOGETHER = [
    ("inputs.mode == 'x'", "inputs.mode == 'x'"),
    ("inputs.mode == 'x'", "inputs.n == 1"),
    ("inputs.mode != 'x'", "inputs.mode != 'y'"),
    ("inputs.mode == 1", "inputs.mode == true"),
    ("inputs.mode == 1", "inputs.mode == 1.0"),
    ("inputs.mode == true", "inputs.mode != 1"),
    ("inputs.mode in ['x', 'y']", "inputs.mode in ['y', 'z']"),
    ("inputs.mode not in ['x']", "inputs.mode not in ['y']"),
    ("inputs.n <= 3", "inputs.n >= 3"),
    ("inputs.n < 3", "inputs.n > 2"),
    ("inputs.n < 3", "inputs.n < 1"),
    ("inputs.n < 3", "inputs.n > '5'"),
    ("inputs.n == 1 or inputs.mode == 'x'", "inputs.n == 2"),
    ("env.A == 'x'", "env.A == 'y'"),
    ("round == 1", "round == 2"),
    ("feedback == null", "feedback != null"),
    ("inputs.mode in 'xyz'", "inputs.mode in 'abc'"),
]


@pytest.mark.parametrize(("one", "other"), EXCLUSIVE)
def test_branches_that_exclude_each_other_are_told_where_they_meet(one: str, other: str) -> None:
    assert told(branches(one, other)) == ["~definition.exclusive_join steps.c.needs"]


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_branches_that_may_both_run_are_not(one: str, other: str) -> None:
    assert told(branches(one, other)) == []


DOUBTFUL = {
    "exclusive through a chain": (
        MODE
        + (
            "a = { call = 'f', when = \"inputs.mode == 'x'\" }\na2 = { call = 'f', needs = ['a'] }\n"
            "b = { call = 'f', when = \"inputs.mode == 'y'\" }\nb2.needs = ['b']\nb2.steps.s.call = 'f'\n"
            "c = { call = 'f', needs = ['a2', 'b2'] }\n"
        ),
        ["~definition.exclusive_join steps.c.needs"],
    ),
    "exclusive with a branch further up": (
        MODE + "a = { call = 'f', when = \"inputs.mode == 'x'\" }\n"
        "b = { call = 'f', needs = ['a'], when = \"inputs.mode == 'y'\" }\n",
        ["~definition.never_runs steps.b.when"],
    ),
    "what comes after": (
        MODE
        + (
            "a = { call = 'f', when = 'inputs.n == 1' }\nb = { call = 'f', when = 'inputs.n == 2' }\n"
            "c = { call = 'f', needs = ['a', 'b'] }\nd = { call = 'f', needs = ['c'] }\n"
            "e = { call = 'f', needs = ['d'], trigger_rule = 'none_failed' }\n"
        ),
        ["~definition.exclusive_join steps.c.needs", "~definition.never_runs steps.d.needs"],
    ),
    "a constant": ("steps.a = { call = 'f', when = 'false' }\n", ["~definition.never_runs steps.a.when"]),
    "not true": ("steps.a = { call = 'f', when = 'not true' }\n", ["~definition.never_runs steps.a.when"]),
    "numbers that differ": ("steps.a = { call = 'f', when = '1 == 2' }\n", ["~definition.never_runs steps.a.when"]),
    "false and more": (
        MODE + "a = { call = 'f', when = 'false and inputs.n == 1' }\n",
        ["~definition.never_runs steps.a.when"],
    ),
    "a condition against itself": (
        MODE + "a = { call = 'f', when = 'inputs.n == 1 and inputs.n == 2' }\n",
        ["~definition.never_runs steps.a.when"],
    ),
    "a condition in an empty list": (
        MODE + "a = { call = 'f', when = 'inputs.n in []' }\n",
        ["~definition.never_runs steps.a.when"],
    ),
    "the failure of nothing": (
        "steps.a = { call = 'f', trigger_rule = 'any_failed' }\n",
        ["~definition.never_runs steps.a.trigger_rule"],
    ),
    "the failure of what never runs": (
        (
            "steps.a = { call = 'f', when = 'false' }\n"
            "steps.b = { call = 'f', needs = ['a'], trigger_rule = 'any_failed' }\n"
        ),
        ["~definition.never_runs steps.a.when", "~definition.never_runs steps.b.needs"],
    ),
    "any success of what never runs": (
        (
            "steps.a = { call = 'f', when = 'false' }\n"
            "steps.b = { call = 'f', needs = ['a'], trigger_rule = 'any_success' }\n"
        ),
        ["~definition.never_runs steps.a.when", "~definition.never_runs steps.b.needs"],
    ),
    "steps out of order": (
        "steps.b = { call = 'f', needs = ['a'] }\nsteps.a = { call = 'f', when = 'false' }\n",
        ["~definition.never_runs steps.a.when", "~definition.never_runs steps.b.needs"],
    ),
    "inside a group, a handler and an inline workflow": (
        (
            "steps.g.steps.a = { call = 'f', when = 'false' }\nfinally.b = { call = 'f', when = 'false' }\n"
            "[steps.h.workflow]\ndsl = '1'\nname = 'i'\nsteps.c = { call = 'f', when = 'false' }\n"
        ),
        [
            "~definition.never_runs steps.g.steps.a.when",
            "~definition.never_runs steps.h.workflow.steps.c.when",
            "~definition.never_runs finally.b.when",
        ],
    ),
    # states
    "a token that goes round": (
        "start = 'a'\nsteps.a = { call = 'f', next = 'b' }\nsteps.b = { call = 'f', next = 'a' }\n",
        ["~definition.never_ends start"],
    ),
    "a token of a group that goes round": (
        "[steps.g]\nstart = 'a'\nsteps.a = { call = 'f', next = 'a' }\n",
        ["~definition.never_ends steps.g.start"],
    ),
    "a way out that is never taken": (
        "start = 'a'\nsteps.a = { call = 'f', next = [{ when = 'false', goto = 'end' }, { default = 'a' }] }\n",
        ["~definition.route steps.a.next[0].when", "~definition.never_ends start"],
    ),
    "routes behind one that is always taken": (
        (
            "start = 'a'\nsteps.a = { call = 'f', next = [{ when = 'true', goto = 'end' }, { default = 'b' }] }\n"
            "steps.b.call = 'f'\n"
        ),
        ["~definition.route steps.a.next[1]", "~definition.never_runs steps.b"],
    ),
    "a step behind a route that is never taken": (
        (
            "start = 'a'\nsteps.a = { call = 'f', next = [{ when = '1 > 2', goto = 'b' }, { default = 'end' }] }\n"
            "steps.b.call = 'f'\n"
        ),
        ["~definition.route steps.a.next[0].when", "~definition.never_runs steps.b"],
    ),
    "a state with a false condition": (
        "start = 'a'\nsteps.a = { call = 'f', when = 'false' }\n",
        ["~definition.never_runs steps.a.when"],
    ),
    "a rejection that does not complete": (
        "start = 'a'\nsteps.a = { approval.prompt = '?', next = { approve = 'end', reject = 'a' } }\n",
        ["~definition.route steps.a.next.reject"],
    ),
}


@pytest.mark.parametrize(("body", "expected"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_hardly_meant_is_told(body: str, expected: list[str]) -> None:
    assert sorted(told(body)) == sorted(expected)


FINE = {
    "branches that meet under none_failed": branches("inputs.n == 1", "inputs.n == 2").replace(
        "'b'] }", "'b'], trigger_rule = 'none_failed' }"
    ),
    "branches that meet under any_success": branches("inputs.n == 1", "inputs.n == 2").replace(
        "'b'] }", "'b'], trigger_rule = 'any_success' }"
    ),
    "branches that met before": MODE
    + "a = { call = 'f', when = 'inputs.n == 1' }\nb = { call = 'f', when = 'inputs.n == 2' }\n"
    "c = { call = 'f', needs = ['a'], trigger_rule = 'all_done' }\nd = { call = 'f', needs = ['c', 'b'] }\n",
    "a branch whose failure is forgiven": MODE
    + "a = { call = 'f', when = 'inputs.n == 1', optional = true }\nb = { call = 'f', when = 'inputs.n == 2' }\n"
    "c = { call = 'f', needs = ['a', 'b'] }\n",
    "the failure of a step whose condition may fail": MODE
    + "a = { call = 'f', when = 'inputs.n == 1 and inputs.n == 2' }\n"
    "b = { call = 'f', needs = ['a'], trigger_rule = 'any_failed' }\n",
    "the failure of an optional step": "steps.a = { call = 'f', optional = true }\n"
    "steps.b = { call = 'f', needs = ['a'], trigger_rule = 'any_failed' }\n",
    "whatever became of what never runs": "steps.a = { call = 'f', when = 'false' }\n"
    "steps.b = { call = 'f', needs = ['a'], trigger_rule = 'all_done' }\n",
    "a token that may be passed on": "start = 'a'\nsteps.a = { call = 'f', optional = true, next = { x = 'a' } }\n",
    "a token that ends at a rejection": "start = 'a'\n"
    "steps.a = { approval = { prompt = '?', on_reject = 'skip' }, next = { approve = 'a' } }\n",
}
NEVER_RUN_THERE = {"the failure of a step whose condition may fail": 1, "whatever became of what never runs": 1}


@pytest.mark.parametrize("name", FINE)
def test_what_can_happen_is_not_doubted(name: str) -> None:
    assert len(told(FINE[name])) == NEVER_RUN_THERE.get(name, 0)


def test_warnings_take_no_room_from_problems() -> None:
    steps = [Step(id=f"s{number}", verb=Call(call="f"), when="false") for number in range(200)]
    steps.append(Step(id="z", verb=Call(call="f"), when="nothing"))

    problems = check(Definition(name="w", steps=tuple(steps)))
    assert len(problems) == 100
    assert [problem.severity for problem in problems] == ["error"] + ["warning"] * 99


def test_of_many_conditions_about_one_thing_only_some_are_compared() -> None:
    steps = [Step(id=f"s{number}", verb=Call(call="f"), when=f"inputs.n == {number}") for number in range(3_000)]
    steps.append(Step(id="z", verb=Call(call="f"), needs=tuple(step.id for step in steps)))
    definition = Definition(name="w", steps=tuple(steps), inputs={"n": Input(type="integer")})

    assert [problem.kind for problem in check(definition)] == ["definition.exclusive_join"]


# Soundness: whatever is told is so.

VALUES: list[Any] = [None, True, False, 0, 1, 1.0, 2, 3, -1, "x", "y", ""]
_atoms = st.one_of(
    st.sampled_from(["a", "b", "true", "false", "null"]),
    st.tuples(
        st.sampled_from(["a", "b", "1", "'x'", "true"]),
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(["a", "b", "0", "1", "1.0", "2", "-1", "'x'", "'y'", "true", "false", "null"]),
    ).map(" ".join),
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["in", "not in"]),
        st.lists(st.sampled_from(["0", "1", "'x'", "true", "null", "2"]), max_size=3).map(
            lambda xs: f"[{', '.join(xs)}]"
        ),
    ).map(" ".join),
    st.sampled_from(["0 < a < 2", "1 <= b <= 1", "a == b == 1"]),
)
CONDITIONS = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=4,
)
WORLDS: list[Mapping[str, Any]] = [{"a": a, "b": b} for a, b in product(VALUES, VALUES)]


def outcome(text: str, names: Mapping[str, Any]) -> bool | None:
    """Whether a condition holds; None where it has no value."""
    try:
        return Expression.parse(text).test(names)
    except ExpressionError:
        return None


@settings(max_examples=300)
@given(CONDITIONS, CONDITIONS)
def test_conditions_that_contradict_are_true_together_in_no_world(one: str, other: str) -> None:
    if contradict(facts_of(one), facts_of(other)):
        assert not any(outcome(one, world) and outcome(other, world) for world in WORLDS)


@settings(max_examples=300)
@given(CONDITIONS)
def test_a_condition_that_never_or_always_holds_does_so_in_every_world(text: str) -> None:
    found = {outcome(text, world) for world in WORLDS}

    assert not (never_holds(text) and True in found)
    assert not (always_holds(text) and False in found)


RULES: tuple[TriggerRule, ...] = ("all_success", "none_failed", "all_done", "any_success", "any_failed")
WHEN = st.sampled_from(
    [None, None, "false", "inputs.n == 1", "inputs.n == 2", "inputs.n < 2", "not (inputs.n == 1)", "inputs.n + 0 == 1"]
)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 5))):
        needs = draw(st.lists(st.sampled_from([step.id for step in steps]), max_size=3, unique=True)) if steps else []
        rule = draw(st.sampled_from(("all_success", "all_success", *RULES)))
        optional = draw(st.booleans())
        step = Step(
            id=f"s{number}",
            verb=Call(call="f"),
            needs=tuple(needs),
            trigger_rule=rule,
            when=draw(WHEN),
            optional=optional,
        )
        steps.append(step)
    return tuple(steps)


def runs(steps: tuple[Step, ...], n: object) -> Iterator[set[str]]:
    """For every way in which steps can end, those that began."""
    pending: list[tuple[dict[str, End], set[str]]] = [({}, set())]
    for step in steps:
        following: list[tuple[dict[str, End], set[str]]] = []
        for ends, began in pending:
            failure: End = "forgiven" if step.optional else "failed"
            possible: list[End] = ["cancelled"]
            begins = False
            if not holds(step.trigger_rule, [ends[need] for need in step.needs]):
                possible.append("skipped")
            else:
                condition = True if step.when is None else outcome(step.when, {"inputs": {"n": n}})
                begins = condition is True
                possible += ["completed", failure] if condition else [failure] if condition is None else ["skipped"]
            following += [({**ends, step.id: end}, began | {step.id} if begins else began) for end in possible]
        pending = following
    return iter([began for _, began in pending])


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_a_step_that_is_said_never_to_run_runs_in_no_run(steps: tuple[Step, ...]) -> None:
    problems = check(Definition(name="w", steps=steps, inputs={"n": Input(type="integer")}))
    never = {problem.path.split(".")[1] for problem in problems}

    assert all(problem.severity == "warning" for problem in problems)
    for n in (1, 2, 3, "text"):
        for began in runs(steps, n):
            assert not never & began
