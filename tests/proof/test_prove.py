"""What a proof says about workflows of every shape."""

from __future__ import annotations

from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.model import Definition, ForEach, Route, Step, Verb
from statemachine_flow.proof import Rules, prove
from statemachine_flow.proof.graph import Graph
from statemachine_flow.proof.parts import Lanes, parts_of
from statemachine_flow.proof.states import circles
from statemachine_flow.steps.approval import Approval, Deadline, Question, Rewind
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait, Waiting
from statemachine_flow.steps.workflow import Child


def call(step_id: str, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=Call(call="f"), needs=needs, **options)


def step(step_id: str, verb: Verb, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=verb, needs=needs, **options)


def flow(*steps: Step, **options: Any) -> Definition:
    return Definition(name="flow", steps=steps, **options)


def test_what_follows_a_condition_that_is_never_true_never_runs() -> None:
    proof = prove(
        flow(call("a"), call("b", "a", when="false"), call("c", "b"), call("d", "c", trigger_rule="all_done"))
    )

    assert proof.never_run == ("b", "c")
    assert proof.always_run == ("a", "d")
    assert proof.never_skipped == ("a", "d")


def test_a_step_without_needs_that_waits_for_failures_never_runs() -> None:
    assert prove(flow(call("a"), call("b", trigger_rule="any_failed"))).never_run == ("b",)


def test_branches_of_which_only_one_can_run_are_not_told_apart() -> None:
    """Conditions are taken one by one: what they have to do with each other is not looked into."""
    proof = prove(flow(call("a", when="inputs.x"), call("b", when="not inputs.x"), call("c", "a", "b")))

    assert proof.never_run == ()


def test_what_waits_for_everything_runs_unless_the_run_is_cut_off() -> None:
    proof = prove(flow(call("a"), call("b", "a"), call("last", "b", trigger_rule="all_done")))

    assert proof.always_run == ("a", "last")


def test_a_lane_that_can_be_full_keeps_a_step_from_beginning_before_another_fails() -> None:
    roomy, narrow = flow(call("a"), call("b")), flow(call("a"), call("b"), max_parallel=1)

    assert prove(roomy).always_run == ("a", "b")
    # The first could be delayed too: nobody knows what a lane is full of.
    assert "b" not in prove(narrow).always_run


def test_a_workflow_that_cannot_complete_is_told() -> None:
    never = Group(
        steps=(step("gate", Approval(approval=Question(prompt="?", choices=("no",))), next={"yes": "end"}),),
        start="gate",
    )
    proof = prove(flow(step("g", never)))

    assert proof["completes"].holds is False
    assert not proof.ok


def test_a_rewind_sees_how_steps_before_its_target_ended() -> None:
    """What always fails, so that the target is skipped in no round."""
    gate = step("gate", Approval(approval=Question(prompt="?", choices=("no",))), next={"yes": "end"})
    fails = step("fails", Group(steps=(gate,), start="gate"), optional=True)
    target = call("target", "fails", trigger_rule="any_failed")
    ask = Approval(approval=Question(prompt="?", on_reject=Rewind(rewind_to="target")))
    proof = prove(flow(fails, target, step("ask", ask, "target")))

    assert "target" in proof.never_skipped


def test_nothing_begins_while_a_run_is_paused() -> None:
    definition = flow(call("a"), call("b"), call("c", "a"), call("d", "b", trigger_rule="all_done"))
    graph = Graph(parts_of(definition.steps, "", {}, Rules(), Lanes(definition)), Rules(), goes_on=False)
    queue = [config for _, config in graph.initial()]
    held = set()
    for config in queue:
        for moves, found, _ in graph.successors(config):
            triggers = {trigger for trigger, _ in moves}
            if graph.is_held(config) and "go" not in triggers:
                held.add(config)
                assert "start" not in triggers
            if found not in queue:
                queue.append(found)

    assert held


def test_waits_without_a_timeout_are_told_with_their_paths() -> None:
    timed = Waiting(event="go", timeout=1.0)
    late = Question(prompt="?", deadline=Deadline(after=1.0))
    inner = Group(steps=(step("sig", Wait(wait=Waiting(event="go"))), step("timed", Wait(wait=timed))))
    child = Child(workflow=flow(step("ask", Approval(approval=Question(prompt="?")))))
    proof = prove(
        flow(
            step("g", inner),
            step("kid", child),
            step("late", Approval(approval=late)),
            step("nap", Wait(wait=Waiting(for_="1s"))),
        )
    )

    assert proof.may_wait_for_ever == ("g/sig", "kid:ask")
    assert proof["rests"].holds


def test_a_child_run_that_stands_elsewhere_may_wait_for_ever() -> None:
    assert prove(flow(step("kid", Child(workflow="other")))).may_wait_for_ever == ("kid",)


