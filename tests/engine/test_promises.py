"""What callers may rely on at the edges: whose functions run, who is told, and that nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from statemachine_flow import Engine, Event, RetryPolicy, Workflow
from statemachine_flow.errors import ConflictError
from statemachine_flow.testing import ManualClock


def one(name: str, value: str) -> Workflow:
    workflow = Workflow(name)
    workflow.call("send", lambda: value)
    return workflow


def test_functions_of_one_workflow_are_not_those_of_another() -> None:
    with Engine("memory://", functions={"send": lambda: "registered"}) as engine:
        document = 'dsl = "1"\nname = "document"\nsteps.a = { call = "send" }\n'

        assert engine.run(one("first", "first")).steps["send"].output == "first"
        assert engine.run(one("second", "second")).steps["send"].output == "second"
        assert engine.run(document).steps["a"].output == "registered"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
@pytest.mark.filterwarnings("ignore")
def test_a_listener_that_raises_has_no_say_in_the_run(error: type[BaseException]) -> None:
    def listen(_: Event) -> None:
        raise error

    with Engine("memory://") as engine:
        assert engine.run(one("heard", "x"), on_event=listen).ok


def test_a_step_that_cancels_its_own_task_fails_once() -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    workflow = Workflow("selfish")
    workflow.call("a", cancel_itself)
    with Engine("memory://") as engine:
        run = engine.run(workflow)

    assert (run.state, run.steps["a"].attempt) == ("failed", 1)
    assert run.error is not None
    assert run.error.name == "CancelledError"


def test_inputs_in_another_order_are_the_same_inputs() -> None:
    workflow = Workflow("ordered")
    workflow.input("o", "object")
    workflow.call("a", lambda: 1)
    with Engine("memory://") as engine:
        first = engine.run(workflow, {"o": {"x": 1, "y": 2}}, run_id="r")

        assert engine.run(workflow, {"o": {"y": 2, "x": 1}}, run_id="r").seq == first.seq
        with pytest.raises(ConflictError, match=r"other inputs \(o\)"):
            engine.run(workflow, {"o": {"y": 3}}, run_id="r")


def test_a_retried_run_has_its_whole_timeout_again() -> None:
    clock = ManualClock()
    calls: list[int] = []

    def slow_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            clock.advance(60)
            raise ValueError

    workflow = Workflow("late", timeout="30s")
    workflow.call("a", slow_once, retry=RetryPolicy())
    with Engine("memory://", clock=clock) as engine:
        assert engine.run(workflow, run_id="r").state == "failed"
        assert engine.retry("r").ok
