"""Loops over items, matrices and repetition: which items there are, their names, their failures, and rounds."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.steps.base import StepContext
from tests.engine.documents import calls, document, patient
from tests.engine.harness import PATIENCE, Counter, Driver, Events, Gate, Outcomes, World, kinds, states


def each(items: Any, step: dict[str, Any], **loop: Any) -> dict[str, Any]:
    """A step that is carried out for items."""
    return {"for_each": {"items": items, **loop}, **step}


def many(count: int, **loop: Any) -> dict[str, Any]:
    return each(f"${{{{ range({count}) }}}}", {"call": "f", "with": {"i": "${{ item }}"}}, **loop)


# --- items and their keys


def test_items_have_paths_of_their_own_and_an_output_in_their_order(engine: Driver) -> None:
    engine.register("f", lambda item, index: [item, index])
    step = {
        "call": "f",
        "with": {"item": "${{ file }}", "index": "${{ index }}"},
        "outputs": {"twice": "result[0] * 2"},
    }
    loop = each(["b", "a"], step, **{"as": "file", "key": "k-${{ file }}"})
    run = engine.run(document({"a": loop}, outputs={"all": "${{ steps.a.output }}", "named": "${{ steps.a.outputs }}"}))
    assert list(run.steps) == ["a", "a[k-b]", "a[k-a]"]
    assert dict(run.outputs) == {"all": [["b", 0], ["a", 1]], "named": [{"twice": "bb"}, {"twice": "aa"}]}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("src/a.py", "a[src/a.py]"),
        ("a[1]", "a[a%5B1%5D]"),
        ("50%", "a[50%25]"),
        ("\x1b[2J\n\x9b", "a[%1B%5B2J%0A%C2%9B]"),
        ("", "a[]"),
        ("@finally/x", "a[@finally/x]"),
        ("ü" * 400, f"a[{'ü' * 400}]"),
    ],
)
def test_a_key_may_be_any_text(world: World, key: str, path: str) -> None:
    first, gate = world.open(), Gate()
    first.register("f", gate.ahold)
    group = {"steps": {"s": calls("f")}}
    run = first.start(
        document({"a": each("${{ [inputs.key] }}", group, key="${{ item }}")}, inputs={"key": {}}), {"key": key}
    )
    gate.begun()
    assert gate.attempts[0].path == f"{path}/s"
    first.kill()
    gate.open(1)
    view = world.open(functions={"f": gate.ahold}).resume(run)
    assert (view.state, list(view.steps)) == ("completed", ["a", path, f"{path}/s"])


@pytest.mark.parametrize(
    ("items", "key", "kind", "says"),
    [
        ("text", "${{ index }}", "expression.type", "for_each goes through a list, not a str"),
        ({"a": 1}, "${{ index }}", "expression.type", "for_each goes through a list, not a dict"),
        (None, "${{ index }}", "expression.type", "for_each goes through a list, not a NoneType"),
        ([1, 2, "1"], "${{ item }}", "step.items", "the key '1' stands for two items"),
        (["k" * 401], "${{ item }}", "step.items", "is longer than 400 characters"),
        (list(range(10_001)), "${{ index }}", "step.items", "there are 10,001 items, and at most 10,000 are allowed"),
        ([1], "${{ item.name }}", "expression.evaluation", "item.name"),
    ],
)
def test_items_that_are_not_as_they_must_be_fail_the_loop_for_good(
    quick_world: World, items: Any, key: str, kind: str, says: str
) -> None:
    engine = quick_world.open(functions={"items": lambda: items, "f": lambda: 1})
    loop = each("${{ steps.items.output }}", calls("f", "items", retry=patient(3)), key=key)
    run = engine.run(document({"items": calls("items"), "a": loop}))
    error = run.steps["a"].error
    assert (run.state, error.kind, run.steps["a"].attempt, len(run.steps)) == ("failed", kind, 1, 2)
    assert says in error.message


def test_an_empty_list_completes_at_once(engine: Driver) -> None:
    engine.register("f", Outcomes(ValueError()))
    run = engine.run(document({"a": each([], calls("f"))}, outputs={"all": "${{ steps.a.output }}"}))
    assert (run.state, dict(run.outputs), list(run.steps)) == ("completed", {"all": []}, ["a"])


def test_a_matrix_is_every_combination_the_last_name_first(engine: Driver) -> None:
    engine.register("f", lambda where: where)
    step = {
        "matrix": {"os": ["a", "b"], "n": [1, 2]},
        "call": "f",
        "with": {"where": "${{ matrix.os }}${{ matrix.n }}${{ index }}"},
    }
    run = engine.run(document({"m": step}))
    assert list(run.steps)[1:] == ["m[a,1]", "m[a,2]", "m[b,1]", "m[b,2]"]
    assert run.steps["m"].output == ["a10", "a21", "b12", "b23"]


def test_combinations_with_one_key_fail_the_loop(engine: Driver) -> None:
    engine.register("f", lambda: 1)
    run = engine.run(document({"m": {"matrix": {"x": ["a,b", "a"], "y": ["c", "b,c"]}, "call": "f"}}))
    assert run.steps["m"].error.message == "the key 'a,b,c' stands for two items"


# --- how many at once


def test_at_most_so_many_items_are_under_way_and_they_begin_in_their_order(engine: Driver) -> None:
    counter = Counter()

    def body(i: int) -> None:
        with counter.inside(str(i)):
            pass

    engine.register("f", body)
    assert engine.run(document({"a": many(20, max_parallel=3)})).ok
    assert counter.most <= 3
    assert [path for path in kinds(engine, engine.list()[0].id) if path.startswith("step.start:a[")] == [
        f"step.start:a[{i}]" for i in range(20)
    ]


def test_an_item_that_backs_off_gives_its_place_away_and_waits_for_one(world: World) -> None:
    engine, gate, events = world.open(), Gate(), Events()
    tried: list[int] = []

    async def body(i: int, context: StepContext) -> int:
        tried.append(i)
        if i == 0 and len(tried) == 1:
            raise ValueError
        if i == 1:
            await gate.ahold(context)
        return i

    engine.register("f", body)
    loop = each([0, 1, 2], {"call": "f", "with": {"i": "${{ item }}"}, "retry": patient(2)}, max_parallel=1)
    run = engine.start(document({"a": loop}), on_event=events)
    gate.begun()
    engine.quiet()
    world.clock.advance(10)
    engine.quiet()
    assert states(engine.get(run))["a[0]"] == "backing_off"
    gate.open(1)
    view = engine.wait(run)
    assert (view.steps["a"].output, tried) == ([0, 1, 2], [0, 1, 0, 2])


def test_items_in_a_later_round_are_met_once_by_the_engine_that_takes_over(world: World) -> None:
    """An item in line for its next round is pending like one that has not begun."""
    engine, gate = world.open(), Gate()

    async def body(context: StepContext) -> None:
        await gate.ahold(context)
        if context.path.startswith("a[3]"):
            raise ValueError

    engine.register("f", body)
    group = {"steps": {"s": calls("f")}, "repeat": {"until": "round >= 2", "max": 2}}
    run = engine.start(document({"a": each([0, 1, 2, 3], group, max_failures=1)}))
    for _ in range(4):
        gate.begun()
    paused = engine.later("pause", run)
    engine.quiet()
    gate.open(1)
    paused.result(PATIENCE)
    view = engine.later("resume", run).result(PATIENCE)
    assert view.ok
    assert [view.steps[f"a[{i}]"].attempt for i in range(4)] == [2, 2, 2, 1]


# --- failures


@pytest.mark.parametrize(
    ("most", "bad", "fails"),
    [
        (0, 0, False),
        (0, 1, True),
        (2, 2, False),
        (2, 3, True),
        ("25%", 2, False),
        ("25%", 3, True),
        ("24.9%", 2, True),
        ("100%", 8, False),
    ],
)
def test_a_loop_bears_so_many_failures_and_no_more(quick_world: World, most: Any, bad: int, fails: bool) -> None:
    def body(i: int) -> int:
        if i < bad:
            raise ValueError(f"bad {i}")
        return i

    engine = quick_world.open(functions={"f": body})
    run = engine.run(document({"a": many(8, max_failures=most, max_parallel=1)}))
    assert (run.state == "failed") == fails
    if fails:
        error = run.steps["a"].error
        assert (error.kind, error.name, error.step) == ("step.items", "ValueError", "a[0]")
        assert error.message == f"{bad} of 8 items failed; first 'a[0]': bad 0"
        assert {states(run)[f"a[{i}]"] for i in range(bad, 8)} == {"cancelled"}
    else:
        assert run.steps["a"].output == [None] * bad + list(range(bad, 8))


def test_items_under_way_end_by_themselves_when_too_many_failed(engine: Driver) -> None:
    bad, gate = Gate(), Gate()

    async def body(i: int, context: StepContext) -> Any:
        return await (bad if i == 0 else gate).ahold(context)

    engine.register("f", body)
    run = engine.start(document({"a": many(4, max_parallel=2), "after": calls("f", "a", **{"with": {"i": 9}})}))
    bad.begun(), gate.begun()
    bad.open(ValueError())
    engine.quiet()
    gate.open(7)
    view = engine.wait(run)
    assert states(view) == {
        "a": "failed",
        "a[0]": "failed",
        "a[1]": "completed",
        "a[2]": "cancelled",
        "a[3]": "cancelled",
        "after": "skipped",
    }


# --- repetition


def test_rounds_see_what_the_round_before_gave(engine: Driver) -> None:
    engine.register("f", lambda before, number: {"n": (before or 0) + number})
    step = {
        "call": "f",
        "with": {"before": "${{ default(previous.n, null) }}", "number": "${{ round }}"},
        "repeat": {"until": "result.n >= 6", "max": 9},
    }
    run = engine.run(document({"a": step}))
    assert (run.steps["a"].output, run.steps["a"].attempt, run.steps["a"].generation) == ({"n": 6}, 3, 3)


def test_a_step_without_rounds_left_fails_and_is_not_tried_again(engine: Driver) -> None:
    engine.register("f", lambda: 1)
    run = engine.run(document({"a": calls("f", repeat={"until": "result > 1", "max": 3}, retry=patient(5))}))
    step = run.steps["a"]
    assert (step.error.kind, step.attempt) == ("step.limit", 3)
    assert "`until` is not true after 3 rounds" in step.error.message


@pytest.mark.parametrize("how", ["pause", "die"])
def test_the_delay_between_rounds_outlives_a_pause_and_the_process(world: World, how: str) -> None:
    engine, body, events = world.open(), Outcomes(1, 1, 1, 2), Events()
    step = calls("f", repeat={"until": "result > 1", "max": 3, "delay": "10s"})
    engine.register("f", body)
    run = engine.start(
        document({"a": step, "g": {"start": "s", "steps": {"s": step}}, "l": each([1], step)}), on_event=events
    )
    for _ in range(3):
        events.wait("step.reset")
    engine.quiet()
    if how == "pause":
        engine.pause(run)
    else:
        engine.kill()
        engine = world.open(functions={"f": body})
    resumed = engine.later("resume", run)
    engine.quiet()
    engine.quiet()
    assert body.attempts == 3
    world.clock.advance(10)
    assert resumed.result(PATIENCE).ok
    assert body.attempts == 6


# --- large loops


def test_ten_thousand_items_that_fail_are_undone_in_reverse(quick_world: World) -> None:
    """It takes a second or two as long as the cost of an item does not grow with their number."""
    undone: list[int] = []

    def body(i: int) -> None:
        del i

    def undo(i: int) -> None:
        undone.append(i)

    engine = quick_world.open(functions={"f": body, "undo": undo, "bad": Outcomes(ValueError())})
    loop = {**many(10_000), "compensate": {"call": "undo", "with": {"i": "${{ item }}"}}}
    workflow = document({"a": loop, "b": calls("bad", "a")}, compensate=True)
    run = engine.later("run", workflow).result(6 * PATIENCE)
    assert (run.state, sorted(undone)) == ("failed", list(range(10_000)))
    ended = [event.step for event in engine.events(run.id) if event.kind == "step.complete" and event.step[0] != "@"]
    assert [f"a[{i}]" for i in undone] == ended[-2::-1]
