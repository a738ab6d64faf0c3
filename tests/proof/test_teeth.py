"""Altered tables and rules are refuted, with a history that shows how: the prover has teeth."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import pytest

from statemachine_flow.lifecycle import RUN, RUN_EDGES, STEP, STEP_EDGES, Edge, Lifecycle, RunState, StepState
from statemachine_flow.model import Definition, ForEach, RetryPolicy, Route, Step
from statemachine_flow.plan.joins import holds
from statemachine_flow.proof import Rules, prove
from statemachine_flow.proof.rules import END_SETS, declared, ends_of
from statemachine_flow.steps.approval import Approval, Question, Rewind
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.wait import Wait, Waiting
from statemachine_flow.steps.workflow import Child


def call(step_id: str, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=Call(call="f"), needs=needs, **options)


def approval(step_id: str, *needs: str, on_reject: Any) -> Step:
    return Step(id=step_id, verb=Approval(approval=Question(prompt="well?", on_reject=on_reject)), needs=needs)


CHILD = Definition(name="child", steps=(Step(id="go", verb=Wait(wait=Waiting(event="go"))),))
LOOP = Group(
    start="try",
    steps=(call("try", next="look"), call("look", next=(Route(when="inputs.again", goto="try"), Route(default="end")))),
)
#: A workflow that needs every edge of both tables.
RICH = Definition(
    name="rich",
    compensate=True,
    steps=(
        call("a", compensate=call("undo")),
        call("b", "a", delivery="at_most_once"),
        approval("ask", "b", on_reject=Rewind(rewind_to="b")),
        approval("maybe", "a", on_reject="skip"),
        Step(id="ci", needs=("ask",), retry=RetryPolicy(max_attempts=3), verb=Group(steps=(call("lint"),))),
        call("flaky", retry=RetryPolicy(max_attempts=2)),
        Step(id="loop", verb=LOOP),
        Step(id="each", for_each=ForEach(items="${{ inputs.files }}"), verb=Call(call="f")),
        Step(id="child", verb=Child(workflow=CHILD)),
    ),
    on_failure=(call("tell"),),
    finally_=(call("clean"),),
)
SMALL = Definition(name="small", steps=(call("a"), call("b"), call("c", "a", trigger_rule="any_failed")))


def run_machine(*edges: Edge) -> Rules:
    return Rules(run=Lifecycle("run", RunState, edges))


def without_guard(trigger: str) -> Rules:
    return run_machine(*(attrs.evolve(edge, guard=None) if edge.trigger == trigger else edge for edge in RUN_EDGES))


def test_the_rules_of_the_engine_stand() -> None:
    proof = prove(RICH)

    assert [(each.name, each.trace) for each in proof.properties if each.holds is not True] == []
    assert (proof.ok, proof.method) == (True, "exhaustive")


@pytest.mark.parametrize("edge", STEP_EDGES, ids=lambda edge: f"{edge.trigger}-{edge.source}")
def test_a_step_table_without_one_of_its_edges_is_refuted(edge: Edge) -> None:
    rules = Rules(step=Lifecycle("step", StepState, tuple(each for each in STEP_EDGES if each is not edge)))
    proof = prove(RICH, rules=rules)

    assert not proof.ok
    assert proof["legal"].holds is False
    assert proof["legal"].trace[-1].startswith(f"step.{edge.trigger} ")


@pytest.mark.parametrize("edge", RUN_EDGES, ids=lambda edge: f"{edge.trigger}-{edge.source}")
def test_a_run_table_without_one_of_its_edges_is_refuted(edge: Edge) -> None:
    legal = prove(RICH, rules=run_machine(*(each for each in RUN_EDGES if each is not edge)))["legal"]

    assert legal.holds is False
    assert legal.trace[-1].split(" in ")[0].startswith(f"run.{edge.trigger}")


def test_a_run_that_may_complete_without_a_guard_does_so_with_a_failed_step() -> None:
    proof = prove(SMALL, rules=without_guard("complete"))

    assert proof["honest"].trace == (
        "run.start",
        "step.start a",
        "step.start b",
        "step.fail a",
        "step.start c",
        "run.complete",
    )
    assert proof["clean"].trace == ("run.start", "run.complete")


@pytest.mark.parametrize(
    ("trigger", "trace"),
    [
        ("fail", ("run.start", "run.fail")),
        ("settle", ("run.start", "step.start a", "step.start b", "run.cancel", "run.settle")),
    ],
)
def test_a_run_that_may_end_without_a_guard_leaves_attempts_behind(trigger: str, trace: tuple[str, ...]) -> None:
    clean = prove(Definition(name="w", steps=(call("a"), call("b"))), rules=without_guard(trigger))["clean"]

    assert clean.trace == trace


def test_a_run_that_cannot_settle_hangs_once_it_is_cancelled() -> None:
    rules = run_machine(*(edge for edge in RUN_EDGES if edge.trigger != "settle"))
    rests = prove(Definition(name="w", steps=(call("a"),)), rules=rules)["rests"]

    assert rests.trace == ("run.start", "step.start a", "run.cancel")


def test_a_waiting_step_that_nothing_ends_hangs() -> None:
    edges = tuple(edge for edge in STEP_EDGES if edge.source != "waiting" or edge.trigger in ("cancel", "skip"))
    steps = (call("a"), Step(id="go", verb=Wait(wait=Waiting(event="go")), needs=("a",)))
    rests = prove(Definition(name="w", steps=steps), rules=Rules(step=Lifecycle("step", StepState, edges)))["rests"]

    assert rests.trace == ("run.start", "step.start a", "step.complete a", "step.start go", "step.wait go")


@pytest.mark.parametrize("rule", ["all_success", "none_failed", "any_success", "any_failed", "all_done"])
def test_a_join_rule_that_is_turned_round_is_refuted(rule: Any) -> None:
    def turned(asked: Any, ends: Collection[Any]) -> bool:
        runs: bool = holds(asked, ends)
        return not runs if asked == rule else runs

    definition = Definition(name="w", steps=(call("a"), call("b", "a", trigger_rule=rule)))
    proof = prove(definition, rules=Rules(holds=turned))

    assert proof["joins"].holds is False
    assert proof["joins"].trace[-1] in ("step.start b", "step.skip b", "step.start a", "step.skip a")
    assert prove(definition, rules=Rules(holds=turned), limit=0)["joins"].holds is None


def test_the_declared_join_rules_are_those_of_the_plan() -> None:
    rules: Any = ("all_success", "none_failed", "any_success", "any_failed", "all_done")
    sets = [ends_of(bits) for bits in END_SETS]

    assert [(rule, ends) for rule in rules for ends in sets if declared(rule, ends) != holds(rule, ends)] == []


def test_a_step_that_waits_for_a_failure_and_is_swept_away_is_noticed() -> None:
    stops = prove(SMALL, rules=Rules(tolerant=()))["stops"]

    assert stops.trace == (
        "run.start",
        "step.start a",
        "step.start b",
        "step.fail a",
        "step.complete b",
        "step.cancel c",
    )


def test_a_step_that_begins_although_its_level_stops_is_noticed() -> None:
    definition = Definition(name="w", steps=(call("a"), call("b"), call("c", "b")))
    stops = prove(definition, rules=Rules(tolerant=("all_success", "all_done", "any_failed")))["stops"]

    assert stops.trace == (
        "run.start",
        "step.start a",
        "step.start b",
        "step.fail a",
        "step.complete b",
        "step.start c",
    )


def test_the_default_rules_are_the_tables_themselves() -> None:
    assert (Rules().run, Rules().step, Rules().holds) == (RUN, STEP, holds)
