"""Groups: levels inside steps, how they fail and stop, their time, their attempts, and what is read across them."""

from __future__ import annotations

from typing import Any

from tests.engine.documents import Stubborn, calls, document, patient
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, kinds, states


def nothing() -> None:
    """The body of a step that only has to be there."""


def inside(steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"steps": steps, **fields}


# --- results and scope


def test_a_group_gives_what_its_completed_steps_gave_in_the_order_of_the_document(world: World) -> None:
    engine = world.open(functions={"f": lambda n: n})
    steps = {
        "b": {"call": "f", "with": {"n": "${{ steps.a.output }}"}, "needs": ["a"]},
        "a": {"call": "f", "with": {"n": 1}},
        "c": {"call": "f", "with": {"n": 3}, "when": "false"},
    }
    group = inside(steps, outputs={"both": "steps.a.output + steps.b.output", "ids": "keys(result)"})
    run = engine.run(
        document({"g": group}, outputs={"all": "${{ steps.g.output }}", "s": "${{ steps.g.outputs.both }}"})
    )
    assert (run.state, dict(run.outputs)) == ("completed", {"all": {"b": 1, "a": 1}, "s": 2})
    assert run.steps["g"].outputs == {"both": 2, "ids": ["b", "a"]}


def test_a_step_reads_what_comes_before_the_groups_around_it(engine: Driver) -> None:
    seen: list[Any] = []
    engine.register("look", lambda **names: seen.append(names))
    engine.register("f", lambda: "first")
    read = {"outer": "${{ steps.first.output }}", "middle": "${{ steps.near.state }}"}
    deep = inside({"look": {"call": "look", "with": read}}, needs=["near"])
    middle = inside(
        {"near": calls("f", when="false"), "deep": {**deep, "trigger_rule": "none_failed"}}, needs=["first"]
    )
    assert engine.run(document({"first": calls("f"), "middle": middle})).ok
    assert seen == [{"outer": "first", "middle": "skipped"}]


def test_a_group_is_held_to_its_schema_and_tried_again_for_it(world: World) -> None:
    engine = world.open()
    engine.register("f", Outcomes("text", 5))
    group = inside(
        {"a": calls("f")},
        output_schema={"properties": {"a": {"type": "integer"}}},
        retry={"max_attempts": 2, "delay": "1ms", "jitter": "none"},
    )
    run = engine.start(document({"g": group}))
    while not (view := engine.get(run)).at_rest:
        world.clock.advance(1)
        engine.quiet()
    assert (view.state, view.steps["g"].attempt, view.steps["g"].output) == ("completed", 2, {"a": 5})
    assert [kind for kind in kinds(engine, run) if kind.endswith(":g")] == [
        "step.start:g",
        "step.wait:g",
        "step.back_off:g",
        "step.start:g",
        "step.wait:g",
        "step.complete:g",
    ]


# --- failure and stopping


def test_what_is_under_way_in_a_group_ends_before_the_group_fails_and_nothing_begins(engine: Driver) -> None:
    gate, bad, events = Gate(), Gate(), Events()
    for name, body in (("gate", gate.ahold), ("bad", bad.ahold), ("f", nothing)):
        engine.register(name, body)
    steps = {"slow": calls("gate"), "bad": calls("bad"), "after": calls("f", "slow"), "late": {"wait": {"for": "1h"}}}
    run = engine.start(document({"g": inside(steps), "next": calls("f", "g")}), on_event=events)
    gate.begun(), bad.begun()
    bad.open(ValueError("broken"))
    events.wait("step.fail", "g/bad")
    engine.quiet()
    assert states(engine.get(run))["g"] == "waiting"
    gate.open(1)
    view = engine.wait(run)
    assert states(view) == {
        "g": "failed",
        "g/slow": "completed",
        "g/bad": "failed",
        "g/after": "cancelled",
        "g/late": "cancelled",
        "next": "skipped",
    }
    error = view.steps["g"].error
    assert (error.kind, error.name, error.step, error.message) == (
        "step.group",
        "ValueError",
        "g/bad",
        "step 'g/bad' failed: broken",
    )
    assert (view.error.kind, view.error.step) == ("run.failed", "g")


