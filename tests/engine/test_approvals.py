"""Approvals: who may decide what, on which question, how often, from where, and what follows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statemachine_flow.builder import Workflow, load
from statemachine_flow.engine.watch import WATCH_SECONDS
from statemachine_flow.errors import ConflictError, DefinitionError, InputError, NotFoundError
from statemachine_flow.stores.base import Store
from statemachine_flow.testing import CrashStore
from tests.engine.harness import Driver, Gate, Outcomes, World, add, kinds, states

FORM: Mapping[str, Any] = {
    "text": "string",
    "whole": "integer",
    "number": "number",
    "yes": "boolean",
    "many": "array",
    "map": "object",
    "file": "path",
    "level": {"type": "string", "enum": ["low", "high"], "default": "low"},
    "why": {"type": "string"},
}


def asking(**approval: Any) -> Workflow:
    """A question, and a step behind it."""
    workflow = Workflow("asks")
    workflow.approval("gate", prompt="Go on?", **approval)
    workflow.run("after", ["true"], needs=["gate"])
    return workflow


def refusal(engine: Driver, run_id: str, step: str, *, verb: str = "approve", **decision: Any) -> ConflictError:
    """The error of a decision that is refused; nothing is recorded then."""
    before = engine.get(run_id).seq
    with pytest.raises(ConflictError) as caught:
        getattr(engine, verb)(run_id, step, **decision)
    assert (caught.value.kind, engine.get(run_id).seq) == ("run.refused", before)
    return caught.value


# --- one decision


def test_an_approval_is_shown_as_it_was_recorded_and_completes_with_the_decision(world: World) -> None:
    engine = world.open()
    workflow = Workflow("asks")
    add(workflow, "build", lambda: {"version": "1.2"})
    workflow.approval("gate", prompt="Release ${{ steps.build.output.version }}?", approvers=["ann", "bob"])
    run = engine.run(workflow)
    question = run.waiting[0].question
    assert (question["prompt"], question["choices"], question["approvers"]) == (
        "Release 1.2?",
        ["approve", "reject"],
        ["ann", "bob"],
    )
    engine.approve(run.id, "gate", by="ann", reason="tested", digest=question["digest"])
    run = engine.wait(run.id, until="rest")
    output = dict(run.steps["gate"].output)
    assert list(output) == ["decision", "by", "at", "reason", "digest"]
    assert (output["decision"], output["by"], output["reason"], output["digest"]) == (
        "approve",
        "ann",
        "tested",
        question["digest"],
    )
    assert output["at"] == "2027-01-15T08:00:00+00:00"
    assert run.steps["gate"].question == {}


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        ({"by": "eve"}, "may not decide"),
        ({}, "may not decide"),
        ({"by": "ann", "choice": "maybe"}, "no choice"),
        ({"by": "ann", "choice": "deadline"}, "no choice"),
        ({"by": "ann", "digest": "0" * 32}, "has changed"),
    ],
)
@pytest.mark.parametrize("owned", [True, False], ids=["owned", "left"])
def test_a_decision_that_does_not_fit_is_refused(world: World, decision: Any, says: str, owned: bool) -> None:
    engine = world.open()
    run = engine.run(asking(approvers=["ann"]))
    if not owned:
        engine.close()
        engine = world.open()
    assert says in str(refusal(engine, run.id, "gate", **decision))
    assert world.inner().requests() == []


def test_only_a_step_that_asks_can_be_decided(world: World) -> None:
    engine, gate = world.open(), Gate()
    workflow = asking()
    add(workflow, "busy", gate.ahold)
    workflow.wait("ear", event="go")
    run_id = engine.start(workflow)
    gate.begun()
    for step in ("busy", "after", "ear"):
        refusal(engine, run_id, step)
    with pytest.raises(NotFoundError):
        engine.approve(run_id, "nobody")
    with pytest.raises(NotFoundError):
        engine.approve("nobody", "gate")
    gate.open()


def test_a_question_is_decided_once(world: World) -> None:
    engine = world.open()
    workflow = asking()
    workflow.wait("ear", event="never")
    run = engine.run(workflow)
    engine.approve(run.id, "gate", by="first")
    assert engine.wait(run.id).steps["after"].state == "completed"
    assert "completed" in str(refusal(engine, run.id, "gate", verb="reject", by="second"))
    assert engine.get(run.id).steps["gate"].output["by"] == "first"


def test_a_form_takes_every_type_of_input(world: World) -> None:
    engine = world.open()
    run = engine.run(asking(form=FORM))
    form = {
        "text": "",
        "whole": 2**40,
        "number": 1,
        "yes": False,
        "many": [1, "a"],
        "map": {"k": None},
        "file": "a/b",
        "why": "because",
    }
    engine.approve(run.id, "gate", form=form)
    output = engine.wait(run.id, until="rest").steps["gate"].output
    assert {name: output[name] for name in FORM} == {**form, "level": "low"}
    assert list(output) == ["decision", *FORM, "by", "at", "reason", "digest"]


@pytest.mark.parametrize(
    ("form", "problems"),
    [
        ({}, ["input.missing"]),
        ({"why": None}, ["input.missing"]),
        ({"why": "x", "other": 1}, ["input.unknown"]),
        ({"why": 1, "level": "none"}, ["input.value", "input.type"]),
        (
            {"why": "x", "text": 1, "whole": True, "number": "1", "yes": 0, "many": {}, "map": [], "file": None},
            ["input.type"] * 6,
        ),
    ],
)
@pytest.mark.parametrize("owned", [True, False], ids=["owned", "left"])
def test_a_form_that_is_filled_in_wrongly_is_refused(world: World, form: Any, problems: list[str], owned: bool) -> None:
    engine = world.open()
    run = engine.run(asking(form=FORM))
    if not owned:
        engine.close()
        engine = world.open()
    with pytest.raises(InputError) as caught:
        engine.approve(run.id, "gate", form=form)
    assert sorted(problem.kind for problem in caught.value.problems) == sorted(problems)
    assert engine.get(run.id).seq == run.seq
    assert world.inner().requests() == []


def test_null_in_a_form_stands_for_what_was_not_filled_in(one_world: World) -> None:
    engine = one_world.open()
    run = engine.run(asking(form={"level": {"type": "string", "default": "low"}, "note": "string"}))
    engine.approve(run.id, "gate", form={"level": None, "note": None})
    output = engine.wait(run.id, until="rest").steps["gate"].output
    assert (output["level"], output["note"]) == ("low", None)


def test_a_rejection_may_leave_out_what_has_to_be_given_but_not_fill_in_what_does_not_fit(world: World) -> None:
    engine = world.open()
    run = engine.run(asking(form=FORM, on_reject="skip"))
    with pytest.raises(InputError):
        engine.reject(run.id, "gate", form={"other": 1})
    engine.reject(run.id, "gate")
    run = engine.wait(run.id, until="rest")
    assert (run.state, states(run)) == ("completed", {"gate": "skipped", "after": "skipped"})


def test_a_form_has_no_secret_field() -> None:
    with pytest.raises(DefinitionError) as caught:
        load('dsl = "1"\nname = "f"\nsteps.g.approval = { prompt = "?", form = { token = { secret = true } } }\n')
    assert [problem.kind for problem in caught.value.problems] == ["definition.secret"]


# --- what follows


def test_a_rejection_fails_the_step_unless_it_says_otherwise(world: World) -> None:
    engine = world.open()
    run = engine.run(asking())
    engine.reject(run.id, "gate", by="ann", reason="not now")
    run = engine.wait(run.id, until="rest")
    error = run.steps["gate"].error
    assert error is not None
    assert (run.state, error.kind, error.message) == (
        "failed",
        "step.rejected",
        "the approval was rejected by ann: not now",
    )


def test_each_of_the_choices_completes_the_step(world: World) -> None:
    engine = world.open()
    run = engine.run(asking(choices=["ship", "hold", "reject"]))
    refusal(engine, run.id, "gate")
    engine.reject(run.id, "gate")
    run = engine.wait(run.id, until="rest")
    assert (run.state, run.steps["gate"].output["decision"], run.steps["after"].state) == (
        "completed",
        "reject",
        "completed",
    )


@pytest.mark.parametrize(
    ("then", "choices", "state", "decision"),
    [
        ("approve", None, "completed", "approve"),
        ("reject", None, "failed", None),
        ("fail", None, "failed", None),
        ("hold", ["ship", "hold"], "completed", "hold"),
        ("fail", ["ship", "fail"], "failed", None),
    ],
)
def test_a_deadline_decides_when_nobody_does(
    world: World, then: str, choices: list[str] | None, state: str, decision: str | None
) -> None:
    engine = world.open()
    workflow = asking(approvers=["ann"], choices=choices, deadline={"after": "1h", "then": then}, form=FORM)
    run = engine.run(workflow)
    assert run.waiting[0].due_at.timestamp() == world.clock.now() / 1e6 + 3600
    world.clock.advance(3600)
    run = engine.wait(run.id, until="rest")
    gate = run.steps["gate"]
    assert run.state == state
    if decision is not None:
        assert (gate.output["decision"], gate.output["by"], gate.output["level"]) == (decision, "deadline", "low")
    else:
        assert gate.error is not None
        assert gate.error.kind == ("step.timeout" if then == "fail" else "step.rejected")


@pytest.mark.parametrize("away", ["paused", "left"])
def test_a_deadline_passes_while_nothing_goes_on(world: World, away: str) -> None:
    engine = world.open()
    run = engine.run(asking(deadline={"after": "1h", "then": "approve"}))
    if away == "paused":
        engine.pause(run.id)
    else:
        engine.close()
        engine = world.open()
    world.clock.advance(3600)
    engine.quiet()
    assert engine.get(run.id).steps["gate"].state == "waiting"
    run = engine.resume(run.id, until="rest")
    assert (run.state, run.steps["gate"].output["by"]) == ("completed", "deadline")


def test_a_decision_that_was_made_in_time_counts_although_it_is_heard_later(world: World) -> None:
    engine = world.open()
    run = engine.run(asking(deadline={"after": "1h", "then": "reject"}))
    engine.close()
    engine = world.open()
    engine.approve(run.id, "gate", by="ann")
    world.clock.advance(7200)
    assert engine.resume(run.id, until="rest").steps["gate"].output["by"] == "ann"


# --- going back


def rewinding(draft: Outcomes, other: Outcomes, rounds: int = 3) -> Workflow:
    """Two approvals in a graph: `taste` sends it back to `draft`, from which `law` reads nothing."""
    workflow = Workflow("rewinds")
    add(workflow, "draft", draft)
    add(workflow, "terms", other)
    workflow.approval("law", prompt="Terms ${{ steps.terms.output }}?", needs=["terms", "draft"])
    taste = {"rewind_to": "draft", "max_rounds": rounds}
    workflow.approval("taste", prompt="Draft ${{ steps.draft.output }}?", needs=["law", "draft"], on_reject=taste)
    return workflow


def test_an_approval_holds_after_a_rewind_if_nothing_that_it_rests_on_has_changed(world: World) -> None:
    engine = world.open()
    run = engine.run(rewinding(Outcomes("same"), Outcomes("terms")))
    engine.approve(run.id, "law", by="lawyer")
    engine.reject(run.id, "taste", by="chef")
    run = engine.wait(run.id)
    assert [(step.path, step.generation) for step in run.waiting] == [("taste", 2)]
    assert (run.steps["law"].output["by"], run.steps["law"].generation) == ("lawyer", 2)


def test_an_approval_is_void_after_a_rewind_that_changed_what_it_rests_on(world: World) -> None:
    engine = world.open()
    run = engine.run(rewinding(Outcomes("first", "second"), Outcomes("terms")))
    old = run.waiting[0].question["digest"]
    engine.approve(run.id, "law", by="lawyer", digest=old)
    engine.reject(run.id, "taste")
    run = engine.wait(run.id)
    assert [(step.path, step.generation) for step in run.waiting] == [("law", 2)]
    refusal(engine, run.id, "law", digest=old)
    engine.approve(run.id, "law", digest=run.waiting[0].question["digest"])


def test_a_rejection_in_the_last_round_fails_the_step(world: World) -> None:
    engine = world.open()
    draft = Outcomes(1, 2, 3)
    run = engine.run(rewinding(draft, Outcomes("terms"), rounds=2))
    for _ in range(2):
        engine.approve(run.id, "law")
        engine.reject(run.id, "taste", reason="no")
        run = engine.wait(run.id)
    assert (run.state, run.error.kind, run.error.step, draft.attempts) == ("failed", "run.failed", "taste", 2)


def test_who_is_sent_back_is_told_what_was_decided(world: World) -> None:
    engine, told = world.open(), list[Any]()
    workflow = Workflow("feedback")
    workflow.call("draft", functools.partial(_keep, told), with_={"said": "${{ feedback }}"})
    back = {"rewind_to": "draft", "max_rounds": 2}
    workflow.approval("gate", prompt="?", needs=["draft"], form={"note": "string"}, on_reject=back)
    run = engine.run(workflow)
    engine.reject(run.id, "gate", form={"note": "shorter"}, by="ann")
    engine.wait(run.id)
    assert (told[0], told[1]["note"], told[1]["by"], told[1]["decision"]) == (None, "shorter", "ann", "reject")


def _keep(told: list[Any], said: Any) -> None:
    told.append(said)


# --- in other places


def test_a_paused_run_takes_a_decision_and_goes_on_with_it_later(world: World) -> None:
    engine, gate = world.open(), Gate()
    workflow = asking()
    add(workflow, "busy", gate.ahold)
    run_id = engine.start(workflow)
    gate.begun()
    paused = engine.later("pause", run_id)
    engine.quiet()
    engine.approve(run_id, "gate", by="ann")  # while what was under way still is
    assert states(engine.get(run_id)) == {"gate": "completed", "after": "pending", "busy": "running"}
    gate.open()
    assert paused.result(10).state == "paused"
    run = engine.resume(run_id, until="rest")
    assert (run.state, run.steps["gate"].output["by"]) == ("completed", "ann")


def test_approvals_stand_in_groups_loops_states_and_handlers(world: World) -> None:
    engine = world.open()
    workflow = Workflow("everywhere")
    with workflow.group("ci") as group:
        group.approval("gate", prompt="group?")
    workflow.approval("each", prompt="${{ item }}?", for_each={"items": ["a", "b/c"], "key": "${{ item }}"})
    with workflow.group("token", start="ask") as level:
        level.approval("ask", prompt="state ${{ round }}?", choices=["on", "back"], next={"on": "end", "back": "ask"})
    workflow.finally_.approval("bye", prompt="bye?")
    run = engine.run(workflow)
    assert [(step.path, step.question["prompt"]) for step in run.waiting] == [
        ("ci/gate", "group?"),
        ("each[a]", "a?"),
        ("each[b/c]", "b/c?"),
        ("token/ask", "state 1?"),
    ]
    engine.approve(run.id, "token/ask", choice="back")
    for path in ("ci/gate", "each[b/c]", "each[a]"):
        engine.approve(run.id, path, by=path)
    refusal(engine, run.id, "each", by="container")
    run = engine.wait(run.id)
    assert [(step.path, step.question["prompt"]) for step in run.waiting] == [("token/ask", "state 2?")]
    engine.approve(run.id, "token/ask", choice="on")
    run = engine.wait(run.id)
    assert [step.path for step in run.waiting] == ["@finally/bye"]
    assert [one["by"] for one in run.steps["each"].output] == ["each[a]", "each[b/c]"]
    engine.approve(run.id, "@finally/bye")
    assert engine.wait(run.id, until="rest").state == "completed"


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_an_approval_of_a_handler_keeps_a_cancelled_run_open_but_no_engine(world: World, end: str) -> None:
    engine = world.open()
    workflow = asking()
    workflow.finally_.approval("bye", prompt="bye?")
    run = engine.run(workflow)
    cancelled = engine.later("cancel", run.id)
    engine.quiet()
    run = engine.get(run.id)
    assert (run.state, [step.path for step in run.waiting]) == ("cancelling", ["@finally/bye"])
    if end == "close":
        engine.close()
        engine = world.open()
        assert engine.get(run.id).owner is None
        assert engine.resume(run.id).state == "cancelling"
    engine.approve(run.id, "@finally/bye")
    assert engine.wait(run.id, until="rest").state == "cancelled"
    if end == "cancel":
        assert cancelled.result(10).state == "cancelled"


# --- from another process


def test_a_decision_from_another_process_is_acted_on_at_the_owners_next_look(world: World) -> None:
    owner, other = world.open(), world.open()
    run = owner.run(asking(approvers=["ann"]))
    refusal(other, run.id, "gate", by="eve")
    other.approve(run.id, "gate", by="ann", digest=run.waiting[0].question["digest"])
    refusal(other, run.id, "gate", by="ann")  # it is decided, although its owner has not heard of it
    world.clock.advance(WATCH_SECONDS)
    run = owner.wait(run.id, until="rest")
    assert (run.state, run.steps["gate"].output["by"]) == ("completed", "ann")
    assert world.inner().requests() == []


def test_of_two_processes_that_decide_at_once_one_is_heard(world: World) -> None:
    owner, others = world.open(), [world.open(), world.open()]
    run = owner.run(asking())
    calls = [other.later("approve", run.id, "gate", by=str(number)) for number, other in enumerate(others)]
    errors = [call.exception(10) for call in calls]
    world.clock.advance(WATCH_SECONDS)
    run = owner.wait(run.id, until="rest")
    winner = run.steps["gate"].output["by"]
    assert errors[int(winner)] is None
    assert kinds(owner, run.id).count("step.complete:gate") == 1
    assert world.inner().requests() == []


class Overtaken(CrashStore):
    """Lets something else be done between what a process tried out and the request that it then makes."""

    def __init__(self, inner: Store, first: Callable[[], object]) -> None:
        super().__init__(inner)
        self._first: list[Callable[[], object]] = [first]

    def request(self, *args: Any, **options: Any) -> int:
        while self._first:
            self._first.pop()()
        return super().request(*args, **options)


@pytest.mark.parametrize("left", [True, False], ids=["left", "owned"])
def test_of_opposite_decisions_in_one_instant_one_is_refused(world: World, left: bool) -> None:
    owner, first = world.open(), world.open()
    run = owner.run(asking())
    if left:
        owner.close()
    store = Overtaken(world.inner(), lambda: first.approve(run.id, "gate", by="ann"))
    second = Driver(world.engine_kind, store, clock=world.clock)
    error = refusal(second, run.id, "gate", verb="reject", by="bob")
    assert "completed" in str(error)
    assert [request.by for request in world.inner().requests()] == ["ann"]
    if not left:
        world.clock.advance(WATCH_SECONDS)
    run = (first.resume if left else owner.wait)(run.id, until="rest")
    assert (run.state, run.steps["gate"].output["by"], run.notes) == ("completed", "ann", ())
    second.close()


def test_a_decision_that_came_too_late_is_told_in_the_journal(world: World) -> None:
    """The owner itself decides before it has heard of what another process was told is kept."""
    owner, other, gate = world.open(), world.open(), Gate()
    workflow = asking()
    add(workflow, "busy", gate.ahold)
    run_id = owner.start(workflow)
    gate.begun()
    other.reject(run_id, "gate", by="bob")
    owner.approve(run_id, "gate", by="ann")
    world.clock.advance(WATCH_SECONDS)
    owner.quiet()
    (note,) = owner.get(run_id).notes
    assert note.startswith("what bob asked for came too late and was dropped: decide 'reject' of step 'gate': step")
    assert world.inner().requests() == []
    gate.open()
    assert owner.wait(run_id, until="rest").state == "completed"


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_what_was_asked_twice_is_no_reason_for_a_remark(world: World, action: str) -> None:
    owner, others, gate = world.open(), [world.open(), world.open()], Gate()
    workflow = Workflow("busy")
    add(workflow, "busy", gate.hold)
    run_id = owner.start(workflow)
    gate.begun()
    for other in others:
        getattr(other, action)(run_id, wait=False)
    world.clock.advance(WATCH_SECONDS)
    owner.quiet()
    assert (owner.get(run_id).notes, kinds(owner, run_id).count(f"run.{action}")) == ((), 1)
    gate.open()
