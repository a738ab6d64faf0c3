"""Random graphs with scripted outcomes, compared with a reference that knows no engine.

The reference computes what must become of every step from needs, conditions and outcomes alone. Order and time are
left to the engine; every journal is replayed and checked for order at the end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Run
from statemachine_flow.model import Definition, RetryPolicy, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import ManualClock
from tests.engine.harness import check_run

End = Literal["completed", "failed", "forgiven", "skipped"]


@attrs.frozen
class Script:
    """One step of a random graph."""

    needs: tuple[int, ...]
    #: None: no condition.
    when: bool | None
    optional: bool
    max_attempts: int
    #: How many attempts raise before one returns.
    failures: int
    #: Turns of the loop an attempt takes.
    turns: int


@st.composite
def scripts(draw: st.DrawFn) -> list[Script]:
    count = draw(st.integers(1, 12))
    return [
        Script(
            needs=tuple(sorted(draw(st.sets(st.integers(0, index - 1), max_size=3)))) if index else (),
            when=draw(st.sampled_from([None, None, None, True, False])),
            optional=draw(st.sampled_from([False, False, True])),
            max_attempts=draw(st.integers(1, 3)),
            failures=draw(st.sampled_from([0, 0, 0, 1, 2, 3])),
            turns=draw(st.integers(0, 3)),
        )
        for index in range(count)
    ]


def reference(graph: list[Script], failures: Callable[[int], int]) -> list[End]:
    """What becomes of every step if no failure stops the run."""
    ends: list[End] = []
    for index, script in enumerate(graph):
        if any(ends[need] not in ("completed", "forgiven") for need in script.needs) or script.when is False:
            ends.append("skipped")
        elif failures(index) < script.max_attempts:
            ends.append("completed")
        else:
            ends.append("forgiven" if script.optional else "failed")
    return ends


def definition_of(graph: list[Script], max_parallel: int | None) -> Definition:
    steps = tuple(
        Step(
            id=f"s{index}",
            verb=Call(call=f"f{index}"),
            needs=tuple(f"s{need}" for need in script.needs),
            when=None if script.when is None else f"1 == {1 if script.when else 2}",
            optional=script.optional,
            retry=RetryPolicy(max_attempts=script.max_attempts, delay=5.0),
        )
        for index, script in enumerate(graph)
    )
    return Definition(name="random", steps=steps, max_parallel=max_parallel)


class Played:
    """A graph being executed: what its bodies do, and how often they were called."""

    def __init__(self, graph: list[Script]) -> None:
        self.graph = graph
        self.failing = [script.failures for script in graph]
        self.calls = [0] * len(graph)
        self.alive = self.most = 0

    def body(self, index: int) -> Callable[[], Coroutine[Any, Any, int]]:
        async def run() -> int:
            self.calls[index] += 1
            self.alive += 1
            self.most = max(self.most, self.alive)
            try:
                for _ in range(self.graph[index].turns):
                    await asyncio.sleep(0)
                if self.failing[index] > 0:
                    self.failing[index] -= 1
                    raise ValueError(index)
                return index
            finally:
                self.alive -= 1

        return run

    def functions(self) -> dict[str, Callable[[], Coroutine[Any, Any, int]]]:
        return {f"f{index}": self.body(index) for index in range(len(self.graph))}


def ends_of(run: Run) -> list[End | str]:
    forgiven = {step.id for step in run.steps.values() if step.state == "failed" and step._fold.forgiven}
    return ["forgiven" if step.id in forgiven else str(step.state) for step in run.steps.values()]


async def play(graph: list[Script], max_parallel: int | None) -> None:
    clock, store, played = ManualClock(), MemoryStore(), Played(graph)
    workflow = Workflow.of(definition_of(graph, max_parallel))
    async with AsyncEngine(store, clock=clock, functions=played.functions()) as engine:

        def hurry(event: Any) -> None:
            if event.kind == "step.back_off":
                clock.advance(10)

        run = await engine.run(workflow, run_id="r", on_event=hurry)
        check_run(store, "r")
        assert max_parallel is None or played.most <= max_parallel
        expected = reference(graph, lambda index: graph[index].failures)
        if "failed" not in expected:
            assert (str(run.state), ends_of(run)) == ("completed", expected)
            assert played.calls == [
                min(script.failures + 1, script.max_attempts) if end in ("completed", "failed", "forgiven") else 0
                for script, end in zip(graph, expected, strict=True)
            ]
            return
        check_failed(run, expected)
        before, kept = list(played.calls), ends_of(run)
        played.failing = [0] * len(graph)
        again = await engine.retry("r", on_event=hurry)
        check_run(store, "r")
        forgiven = {index for index, end in enumerate(kept) if end == "forgiven"}
        assert (str(again.state), ends_of(again)) == (
            "completed",
            reference(graph, lambda index: 1000 if index in forgiven else 0),
        )
        for index, end in enumerate(kept):
            if end in ("completed", "forgiven"):
                assert played.calls[index] == before[index], f"s{index} was {end} and was called again"


def check_failed(run: Run, expected: list[End]) -> None:
    """What stood still when a required step failed is cancelled; everything else is as the reference says."""
    assert run.state == "failed"
    for found, wanted in zip(ends_of(run), expected, strict=True):
        assert found in (wanted, "cancelled") or (found == "skipped" and wanted != "skipped")
    failed = [step for step in run.steps.values() if step.state == "failed" and not step._fold.forgiven]
    first = min(failed, key=lambda step: step.ended_at or 0)
    assert run.error is not None
    assert run.error.step in {step.id for step in failed if step.ended_at == first.ended_at}


RANDOM = settings(
    max_examples=int(os.environ.get("SMF_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@RANDOM
@given(scripts(), st.sampled_from([None, 1, 2, 3]))
def test_every_graph_ends_as_the_reference_says_and_a_retry_finishes_it(
    graph: list[Script], max_parallel: int | None
) -> None:
    asyncio.run(play(graph, max_parallel))


@pytest.mark.soak
@settings(RANDOM, max_examples=5000)
@given(scripts(), st.sampled_from([None, 1, 2, 3]))
def test_a_great_many_graphs_end_as_the_reference_says(graph: list[Script], max_parallel: int | None) -> None:
    asyncio.run(play(graph, max_parallel))
