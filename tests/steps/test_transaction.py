"""`transaction = true`: the function is handed the connection, and waits for nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from statemachine_flow.engine.attempt import run_in
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.model import Defaults, Step
from statemachine_flow.plan import PlannedStep
from statemachine_flow.secrets import Redactor
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.steps.call import Call
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import decode_value


def outcome_of(function: Callable[..., Any], connection: Any = None, **options: Any) -> Outcome:
    schema = options.pop("schema", None)
    verb = Call(call="f", with_=options.pop("with_", {}), transaction=True)
    attempt = Attempt(
        context=StepContext(run_id="r", workflow="w", step_id="s", attempt=1),
        functions=Functions({"f": function}),
        threads=ThreadExecutor(),
        cwd="/",
        env={},
        grace=1.0,
        open_spill=MemoryStore().open_blob,
        output_schema=schema,
        redactor=Redactor(["canary-1"]),
    )
    planned = PlannedStep(0, Step(id="s", verb=verb, output_schema=schema, **options), Defaults())
    return run_in(connection, planned, attempt, {"inputs": {"n": 3}, "run": {}, "steps": {}, "env": {}})


def add(n: int, db: apsw.Connection, context: StepContext) -> dict[str, Any]:
    db.execute("INSERT INTO t VALUES (?)", (n,))
    return {"n": n, "key": context.idempotency_key, "log": "canary-1"}


def test_the_function_works_inside_the_callers_transaction() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (n); BEGIN")
    outcome = outcome_of(add, connection, with_={"n": "${{ inputs.n }}"}, outputs={"twice": "2 * result.n"})

    assert connection.in_transaction
    assert connection.execute("SELECT n FROM t").fetchall() == [(3,)]
    assert decode_value(outcome.output) == {"n": 3, "key": "r/s", "log": "***"}
    assert outcome.outputs is not None
    assert decode_value(outcome.outputs) == {"twice": 6}
    connection.execute("ROLLBACK")
    connection.close()


async def asynchronous(connection: Any) -> None: ...


@pytest.mark.parametrize("function", [asynchronous, lambda connection: asynchronous(connection)])  # noqa: PLW0108 - it is no coroutine function
def test_an_asynchronous_function_is_refused(function: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = outcome_of(function)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.name) == ("step.failed", "TypeError")
    assert "asynchronous" in outcome.error.message


@pytest.mark.parametrize(
    ("function", "options", "kind"),
    [
        (lambda connection: connection.nothing, {}, "step.failed"),
        (lambda connection: None, {"with_": {"connection": 1}}, "step.failed"),
        (lambda connection: 1, {"schema": {"type": "string"}}, "step.schema"),
        (lambda connection: object(), {}, "step.unserializable"),
        (lambda connection: 1, {"outputs": {"x": "nothing"}}, "step.outputs"),
    ],
)
def test_whatever_goes_wrong_is_an_outcome(function: Callable[..., Any], options: dict[str, Any], kind: str) -> None:
    outcome = outcome_of(function, **options)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.kind == kind