def test_a_failure_beside_a_group_stops_the_group_unless_it_is_tolerant(engine: Driver) -> None:
    gates = {name: Gate() for name in ("x", "y")}
    engine.register("x", gates["x"].ahold)
    engine.register("y", gates["y"].ahold)
    engine.register("bad", Outcomes(ValueError()))
    engine.register("f", nothing)
    tolerant = inside({"y": calls("y"), "z": calls("f", "y")}, needs=["bad"], trigger_rule="all_done")
    run = engine.start(
        document({"bad": calls("bad"), "g": inside({"x": calls("x"), "z": calls("f", "x")}), "t": tolerant})
    )
    gates["x"].begun(), gates["y"].begun()
    for gate in gates.values():
        gate.open(1)
    assert states(engine.wait(run)) == {
        "bad": "failed",
        "g": "cancelled",
        "g/x": "completed",
        "g/z": "cancelled",
        "t": "completed",
        "t/y": "completed",
        "t/z": "completed",
    }


def test_with_continue_on_error_every_level_goes_on_and_still_fails(engine: Driver) -> None:
    engine.register("bad", Outcomes(ValueError()))
    engine.register("f", nothing)
    steps = {"bad": calls("bad"), "after": calls("f", "bad"), "other": calls("f")}
    run = engine.run(document({"g": inside(steps), "h": calls("f")}, continue_on_error=True))
    assert states(run) == {
        "g": "failed",
        "g/bad": "failed",
        "g/after": "skipped",
        "g/other": "completed",
        "h": "completed",
    }


def test_an_optional_group_fails_without_its_level(engine: Driver) -> None:
    engine.register("bad", Outcomes(ValueError("broken")))
    engine.register("f", lambda why: why)
    group = inside({"deep": inside({"bad": calls("bad")})}, optional=True)
    after = {**calls("f", "g"), "with": {"why": "${{ steps.g.error.message }}"}}
    run = engine.run(document({"g": group, "after": after}))
    assert run.ok
    assert run.steps["after"].output == "step 'g/deep' failed: step 'g/deep/bad' failed: broken"


# --- time and attempts


def test_a_group_whose_time_is_over_stops_what_it_holds_and_begins_nothing_tolerant(world: World) -> None:
    engine, gate, cleanup = world.open(), Gate(), Outcomes(None)
    engine.register("gate", gate.ahold)
    engine.register("cleanup", cleanup)
    steps = {
        "slow": calls("gate"),
        "nap": {"wait": {"for": "1h"}},
        "clean": calls("cleanup", "slow", trigger_rule="all_done"),
    }
    run = engine.start(document({"g": inside(steps, timeout="10s"), "after": calls("cleanup", "g")}))
    gate.begun()
    engine.quiet()
    world.clock.advance(10.1)
    view = engine.wait(run)
    assert states(view) == {
        "g": "failed",
        "g/slow": "cancelled",
        "g/nap": "cancelled",
        "g/clean": "cancelled",
        "after": "skipped",
    }
    assert (gate.cancelled, gate.attempts[0].stop_reason, cleanup.attempts) == (1, "timeout", 0)
    assert (view.steps["g"].error.kind, view.steps["g"].error.name) == ("step.timeout", "TimeoutError")
    assert view.steps["g/slow"].reason == "step 'g' took too long"


def test_another_attempt_of_a_group_begins_with_everything_in_it_anew(world: World) -> None:
    engine, events = world.open(), Events()
    bad, good = Outcomes(ValueError(), 2), Outcomes(1)
    engine.register("bad", bad)
    engine.register("good", good)
    steps = {"good": calls("good"), "bad": calls("bad", "good")}
    run = engine.start(document({"g": inside(steps, retry=patient(2))}), on_event=events)
    events.wait("step.back_off", "g")
    engine.quiet()
    world.clock.advance(10)
    view = engine.wait(run)
    assert (view.state, view.steps["g"].output) == ("completed", {"good": 1, "bad": 2})
    assert [(view.steps[path].attempt, view.steps[path].generation) for path in ("g", "g/good", "g/bad")] == [
        (2, 1),
        (2, 2),
        (2, 2),
    ]
    recorded = kinds(engine, run)
    second = recorded.index("step.back_off:g")
    assert recorded[second + 1 : second + 5] == ["step.start:g", "step.reset:g/good", "step.reset:g/bad", "step.wait:g"]


