"""Secrets: they reach the steps that name them, and nothing that is stored, shown or logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.builder import Workflow, load
from statemachine_flow.context import StepContext
from statemachine_flow.errors import ConflictError, InputError, UsageError
from statemachine_flow.stores.base import RunFilter
from tests.engine.harness import Driver, Events, World

SECRET = "s3cr3t/hunter22"
OTHER = "another-0ne!"
HEAD = 'dsl = "1"\nname = "secrets"\ninputs.token = { secret = true }\n'


@pytest.fixture
def spilled(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the end of the test the secret is nowhere: in no file of the store, no record and no log."""
    caplog.set_level(logging.DEBUG)
    yield
    store = world.inner()
    rows = store.rows(RunFilter(limit=1000))
    assert rows
    for row in rows:
        assert SECRET not in repr(row)
        for record in store.records(row.id):
            assert SECRET.encode() not in record.data, (row.id, record.kind, record.step)
    assert all(SECRET.encode() not in request.data for request in store.requests())
    for path in Path(world.folder).rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in caplog.text


def keep_in(seen: list[str]) -> Callable[..., None]:
    """A function that keeps the token that it is given."""

    def work(token: str) -> None:
        seen.append(token)

    return work


def kept(engine: Driver, run_id: str) -> str:
    """All that a user can be shown of a run."""
    run = engine.get(run_id)
    views = [
        (repr(step), step.output, step.outputs, step.error, step.reason, dict(step.question))
        for step in run.steps.values()
    ]
    events = [event.data for event in engine.events(run_id)]
    return repr((run, dict(run.inputs), dict(run.outputs), run.error, run.notes, run.reason, views, events))


@pytest.mark.usefixtures("spilled")
def test_a_secret_input_reaches_what_it_is_given_to_and_nothing_that_is_kept(world: World) -> None:
    seen: list[Any] = []

    def work(token: str, context: StepContext) -> dict[str, Any]:
        seen.append(token)
        context.logger.warning("the token is %s", token)
        return {"said": f"<{token}>", token: [token.encode()]}

    def fail(token: str) -> None:
        raise ValueError(f"no such token: {token}")

    engine, events = world.open(functions={"work": work, "fail": fail}), Events()
    workflow = load(
        HEAD
        + """
[steps]
work = { call = "work", with = { token = "${{ inputs.token }}" } }
fail = { call = "fail", with = { token = "${{ inputs.token }}" }, optional = true }
shell = { run = 'printf "%s" "$T"', env = { T = "${{ inputs.token }}" }, outputs = { copy = "stdout" } }
ci.steps.inside = { call = "work", with = { token = "${{ inputs.token }}" } }
ci.outputs.copy = "inputs.token"
ear = { wait = { event = "go" } }
gate = { approval = { prompt = "Go?", form = { note = "string" } } }

[outputs]
token = "${{ inputs.token }}"
copy = "${{ [steps.ci.outputs.copy, steps.shell.outputs.copy] }}"
"""
    )
    run = engine.run(workflow, {"token": SECRET}, on_event=events)
    engine.signal(run.id, "go", {"token": SECRET})
    engine.approve(run.id, "gate", form={"note": SECRET}, by="ann", reason=f"because of {SECRET}")
    run = engine.wait(run.id, until="rest")
    assert (run.state, seen) == ("completed", [SECRET, SECRET])
    assert dict(run.inputs) == {"token": {"$secret": "token"}}
    assert dict(run.outputs) == {"token": "***", "copy": ["***", "***"]}
    assert (run.steps["ear"].output, run.steps["gate"].output["note"]) == ({"token": "***"}, "***")
    assert run.steps["fail"].error.message == "no such token: ***"
    assert SECRET not in kept(engine, run.id) + repr(events.seen)


