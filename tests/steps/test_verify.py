"""`verify`: which arguments its function gets, and what it may say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from statemachine_flow.engine.verify import Verdict, verdict_of, verify_attempt
from statemachine_flow.errors import StepError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.model import Defaults, Step, Verb
from statemachine_flow.plan import PlannedStep
from statemachine_flow.secrets import Redactor
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run
from statemachine_flow.stores.memory import MemoryStore

CALL = Call(call="f", with_={"n": "${{ inputs.n }}", "list": [1], "context": "of the step"})
NAMES: Mapping[str, Any] = {"inputs": {"n": 3}, "run": {}, "steps": {}, "env": {}}


def verify(function: Callable[..., Any], verb: Verb = CALL, name: str = "v") -> Verdict:
    threads = ThreadExecutor()
    attempt = Attempt(
        context=StepContext(run_id="r", workflow="w", step_id="s", attempt=1),
        functions=Functions({"v": function}),
        threads=threads,
        cwd="/",
        env={},
        grace=1.0,
        open_spill=MemoryStore().open_blob,
        redactor=Redactor(["canary-1"]),
    )
    step = Step(id="s", verb=verb, verify=name, delivery="at_most_once")
    try:
        return asyncio.run(verify_attempt(PlannedStep(0, step, Defaults()), attempt, NAMES))
    finally:
        threads.close()


def takes_some(n: int, context: StepContext) -> Any:
    return {"as": "completed", "output": [n, context.idempotency_key]}


async def takes_all(**given: Any) -> Any:
    return {"as": "completed", "output": given}


def test_the_function_gets_those_arguments_of_the_step_that_it_has_parameters_for() -> None:
    assert verify(takes_some) == Verdict("completed", [3, "r/s"])
    assert verify(takes_all) == Verdict("completed", {"n": 3, "list": [1], "context": "of the step"})
    assert verify(lambda: "retry") == Verdict("retry")


def test_a_command_has_no_arguments_to_give() -> None:
    assert verify(lambda context=None: "failed", Run(run="echo ${{ nothing.there }}")) == Verdict("failed")


@pytest.mark.parametrize(
    "said", ["completed", "failed", "retry", {"as": "failed"}, {"as": "completed", "output": None}]
)
def test_a_verdict_is_a_word_or_a_mapping(said: Any) -> None:
    assert verdict_of(said).as_ == (said if isinstance(said, str) else said["as"])


@pytest.mark.parametrize(
    "said",
    [
        *(None, True, 1, "", "Completed", "skip", ["retry"], {}, {"output": 1}, {"as": None}, {"as": ["retry"]}),
        *({"as": "retry", "output": 1}, {"as": "completed", "more": 1}, object()),
    ],
)
def test_anything_else_is_none_and_is_not_shown(said: Any) -> None:
    with pytest.raises(StepError, match="is no verdict") as caught:
        verify(lambda: said)
    assert (caught.value.kind, caught.value.name) == ("step.failed", "TypeError")
    assert "skip" not in caught.value.message


def exits() -> Any:
    raise SystemExit(3)


def shows() -> Any:
    raise ValueError("canary-1")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: dict[str, int]()["x"], "KeyError: 'x'"),
        (lambda other: "retry", "TypeError: "),
        (exits, "SystemExit: 3"),
        (shows, "ValueError: ***"),
    ],
)
def test_what_the_function_raises_is_told_without_secrets(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(StepError) as caught:
        verify(function)
    assert caught.value.message.startswith(f"`verify` gave no answer: {message}")


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(StepError, match="no function is registered as 'gone'") as caught:
        verify(lambda: "retry", name="gone")
    assert caught.value.kind == "definition.callable"


def test_no_repr_shows_an_output() -> None:
    assert "canary" not in repr(Verdict("completed", "canary"))