def test_each_attempt_of_a_group_has_its_whole_time(world: World) -> None:
    engine, gate, events = world.open(), Gate(), Events()
    engine.register("gate", gate.ahold)
    group = inside({"slow": calls("gate")}, timeout="10s", retry=patient(2, "5s"))
    run = engine.start(document({"g": group}), on_event=events)
    gate.begun()
    world.clock.advance(10)
    events.wait("step.back_off", "g")
    engine.quiet()
    world.clock.advance(5)
    gate.begun()
    world.clock.advance(9)
    engine.quiet()
    gate.open(1)
    view = engine.wait(run)
    assert (view.state, view.steps["g"].attempt, gate.cancelled) == ("completed", 2, 1)


def test_a_group_whose_time_was_over_while_the_run_was_paused_begins_nothing_more(world: World) -> None:
    engine, gate, after = world.open(), Gate(), Outcomes(1)
    engine.register("gate", gate.ahold)
    engine.register("f", after)
    group = inside({"slow": calls("gate"), "after": calls("f", "slow")}, timeout="10s")
    run = engine.start(document({"g": group}))
    gate.begun()
    paused = engine.later("pause", run)
    engine.quiet()
    gate.open(1)
    assert states(paused.result(PATIENCE))["g/slow"] == "completed"
    world.clock.advance(11)
    view = engine.resume(run)
    assert (view.state, after.attempts, view.steps["g"].error.kind) == ("failed", 0, "step.timeout")
    assert states(view) == {"g": "failed", "g/slow": "completed", "g/after": "cancelled"}


def test_a_group_that_was_done_in_time_is_done_whenever_that_is_heard(world: World) -> None:
    engine, gate = world.open(), Gate()
    engine.register("gate", gate.ahold)
    run = engine.start(document({"g": inside({"slow": calls("gate")}, timeout="10s")}))
    gate.begun()
    paused = engine.later("pause", run)
    engine.quiet()
    gate.open(1)
    assert states(paused.result(PATIENCE)) == {"g": "waiting", "g/slow": "completed"}
    world.clock.advance(11)
    assert engine.resume(run).ok


def test_a_pause_while_a_group_is_being_stopped_does_not_keep_it_for_ever(world: World) -> None:
    """A token that stands at a cancelled step has nowhere to go."""
    engine, body = world.open(grace=PATIENCE), Stubborn()
    engine.register("f", nothing)
    engine.register("slow", body.ahold)
    group = {"start": "a", "steps": {"a": {"call": "f", "next": "b"}, "b": {"call": "slow"}}, "timeout": "10s"}
    run = engine.start(document({"g": group}))
    body.begun()
    engine.quiet()
    world.clock.advance(10)
    body.told()
    paused = engine.later("pause", run)
    engine.quiet()
    body.release()
    assert states(paused.result(PATIENCE))["g/b"] == "cancelled"
    view = engine.later("resume", run).result(PATIENCE)
    assert (view.state, view.steps["g"].error.kind) == ("failed", "step.timeout")
    assert states(view) == {"g": "failed", "g/a": "completed", "g/b": "cancelled"}


def test_the_time_of_a_group_passes_while_nobody_works_on_the_run(world: World) -> None:
    first, gate, after = world.open(), Gate(), Outcomes(1)
    functions = {"gate": gate.ahold, "f": after}
    for name, body in functions.items():
        first.register(name, body)
    run = first.start(document({"g": inside({"slow": calls("gate"), "after": calls("f", "slow")}, timeout="10s")}))
    gate.begun()
    first.kill()
    world.clock.advance(11)
    gate.open(1)
    view = world.open(functions=functions).resume(run)
    assert (view.state, len(gate.attempts), after.attempts) == ("failed", 1, 0)
    assert (states(view)["g/slow"], view.steps["g"].error.kind) == ("cancelled", "step.timeout")


