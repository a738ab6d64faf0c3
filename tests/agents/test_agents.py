"""The verb `agent` and the registry: what an agent is asked, what may come back, and what it costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest

from statemachine_flow.agents import AgentError, AgentReply, AgentRequest, Agents
from statemachine_flow.engine.attempt import run_attempt
from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.errors import UsageError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.journal import Usage
from statemachine_flow.model import Defaults, Step
from statemachine_flow.plan import PlannedStep
from statemachine_flow.secrets import NO_SECRETS, Redactor
from statemachine_flow.steps.agent import Agent, read_json
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import decode_value

NAMES: Mapping[str, Any] = {"inputs": {"n": 3, "files": ["a"]}, "run": {"id": "r"}, "steps": {}, "env": {}}
SCHEMA = {"type": "object", "required": ["severity"], "properties": {"severity": {"enum": ["low", "high"]}}}


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    executor = ThreadExecutor()
    yield executor
    executor.close()


@pytest.fixture
def ask(threads: ThreadExecutor) -> Callable[..., Outcome]:
    def ask(
        agent: Callable[[AgentRequest], Any],
        *,
        schema: Mapping[str, Any] | None = None,
        verb: Agent | None = None,
        outputs: Mapping[str, str] | None = None,
        redactor: Redactor = NO_SECRETS,
    ) -> Outcome:
        verb = verb or Agent(agent="it", prompt="go")
        step = Step(id="s", verb=verb, output_schema=schema, outputs=outputs or {})
        attempt = Attempt(
            context=StepContext(run_id="r", workflow="w", step_id="s", attempt=1),
            functions=Functions(),
            threads=threads,
            cwd="/",
            env={},
            grace=1.0,
            open_spill=MemoryStore().open_blob,
            agents=Agents({"it": agent}),
            output_schema=schema,
            redactor=redactor,
        )
        outcome = asyncio.run(run_attempt(PlannedStep(0, step, Defaults()), attempt, NAMES))
        assert outcome is not None
        return outcome

    return ask


Ask = Callable[..., Outcome]


def error_of(outcome: Outcome) -> tuple[str, str, str]:
    assert outcome.status == "failed"
    assert outcome.error is not None
    return outcome.error.kind, outcome.error.name, outcome.error.message


# --- asking


def test_an_agent_is_asked_with_everything_the_step_gives_it(ask: Ask) -> None:
    seen: list[AgentRequest] = []
    verb = Agent(agent="it", prompt="${{ inputs.n }} files", with_={"files": "${{ inputs.files }}", "deep": {"k": [1]}})

    def agent(request: AgentRequest) -> str:
        seen.append(request)
        return "fine"

    ask(agent, verb=verb)

    (request,) = seen
    assert (request.agent, request.prompt, request.with_) == ("it", "3 files", {"files": ["a"], "deep": {"k": [1]}})
    assert (request.context.step_id, request.output_schema) == ("s", None)
    assert repr(request).startswith("AgentRequest(agent='it', context=StepContext(")
    assert "files" not in repr(request)


def test_a_prompt_that_is_one_placeholder_is_text(ask: Ask) -> None:
    outcome = ask(lambda request: request.prompt, verb=Agent(agent="it", prompt="${{ inputs.files }}"))
    assert decode_value(outcome.output) == '["a"]'


def test_what_an_agent_does_to_its_request_is_nothing_to_the_definition(ask: Ask) -> None:
    def spoil(request: AgentRequest) -> str:
        request.with_["deep"]["k"].clear()
        assert request.output_schema is not None
        dict.clear(request.output_schema)  # type: ignore[arg-type]  # what it is
        return '{"severity": "low"}'

    verb, schema = Agent(agent="it", prompt="go", with_={"deep": {"k": [1]}}), dict(SCHEMA)
    assert ask(spoil, verb=verb, schema=schema).status == "completed"
    assert (verb.with_, schema) == ({"deep": {"k": [1]}}, SCHEMA)


async def asynchronous(request: AgentRequest) -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


class Service:
    async def __call__(self, request: AgentRequest) -> str:
        return threading.current_thread().name


@pytest.mark.parametrize("agent", [asynchronous, Service(), lambda request: asynchronous(request)])  # noqa: PLW0108 - it is no coroutine function
def test_an_asynchronous_agent_answers_on_the_loop(agent: Any, ask: Ask) -> None:
    assert decode_value(ask(agent).output) == threading.current_thread().name


def test_another_agent_answers_in_a_thread(ask: Ask) -> None:
    assert decode_value(ask(lambda request: threading.current_thread().name).output).startswith("smf-step-")


# --- answers


@pytest.mark.parametrize("answer", ["text", {"a": [1]}, 3, False, [], b"x"])
def test_text_and_plain_data_are_the_output(answer: Any, ask: Ask) -> None:
    for reply in (answer, AgentReply(answer)):
        assert decode_value(ask(lambda request, reply=reply: reply).output) == answer


@pytest.mark.parametrize("answer", [None, "", " \n", AgentReply(None), AgentReply("")])
@pytest.mark.parametrize("schema", [None, {"type": "null"}])
def test_no_answer_is_a_failure_that_is_retried(answer: Any, schema: Any, ask: Ask) -> None:
    outcome = ask(lambda request: answer, schema=schema)
    assert error_of(outcome) == ("step.agent", "AgentError", "the agent 'it' gave no answer")
    assert outcome.retryable


@pytest.mark.parametrize(
    "text",
    [
        '{"severity": "low"}',
        '\n {"severity": "low"}\n',
        'Here:\n```json\n{"severity": "low"}\n```\nand\n```json\n{"severity": "high"}\n```',
        '```JSON \r\n{"severity": "low"}```',
        'Not closed:\n```json\n{"severity": "low"}',
        'No language:\n```\n{"severity": "low"}\n```',
        '```python\nprint()\n```\n```json\n{"severity": "low"}\n```',
    ],
)
def test_with_a_schema_text_is_read_as_json(text: str, ask: Ask) -> None:
    assert decode_value(ask(lambda request: text, schema=SCHEMA).output) == {"severity": "low"}


def test_json_may_hold_a_fence() -> None:
    assert read_json('```json\n{"code": "```\\n"}\n```') == {"code": "```\n"}


@pytest.mark.parametrize(
    "text",
    [
        "severity is low",
        '{"severity": "low"} I hope this helps',
        '```json\n{"severity": "low"\n```',
        '{"severity": "low"}\n```',
        '```json\n{"severity": "low"} // sure\n```',
        '{"severity": NaN}',
        "[" * 100_000,
        "1" * 10_000,
    ],
)
def test_text_that_is_no_json_is_a_failure_that_is_retried(text: str, ask: Ask) -> None:
    outcome = ask(lambda request: text, schema=SCHEMA)
    message = "the answer holds no JSON; ask for JSON and no more"
    assert error_of(outcome) == ("step.schema", "SchemaError", message)
    assert outcome.retryable
    assert outcome.names[0] == "SchemaError"


@pytest.mark.parametrize("answer", ['{"severity": "canary"}', {"severity": "canary"}])
def test_an_answer_that_breaks_the_schema_is_a_failure_that_is_retried(answer: Any, ask: Ask) -> None:
    outcome = ask(lambda request: AgentReply(answer, cost_usd=0.25, tokens=7), schema=SCHEMA)
    message = "the result breaks `enum` of its output_schema at $.severity"
    assert error_of(outcome) == ("step.schema", "SchemaError", message)
    assert outcome.retryable
    assert outcome.usage == Usage(0.25, 7)


def test_without_a_schema_json_stays_text(ask: Ask) -> None:
    assert decode_value(ask(lambda request: '{"a": 1}').output) == '{"a": 1}'


def test_a_large_answer_is_checked_as_well(ask: Ask) -> None:
    schema = {"items": {"type": "integer"}}
    assert ask(lambda request: [*range(40_000)], schema=schema).status == "completed"
    assert error_of(ask(lambda request: [*range(40_000), "x"], schema=schema))[0] == "step.schema"


def test_a_result_that_cannot_be_kept_is_told_before_its_schema(ask: Ask) -> None:
    assert error_of(ask(lambda request: [object()], schema={"type": "object"}))[0] == "step.unserializable"


# --- costs


def test_a_reply_says_what_it_cost(ask: Ask) -> None:
    assert ask(lambda request: AgentReply("x", cost_usd=0.5, tokens=12)).usage == Usage(0.5, 12)
    assert ask(lambda request: "x").usage is None


@attrs.define(eq=False)
class RateLimited(Exception):  # noqa: N818 - what people write
    cost_usd: Any = None
    tokens: Any = None


def raiser(error: BaseException) -> Callable[[AgentRequest], Any]:
    def agent(request: AgentRequest) -> Any:
        raise error

    return agent


def test_an_error_of_an_agent_is_that_of_any_call_and_may_cost_something(ask: Ask) -> None:
    outcome = ask(raiser(RateLimited(0.25, 100)))
    assert error_of(outcome)[:2] == ("step.failed", "RateLimited")
    assert "RateLimited" in outcome.names
    assert outcome.usage == Usage(0.25, 100)


@pytest.mark.parametrize(
    ("cost", "tokens"), [("1", None), (-1.0, -1), (float("nan"), 1.5), (True, True), (10**400, 2**60)]
)
def test_what_is_no_count_is_not_counted(cost: Any, tokens: Any, ask: Ask) -> None:
    assert ask(raiser(RateLimited(cost, tokens))).usage is None


@pytest.mark.parametrize("count", [{"cost_usd": -1}, {"cost_usd": "1"}, {"cost_usd": float("inf")}, {"tokens": 1.5}])
def test_a_reply_with_an_impossible_count_fails_where_it_is_made(count: Any) -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        AgentReply("x", **count)


def test_an_attempt_that_was_given_up_keeps_what_it_cost(threads: ThreadExecutor) -> None:
    class Dropped(asyncio.CancelledError):
        tokens = 5

    async def agent(request: AgentRequest) -> str:
        request.context.stop_reason = "cancel"
        raise Dropped

    planned = PlannedStep(0, Step(id="s", verb=Agent(agent="it", prompt="go")), Defaults())
    attempt = Attempt(
        context=StepContext(run_id="r", workflow="w", step_id="s", attempt=1),
        functions=Functions(),
        threads=threads,
        cwd="/",
        env={},
        grace=1.0,
        open_spill=MemoryStore().open_blob,
        agents=Agents({"it": agent}),
    )
    outcome = asyncio.run(run_attempt(planned, attempt, NAMES))
    assert outcome is not None
    assert (outcome.status, outcome.usage) == ("aborted", Usage(0.0, 5))


# --- secrets


def test_no_secret_is_left_in_outputs_and_errors(ask: Ask) -> None:
    redactor = Redactor(["canary-1234"])
    outcome = ask(
        lambda request: {"said": "canary-1234!", "n": 11},
        outputs={"said": "result.said", "up": "upper(result.said)", "own": "'canary' + '-1234'"},
        redactor=redactor,
    )
    assert decode_value(outcome.output) == {"said": "***!", "n": 11}
    assert outcome.outputs is not None
    assert decode_value(outcome.outputs) == {"said": "***!", "up": "***!", "own": "***"}

    outcome = ask(raiser(ValueError("x" * 4090 + "canary-1234")), redactor=redactor)
    assert "canary" not in error_of(outcome)[2]


def test_a_schema_holds_the_result_itself_not_what_stands_for_a_secret(ask: Ask) -> None:
    schema = {"properties": {"token": {"pattern": "^canary-[0-9]{4}$"}}}
    outcome = ask(lambda request: {"token": "canary-1234"}, schema=schema, redactor=Redactor(["canary-1234"]))
    assert decode_value(outcome.output) == {"token": "***"}


# --- the registry


def test_an_agent_that_is_not_there_is_named_with_what_was_probably_meant() -> None:
    agents = Agents({"reviewer": lambda request: "x"})
    with pytest.raises(AgentError) as caught:
        agents.resolve("reveiwer")
    assert (caught.value.kind, caught.value.hint) == ("definition.agent", "did you mean 'reviewer'?")
    with pytest.raises(AgentError, match=r"give it with Engine\(agents="):
        Agents().resolve("x")


def test_an_agent_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match="the agent 'x' is of the type int"):
        Agents({"x": 3})  # type: ignore[dict-item]  # on purpose


def test_asking_for_an_agent_that_is_gone_is_not_retried(threads: ThreadExecutor, ask: Ask) -> None:
    outcome = ask(lambda request: "x", verb=Agent(agent="other", prompt="go"))
    assert error_of(outcome)[0] == "definition.agent"
    assert not outcome.retryable


def test_a_reply_shows_no_contents() -> None:
    assert "canary" not in repr(AgentReply({"canary": 1}))
