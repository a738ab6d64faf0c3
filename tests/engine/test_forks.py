"""Forks and reruns: what a new run takes over of another one, what begins anew, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statemachine_flow.builder import Workflow, load
from statemachine_flow.engine.checkpoints import is_point
from statemachine_flow.errors import ConflictError, InputError, NotFoundError, SmfError, StepError, UsageError
from statemachine_flow.lifecycle import RUN
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import PATIENCE, Driver, Events, Gate, Outcomes, World, add, final, kinds, states


class Bodies:
    """Functions that tell which steps ran, and may fail once."""

    def __init__(self, *broken: str) -> None:
        self.calls: list[str] = []
        self.broken = set(broken)

    def __call__(self, name: str) -> Callable[..., Any]:
        def body(**given: Any) -> Any:
            self.calls.append(name)
            if name in self.broken:
                raise ValueError(name)
            return {"of": name, **given}

        return body

    def taken(self) -> list[str]:
        calls, self.calls = self.calls, []
        return sorted(calls)


def diamond(bodies: Bodies) -> Workflow:
    workflow = Workflow("diamond")
    who = workflow.input("who", default="x")
    add(workflow, "a", bodies("a"), with_={"who": who})
    add(workflow, "b", bodies("b"), with_={"a": workflow["a"].output})
    add(workflow, "c", bodies("c"), needs=["a"])
    add(workflow, "d", bodies("d"), needs=["b", "c"])
    add(workflow, "e", bodies("e"))
    workflow.output("b", workflow["b"].output)
    return workflow


# --- rerun

RERUNS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "the first": ("a", (), "abcd"),
    "one of two": ("b", (), "bd"),
    "the last": ("d", (), "d"),
    "one beside": ("e", (), "e"),
    "what failed": ("b", ("b",), "bd"),
    "one before what failed": ("a", ("b",), "abcd"),
    "one beside what failed": ("e", ("b",), "bde"),
}


@pytest.mark.parametrize("case", RERUNS)
def test_a_rerun_keeps_what_does_not_come_after_its_step(engine: Driver, case: str) -> None:
    step, broken, expected = RERUNS[case]
    bodies = Bodies(*broken)
    workflow = diamond(bodies)
    first = engine.run(workflow, {"who": "me"}, run_id="r")
    before = kinds(engine, "r")
    assert first.state == ("failed" if broken else "completed")
    bodies.taken()
    bodies.broken = set()
    run = engine.rerun("r", from_=step, run_id="again", reason="better", by="ann")
    assert (run.state, "".join(bodies.taken())) == ("completed", expected)
    assert run.outputs == {"b": {"of": "b", "a": {"of": "a", "who": "me"}}}
    assert kinds(engine, "r") == before  # the first is untouched
    note = next(event.data for event in engine.events("again") if event.kind == "run.note")
    assert note == {"reason": f"carried out anew from step {step} of r: better", "by": "ann"}
    created = engine.events("again")[0].data
    assert created["forked"] == {"run": "r", "seq": first.seq, "step": step}


def test_a_rerun_under_one_id_is_done_once(engine: Driver) -> None:
    bodies = Bodies()
    engine.run(diamond(bodies), run_id="r")
    one = engine.rerun("r", from_="b", run_id="again")
    bodies.taken()
    two = engine.rerun("r", from_="b", run_id="again")
    assert (final(two), bodies.taken()) == (final(one), [])
    for step, run_id in (("c", "again"), ("b", "r")):
        with pytest.raises(ConflictError) as caught:
            engine.rerun("r", from_=step, run_id=run_id)
        assert caught.value.kind == "run.conflict"


def test_what_a_failure_cancelled_beside_it_begins_anew(engine: Driver) -> None:
    workflow = Workflow("beside")
    add(workflow, "broken", Outcomes(ValueError(), 1))
    workflow.wait("never", event="never")
    run = engine.run(workflow, run_id="r")
    assert (run.state, states(run)["never"]) == ("failed", "cancelled")
    run = engine.rerun("r", from_="broken", run_id="again")
    assert (run.state, states(run)) == ("running", {"broken": "completed", "never": "waiting"})


@pytest.mark.parametrize(
    ("step", "error"), [("nobody", NotFoundError), ("a/b", NotFoundError), ("@finally/x", UsageError)]
)
def test_a_rerun_from_what_is_no_step_of_the_run_is_refused(engine: Driver, step: str, error: type[SmfError]) -> None:
    engine.run(diamond(Bodies()), run_id="r")
    with pytest.raises(error):
        engine.rerun("r", from_=step)
    assert len(engine.list()) == 1


NESTED = {
    "dsl": "1",
    "name": "nested",
    "finally": {"clean": {"call": "clean"}},
    "steps": {
        "first": {"call": "first"},
        "ci": {
            "needs": ["first"],
            "steps": {
                "build": {"call": "build"},
                "test": {
                    "needs": ["build"],
                    "for_each": {"items": ["x", "y"], "as": "item", "key": "${{ item }}"},
                    "steps": {
                        "unit": {"call": "unit", "with": {"item": "${{ item }}"}},
                        "long": {"call": "long", "needs": ["unit"]},
                    },
                },
                "side": {"call": "side"},
                "pack": {"call": "pack", "needs": ["test"]},
            },
        },
        "last": {"call": "last", "needs": ["ci"]},
        "alone": {"call": "alone"},
    },
}
NESTED_RERUNS: Mapping[str, tuple[str, str]] = {
    "ci/test[x]/long": ("long", "clean last long pack"),
    "ci/test[x]/unit": ("unit", "clean last long pack unit"),
    "ci/test[x]": ("item", "clean last long pack unit"),
    "ci/test": ("loop", "clean last long long pack unit unit"),
    "ci/side": ("side", "clean last side"),
    "ci": ("group", "build clean last long long pack side unit unit"),
    "last": ("last", "clean last"),
}


@pytest.mark.parametrize("broken", ["", "side", "pack"])
@pytest.mark.parametrize("step", NESTED_RERUNS)
def test_a_rerun_of_a_step_inside_others_opens_what_holds_it(engine: Driver, step: str, broken: str) -> None:
    bodies = Bodies(broken)
    names = ("first", "build", "unit", "long", "side", "pack", "last", "alone", "clean")
    for name in names:
        engine.register(name, bodies(name))
    run = engine.run(load(NESTED), run_id="r")
    assert run.state == ("failed" if broken else "completed")
    bodies.taken()
    bodies.broken = set()
    if broken and step == "last":
        run = engine.rerun("r", from_=step, run_id="again")
        assert (run.state, "first" in bodies.taken()) == ("completed", False)
        return
    known = {*NESTED_RERUNS[step][1].split()}
    if broken == "side":
        known.add("side")
    if step not in run.steps:
        with pytest.raises(NotFoundError):
            engine.rerun("r", from_=step)
        return
    run = engine.rerun("r", from_=step, run_id="again")
    taken = bodies.taken()
    assert run.state == "completed"
    if not broken:
        assert " ".join(taken) == NESTED_RERUNS[step][1]
        assert final(run)["steps"] == final(engine.get("r"))["steps"]
    assert known <= set(taken)
    assert not {"first", "alone"} & set(taken)


STATES = {
    "dsl": "1",
    "name": "states",
    "start": "write",
    "steps": {
        "write": {"call": "write", "next": "check"},
        "check": {"call": "check", "next": [{"when": "result.n < 3", "goto": "write"}, {"default": "send"}]},
        "send": {"call": "send"},
    },
}


@pytest.mark.parametrize(
    ("step", "calls"), [("write", ["write", "check", "send"]), ("check", ["check", "send"]), ("send", ["send"])]
)
def test_a_rerun_in_states_goes_back_to_the_last_visit(engine: Driver, step: str, calls: list[str]) -> None:
    done: list[str] = []

    def body(name: str) -> Callable[[], Any]:
        def call() -> Any:
            done.append(name)
            return {"n": min(3, done.count("check"))}

        return call

    for name in ("write", "check", "send"):
        engine.register(name, body(name))
    first = engine.run(load(STATES), run_id="r")
    assert done == ["write", "check"] * 3 + ["send"]
    visits = first._fold.visits
    done[:] = ["check"] * 3
    run = engine.rerun("r", from_=step, run_id="again")
    assert (run.state, done[3:]) == ("completed", calls)
    assert run._fold.visits == visits
    with pytest.raises(NotFoundError):
        engine.rerun("r", from_="nobody")


# --- fork


def test_a_fork_at_any_point_ends_like_its_source(world: World) -> None:
    """Whatever had begun by then begins again, what had ended does not."""
    bodies = Bodies()
    engine = world.open()
    workflow = diamond(bodies)
    source = engine.run(workflow, run_id="r")
    records = world.inner().records("r")
    points = [seq for seq in range(1, len(records)) if is_point(records, seq, "running")]
    for seq in points:
        done = {r.step for r in records[:seq] if r.kind == "step.complete"}
        bodies.taken()
        run = engine.fork("r", at=seq, run_id=f"f{seq}")
        assert final(run) == final(source)
        assert set(bodies.taken()) == set("abcde") - done
        copied = [(e.kind, e.step) for e in engine.events(run.id)[:seq]]
        assert copied == [(r.kind, r.step) for r in records[:seq]]


def test_a_fork_says_where_it_comes_from_and_who_made_it(engine: Driver) -> None:
    engine.run(diamond(Bodies()), run_id="r")
    run = engine.fork("r", at=4, set={"inputs.who": "you"}, run_id="f", reason="look", by="ann")
    events = engine.events("f")
    note = next(event for event in events if event.kind == "run.note")
    assert note.data == {"reason": "forked from r@4; set inputs.who: look", "by": "ann"}
    assert (events[0].data["forked"]["run"], events[0].data["forked"]["seq"]) == ("r", 4)
    assert run.inputs == {"who": "you"}


def test_edits_reach_what_had_not_begun(engine: Driver) -> None:
    workflow = Workflow("edits")
    who, left = workflow.input("who", default="x"), workflow.input("many", type="array", default=[1, {"k": 2}])
    add(workflow, "a", lambda: {"x": [1, 2], "s": "old"}, outputs={"y": "result.s"})
    bodies = Bodies()
    add(
        workflow,
        "b",
        bodies("b"),
        with_={"a": workflow["a"].output, "who": who, "many": left, "y": "${{ steps.a.outputs.y }}"},
    )
    engine.run(workflow, run_id="r")
    at = next(e.seq for e in engine.events("r") if e.kind == "step.complete")
    edits = {
        "inputs.who": "you",
        "inputs.many.1.k": 5,
        "steps.a.output.x.0": 9,
        "steps.a.output.new": None,
        "steps.a.outputs.y": "new",
    }
    run = engine.fork("r", at=at, set=edits, run_id="f")
    assert run.steps["b"].output == {
        "of": "b",
        "a": {"x": [9, 2], "s": "old", "new": None},
        "who": "you",
        "many": [1, {"k": 5}],
        "y": "new",
    }
    assert engine.get("r").steps["a"].output == {"x": [1, 2], "s": "old"}
    again = engine.fork("r", at=at, set=dict(reversed(edits.items())), run_id="f")
    assert again.seq == run.seq
    with pytest.raises(ConflictError) as caught:
        engine.fork("r", at=at, set={"inputs.who": "me"}, run_id="f")
    assert caught.value.kind == "run.conflict"


BAD_EDITS: Mapping[str, tuple[Any, type[SmfError], str]] = {
    "inputs.nobody": (1, UsageError, "usage.edit"),
    "inputs": ({}, UsageError, "usage.edit"),
    "inputs.who": (7, InputError, "input.type"),
    "inputs.who.x": ("y", UsageError, "usage.edit"),
    "steps.a.output": (object(), UsageError, "usage.edit"),
    "steps.a.output.x.9": (1, UsageError, "usage.edit"),
    "steps.a.output.x.-1": (1, UsageError, "usage.edit"),
    "steps.a.output.x.y": (1, UsageError, "usage.edit"),
    "steps.a.output.no.deeper": (1, UsageError, "usage.edit"),
    "steps.a.outputs": ({}, UsageError, "usage.edit"),
    "steps.b.output": (1, UsageError, "usage.edit"),
    "steps.nobody.output": (1, UsageError, "usage.edit"),
    "": (1, UsageError, "usage.edit"),
    "steps.checked.output": ("no number", StepError, "step.schema"),
}


@pytest.mark.parametrize("path", BAD_EDITS)
def test_a_bad_edit_is_refused_by_name(engine: Driver, path: str) -> None:
    value, error, kind = BAD_EDITS[path]
    workflow = Workflow("edits")
    workflow.input("who", default="x")
    add(workflow, "a", lambda: {"x": [1, 2]}, outputs={"y": "result.x"})
    add(workflow, "checked", lambda: 3, output_schema={"type": "integer"})
    add(workflow, "b", lambda: 1, needs=["a", "checked"])
    engine.run(workflow, run_id="r")
    at = [e.seq for e in engine.events("r") if e.kind == "step.complete"][1]
    with pytest.raises(error) as caught:
        engine.fork("r", at=at, set={path: value}, run_id="f")
    assert caught.value.kind == kind
    if "there is no" in str(caught.value):
        assert "inputs.who, steps.a.output, steps.a.outputs" in (caught.value.hint or "")
    assert [row.id for row in engine.list()] == ["r"]


def test_a_fork_where_nothing_goes_on_or_nothing_was_is_refused(engine: Driver) -> None:
    run = engine.run(diamond(Bodies()), run_id="r")
    with pytest.raises(ConflictError) as caught:
        engine.fork("r", at=run.seq)
    assert "completed" in str(caught.value)
    assert str(run.seq - 1) in (caught.value.hint or "")
    for at in (0, -1, run.seq + 1, 10**9):
        with pytest.raises(NotFoundError):
            engine.fork("r", at=at)
    with pytest.raises(UsageError) as wrong:
        engine.fork("r", at=1)
    assert "2" in (wrong.value.hint or "")


def test_a_fork_without_a_record_begins_at_the_last_one_that_goes_on(engine: Driver) -> None:
    bodies = Bodies()
    source = engine.run(diamond(bodies), run_id="r")
    bodies.taken()
    assert (final(engine.fork("r")), bodies.taken()) == (final(source), [])


def test_a_fork_of_a_failed_run_is_failed_and_can_be_retried(engine: Driver) -> None:
    bodies = Bodies("d")
    engine.run(diamond(bodies), run_id="r")
    run = engine.fork("r", run_id="f")
    assert (run.state, run.owner) == ("failed", None)
    bodies.taken()
    bodies.broken = set()
    assert (engine.retry("f").state, bodies.taken()) == ("completed", ["d"])


def test_a_fork_is_the_way_out_of_quarantine(engine: Driver) -> None:
    gate = Gate()
    workflow = Workflow("held")
    add(workflow, "a", lambda: 1)
    add(workflow, "b", gate.ahold, needs=["a"])
    engine.start(workflow, run_id="r")
    gate.begun()
    assert engine.quarantine("r", reason="odd").state == "quarantined"
    gate.open("fine")
    run = engine.fork("r", run_id="f")
    assert (run.state, run.steps["b"].output, run.steps["a"].attempt) == ("completed", "fine", 1)
    assert engine.get("r").state == "quarantined"


def test_a_fork_leaves_the_run_to_others_if_it_is_told_so(world: World) -> None:
    bodies, engine = Bodies(), world.open()
    engine.run(diamond(bodies), run_id="r")
    bodies.taken()
    run = engine.fork("r", at=2, run_id="f", start=False)
    assert (run.state, run.owner, bodies.taken()) == ("running", None, [])
    assert (engine.resume("f").state, bodies.taken()) == ("completed", list("abcde"))


def test_an_attempt_that_was_under_way_is_interrupted_and_one_that_must_not_be_repeated_waits(world: World) -> None:
    engine, gates = world.open(), {name: Gate() for name in "ab"}
    workflow = Workflow("held")
    add(workflow, "a", gates["a"].ahold)
    add(workflow, "b", gates["b"].ahold, delivery="at_most_once")
    engine.start(workflow, run_id="r")
    for gate in gates.values():
        gate.begun()
    at = len(engine.events("r"))
    forked = engine.later("fork", "r", at=at, run_id="f")
    run = forked.result(PATIENCE)
    assert (run.state, states(run)) == ("paused", {"a": "interrupted", "b": "interrupted"})
    assert run.reason == "uncertain: b"
    assert run.steps["a"].reason == "it was under way in run r"
    for gate in gates.values():
        gate.open(1)
    engine.resolve("f", "b", "retry")
    assert engine.resume("f").state == "completed"
    assert engine.wait("r").state == "completed"


def test_what_falls_due_does_so_after_the_time_that_was_left(world: World) -> None:
    engine, events = world.open(), Events()
    workflow = Workflow("late", timeout=600)
    body = Outcomes(ValueError(), 1)
    add(workflow, "a", body, retry=RetryPolicy(max_attempts=2, delay=60, jitter="none"))
    workflow.wait("moment", until="2100-01-01T00:00:00Z")
    engine.start(workflow, run_id="r", on_event=events)
    events.wait("step.back_off")
    engine.quiet()
    at = engine.get("r").seq
    moment = engine.get("r").steps["moment"].due_at
    world.clock.advance(20)
    now = engine.fork("r", at=at, run_id="n", start=False)
    source = engine.get("r")
    assert source.steps["a"].due_at is not None
    assert now.steps["a"].due_at is not None
    assert (now.steps["a"].due_at - source.steps["a"].due_at).total_seconds() == 20
    assert now.steps["moment"].due_at == moment
    assert now._fold.deadline is not None
    assert source._fold.deadline is not None
    assert now._fold.deadline - source._fold.deadline == 20_000_000
    again = engine.rerun("r", from_="a", run_id="again", start=False)
    assert again._fold.deadline == world.clock.now() + 600_000_000


def test_a_child_run_that_is_waited_for_begins_anew_as_a_child_of_the_new_run(engine: Driver) -> None:
    gate = Gate()
    child = Workflow("child")
    add(child, "inside", gate.ahold)
    workflow = Workflow("parent")
    workflow.child("sub", child)
    add(workflow, "after", lambda: 1, needs=["sub"])
    engine.start(workflow, run_id="r")
    gate.begun()
    engine.quiet()
    forked = engine.later("fork", "r", at=engine.get("r").seq, run_id="f")
    gate.begun()
    gate.open("done")
    run = forked.result(PATIENCE)
    assert (run.state, run.children) == ("completed", {"sub": "f.sub"})
    assert engine.get("f.sub").parent == ("f", "sub")
    assert engine.wait("r").children == {"sub": "r.sub"}
    apart = engine.fork("r.sub", at=2, run_id="apart")
    assert (apart.state, apart.parent) == ("completed", None)
    kept = engine.rerun("r", from_="after", run_id="again")
    assert (kept.state, kept.children) == ("completed", {"sub": "r.sub"})


def test_signals_stay_with_the_steps_that_took_them(engine: Driver) -> None:
    workflow = Workflow("signals")
    add(workflow, "zero", lambda: 0)
    workflow.wait("one", event="go")
    workflow.wait("two", event="go", needs=["one"])
    workflow.wait("end", event="end", needs=["two"])
    engine.start(workflow, run_id="r")
    for word in ("first", "second", "third"):
        engine.signal("r", "go", word)
    engine.signal("r", "end")
    source = engine.wait("r")
    assert [source.steps[name].output for name in ("one", "two")] == ["first", "second"]
    run = engine.rerun("r", from_="two", run_id="again")
    assert [run.steps[name].output for name in ("one", "two")] == ["first", "third"]  # nobody had taken that one
    assert [step.path for step in run.waiting] == ["end"]  # that signal was taken
    at = next(e.seq for e in engine.events("r") if e.kind == "step.complete" and e.step == "one")
    assert engine.fork("r", at=at, run_id="f", until="waiting").steps["one"].output == "first"
    other = engine.rerun("r", from_="zero", run_id="other")  # whose records stood before the signals
    assert (other.state, list(other._fold.signals)) == ("completed", [("go", None)])
    assert len(other._fold.signals["go", None]) == 1


def test_a_secret_input_is_looked_for_again(world: World) -> None:
    def length(token: str) -> int:
        return len(token)

    def make() -> Workflow:
        workflow = Workflow("secret")
        token = workflow.input("token", secret=True)
        add(workflow, "a", length, with_={"token": token})
        return workflow

    first = world.open()
    first.run(make(), {"token": "hunter22"}, run_id="r")
    first.close()
    second = world.open()
    with pytest.raises(InputError) as caught:
        second.fork("r", at=2)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.path) == ("input.missing", "inputs.token")
    assert "set inputs.token in a fork" in (problem.hint or "")
    second.core.library.bring(make().content_hash, make().functions)
    run = second.fork("r", at=2, set={"inputs.token": "hunter2222"}, run_id="f")
    assert (run.state, run.steps["a"].output) == ("completed", 10)
    other = second.fork("r", at=2, set={"inputs.token": "another one"}, run_id="g")
    assert run.forked == other.forked  # not even a digest of it
    assert b"hunter" not in b"".join(record.data for record in world.inner().records("f"))


def test_a_run_that_was_undone_is_done_again(engine: Driver) -> None:
    bodies = Bodies("pay")
    for name in ("room", "pay", "undo"):
        engine.register(name, bodies(name))
    document = {
        "dsl": "1",
        "name": "trip",
        "compensate": True,
        "steps": {
            "room": {"call": "room", "compensate": {"call": "undo"}},
            "pay": {"needs": ["room"], "call": "pay"},
        },
    }
    assert engine.run(load(document), run_id="r").state == "failed"
    assert bodies.taken() == ["pay", "room", "undo"]
    bodies.broken = set()
    assert engine.rerun("r", from_="pay", run_id="again").state == "completed"
    assert bodies.taken() == ["pay", "room"]
    assert set(RUN.terminal) == {"completed", "cancelled", "quarantined"}
