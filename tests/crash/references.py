"""The twelve reference workflows that are taken through every fault of the disk; the rest are scenarios of their own.

Bodies here are coroutines and the clock stands still unless it is moved, so that a run writes much the same in every
execution.
"""

from __future__ import annotations

from typing import Any

import apsw
import attrs

from statemachine_flow.agents import AgentReply, AgentRequest
from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Run
from tests.crash import loops, scenarios, waits
from tests.crash.scene import Operator, Scene, run_to_rest
from tests.engine.harness import add


async def fan_out_50(engine: AsyncEngine, scene: Scene) -> Run:
    workflow = Workflow("fan-out-50", max_parallel=8)
    add(workflow, "source", scene.body)
    names = [f"b{index}" for index in range(50)]
    for name in names:
        add(workflow, name, scene.body, needs=["source"])
    add(workflow, "sink", scene.body, needs=names)
    return await run_to_rest(engine, workflow, scene)


async def agent(engine: AsyncEngine, scene: Scene) -> Run:
    """Agents in a row and as items, one of which fails at first; they cost money."""
    retry = {"max_attempts": 3, "delay": "1m", "jitter": "none"}
    workflow = Workflow("agents", max_parallel=2)
    workflow.agent("draft", "writer", "Write.")
    items = {"items": ["x", "y", "z"], "key": "${{ item }}"}
    workflow.agent("review", "writer", "Review ${{ item }} of ${{ steps.draft.output }}", for_each=items)
    workflow.agent("flaky", "flaky", "Mend.", needs=["review"], retry=retry)
    workflow.output("all", "${{ [steps.review.output, steps.flaky.output] }}")
    return await run_to_rest(engine, workflow, scene)


async def transactions(engine: AsyncEngine, scene: Scene) -> Run:
    """Steps whose effect is a row beside the journal, behind steps that are undone when the last one fails."""

    def count(connection: apsw.Connection) -> int:
        connection.execute("CREATE TABLE IF NOT EXISTS counter (n INTEGER)")
        connection.execute("INSERT INTO counter SELECT count(*) + 1 FROM counter")
        (n,) = connection.execute("SELECT max(n) FROM counter").fetchall()[0]
        assert isinstance(n, int)
        return n

    workflow = Workflow("transactions", compensate=True, max_parallel=1)
    add(workflow, "one", count, transaction=True, compensate={"call": scene.body})
    items = {"items": ["a", "b"], "key": "${{ item }}"}
    add(workflow, "each", count, transaction=True, for_each=items, needs=["one"])
    add(workflow, "book", scene.body, needs=["each"], compensate={"call": scene.body})
    add(workflow, "useless", scene.useless, needs=["book"])
    workflow.finally_.call("last", count, transaction=True)
    return await run_to_rest(engine, workflow, scene)


def agents_of(scene: Scene) -> dict[str, Any]:
    """Whom the engine can ask; their attempts are noted like those of other steps."""

    async def writer(request: AgentRequest) -> AgentReply:
        return AgentReply(await scene.body(request.context), cost_usd=0.25, tokens=100)

    async def flaky(request: AgentRequest) -> str:
        return await scene.flaky(request.context)

    return {"writer": writer, "flaky": flaky}


@attrs.frozen
class Reference:
    """A workflow with its operator."""

    operator: Operator
    #: A death changes how far it comes before it is stopped, or whether a first attempt fails.
    free: bool = False


REFERENCES: dict[str, Reference] = {
    "linear": Reference(scenarios.linear),
    "fan_out_50": Reference(fan_out_50),
    "retry": Reference(scenarios.retry_with_back_off, free=True),
    "pause": Reference(scenarios.pause, free=True),
    "cancel": Reference(scenarios.cancel, free=True),
    "children": Reference(waits.children),
    "agent": Reference(agent, free=True),
    "commands": Reference(scenarios.commands),
    "for_each": Reference(loops.for_each),
    "states": Reference(loops.states),
    "approvals": Reference(waits.approval_with_form),
    "transactions": Reference(transactions),
}
