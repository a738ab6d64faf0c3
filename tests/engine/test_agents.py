"""Agents in runs: who is asked, what an answer becomes, and what the run's budget allows."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

import pytest

from statemachine_flow.agents import AgentReply, AgentRequest
from statemachine_flow.builder import Workflow, load
from statemachine_flow.errors import DefinitionError
from tests.engine.harness import Events, Gate, Outcomes, World, add, kinds, states

SCHEMA = {"type": "object", "required": ["severity"], "properties": {"severity": {"enum": ["low", "high"]}}}


def asks(**options: Any) -> Workflow:
    """A workflow that asks one agent."""
    workflow = Workflow("asks", budget=options.pop("budget", None))
    workflow.agent("ask", "it", prompt="Review ${{ run.workflow }}", **options)
    return workflow


def answer(request: AgentRequest) -> Any:
    return f"{request.prompt}!"


async def later(request: AgentRequest) -> Any:
    await asyncio.sleep(0)
    return AgentReply(f"{request.prompt}!", cost_usd=0.25, tokens=7, model="m")


class Clerk:
    """An agent that is an object."""

    def __call__(self, request: AgentRequest) -> Any:
        return later(request)


@pytest.mark.parametrize("agent", [answer, later, Clerk(), functools.partial(later)])
def test_whatever_can_be_called_with_a_request_is_an_agent(world: World, agent: Any) -> None:
    run = world.open(agents={"it": agent}).run(asks())
    assert (run.state, run.steps["ask"].output) == ("completed", "Review asks!")
    counted = agent is not answer
    assert (run.usage.cost_usd, run.usage.tokens) == ((0.25, 7) if counted else (0.0, 0))


def test_an_agent_is_told_what_it_is_asked_for(world: World) -> None:
    told: list[AgentRequest] = []

    def agent(request: AgentRequest) -> Any:
        told.append(request)
        return {"severity": "low"}

    run = world.open(agents={"it": agent}).run(asks(with_={"n": "${{ 1 + 1 }}"}, output_schema=SCHEMA), run_id="r")
    assert run.state == "completed"
    request = told[0]
    assert (request.agent, request.prompt, dict(request.with_), request.output_schema) == (
        "it",
        "Review asks",
        {"n": 2},
        SCHEMA,
    )
    assert (request.context.run_id, request.context.path, request.context.attempt) == ("r", "ask", 1)


def test_an_agent_that_the_engine_was_not_given_is_missed_before_anything_is_recorded(world: World) -> None:
    engine = world.open()
    for workflow in (asks(), _outer(asks())):
        with pytest.raises(DefinitionError) as caught:
            engine.run(workflow)
        assert [problem.kind for problem in caught.value.problems] == ["definition.agent"]
    assert engine.list() == []


def _outer(child: Workflow) -> Workflow:
    workflow = Workflow("outer")
    workflow.child("sub", child)
    return workflow


@pytest.mark.parametrize(
    "text",
    [
        '{"severity": "low"}',
        'Here:\n```json\n{"severity": "low"}\n```\nAnything else?',
        '```\n{"severity": "low"}\n```',
        '```python\nx = {}\n```\n```json\n{"severity": "low"}\n```',
    ],
)
def test_text_is_read_as_json_where_a_schema_is_kept(world: World, text: str) -> None:
    run = world.open(agents={"it": lambda request: text}).run(
        asks(output_schema=SCHEMA, outputs={"severity": "result.severity"})
    )
    assert (run.state, dict(run.steps["ask"].outputs)) == ("completed", {"severity": "low"})


@pytest.mark.parametrize(
    ("reply", "kind", "name"),
    [
        (None, "step.agent", "AgentError"),
        (" \n", "step.agent", "AgentError"),
        (AgentReply(None), "step.agent", "AgentError"),
        ("no JSON", "step.schema", "SchemaError"),
        ('{"severity": "odd"}', "step.schema", "SchemaError"),
        ({"severity": object()}, "step.unserializable", "Unserializable"),
        (ValueError("down"), "step.failed", "ValueError"),
    ],
    ids=["nothing", "blank", "reply_of_nothing", "no_json", "odd", "object", "error"],
)
def test_an_answer_that_is_none_fails_the_attempt(world: World, reply: Any, kind: str, name: str) -> None:
    body = Outcomes(reply)
    run = world.open(agents={"it": lambda request: body()}).run(asks(output_schema=SCHEMA))
    error = run.steps["ask"].error
    assert error is not None
    assert (run.state, error.kind, error.name) == ("failed", kind, name)


def test_an_agent_is_asked_again_like_any_body_and_all_its_answers_are_counted(world: World) -> None:
    texts, events = ("nothing", "{}", json.dumps({"severity": "low"})), Events()
    body = Outcomes(*(AgentReply(text, cost_usd=0.5, tokens=10) for text in texts))
    engine = world.open(agents={"it": lambda request: body()})
    retry = {"max_attempts": 3, "delay": "1s", "jitter": "none", "backoff": "constant"}
    run_id = engine.start(asks(output_schema=SCHEMA, retry=retry), on_event=events)
    for _ in range(2):
        events.wait("step.back_off")
        engine.quiet()
        world.clock.advance(1)
    run = engine.wait(run_id)
    assert (run.state, run.steps["ask"].attempt) == ("completed", 3)
    assert (run.usage.cost_usd, run.usage.tokens) == (1.5, 30)


def test_an_error_that_says_what_it_cost_is_counted(world: World) -> None:
    class ExpensiveError(Exception):
        cost_usd = 0.5
        tokens = 3

    def agent(request: AgentRequest) -> Any:
        raise ExpensiveError(request.agent)

    run = world.open(agents={"it": agent}).run(asks())
    assert (run.state, run.usage.cost_usd, run.usage.tokens) == ("failed", 0.5, 3)


@pytest.mark.parametrize("budget", [{"cost_usd": 1.0}, {"tokens": 20}])
@pytest.mark.parametrize("ending", ["close", "kill", None])
def test_a_budget_holds_across_processes(world: World, budget: dict[str, Any], ending: str | None) -> None:
    asked: list[str] = []

    def agent(request: AgentRequest) -> Any:
        asked.append(request.context.path)
        return AgentReply("fine", cost_usd=0.5, tokens=10)

    workflow = Workflow("budget", budget=budget)
    workflow.agent("a", "it", prompt="a")
    workflow.agent("b", "it", prompt="b", needs=["a"])
    workflow.approval("gate", prompt="?", needs=["b"])
    workflow.agent("c", "it", prompt="c", needs=["gate"], optional=True, retry={"max_attempts": 3})
    workflow.run("d", ["true"], needs=["c"])
    engine = world.open(agents={"it": agent})
    engine.run(workflow, run_id="r")
    if ending is not None:
        getattr(engine, ending)()
        engine = world.open(agents={"it": agent})
    engine.approve("r", "gate")
    run = engine.wait("r", until="rest") if ending is None else engine.resume("r")
    error = run.steps["c"].error
    assert error is not None
    assert (run.state, error.kind, error.name, asked) == ("completed", "step.budget", "BudgetError", ["a", "b"])
    assert states(run) == {"a": "completed", "b": "completed", "gate": "completed", "c": "failed", "d": "completed"}
    assert kinds(engine, "r").count("step.start:c") == 1


def test_an_agent_that_takes_too_long_is_stopped(world: World) -> None:
    gate = Gate()

    async def agent(request: AgentRequest) -> Any:
        return await gate.ahold(request.context)

    engine = world.open(agents={"it": agent})
    run_id = engine.start(asks(timeout="5s"))
    gate.begun()
    world.clock.advance(5)
    run = engine.wait(run_id)
    assert run.steps["ask"].error is not None
    assert (run.steps["ask"].error.kind, gate.cancelled) == ("step.timeout", 1)


# --- what an attempt knows


def test_an_idempotency_key_may_be_written_and_is_the_same_for_every_attempt(world: World) -> None:
    keys: list[str] = []

    def agent(request: AgentRequest) -> Any:
        keys.append(request.context.idempotency_key)
        if len(keys) % 2:
            raise ValueError(len(keys))
        return "fine"

    document = """
dsl = "1"
name = "keys"
defaults.retry = { max_attempts = 2, delay = "1s", jitter = "none" }
[steps.ask]
for_each = { items = ["x"], key = "${{ item }}" }
agent = "it"
prompt = "?"
"""
    written = document + 'idempotency_key = "${{ run.id }}:${{ item }}"\n'
    for text, expected in ((document, "r1/ask[x]"), (written, "r2:x")):
        engine, events = world.open(agents={"it": agent}), Events()
        run_id = engine.start(load(text), run_id=expected[:2], on_event=events)
        events.wait("step.back_off")
        engine.quiet()
        world.clock.advance(1)
        assert engine.wait(run_id).state == "completed"
        assert keys[-2:] == [expected] * 2


def test_a_key_that_cannot_be_made_fails_the_step(world: World) -> None:
    engine, body = world.open(), Outcomes(1)
    workflow = Workflow("keys")
    add(workflow, "first", dict)
    add(workflow, "work", body, needs=["first"], idempotency_key="${{ steps.first.output.missing }}")
    run = engine.run(workflow)
    error = run.steps["work"].error
    assert error is not None
    assert (run.state, error.kind, body.attempts) == ("failed", "expression.undefined", 0)
