"""What is asked of a run wherever it is worked on: to go on, to be left, to end; and how long that is waited for."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError
from tests.engine.harness import PATIENCE, Events, Gate, Outcomes, World, add, states


class Pausing:
    """A run that one engine is still pausing, and a second engine."""

    def __init__(self, world: World) -> None:
        self.world, self.gate, self.after = world, Gate(), Outcomes("b")
        functions = {"a": self.gate.ahold, "b": self.after}
        self.first, self.second = world.open(), world.open(functions=functions)
        workflow = Workflow("held")
        add(workflow, "a", self.gate.ahold)
        add(workflow, "b", self.after, needs=["a"])
        self.first.start(workflow, run_id="r")
        self.gate.begun()
        self.paused = self.first.later("pause", "r")
        self.first.quiet()
        assert self.first.get("r").state == "paused"

    def ask(self, name: str = "resume", **options: Any) -> concurrent.futures.Future[Run]:
        """Have the second engine ask for something, until the request is in the store."""
        future = self.second.later(name, "r", **options)
        while not self.second.store.requests("r"):
            assert not future.done(), future.result()
            self.second.quiet()
        return future

    def look(self) -> None:
        """The owner looks for requests."""
        self.world.clock.advance(0.5)
        self.first.quiet()


@pytest.fixture
def pausing(world: World) -> Pausing:
    return Pausing(world)


def test_a_run_that_is_still_being_paused_goes_on_in_its_process_and_is_followed(pausing: Pausing) -> None:
    events = Events()
    resumed = pausing.ask(reason="after all", by="me", on_event=events)
    pausing.look()
    run = pausing.second.get("r")
    assert (run.state, run.owner, states(run)["a"]) == ("running", pausing.first.core.owner, "running")
    pausing.gate.open(1)
    run = resumed.result(PATIENCE)
    assert (run.state, len(pausing.gate.attempts), pausing.after.attempts) == ("completed", 1, 1)
    data = {event.kind: event.data for event in pausing.second.events("r")}
    assert data["run.resume"] == {"reason": "after all", "by": "me"}
    assert [event.kind for event in events.seen] == [event.kind for event in pausing.second.events("r")][-5:]
    assert pausing.world.inner().requests() == []


def test_a_resume_that_nobody_waits_for_is_durable_and_heard(pausing: Pausing) -> None:
    run = pausing.second.resume("r", wait=False)
    assert (run.state, run.owner) == ("paused", pausing.first.core.owner)
    assert [request.action for request in pausing.world.inner().requests("r")] == ["resume"]
    pausing.look()
    pausing.gate.open(1)
    assert pausing.second.wait("r").state == "completed"


def test_an_owner_that_does_not_hear_it_in_time_is_asked_all_the_same(pausing: Pausing) -> None:
    run = pausing.second.resume("r", timeout=0)
    assert (run.state, run.owner) == ("paused", pausing.first.core.owner)
    pausing.look()
    assert pausing.first.get("r").state == "running"
    pausing.gate.open(1)
    assert pausing.first.wait("r").state == "completed"


def test_of_an_owner_that_dies_before_it_hears_the_run_is_taken_over(pausing: Pausing) -> None:
    resumed = pausing.ask()
    pausing.first.kill()
    pausing.gate.open(1)
    run = resumed.result(PATIENCE)
    assert (run.state, run.steps["a"].attempt) == ("completed", 2)
    assert pausing.world.inner().requests() == []


def test_a_run_that_came_to_rest_before_its_owner_heard_of_it_goes_on_with_whoever_asked(pausing: Pausing) -> None:
    resumed = pausing.ask()
    pausing.gate.open(1)
    assert pausing.paused.result(PATIENCE).state == "paused"
    run = resumed.result(PATIENCE)
    assert (run.state, len(pausing.gate.attempts), pausing.after.attempts) == ("completed", 1, 1)


class Uncertain:
    """A run that one engine is still pausing, with a step that was cut off of which nobody knows what it did."""

    def __init__(self, world: World) -> None:
        self.first, self.second = world.open(grace=60), world.open()
        self.gate, self.busy = Gate(), Gate()
        workflow = Workflow("once")
        add(workflow, "pay", self.gate.ahold, delivery="at_most_once")
        add(workflow, "busy", self.busy.hold)  # a thread: it is not stopped before its grace is over
        self.first.later("run", workflow, run_id="r")
        self.gate.begun()
        self.busy.begun()
        self.paused = self.first.later("pause", "r", interrupt=True)
        self.first.quiet()
        run = self.second.get("r")
        assert (run.state, run.owner, states(run)) == (
            "paused",
            self.first.core.owner,
            {"pay": "interrupted", "busy": "running"},
        )


def test_a_resume_that_the_run_does_not_allow_leaves_no_request(world: World) -> None:
    uncertain = Uncertain(world)
    with pytest.raises(ConflictError, match="whether pay took effect") as caught:
        uncertain.second.resume("r")
    assert caught.value.kind == "run.uncertain"
    assert world.inner().requests() == []
    uncertain.busy.open(1)


def test_who_says_what_became_of_a_step_waits_until_the_owner_of_the_run_has_heard(world: World) -> None:
    uncertain = Uncertain(world)
    unheard = uncertain.second.resolve("r", "pay", "completed", output=7, wait=False)
    assert unheard.steps["pay"].state == "interrupted"
    resumed = uncertain.second.later("resume", "r")  # it is allowed by now
    while len(world.inner().requests("r")) < 2:
        uncertain.second.quiet()
    world.clock.advance(0.5)
    uncertain.busy.open(1)
    run = resumed.result(PATIENCE)
    assert (run.state, run.steps["pay"].output, run.steps["busy"].state) == ("completed", 7, "completed")


def test_the_answer_that_is_waited_for_has_been_heard(world: World) -> None:
    uncertain = Uncertain(world)
    resolved = uncertain.second.later("resolve", "r", "pay", "failed")
    while not world.inner().requests("r"):
        uncertain.second.quiet()
    world.clock.advance(0.5)
    assert resolved.result(PATIENCE).steps["pay"].state == "failed"
    uncertain.busy.open(1)
    assert uncertain.paused.result(PATIENCE).owner is None


def test_what_two_ask_for_is_done_once_and_what_ends_the_run_comes_first(pausing: Pausing) -> None:
    pausing.second.resume("r", wait=False, by="one")
    pausing.second.resume("r", wait=False, by="two")
    pausing.second.cancel("r", wait=False)
    with pytest.raises(ConflictError, match="was asked to cancel it") as caught:
        pausing.second.resume("r")
    assert caught.value.kind == "run.state"
    pausing.look()
    run = pausing.first.wait("r")
    said = [event.data for event in pausing.first.events("r") if event.kind in ("run.resume", "run.note")]
    assert (run.state, said) == ("cancelled", [{"by": "one"}])


def test_who_waits_for_a_pause_is_told_if_somebody_resumes_it_first(pausing: Pausing) -> None:
    third = pausing.world.open()
    waiting = third.later("pause", "r")
    while not third.store.requests("r"):
        third.quiet()
    resumed = pausing.second.later("resume", "r")
    while len(third.store.requests("r")) < 2:
        pausing.second.quiet()
    pausing.look()
    with pytest.raises(ConflictError, match="running again") as caught:
        waiting.result(PATIENCE)
    assert caught.value.kind == "run.state"
    pausing.gate.open(1)
    assert resumed.result(PATIENCE).state == "completed"


def test_who_leaves_a_run_of_another_engine_waits_no_longer_and_changes_nothing(pausing: Pausing) -> None:
    resumed = pausing.ask()
    pausing.second.leave("r")
    run = resumed.result(PATIENCE)
    assert (run.state, run.owner) == ("paused", pausing.first.core.owner)
    followed = pausing.second.later("wait", "r")
    pausing.look()
    pausing.second.quiet()
    pausing.second.leave("r")
    pausing.gate.open(1)
    assert followed.result(PATIENCE).id == "r"
    assert pausing.first.wait("r").state == "completed"


# --- the end of a run that nobody works on


class Ending:
    """A run that waits for the world, and has a handler that is held."""

    def __init__(self, world: World) -> None:
        self.world, self.gate = world, Gate()
        self.engine = world.open()
        workflow = Workflow("ending")
        workflow.wait("ear", event="go")
        add(workflow.finally_, "tidy", self.gate.ahold)
        self.engine.run(workflow, run_id="r")
        self.engine.close()
        self.functions = dict(workflow.functions)
        self.engine = world.open(functions=self.functions)

    def is_left(self) -> None:
        """The run's end is nobody's; whoever cancels it again brings it about."""
        run = self.engine.get("r")
        assert (run.state, run.owner) == ("cancelling", None)
        self.gate.open()
        run = self.engine.cancel("r")
        assert (run.state, run.steps["@finally/tidy"].state) == ("cancelled", "completed")


def test_a_cancel_that_carries_nothing_leaves_the_handlers_to_others(world: World) -> None:
    ending = Ending(world)
    run = ending.engine.cancel("r", carry=False, reason="enough")
    assert (run.state, run.owner, run.reason) == ("cancelling", None, "enough")
    assert len(ending.gate.attempts) == 0
    ending.is_left()
    assert len(ending.gate.attempts) == 1


def test_what_was_left_of_a_cancel_is_brought_to_its_end_by_a_recovery(world: World) -> None:
    ending = Ending(world)
    ending.engine.cancel("r", carry=False)
    waiting = Workflow("waiting")
    waiting.wait("ear", event="go")
    ending.engine.run(waiting, run_id="w")
    ending.engine.close()
    ending.gate.open()
    other = world.open(functions=ending.functions)
    assert other.recover().taken == ["r"]
    assert other.wait("r").state == "cancelled"


def test_a_cancel_waits_no_longer_than_it_is_told_to_and_goes_on(world: World) -> None:
    ending = Ending(world)
    cancelled = ending.engine.later("cancel", "r", timeout=5)
    ending.gate.begun()
    world.clock.advance(5)
    run = cancelled.result(PATIENCE)
    assert (run.state, run.owner) == ("cancelling", ending.engine.core.owner)
    ending.gate.open()
    assert ending.engine.wait("r").state == "cancelled"


def test_a_cancel_whose_engine_leaves_the_run_stops_its_handlers(world: World) -> None:
    ending = Ending(world)
    cancelled = ending.engine.later("cancel", "r")
    ending.gate.begun()
    ending.engine.leave("r")
    assert cancelled.result(PATIENCE).state == "cancelling"
    assert ending.gate.cancelled == 1
    ending.is_left()
    assert len(ending.gate.attempts) == 2


# --- what became of an attempt


def test_who_says_what_became_of_a_step_of_a_dead_process_is_told_what_comes_first(world: World) -> None:
    first, second, gate = world.open(), world.open(), Gate()
    workflow = Workflow("once")
    add(workflow, "pay", gate.ahold, delivery="at_most_once")
    first.later("run", workflow, run_id="r")
    gate.begun()
    first.kill()
    with pytest.raises(ConflictError, match="is gone") as caught:
        second.resolve("r", "pay", "completed")
    assert (caught.value.kind, "recover" in str(caught.value.hint)) == ("run.refused", True)
