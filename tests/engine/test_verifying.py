"""A run that is stopped while its `verify` function is being asked, and what the answer is worth then."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from tests.engine.harness import Driver, Gate, World, add, states


def asked(world: World, verify: Gate, busy: Gate) -> Driver:
    """An engine that took over a run of which an attempt was cut off, and asks what became of it."""
    pay = Gate()

    def workflow(pay_body: Any) -> Workflow:
        built = Workflow("pays")
        add(built, "pay", pay_body, delivery="at_most_once", verify=verify.ahold)
        add(built, "busy", busy.hold)
        return built

    engine = world.open()
    engine.start(workflow(pay.ahold), run_id="r")
    pay.begun()
    busy.begun()
    engine.kill()
    first = workflow(pay.ahold)
    engine = world.open(functions=first.functions)
    engine.later("resume", "r", until="rest")
    verify.begun()
    busy.begun()
    return engine


@pytest.mark.parametrize("answer", ["completed", "retry", ValueError("who knows")], ids=str)
def test_an_answer_that_comes_after_the_run_was_cancelled_changes_nothing(world: World, answer: Any) -> None:
    verify, busy = Gate(), Gate()
    verify.result = answer
    engine = asked(world, verify, busy)
    cancelled = engine.later("cancel", "r")
    engine.quiet()
    verify.open()
    engine.quiet()
    busy.open()
    run = cancelled.result(10)
    assert (run.state, states(run)["pay"]) == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    ("answer", "state"), [("completed", "completed"), ("retry", "pending"), (ValueError("?"), "interrupted")], ids=str
)
def test_an_answer_that_comes_after_the_run_was_paused_is_kept(world: World, answer: Any, state: str) -> None:
    verify, busy = Gate(), Gate()
    verify.result = answer
    engine = asked(world, verify, busy)
    paused = engine.later("pause", "r", reason="lunch")
    engine.quiet()
    verify.open()
    engine.quiet()
    busy.open()
    run = paused.result(10)
    assert (run.state, states(run)) == ("paused", {"pay": state, "busy": "completed"})
