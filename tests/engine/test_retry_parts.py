"""Retrying a failed run: all of it, one step of it, one item; and what of it is kept."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.builder import load
from statemachine_flow.errors import ConflictError, NotFoundError, UsageError
from tests.engine.documents import calls, document, patient
from tests.engine.harness import Driver, Outcomes, World, kinds, states


class Repaired:
    """A step body that fails for what is broken."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.calls: list[str] = []

    def __call__(self, name: str) -> str:
        self.calls.append(name)
        if name in self.broken:
            raise ValueError(name)
        return name

    def repair(self) -> None:
        """Let everything work, and forget what was called."""
        self.broken.clear()
        self.calls.clear()


def f(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    return calls("f", *needs, **{"with": {"name": name}, **fields})


def started(engine: Driver, *broken: str) -> Repaired:
    body = Repaired(*broken)
    engine.register("f", body)
    return body


LOOP: dict[str, Any] = {
    "for_each": {"items": ["p", "q", "r"], "key": "${{ item }}", "max_failures": 1},
    "call": "f",
    "with": {"name": "${{ item }}"},
}


def test_what_completed_is_kept_and_the_rest_begins_anew(world: World) -> None:
    engine = world.open()
    body = started(engine, "b")
    steps = {
        "a": f("a"),
        "b": f("b", "a"),
        "c": f("c", "b"),
        "d": f("d", "c"),
        "told": f("told", "b", trigger_rule="any_failed"),
        "other": {"needs": ["a"], "wait": {"for": "1h"}},
    }
    run = engine.run(document(steps))
    assert states(run)["other"] == "cancelled"
    body.repair()
    again = engine.later("retry", run.id)
    engine.quiet()
    world.clock.advance(3600)
    view = again.result(10)
    assert (view.state, body.calls) == ("completed", ["b", "c", "d"])
    assert (view.steps["b"].attempt, view.steps["b"].generation, view.steps["told"].attempt) == (2, 1, 1)


def test_a_failed_group_begins_anew_with_those_of_its_steps_that_did_not_complete(engine: Driver) -> None:
    body = started(engine, "y")
    deep = {"steps": {"x": f("x"), "y": f("y", "x"), "z": f("z", "y")}}
    run = engine.run(document({"g": {"steps": {"deep": deep, "u": f("u", "deep")}}, "h": f("h", "g")}))
    assert states(run)["g/deep/z"] == "skipped"
    body.repair()
    view = engine.retry(run.id)
    assert (view.state, body.calls) == ("completed", ["y", "z", "u", "h"])
    assert (view.steps["g"].attempt, view.steps["g/deep/x"].attempt) == (2, 1)


def test_a_failed_loop_keeps_its_list_and_what_completed(engine: Driver) -> None:
    lists = Outcomes(["p", "q", "r"], ["other"])
    engine.register("items", lists)
    body = started(engine, "p", "r")
    loop = {**LOOP, "needs": ["items"], "for_each": {**LOOP["for_each"], "items": "${{ steps.items.output }}"}}
    run = engine.run(document({"items": calls("items"), "l": loop}, outputs={"all": "${{ steps.l.output }}"}))
    assert run.state == "failed"
    body.repair()
    view = engine.retry(run.id)
    assert (view.state, dict(view.outputs), lists.attempts) == ("completed", {"all": ["p", "q", "r"]}, 1)
    assert [view.steps[f"l[{key}]"].attempt for key in "pqr"] == [2, 1, 2]


def test_one_step_is_retried_and_the_failure_of_another_stays(engine: Driver) -> None:
    body = started(engine, "a", "b")
    run = engine.run(
        document({"a": f("a"), "b": f("b"), "c": f("c", "a"), "d": f("d", "b")}, max_parallel=1, continue_on_error=True)
    )
    body.repair()
    view = engine.retry(run.id, step="b", by="me")
    assert (view.state, body.calls, view.error.step) == ("failed", ["b", "d"], "a")
    assert states(view) == {"a": "failed", "b": "completed", "c": "skipped", "d": "completed"}
    assert next(event.data["by"] for event in engine.events(run.id) if event.kind == "run.retry") == "me"
    assert engine.retry(run.id).ok


def test_a_failure_that_stays_stops_nothing_of_what_is_retried(engine: Driver) -> None:
    body = started(engine, "a", "b")
    run = engine.run(
        document(
            {"g": {"steps": {"a": f("a"), "b": f("b"), "c": f("c", "b")}, "optional": False}}, continue_on_error=True
        )
    )
    body.repair()
    view = engine.retry(run.id, step="g/b")
    assert (view.state, body.calls) == ("failed", ["b", "c"])
    assert states(view) == {"g": "failed", "g/a": "failed", "g/b": "completed", "g/c": "completed"}


def test_one_item_is_retried_and_its_loop_with_it(engine: Driver) -> None:
    body = started(engine, "p", "q", "r")
    run = engine.run(
        document({"l": {**LOOP, "for_each": {**LOOP["for_each"], "max_parallel": 1}}, "after": f("after", "l")})
    )
    assert states(run) == {"l": "failed", "l[p]": "failed", "l[q]": "failed", "l[r]": "cancelled", "after": "skipped"}
    body.repair()
    view = engine.retry(run.id, step="l", item="q")
    assert (view.state, body.calls) == ("completed", ["q", "r", "after"])
    assert view.steps["l"].output == [None, "q", "r"]


def test_a_step_inside_one_item_is_retried(engine: Driver) -> None:
    body = started(engine, "1/y", "2/y")
    group = {"steps": {"x": f("${{ item }}/x"), "y": f("${{ item }}/y", "x")}}
    run = engine.run(
        document(
            {"l": {"for_each": {"items": [1, 2], "key": "${{ item }}", "max_failures": 1}, **group}}, max_parallel=1
        )
    )
    assert run.state == "failed"
    body.repair()
    view = engine.retry(run.id, step="l[2]/y")
    assert (view.state, body.calls) == ("completed", ["2/y"])
    assert states(view)["l[1]"] == "failed"


def test_a_repeated_step_goes_on_in_its_round(engine: Driver) -> None:
    rounds: list[int] = []
    fails = Outcomes(None, ValueError(), None, None)

    def body(number: int) -> int:
        rounds.append(number)
        fails()
        return number

    engine.register("f", body)
    step = {
        "call": "f",
        "with": {"number": "${{ round }}"},
        "repeat": {"until": "result >= 3", "max": 3},
        "when": "round == 1",
    }
    run = engine.run(document({"a": step}))
    assert (run.state, engine.retry(run.id).state, rounds) == ("failed", "completed", [1, 2, 2, 3])


def test_a_retried_step_has_all_its_attempts(world: World) -> None:
    engine, body = world.open(), Outcomes(ValueError(), ValueError(), ValueError(), 1)
    engine.register("f", body)
    run = engine.start(document({"a": calls("f", retry=patient(2, "1ms"))}))
    while not engine.get(run).at_rest:
        engine.quiet()
        world.clock.advance(1)
    again = engine.later("retry", run)
    while not again.done():
        engine.quiet()
        world.clock.advance(1)
    view = again.result()
    assert (view.state, view.steps["a"].attempt) == ("completed", 4)


@pytest.mark.parametrize(
    ("step", "item", "error"),
    [
        ("nobody", None, NotFoundError),
        ("l", "nobody", NotFoundError),
        (None, "p", UsageError),
        ("a", None, ConflictError),
        ("l", "q", ConflictError),
    ],
)
def test_only_what_failed_is_retried(
    engine: Driver, step: str | None, item: str | None, error: type[Exception]
) -> None:
    started(engine, "p", "r")
    run = engine.run(document({"a": f("a"), "l": LOOP}))
    before = kinds(engine, run.id)
    with pytest.raises(error):
        engine.retry(run.id, step=step, item=item)
    assert (kinds(engine, run.id), engine.get(run.id).owner) == (before, None)


def test_a_failure_that_the_run_does_without_is_not_retried(world: World) -> None:
    """It would change nothing: neither an item that a loop may lose, nor a step of an optional group."""
    engine = world.open(functions={"bad": Outcomes(ValueError()), "fine": lambda: 1})
    tree: dict[str, Any] = {
        "dsl": "1",
        "name": "without",
        "continue_on_error": True,
        "steps": {
            "loop": {"for_each": {"items": [1, 2], "max_failures": 2}, "call": "bad"},
            "group": {"optional": True, "steps": {"inner": {"call": "bad"}}},
            "broken": {"call": "bad"},
        },
    }
    assert engine.run(load(tree), run_id="r").state == "failed"
    for options in ({"step": "loop", "item": "0"}, {"step": "group/inner"}, {"step": "group"}):
        with pytest.raises(ConflictError, match="does without"):
            engine.retry("r", **options)
    assert engine.retry("r", step="broken").state == "failed"
