"""Decisions that send a run back: what begins anew, what is stopped for it, and what goes on undisturbed."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import DefinitionError
from tests.engine.documents import calls, document, patient
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, kinds, states


def gate_to(target: str, *needs: str, rounds: int = 9, **fields: Any) -> dict[str, Any]:
    """An approval whose rejection goes back."""
    question = {"prompt": "Well?", "on_reject": {"rewind_to": target, "max_rounds": rounds}}
    return {"approval": question, "needs": list(needs or (target,)), **fields}


def started(engine: Driver, workflow: Workflow, *waiting: str) -> tuple[str, Events]:
    """A run, once these steps wait."""
    events = Events()
    run = engine.start(workflow, on_event=events)
    missing = set(waiting)
    while missing:
        event = events.wait("step.wait")
        missing.discard(event.step or "")
    engine.quiet()
    return run, events


def test_the_target_and_what_is_behind_it_begin_anew_and_the_rest_is_kept(engine: Driver) -> None:
    seen: list[Any] = []

    def body(told: Any, before: Any) -> int:
        seen.append((told, before))
        return len(seen)

    engine.register("f", body)
    look = {"told": "${{ default(feedback.reason, 'nothing') }}", "before": "${{ previous }}"}
    f = {"call": "f", "with": look}
    steps: dict[str, Any] = {
        "first": f,
        "a": {**f, "needs": ["first"]},
        "b": {**f, "needs": ["a"]},
        "gate": gate_to("a", "b"),
        "other": f,
    }
    run, events = started(engine, document(steps, max_parallel=1), "gate")
    engine.reject(run, "gate", by="ann", reason="longer")
    events.wait("step.wait", "gate")
    engine.approve(run, "gate", by="ann")
    view = engine.wait(run)
    assert view.ok
    generations = {path: step.generation for path, step in view.steps.items()}
    assert generations == {"first": 1, "a": 2, "b": 2, "gate": 2, "other": 1}
    assert seen == [("nothing", None)] * 4 + [("longer", 2), ("nothing", 3)]


def test_what_is_under_way_behind_the_target_is_stopped_and_begins_anew(world: World) -> None:
    engine, slow = world.open(), Gate()
    engine.register("f", lambda: 1)
    engine.register("slow", slow.ahold)
    run, events = started(engine, document({"a": calls("f"), "gate": gate_to("a"), "slow": calls("slow", "a")}), "gate")
    slow.begun()
    engine.reject(run, "gate", by="ann")
    slow.begun()
    events.wait("step.wait", "gate")
    assert (slow.cancelled, [attempt.stop_reason for attempt in slow.attempts]) == (1, ["cancel", ""])
    slow.open(5)
    engine.approve(run, "gate", by="ann")
    view = engine.wait(run)
    assert (view.state, view.steps["slow"].output, view.steps["slow"].attempt) == ("completed", 5, 2)
    of_slow = [kind for kind in kinds(engine, run) if kind.endswith(":slow")]
    assert of_slow == [
        "step.start:slow",
        "step.cancel:slow",
        "step.reset:slow",
        "step.start:slow",
        "step.complete:slow",
    ]


def test_the_attempt_that_is_stopped_is_the_old_one_though_the_new_one_begins_at_once(world: World) -> None:
    """The target is skipped, so that what is behind it begins in the same breath in which it was stopped."""
    engine, slow = world.open(), Gate()
    engine.register("f", lambda: 1)
    engine.register("slow", slow.ahold)
    late: dict[str, Any] = {"trigger_rule": "all_done"}
    steps = {"a": calls("f", when="false"), "gate": gate_to("a", **late), "slow": calls("slow", "a", **late)}
    run, events = started(engine, document(steps), "gate")
    slow.begun()
    engine.reject(run, "gate", by="ann")
    slow.begun()
    events.wait("step.wait", "gate")
    engine.quiet()
    assert (slow.cancelled, [attempt.stop_reason for attempt in slow.attempts]) == (1, ["cancel", ""])
    slow.open(5)
    engine.approve(run, "gate", by="ann")
    view = engine.wait(run)
    assert (view.state, view.steps["slow"].attempt) == ("completed", 2)


def test_groups_and_loops_behind_the_target_begin_anew_with_all_they_hold(engine: Driver) -> None:
    engine.register("f", lambda: 1)
    inner = {"x": calls("f"), "l": {"for_each": {"items": [1, 2]}, "call": "f"}}
    run, events = started(
        engine, document({"a": calls("f"), "g": {"steps": inner, "needs": ["a"]}, "gate": gate_to("a", "g")}), "gate"
    )
    engine.reject(run, "gate", by="ann")
    events.wait("step.wait", "gate")
    engine.approve(run, "gate", by="ann")
    view = engine.wait(run)
    generations = {path: step.generation for path, step in view.steps.items()}
    assert generations == dict.fromkeys(["a", "g", "g/x", "g/l", "g/l[0]", "g/l[1]", "gate"], 2)


def test_two_approvals_send_each_other_back_each_as_often_as_it_may(engine: Driver) -> None:
    body = Outcomes(*range(9))
    engine.register("f", body)
    engine.register("g", lambda: "the same")
    steps = {"a": calls("f"), "one": gate_to("a", rounds=2), "b": calls("g", "one"), "two": gate_to("a", "b", rounds=3)}
    run, events = started(engine, document(steps), "one")
    engine.reject(run, "one", by="ann")
    events.wait("step.wait", "one")
    for _ in range(2):
        engine.approve(run, "one", by="ann")
        events.wait("step.wait", "two")
        engine.reject(run, "two", by="bob", reason="again")
        events.wait("step.wait", "one")
    assert body.attempts == 4
    engine.reject(run, "one", by="ann", reason="enough")
    view = engine.wait(run)
    assert (view.state, view.steps["one"].error.kind) == ("failed", "step.rejected")
    assert {path: step.generation for path, step in view.steps.items()} == {"a": 4, "one": 4, "b": 3, "two": 3}


def test_an_approval_whose_question_is_the_same_after_a_rewind_is_not_asked_again(engine: Driver) -> None:
    engine.register("f", lambda: "the same")
    steps = {"a": calls("f"), "one": gate_to("a"), "b": calls("f", "one"), "two": gate_to("a", "b")}
    run, events = started(engine, document(steps), "one")
    engine.approve(run, "one", by="ann")
    events.wait("step.wait", "two")
    engine.reject(run, "two", by="bob")
    events.wait("step.wait", "two")
    engine.approve(run, "two", by="bob")
    view = engine.wait(run)
    assert (view.state, view.steps["one"].generation, view.steps["one"].output["by"]) == ("completed", 2, "ann")


def test_a_failure_behind_the_target_is_forgotten_and_what_it_stopped_goes_on(world: World) -> None:
    """A group beside it had a step in line that was not let begin."""
    engine, bad, x, y = world.open(), Gate(), Gate(), Gate()
    for name, body in (("bad", bad.ahold), ("x", x.ahold), ("y", y.ahold), ("f", lambda: 1)):
        engine.register(name, body)
    group = {"steps": {"x": calls("x"), "y": calls("y"), "z": calls("f")}}
    steps = {"a": calls("f"), "gate": gate_to("a"), "bad": calls("bad", "a"), "g": group}
    run, events = started(engine, document(steps, max_parallel=2), "gate")
    bad.begun(), x.begun()
    bad.open(ValueError())
    events.wait("step.fail", "bad")
    engine.quiet()
    bad.result = None
    assert "g/y" not in states(engine.get(run))
    engine.reject(run, "gate", by="ann")
    events.wait("step.wait", "gate")
    y.begun()
    x.open(1)
    y.open(1)
    engine.approve(run, "gate", by="ann")
    view = engine.later("wait", run).result(PATIENCE)
    assert set(states(view).values()) == {"completed"}
    assert view.steps["g/x"].attempt == 1


def test_a_step_beside_it_that_had_come_to_stand_in_line_again_still_does(world: World) -> None:
    engine, slow, flaky, events = world.open(), Gate(), Outcomes(ValueError(), 1), Events()
    for name, body in (("slow", slow.ahold), ("flaky", flaky), ("f", lambda: 1)):
        engine.register(name, body)
    steps = {"a": calls("f"), "flaky": calls("flaky", retry=patient(2)), "gate": gate_to("a"), "slow": calls("slow")}
    run = engine.start(document(steps, max_parallel=1), on_event=events)
    slow.begun()
    engine.quiet()
    world.clock.advance(10)
    engine.quiet()
    engine.reject(run, "gate", by="ann")
    slow.open(1)
    events.wait("step.wait", "gate")
    events.wait("step.complete", "flaky")
    engine.approve(run, "gate", by="ann")
    assert engine.later("wait", run).result(PATIENCE).ok
    assert flaky.attempts == 2


def test_a_rejection_in_the_last_round_fails_and_rounds_outlive_the_process(world: World) -> None:
    functions = {"f": lambda: 1}
    first = world.open(functions=functions)
    run, events = started(first, document({"a": calls("f"), "gate": gate_to("a", rounds=3)}), "gate")
    first.reject(run, "gate", by="ann")
    events.wait("step.wait", "gate")
    first.quiet()
    first.kill()
    second = world.open(functions=functions)
    assert second.resume(run).state == "running"
    second.reject(run, "gate", by="ann")
    assert second.wait(run).state == "running"
    second.reject(run, "gate", by="ann", reason="enough")
    view = second.wait(run)
    assert (view.state, view.steps["gate"].error.kind) == ("failed", "step.rejected")
    assert view.steps["gate"].generation == 3


def test_a_step_that_is_begun_at_most_once_is_begun_again_by_a_decision(engine: Driver) -> None:
    body = Outcomes(1)
    engine.register("f", body)
    steps = {"a": calls("f", delivery="at_most_once"), "gate": gate_to("a")}
    run, events = started(engine, document(steps), "gate")
    engine.reject(run, "gate", by="ann")
    events.wait("step.wait", "gate")
    engine.approve(run, "gate", by="ann")
    view = engine.wait(run)
    assert (view.state, body.attempts, view.steps["a"].generation) == ("completed", 2, 2)


def test_a_token_goes_back_to_a_state(engine: Driver) -> None:
    engine.register("f", lambda told: told)
    told = {"with": {"told": "${{ default(feedback.reason, 'nothing') }}"}}
    question = {"prompt": "?", "on_reject": {"rewind_to": "a", "max_rounds": 2}}
    steps = {"a": calls("f", next="b", **told), "b": calls("f", next="gate", **told), "gate": {"approval": question}}
    run, events = started(engine, document(steps, start="a"), "gate")
    engine.reject(run, "gate", by="ann", reason="again")
    events.wait("step.wait", "gate")
    view = engine.get(run)
    assert (view.steps["a"].output, view.steps["b"].output) == ("again", "nothing")
    engine.reject(run, "gate", by="ann")
    assert engine.wait(run).steps["gate"].error.kind == "step.rejected"


@pytest.mark.parametrize("many", [{"for_each": {"items": [1, 2]}}, {"matrix": {"x": [1, 2]}}])
def test_one_item_of_a_loop_sends_nothing_back(many: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        document({"a": calls("f"), "gate": gate_to("a", **many)})
    assert [problem.kind for problem in caught.value.problems] == ["definition.reference"]


def test_an_approval_in_a_group_for_each_item_sends_its_own_item_back(engine: Driver) -> None:
    engine.register("f", lambda told: told)
    f = calls("f", **{"with": {"told": "${{ default(feedback.reason, item) }}"}})
    group = {"for_each": {"items": ["x", "y"]}, "steps": {"a": f, "gate": gate_to("a")}}
    run, events = started(engine, document({"g": group}), "g[0]/gate", "g[1]/gate")
    engine.reject(run, "g[1]/gate", by="ann", reason="again")
    events.wait("step.wait", "g[1]/gate")
    for key in (0, 1):
        engine.approve(run, f"g[{key}]/gate", by="ann")
    view = engine.wait(run)
    assert [view.steps[f"g[{key}]/a"].output for key in (0, 1)] == ["x", "again"]
    assert [view.steps[f"g[{key}]/a"].generation for key in (0, 1)] == [1, 2]