@pytest.mark.usefixtures("spilled")
def test_a_steps_secrets_come_from_the_engine_or_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENV", SECRET)
    seen: dict[str, str] = {}

    def work(context: StepContext) -> str:
        seen.update(context.secrets)
        return repr(dict(context.secrets))

    engine = world.open(functions={"work": work}, secrets={"GIVEN": OTHER})
    run = engine.run(
        load(
            'dsl = "1"\nname = "s"\n[steps]\nwork = { call = "work", secrets = ["FROM_ENV", "GIVEN"] }\n'
            'shell = { run = "echo $FROM_ENV $GIVEN", secrets = ["FROM_ENV", "GIVEN"] }\n'
        )
    )
    assert (run.state, seen) == ("completed", {"FROM_ENV": SECRET, "GIVEN": OTHER})
    assert run.steps["shell"].output["stdout"] == "*** ***\n"
    assert run.steps["work"].output == "{'FROM_ENV': '***', 'GIVEN': '***'}"


@pytest.mark.parametrize("retry", ["", ', retry = { max_attempts = 3, delay = "1s" }'])
def test_a_secret_that_is_not_there_fails_the_attempt_and_is_not_looked_for_again(world: World, retry: str) -> None:
    engine = world.open(functions={"work": lambda: 1})
    run = engine.run(
        load(f'dsl = "1"\nname = "s"\nsteps.work = {{ call = "work", secrets = ["SMF_NOT_THERE"]{retry} }}\n')
    )
    error = run.steps["work"].error
    assert error is not None
    assert (run.state, error.kind, error.name, run.steps["work"].attempt) == (
        "failed",
        "step.secret",
        "SecretError",
        1,
    )
    assert "SMF_NOT_THERE" in error.message


@pytest.mark.parametrize("value", ["abc", "   ab ", 5, "\ud800secret"])
def test_what_could_not_be_hidden_is_no_secret(one_world: World, value: Any) -> None:
    with pytest.raises(UsageError):
        one_world.open(secrets={"TOKEN": value})
    engine = one_world.open()
    with pytest.raises(InputError) as caught:
        engine.run(load(HEAD + 'steps.a.run = ["true"]\n'), {"token": value})
    assert caught.value.problems[0].kind in ("input.value", "input.type")
    assert str(value) not in str(caught.value)
    assert engine.list() == []


# --- other processes


def later() -> Workflow:
    """A workflow that reads its secret after somebody said yes."""
    return load(
        HEAD
        + 'steps.gate.approval.prompt = "?"\n'
        + 'steps.work = { needs = ["gate"], call = "work", with = { token = "${{ inputs.token }}" } }\n'
    )