def test_steps_of_a_loop_without_items_never_run() -> None:
    body = Group(steps=(step("x", Wait(wait=Waiting(for_="1s"))),))
    none = step("none", body, for_each=ForEach(items=()))
    some = step("some", body, for_each=ForEach(items=("${{ inputs.a }}",)))
    unknown = step("unknown", body, for_each=ForEach(items="${{ inputs.list }}"))
    proof = prove(flow(none, some, unknown))

    assert proof.never_run == ("none[*]/x",)
    assert proof.always_run == ("none", "some", "some[*]/x", "unknown")


def states(*steps: Step) -> Definition:
    return Definition(name="states", steps=steps, start=steps[0].id)


def test_the_token_of_a_level_of_states_decides_what_runs() -> None:
    routes = (Route(when="result", goto="fix"), Route(when="false", goto="dead"), Route(default="end"))
    proof = prove(states(call("plan", next="look"), call("look", next=routes), call("fix", next="look"), call("dead")))

    assert proof.never_run == ("dead",)
    assert proof.always_run == ("plan",)
    assert proof.ok


def test_every_choice_of_an_approval_is_followed_and_no_other() -> None:
    question = Question(prompt="?", choices=("yes", "no"))
    gate = step("gate", Approval(approval=question), next={"yes": "go", "no": "end", "other": "never"})

    assert prove(states(gate, call("go"), call("never"))).never_run == ("never",)


def test_a_loop_without_a_way_out_rests_because_visits_are_counted() -> None:
    """It fails in the end, so it does not hang; but it cannot complete."""
    proof = prove(states(call("a", next="b"), call("b", next="a")))

    assert (proof["rests"].holds, proof["completes"].holds) == (True, False)


def test_handlers_begin_where_the_run_needs_them() -> None:
    nap = step("nap", Wait(wait=Waiting(for_="1s")))
    failing, safe = flow(call("a"), on_failure=(call("tell"),)), flow(nap, on_failure=(call("tell"),))

    assert prove(failing).never_run == ()
    assert prove(safe).never_run == ("@on_failure/tell",)


def test_finally_is_run_whatever_happens() -> None:
    proof = prove(flow(call("a"), finally_=(call("clean"),), timeout=60.0))

    assert proof["finally"].holds is True
    assert "@finally/clean" in proof.always_run
    assert [each.name for each in prove(flow(call("a"))).properties if each.name == "finally"] == []


def test_compensations_are_part_of_the_report() -> None:
    steps = (
        call("a", compensate=call("undo")),
        call("b", when="false", compensate=step("ask", Approval(approval=Question(prompt="?")))),
    )

    assert prove(flow(*steps, compensate=True)).may_wait_for_ever == ()
    assert prove(flow(*steps, compensate=True)).never_run == ("b",)


def test_a_large_graph_is_judged_by_its_structure() -> None:
    steps = [call("s0"), *(call(f"s{place}", f"s{place - 1}") for place in range(1, 3000))]
    proof = prove(flow(*steps, call("never", "s2999", when="false"), call("after", "never")))

    assert proof.method == "structure"
    assert proof.never_run == ("never", "after")
    assert [each.holds for each in proof.properties] == [True] * len(proof.properties)


def test_a_graph_with_too_many_configurations_is_judged_by_its_structure() -> None:
    assert prove(flow(*(call(f"s{place}") for place in range(30))), limit=1000).method == "structure"


def test_twelve_steps_at_once_are_looked_at_one_by_one() -> None:
    steps = [step(f"s{place}", Run(run="true")) for place in range(4)] + [call(f"c{place}") for place in range(8)]
    proof = prove(flow(*steps, call("join", *(each.id for each in steps))))

    assert (proof.method, proof.ok) == ("exhaustive", True)


def test_the_report_is_a_text_and_plain_data() -> None:
    proof = prove(flow(call("a"), call("b", when="false")))

    assert proof.text().splitlines()[0] == f"proof of flow: exhaustive, {proof.configurations} configurations"
    assert "  never run: b" in proof.text()
    assert proof.data()["ok"] is True
    assert proof.data()["properties"][0]["name"] == "rests"


def test_it_is_called_from_the_package() -> None:
    workflow = smf.Workflow("w")
    workflow.run("a", ["true"])

    assert smf.prove(workflow).ok
    assert smf.prove("dsl = '1'\nname = 'hi'\nsteps.a.run = 'true'\n").always_run == ("a",)
    with pytest.raises(smf.errors.DefinitionError):
        smf.prove("dsl = '1'\nname = 'hi'\n")


def test_circles_of_places() -> None:
    numbers = circles([[1], [2], [0], [1], [4]])

    assert numbers[0] == numbers[1] == numbers[2]
    assert len({*numbers}) == 3
