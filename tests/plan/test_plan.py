"""Readiness by counters, the lanes steps wait in, and the delay before the next attempt."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from statemachine_flow.journal import RunFold
from statemachine_flow.journal.records import (
    Created,
    ErrorInfo,
    Failed,
    RunStarted,
    StepCompleted,
    StepSkipped,
    StepStarted,
)
from statemachine_flow.model import Defaults, Definition, RetryPolicy, Step
from statemachine_flow.plan import Frontier, Level, Plan, backoff_delay
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run
from statemachine_flow.values import encode_value


def call(step_id: str, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=Call(call="f"), needs=needs, **options)


def command(step_id: str, *needs: str) -> Step:
    return Step(id=step_id, verb=Run(run=("true",)), needs=needs)


def plan_of(*steps: Step, **options: Any) -> Plan:
    return Plan(Definition(name="plan", steps=steps, **options))


def fold_of(plan: Plan) -> RunFold:
    fold = RunFold("r")
    inputs = msgspec.Raw(encode_value({}))
    created = Created(workflow="plan", version="1", definition="", inputs=inputs, steps=len(plan.steps), cwd="/")
    fold.add("run.create", created, 0)
    fold.add("run.start", RunStarted(), 0)
    return fold


def start(fold: RunFold, frontier: Frontier, step_id: str) -> None:
    fold.add("step.start", StepStarted(attempt=1), 0, step_id)
    frontier.began(frontier.node(frontier.root, level_of(frontier)[step_id]))


def level_of(frontier: Frontier) -> Level:
    assert frontier.root.level is not None
    return frontier.root.level


def end(fold: RunFold, frontier: Frontier, step_id: str, how: str = "completed", *, optional: bool = False) -> None:
    if how == "completed":
        fold.add("step.complete", StepCompleted(), 0, step_id)
    elif how == "failed":
        fold.add("step.fail", Failed(error=ErrorInfo("step.failed", "E", "e"), optional=optional), 0, step_id)
    else:
        fold.add("step.skip", StepSkipped(), 0, step_id)
    node = frontier.node(frontier.root, level_of(frontier)[step_id])
    if how != "skipped":
        frontier.ended(node)
    frontier.settle(node, fold.state_of(step_id), forgiven=fold.step(step_id).forgiven)


def ready(frontier: Frontier) -> list[str]:
    """What may start now, in order; nothing is begun."""
    found = []
    while (node := frontier.next_ready()) is not None:
        found.append(node.path)
    return found


def skips(frontier: Frontier) -> list[str]:
    """What is to be skipped now, in order."""
    found = []
    while (node := frontier.next_skip()) is not None:
        found.append(node.path)
    return found


def test_a_plan_knows_needs_and_dependents_by_place() -> None:
    plan = plan_of(call("c", "a", "b"), call("a"), call("b", "a"))
    assert [(step.needs, step.dependents) for step in plan.steps] == [([1, 2], []), ([], [0, 2]), ([1], [0])]
    assert (plan["b"].index, plan.index) == (2, {"c": 0, "a": 1, "b": 2})


def test_a_need_named_twice_counts_once() -> None:
    plan = plan_of(call("a"), call("b", "a", "a"))
    fold = fold_of(plan)
    frontier = plan.frontier(fold)
    assert ready(frontier) == ["a"]
    start(fold, frontier, "a")
    end(fold, frontier, "a")
    assert ready(frontier) == ["b"]


@pytest.mark.parametrize(
    ("how", "optional", "runs"),
    [("completed", False, True), ("failed", True, True), ("failed", False, False), ("skipped", False, False)],
)
def test_the_join_rule_is_all_success_by_default(how: str, optional: bool, runs: bool) -> None:
    plan = plan_of(call("a"), call("b"), call("join", "a", "b"), continue_on_error=True)
    fold = fold_of(plan)
    frontier = plan.frontier(fold)
    for step in ("a", "b"):
        if how != "skipped" or step == "b":
            start(fold, frontier, step)
    end(fold, frontier, "a", how, optional=optional)
    assert frontier.root.missing[2] == 1
    end(fold, frontier, "b")
    assert (ready(frontier)[-1:] == ["join"], skips(frontier)) == (runs, [] if runs else ["join"])
    if not runs:
        assert frontier.root.blocked[2] == ("a", how)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_frontier_built_from_a_fold_is_where_the_run_is(goes_on: bool) -> None:
    """As a recovery does: after any prefix, building anew gives what counting on gave."""
    plan = plan_of(
        call("a"),
        call("b", "a"),
        call("c", "a"),
        call("d", "b", "c"),
        call("e"),
        command("f", "e"),
        continue_on_error=goes_on,
    )
    fold = fold_of(plan)
    frontier = plan.frontier(fold)
    for step, how in (("a", "completed"), ("e", "failed"), ("b", "completed"), ("f", "skipped"), ("c", "failed")):
        if how != "skipped":
            start(fold, frontier, step)
        end(fold, frontier, step, how)
        anew = plan.frontier(fold)
        for scope, before in ((anew.root, frontier.root),):
            assert (scope.missing, scope.blocked, scope.open, scope.failed, scope.alive, scope.stopping) == (
                before.missing,
                before.blocked,
                before.open,
                before.failed,
                before.alive,
                before.stopping,
            )
        assert anew.busy == frontier.busy


def test_without_a_limit_each_verb_is_a_lane() -> None:
    plan = plan_of(call("a"), command("b"))
    frontier = plan.frontier(fold_of(plan))
    assert plan.limits == {"call": Call.max_parallel, "run": Run.max_parallel}
    lanes = {lane: [node.path for _, _, node in queue] for lane, queue in frontier.ready.items() if queue}
    assert lanes == {"call": ["a"], "run": ["b"]}


def test_with_a_limit_there_is_one_lane_for_all() -> None:
    plan = plan_of(call("a"), command("b"), call("c"), max_parallel=2)
    fold = fold_of(plan)
    frontier = plan.frontier(fold)
    assert plan.limits == {"": 2}
    for step in ("a", "b"):
        found = frontier.next_ready()
        assert found is not None
        assert found.path == step
        start(fold, frontier, step)
    assert frontier.next_ready() is None
    end(fold, frontier, "b")
    found = frontier.next_ready()
    assert found is not None
    assert found.path == "c"


def test_defaults_are_applied_where_a_step_says_nothing() -> None:
    own, common = RetryPolicy(max_attempts=9), RetryPolicy(max_attempts=2)
    plan = plan_of(call("said", retry=own, timeout=1.0), call("unsaid"), defaults=Defaults(retry=common, timeout=60.0))
    assert [(step.retry, step.timeout) for step in plan.steps] == [(own, 1.0), (common, 60.0)]
    (bare,) = plan_of(call("bare")).steps
    assert (bare.retry.max_attempts, bare.timeout) == (1, None)


def test_expressions_are_parsed_once_and_only_where_there_are_any() -> None:
    plan = Plan(
        Definition(
            name="plan",
            steps=(
                Step(id="a", verb=Call(call="f", with_={"x": 1}), when="1 == 1", outputs={"y": "result"}),
                Step(id="b", verb=Call(call="f", with_={"x": "${{ steps.a.output }}"}), needs=("a",)),
            ),
        )
    )
    first, second = plan.steps
    assert first.expression("when", "1 == 1") is first.expression("when", "1 == 1")
    assert first.outputs is first.outputs
    assert (first.templates, set(second.templates)) == ({}, {"with_"})


# --- the delay


@given(
    st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 1000),
        delay=st.floats(0.001, 1e6),
        backoff=st.sampled_from(["exponential", "constant"]),
        factor=st.floats(1, 100),
        max_delay=st.floats(0.001, 1e6),
        jitter=st.sampled_from(["full", "none"]),
    ),
    st.integers(1, 1000),
    st.integers(),
)
def test_a_delay_is_never_longer_than_the_cap_and_never_negative(policy: RetryPolicy, failures: int, seed: int) -> None:
    delay = backoff_delay(policy, failures, random.Random(seed))
    assert 0 <= delay <= policy.max_delay
    if policy.jitter == "none":
        growth = math.log(policy.factor) * (failures - 1) if policy.backoff == "exponential" else 0.0
        exact = math.exp(min(math.log(policy.delay) + growth, 700.0))
        assert delay == pytest.approx(min(exact, policy.max_delay))


@given(st.integers(1, 999))
def test_without_jitter_a_delay_never_shrinks(failures: int) -> None:
    policy = RetryPolicy(max_attempts=1000, delay=0.5, max_delay=1e5, jitter="none")
    assert backoff_delay(policy, failures, None) <= backoff_delay(policy, failures + 1, None)


def test_full_jitter_spreads_over_the_whole_delay() -> None:
    policy = RetryPolicy(max_attempts=9, delay=8.0, backoff="constant")
    drawn = [backoff_delay(policy, 1, random.Random(seed)) for seed in range(500)]
    assert min(drawn) < 0.5
    assert max(drawn) > 7.5
    assert 3.5 < sum(drawn) / len(drawn) < 4.5