@pytest.mark.usefixtures("spilled")
@pytest.mark.parametrize("source", ["engine", "environment", "start"])
def test_a_secret_has_to_be_given_again_in_another_process(
    world: World, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    engine = world.open(functions={"work": keep_in(seen)})
    engine.run(later(), {"token": SECRET}, run_id="r")
    engine.close()
    if source == "environment":
        monkeypatch.setenv("token", SECRET)
    secrets = {"token": SECRET} if source == "engine" else None
    engine = world.open(functions={"work": keep_in(seen)}, secrets=secrets)
    engine.approve("r", "gate")
    if source == "start":
        run = engine.run(later(), {"token": SECRET}, run_id="r", until="rest")
    else:
        run = engine.resume("r", until="rest")
    assert (run.state, seen) == ("completed", [SECRET])


def test_a_secret_that_is_not_given_again_fails_what_reads_it(world: World) -> None:
    engine = world.open(functions={"work": lambda token: token})
    engine.run(later(), {"token": SECRET}, run_id="r")
    engine.close()
    engine = world.open(functions={"work": lambda token: token})
    engine.approve("r", "gate")
    run = engine.resume("r", until="rest")
    error = run.steps["work"].error
    assert error is not None
    assert (run.state, error.kind) == ("failed", "step.secret")


def test_a_start_that_is_refused_leaves_the_secrets_of_the_run_alone(world: World) -> None:
    seen: list[str] = []
    engine = world.open(functions={"work": keep_in(seen)})
    engine.run(later(), {"token": SECRET}, run_id="r")
    with pytest.raises(ConflictError):
        engine.run(load(HEAD + 'steps.a.run = ["true"]\n'), {"token": OTHER}, run_id="r")
    engine.approve("r", "gate")
    assert engine.wait("r", until="rest").state == "completed"
    assert seen == [SECRET]


def test_the_secrets_of_a_run_are_forgotten_when_it_has_ended(world: World) -> None:
    engine = world.open(functions={"work": lambda token: None})
    engine.run(later(), {"token": SECRET}, run_id="r")
    engine.approve("r", "gate")
    engine.wait("r", until="rest")
    assert engine.core.secrets.find("r", "token") is None


@pytest.mark.usefixtures("spilled")
@pytest.mark.parametrize("on_reject", ["'fail'", "'skip'", "{ rewind_to = 'a', max_rounds = 2 }"])
def test_a_rejection_is_kept_without_the_secret(world: World, on_reject: str) -> None:
    engine = world.open()
    gate = f'needs = ["a"], approval = {{ prompt = "?", form = {{ note = "string" }}, on_reject = {on_reject} }}'
    run = engine.run(load(HEAD + f'steps.a.run = ["true"]\nsteps.gate = {{ {gate} }}\n'), {"token": SECRET})
    engine.reject(run.id, "gate", form={"note": SECRET}, by=SECRET, reason=SECRET)
    engine.wait(run.id)
    assert SECRET not in kept(engine, run.id)


# --- child runs


CHILD = 'dsl = "1"\nname = "inner"\ninputs.secret = { secret = true }\ninputs.plain = { required = false }\n'


@pytest.mark.usefixtures("spilled")
@pytest.mark.parametrize("ending", ["close", "kill", None])
def test_a_secret_is_handed_down_to_a_child_under_another_name_and_again_in_the_next_process(
    world: World, ending: str | None
) -> None:
    seen: list[str] = []
    child = load(
        CHILD
        + 'steps.gate.approval.prompt = "?"\n'
        + 'steps.work = { needs = ["gate"], call = "work", with = { token = "${{ inputs.secret }}" } }\n'
        + 'outputs.token = "${{ inputs.secret }}"\n'
    )
    workflow = load(
        HEAD + 'steps.sub = { workflow = "inner", with = { secret = "${{ inputs.token }}" } }\n'
        'outputs.token = "${{ steps.sub.output.token }}"\n'
    )
    options: dict[str, Any] = {"functions": {"work": keep_in(seen)}, "workflows": {"inner": child}}
    engine = world.open(**options)
    engine.run(workflow, {"token": SECRET}, run_id="r")
    if ending is not None:
        getattr(engine, ending)()
        engine = world.open(**options, secrets={"token": SECRET})
    engine.approve("r.sub", "gate")
    run = engine.wait("r", until="rest") if ending is None else engine.resume("r", until="rest")
    assert (run.state, dict(run.outputs), seen) == ("completed", {"token": "***"}, [SECRET])
    assert dict(engine.get("r.sub").inputs) == {"secret": {"$secret": "secret"}, "plain": None}


@pytest.mark.usefixtures("spilled")
def test_a_secret_is_not_stored_as_an_input_that_is_no_secret(world: World) -> None:
    """A document shows it where the child is written inline; here only the run finds out."""
    engine = world.open(
        workflows={"inner": load(CHILD + 'steps.a.run = ["true"]\noutputs.p = "${{ inputs.plain }}"\n')}
    )
    given = '{ secret = "${{ inputs.token }}", plain = "token=${{ inputs.token }}" }'
    run = engine.run(load(HEAD + f'steps.sub = {{ workflow = "inner", with = {given} }}\n'), {"token": SECRET})
    assert (run.state, run.steps["sub"].output) == ("completed", {"p": "token=***"})
    assert SECRET not in kept(engine, run.id) + kept(engine, f"{run.id}.sub")


def test_what_a_child_gives_is_kept_above_without_the_secrets_that_only_the_run_above_knows(quick_world: World) -> None:
    """The child itself cannot know that it is one."""
    engine = quick_world.open()
    child = load(
        'dsl = "1"\nname = "inner"\ninputs.left = {}\ninputs.right = {}\nsteps.a.run = ["true"]\n'
        'outputs.both = "${{ [inputs.left + inputs.right] }}"\n'
    )
    workflow = Workflow("outer")
    workflow.input("token", secret=True)
    workflow.child("sub", child, with_={"left": SECRET[:4], "right": SECRET[4:]})
    run = engine.run(workflow, {"token": SECRET})
    assert run.steps["sub"].output == {"both": ["***"]}