def test_groups_side_by_side_share_the_places_of_the_run_in_the_order_of_the_document(engine: Driver) -> None:
    order: list[str] = []

    def body(name: str) -> None:
        order.append(name)

    engine.register("f", body)
    groups = {
        name: inside({step: {"call": "f", "with": {"name": f"{name}/{step}"}} for step in "xyz"}) for name in "ab"
    }
    assert engine.run(document(groups, max_parallel=1)).ok
    assert order == ["a/x", "a/y", "a/z", "b/x", "b/y", "b/z"]


def test_a_run_that_is_cancelled_cancels_what_stands_inside_groups(engine: Driver) -> None:
    gate = Gate()
    engine.register("gate", gate.ahold)
    steps = {
        "idle": {"wait": {"event": "never"}},
        "deep": inside({"slow": calls("gate"), "after": calls("gate", "slow")}),
    }
    run = engine.start(document({"g": inside(steps), "h": inside({"nap": {"wait": {"for": "1h"}}})}))
    gate.begun()
    engine.quiet()
    view = engine.cancel(run)
    assert (view.state, gate.cancelled) == ("cancelled", 1)
    assert states(view) == {
        **dict.fromkeys(["g", "g/idle", "g/deep", "g/deep/slow", "h", "h/nap"], "cancelled"),
        "g/deep/after": "skipped",
    }


def test_a_decision_that_goes_back_inside_a_group_whose_time_is_over_begins_nothing(world: World) -> None:
    engine, body, first, events = world.open(grace=PATIENCE), Stubborn(), Outcomes(1), Events()
    engine.register("slow", body.ahold)
    engine.register("f", first)
    back = {"prompt": "?", "on_reject": {"rewind_to": "a", "max_rounds": 3}}
    steps = {"a": calls("f"), "gate": {"needs": ["a"], "approval": back}, "slow": calls("slow")}
    run = engine.start(document({"g": inside(steps, timeout="10s")}), on_event=events)
    events.wait("step.wait", "g/gate")
    body.begun()
    engine.quiet()
    world.clock.advance(10)
    body.told()
    engine.reject(run, "g/gate", by="me")
    engine.quiet()
    body.release()
    view = engine.wait(run)
    assert (view.state, view.steps["g"].error.kind, first.attempts) == ("failed", "step.timeout", 1)


def test_a_group_whose_steps_were_stopped_for_another_did_not_complete(world: World) -> None:
    engine, gates, events = world.open(), [Gate(), Gate()], Events()
    engine.register("slow", gates[0].ahold)
    engine.register("many", gates[1].ahold)
    loop = {"for_each": {"items": [1, 2]}, "call": "many"}
    deep = inside({"slow": calls("slow"), "after": calls("slow", "slow")})
    run = engine.start(document({"g": inside({"deep": deep, "loop": loop}, timeout="10s")}), on_event=events)
    gates[0].begun(), gates[1].begun(), gates[1].begun()
    engine.quiet()
    world.clock.advance(10)
    view = engine.wait(run)
    assert (states(view)["g"], states(view)["g/deep"], states(view)["g/loop"]) == ("failed", "cancelled", "cancelled")
    assert view.steps["g/deep"].reason == view.steps["g/deep/slow"].reason == "step 'g' took too long"


def test_what_a_failure_leaves_waits_until_it_is_known_what_became_of_what_was_cut_off(world: World) -> None:
    first, pay, other, verify = world.open(), Gate(), Gate(), Gate()
    for name, body in (("pay", pay.ahold), ("other", other.ahold), ("verify", verify.ahold)):
        first.register(name, body)
    group = inside({"pay": calls("pay", delivery="at_most_once", verify="verify")})
    run = first.start(document({"g": group, "other": calls("other"), "idle": {"wait": {"event": "never"}}}))
    pay.begun(), other.begun()
    first.kill()
    other.open(ValueError())
    events = Events()
    second = world.open(functions={"pay": pay.ahold, "other": other.ahold, "verify": verify.ahold})
    resumed = second.later("resume", run, on_event=events)
    verify.begun()
    events.wait("step.fail", "other")
    second.quiet()
    assert states(second.get(run)) == {"g": "waiting", "g/pay": "interrupted", "other": "failed", "idle": "waiting"}
    verify.open("completed")
    view = resumed.result(PATIENCE)
    assert (view.state, states(view)["g/pay"], states(view)["idle"]) == ("failed", "completed", "cancelled")
