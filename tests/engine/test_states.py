"""Levels of states: the machine they are, the routes of a token, visits, and a token that cannot go on."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.lifecycle import LeanMachine
from statemachine_flow.model import END
from statemachine_flow.plan import Plan
from tests.engine.documents import calls, document, patient
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, kinds, states


def token(engine: Driver, run_id: str) -> list[str]:
    """The steps that the token came to, as they were begun."""
    return [kind.removeprefix("step.start:") for kind in kinds(engine, run_id) if kind.startswith("step.start:")]


# --- the machine


def test_a_level_of_states_is_a_machine_of_the_library() -> None:
    steps = {
        "a": calls("f", next={"x": "b", "default": "a"}),
        "b": calls("f", next=[{"when": "result", "goto": "a"}, {"default": "end"}]),
    }
    plan = Plan(document(steps, start="a").definition)
    assert isinstance(plan.machine, LeanMachine)
    assert list(plan.machine.states) == ["a", "b", END]
    assert sorted(plan.machine.get_triggers("a")) == ["a", "b"]
    assert sorted(plan.machine.get_triggers("b")) == ["a", END]
    assert Plan(document({"a": calls("f")}).definition).machine is None


def test_the_token_moves_by_firing_the_machine(quick_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = quick_world.open(functions={"f": Outcomes(1, 2, 3)})
    workflow = document(
        {"a": calls("f", next=[{"when": "result < 3", "goto": "a"}, {"default": "b"}]), "b": calls("f")}, start="a"
    )
    fired: list[tuple[str, str]] = []
    hook = "after_state_change"

    def note(cursor: Any) -> None:
        fired.append((cursor.state, type(cursor).__name__))

    run = engine.start(workflow)
    plan = engine.core.library.plan_of(engine.get(run).definition_hash)
    monkeypatch.setattr(plan.machine, hook, [note])
    assert engine.wait(run).ok
    again = engine.run(workflow)
    assert again.ok
    assert [state for state, name in fired if name == "Scope"][-2:] == ["b", END]


# --- routes


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("yes", "yes"),
        (True, "true"),
        (None, "null"),
        (1, "1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e30, "1e+30"),
        (10**25, "1" + "0" * 25),
        ("", ""),
        ([1, "a"], '[1,"a"]'),
        ([], "[]"),
        ({}, "{}"),
        ({"first": None, "second": "b"}, "null"),
        ({"first": {"deep": 1}}, '{"deep":1}'),
        ("ü\n", "ü\n"),
    ],
)
def test_a_map_of_routes_is_asked_for_the_text_of_the_first_output(quick_world: World, value: Any, key: str) -> None:
    engine = quick_world.open(functions={"f": lambda: value})
    run = engine.run(document({"a": calls("f", next={key: "b", "default": "end"}), "b": calls("f")}, start="a"))
    assert states(run) == {"a": "completed", "b": "completed"}


def test_the_value_default_has_no_route_of_its_own(quick_world: World) -> None:
    engine = quick_world.open(functions={"f": lambda: "default"})
    run = engine.run(document({"a": calls("f", next={"x": "end", "default": "b"}), "b": calls("f")}, start="a"))
    assert states(run) == {"a": "completed", "b": "completed"}


def test_a_value_without_a_route_fails_the_step_and_is_not_tried_again(engine: Driver) -> None:
    engine.register("f", lambda: "v")
    steps = {"a": calls("f", next={"x": "b"}, retry=patient(3), optional=True), "b": calls("f", next="a")}
    run = engine.run(document(steps, start="a"))
    error = run.steps["a"].error
    assert (run.state, error.kind, error.name, run.steps["a"].attempt) == ("failed", "step.route", "RouteError", 1)
    assert "the value 'v' has no route and there is no default" in error.message
    assert states(run) == {"a": "failed", "b": "cancelled"}


def test_conditions_of_routes_see_the_step_as_it_ended(engine: Driver) -> None:
    engine.register("f", lambda: {"n": 2})
    routes = [
        {"when": "steps.a.state != 'completed'", "goto": "end"},
        {"when": "result.n == steps.a.outputs.n and steps.a.output.n == 2", "goto": "b"},
        {"default": "end"},
    ]
    run = engine.run(document({"a": calls("f", next=routes, outputs={"n": "result.n"}), "b": calls("f")}, start="a"))
    assert states(run) == {"a": "completed", "b": "completed"}


def test_a_token_goes_on_from_a_step_that_was_skipped_or_failed_and_is_optional(engine: Driver) -> None:
    engine.register("bad", Outcomes(ValueError()))
    engine.register("f", lambda: 1)
    steps = {
        "a": calls("bad", optional=True, next={"x": "end", "default": "b"}),
        "b": calls(
            "f",
            when="false",
            next=[{"when": "result > 0", "goto": "end"}, {"when": "steps.a.state == 'failed'", "goto": "c"}],
        ),
        "c": calls("f", when="false", next={"x": "a"}),
    }
    run = engine.run(document(steps, start="a"))
    assert (run.state, states(run)) == ("completed", {"a": "failed", "b": "skipped", "c": "skipped"})


# --- coming again


def test_a_step_that_the_token_comes_to_again_begins_anew_with_what_it_gave_before(engine: Driver) -> None:
    seen: list[Any] = []

    def body(before: Any, number: int) -> int:
        seen.append((before, number))
        return number

    engine.register("f", body)
    step = {"call": "f", "with": {"before": "${{ previous }}", "number": "${{ round }}"}}
    steps = {"a": {**step, "next": [{"when": "result < 3", "goto": "a"}, {"default": "end"}]}}
    run = engine.run(document(steps, start="a"))
    assert (run.state, seen) == ("completed", [(None, 1), (1, 2), (2, 3)])
    assert (run.steps["a"].generation, run.steps["a"].attempt) == (3, 3)


def test_a_thousand_visits_and_not_one_more(quick_world: World) -> None:
    body = Outcomes("on")
    engine = quick_world.open(functions={"f": body})
    steps = {
        "a": calls("f", next="b", max_visits=1000),
        "b": calls("f", next={"on": "a", "default": "end"}, max_visits=1001),
    }
    run = engine.run(document(steps, start="a"))
    assert (run.state, body.attempts) == ("failed", 2000)
    assert (run.steps["b"].error.kind, states(run)) == ("step.limit", {"a": "completed", "b": "failed"})
    assert "the token has come to 'a' 1000 times" in run.steps["b"].error.message


def test_steps_that_the_token_did_not_come_to_are_skipped_in_their_order(engine: Driver) -> None:
    engine.register("f", lambda: 1)
    steps = {name: calls("f", next={"1": "end", "default": after}) for name, after in zip("abc", "bca", strict=True)}
    run = engine.run(document(steps, start="b"))
    assert (run.state, states(run)) == ("completed", {"a": "skipped", "b": "completed", "c": "skipped"})
    assert run.steps["a"].reason == "the token did not come here"
    assert kinds(engine, run.id)[-3:] == ["step.skip:a", "step.skip:c", "run.complete"]


def test_a_group_of_states_in_a_loop_has_a_token_for_each_item(engine: Driver) -> None:
    engine.register("f", lambda i, n: i > n)
    step = {"call": "f", "with": {"i": "${{ item }}", "n": "${{ round }}"}}
    group = {"start": "a", "steps": {"a": {**step, "next": {"true": "a", "default": "b"}}, "b": step}}
    run = engine.run(document({"g": {"for_each": {"items": [1, 3], "key": "x/${{ item }}"}, **group}}))
    assert run.ok
    assert [run.steps[f"g[x/{key}]/a"].generation for key in (1, 3)] == [1, 3]


def test_another_attempt_of_a_group_of_states_begins_at_its_start(world: World) -> None:
    engine, events = world.open(), Events()
    engine.register("f", lambda: 1)
    engine.register("bad", Outcomes(ValueError(), 1))
    group = {"start": "a", "steps": {"a": calls("f", next="b", max_visits=1), "b": calls("bad")}, "retry": patient(2)}
    run = engine.start(document({"g": group}), on_event=events)
    events.wait("step.back_off", "g")
    engine.quiet()
    world.clock.advance(10)
    assert engine.wait(run).ok
    assert token(engine, run) == ["g", "g/a", "g/b", "g", "g/a", "g/b"]


# --- the token and what happens to the run


def test_the_token_stays_where_it_is_through_a_death(world: World) -> None:
    first, gate, other = world.open(), Gate(), Outcomes("on", "on", "off")
    functions = {"gate": gate.ahold, "f": other}
    for name, body in functions.items():
        first.register(name, body)
    steps = {"a": calls("f", next={"on": "b", "default": "end"}), "b": calls("gate", next="a", max_visits=2)}
    run = first.start(document(steps, start="a"))
    gate.begun()
    first.kill()
    gate.open(1)
    second = world.open(functions=functions)
    view = second.resume(run)
    assert (view.state, token(second, run)) == ("completed", ["a", "b", "b", "a", "b", "a"])
    assert (view.steps["a"].generation, view.steps["b"].generation) == (3, 2)


def test_retrying_a_step_behind_a_token_that_failed_ends_the_run_again(world: World) -> None:
    engine = world.open(functions={"bad": Outcomes(ValueError()), "f": lambda: 1})
    run = engine.run(document({"a": calls("bad", next="b"), "b": calls("f")}, start="a"))
    assert states(run) == {"a": "failed", "b": "cancelled"}
    again = engine.later("retry", run.id, step="b").result(PATIENCE)
    assert (again.state, states(again)) == ("failed", {"a": "failed", "b": "cancelled"})


def test_a_retry_goes_on_where_the_token_is(engine: Driver) -> None:
    engine.register("bad", Outcomes(ValueError(), 1))
    first = Outcomes(1)
    engine.register("f", first)
    steps = {"a": calls("f", next="b"), "b": calls("bad", next="c"), "c": calls("f", next="end"), "d": calls("f")}
    steps["c"]["next"] = {"x": "d", "default": "end"}
    run = engine.run(document(steps, start="a"))
    assert states(run) == {"a": "completed", "b": "failed", "c": "cancelled", "d": "cancelled"}
    again = engine.retry(run.id)
    assert states(again) == {"a": "completed", "b": "completed", "c": "completed", "d": "skipped"}
    assert (again.state, first.attempts) == ("completed", 2)
