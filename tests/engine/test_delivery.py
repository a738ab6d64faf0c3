"""G4: what must not be done twice is not begun again by itself, and a transaction's effect is there with its result.

Started as a script, this is the process that dies: `test_delivery.py STORE STEP WHERE`, by SIGKILL in the step's body
before or after its effect, or once its end is durable.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

import statemachine_flow as smf

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")

BEFORE, AFTER, DURABLE = "before", "after", "durable"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def engine_on(store: str, dies: str = "") -> smf.Engine:
    """An engine whose steps have an effect in a file, or in the store; which dies in the first attempt, if it is to."""

    def at(where: str, context: smf.StepContext) -> None:
        if dies == where and context.attempt == 1:
            die()

    def pay(context: smf.StepContext) -> str:
        at(BEFORE, context)
        with Path(f"{store}.paid").open("a", encoding="utf-8") as file:
            file.write(f"{context.attempt}\n")
        at(AFTER, context)
        return "paid"

    def was_paid(context: smf.StepContext) -> Any:
        return {"as": "completed", "output": "found"} if paid(store) == [context.attempt] else "retry"

    def book(context: smf.StepContext, connection: apsw.Connection) -> str:
        at(BEFORE, context)
        connection.execute("INSERT INTO bookings VALUES (?)", (context.attempt,))
        at(AFTER, context)
        return "booked"

    def rest() -> None:
        """What is left to do when the step before is durable."""

    return smf.Engine(store, functions={"pay": pay, "was_paid": was_paid, "book": book, "rest": rest})


def paid(store: str) -> list[int]:
    path = Path(f"{store}.paid")
    return [int(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def booked(store: str) -> list[int]:
    connection = apsw.Connection(store)
    try:
        return [row[0] for row in connection.execute("SELECT attempt FROM bookings")]
    finally:
        connection.close()


def workflow_of(step: str) -> smf.Workflow:
    workflow = smf.Workflow("shop")
    options: dict[str, dict[str, Any]] = {
        "pay": {"delivery": "at_most_once"},
        "verified": {"delivery": "at_most_once", "verify": "was_paid"},
        "book": {"transaction": True},
    }
    workflow.call(step, "book" if step == "book" else "pay", **options[step])
    workflow.call("next", "rest", needs=step)
    return workflow


def child(store: str, step: str, where: str) -> None:
    def watch(event: smf.Event) -> None:
        if where == DURABLE and (event.kind, event.step) == ("step.complete", step):
            die()

    with engine_on(store, where) as engine:
        engine.run(workflow_of(step), run_id="r", on_event=watch)


@pytest.fixture
def store(tmp_path: Path) -> str:
    path = tmp_path / "runs.db"
    with smf.Engine(path) as engine:
        assert engine.list() == []
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE bookings (attempt)")
    connection.close()
    return str(path)


def dies(store: str, step: str, where: str) -> None:
    done = subprocess.run([sys.executable, __file__, store, step, where], capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("where", [BEFORE, AFTER])
def test_a_step_that_was_cut_off_is_not_begun_again_until_somebody_says_so(where: str, store: str) -> None:
    dies(store, "pay", where)
    with engine_on(store) as engine:
        run = engine.resume("r")
        with pytest.raises(smf.errors.ConflictError) as caught:
            engine.resume("r")

    assert caught.value.kind == "run.uncertain"
    assert (run.state, run.reason) == ("paused", "uncertain: pay")
    assert (run.steps["pay"].state, run.steps["pay"].attempt) == ("interrupted", 1)
    assert paid(store) == ([] if where == BEFORE else [1])


@pytest.mark.parametrize(
    ("said", "state", "output", "effects"),
    [
        ("completed", "completed", {"id": 7}, [1]),
        ("failed", "failed", None, [1]),
        ("retry", "completed", "paid", [1, 2]),
    ],
)
def test_what_somebody_says_of_it_is_what_became_of_it(
    said: Any, state: str, output: Any, effects: list[int], store: str
) -> None:
    dies(store, "pay", AFTER)
    with engine_on(store) as engine:
        assert engine.resume("r").state == "paused"
        engine.resolve("r", "pay", said, output={"id": 7} if said == "completed" else None)
        run = engine.resume("r")

    error = run.steps["pay"].error
    assert (run.state, run.steps["pay"].output) == (state, output)
    assert (error and error.kind) == ("step.uncertain" if said == "failed" else None)
    assert paid(store) == effects


@pytest.mark.parametrize(("where", "output", "effects"), [(BEFORE, "paid", [2]), (AFTER, "found", [1])])
def test_a_verify_function_finds_out_by_itself(where: str, output: str, effects: list[int], store: str) -> None:
    dies(store, "verified", where)
    with engine_on(store) as engine:
        run = engine.resume("r")

    assert (run.state, run.steps["verified"].output) == ("completed", output)
    assert paid(store) == effects


@pytest.mark.parametrize(("where", "effects"), [(BEFORE, [2]), (AFTER, [2]), (DURABLE, [1])])
def test_what_a_transaction_writes_is_there_exactly_if_its_step_completed(
    where: str, effects: list[int], store: str
) -> None:
    dies(store, "book", where)

    assert booked(store) == ([1] if where == DURABLE else [])
    with engine_on(store) as engine:
        run = engine.resume("r")

    assert (run.state, run.steps["book"].output) == ("completed", "booked")
    assert booked(store) == effects


def test_what_a_failed_attempt_wrote_in_its_transaction_is_not_there(store: str) -> None:
    workflow = smf.Workflow("shop")
    policy = smf.RetryPolicy(max_attempts=2, delay=0.001)
    workflow.call("book", "book", transaction=True, output_schema={"type": "integer"}, retry=policy)
    with engine_on(store) as engine:
        run = engine.run(workflow)

    assert run.steps["book"].error is not None
    assert (run.steps["book"].error.kind, run.steps["book"].attempt) == ("step.schema", 2)
    assert booked(store) == []


def test_a_transaction_reaches_nothing_that_belongs_to_the_store(store: str) -> None:
    def forge(connection: apsw.Connection) -> None:
        connection.execute("UPDATE runs SET state = 'completed'")

    workflow = smf.Workflow("forgery")
    workflow.call("forge", forge, transaction=True)
    with smf.Engine(store) as engine:
        run = engine.run(workflow)

    assert run.error is not None
    assert (run.state, run.error.message) == ("failed", "step 'forge' failed: not authorized")


if __name__ == "__main__":
    child(*sys.argv[1:])
