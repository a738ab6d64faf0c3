"""Case 57: an output too large for the journal whose blob the store cannot take is no failure of its step."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import Spill
from tests.engine.harness import Driver, Outcomes, World, add, kinds

LARGE = "x" * (1 << 21)


class FullBlobs:
    """In the place of a store's `open_blob`: a blob fails when it is begun, or at its end, while there is no room."""

    def __init__(self, engine: Driver, at: str) -> None:
        self._inner: Callable[[], Spill] = engine.store.open_blob
        self.at = at
        engine.store.open_blob = self  # type: ignore[method-assign]

    def __call__(self) -> Any:
        self.reach("open")
        self._spill = self._inner()
        return self

    def write(self, data: bytes) -> None:
        self._spill.write(data)

    def finish(self) -> str:
        self.reach("finish")
        return self._spill.finish()

    def discard(self) -> None:
        self._spill.discard()

    def reach(self, moment: str) -> None:
        if moment == self.at:
            raise StoreError("no room", kind="store.full")


@pytest.mark.parametrize("what", ["function", "command", "transaction"])
@pytest.mark.parametrize("at", ["open", "finish"])
def test_case_57_the_run_is_given_up_and_goes_on_once_there_is_room(one_world: World, at: str, what: str) -> None:
    if what == "command" and os.name == "nt":
        pytest.skip("commands of POSIX")
    engine, undone, workflow = one_world.open(), Outcomes("undone"), Workflow("pays", compensate=True)
    add(workflow, "pay", Outcomes("paid"), compensate={"call": undone})
    if what == "command":
        workflow.run("large", "head -c 2000000 /dev/zero", needs=["pay"])
    else:
        options = {"transaction": True} if what == "transaction" else {}
        add(workflow, "large", (lambda connection: LARGE) if options else (lambda: LARGE), needs=["pay"], **options)
    full = FullBlobs(engine, at)
    with pytest.raises(StoreError) as caught:
        engine.run(workflow, run_id="r")

    assert (caught.value.kind, caught.value.exit_code) == ("store.full", 6)
    assert kinds(engine, "r")[-1] == "step.start:large"
    full.at = "never"
    run = engine.resume("r")
    assert (run.state, run.steps["large"].attempt, undone.attempts) == ("completed", 2, 0)
