"""Where secrets come from, in which order, and how secret inputs are kept apart."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from statemachine_flow.engine.inputs import complete_inputs, split_secrets
from statemachine_flow.errors import InputError, StepError, UsageError
from statemachine_flow.model import Definition, Input
from statemachine_flow.secrets import SecretSource

ENVIRON = {"BOTH": "of the environment", "SHORT": "abc", "EMPTY": "", "token": "of the environment"}


def test_what_was_given_to_the_run_comes_first_then_the_engines_then_the_environment() -> None:
    source = SecretSource({"BOTH": "of the engine"}, ENVIRON)
    source.give("r", {"BOTH": "of the run"})

    assert source.value("r", "BOTH") == "of the run"
    assert source.value("other", "BOTH") == "of the engine"
    assert SecretSource({}, ENVIRON).value("r", "BOTH") == "of the environment"
    source.forget("r")
    assert source.value("r", "BOTH") == "of the engine"


@pytest.mark.parametrize("name", ["ABSENT", "EMPTY"])
def test_a_secret_that_is_not_there_says_how_to_give_it(name: str) -> None:
    with pytest.raises(StepError) as caught:
        SecretSource({}, ENVIRON).value("r", name)
    assert (caught.value.kind, caught.value.message) == ("step.secret", f"the secret '{name}' is not there")
    assert f"variable {name}" in (caught.value.hint or "")
    assert SecretSource({}, ENVIRON).find("r", name) is None


def test_a_secret_of_the_environment_that_is_too_short_is_refused() -> None:
    with pytest.raises(StepError, match="'SHORT' is shorter than 4 characters") as caught:
        SecretSource({}, ENVIRON).find("r", "SHORT")
    assert caught.value.kind == "step.secret"


@pytest.mark.parametrize("value", ["abc", 12345678, None])
def test_an_engine_is_given_no_secret_that_cannot_be_hidden(value: Any) -> None:
    with pytest.raises(UsageError, match="the secret 'A' is"):
        SecretSource({"A": value}, {})


def test_no_repr_shows_a_secret() -> None:
    source = SecretSource({"A": "hunter22"}, {})
    source.give("r", {"B": "hunter23"})
    assert repr(source) == "<SecretSource: 1 given, 1 runs with their own>"


# --- inputs

DEFINITION = Definition(
    name="w",
    steps=(),
    inputs={
        "token": Input(secret=True),
        "maybe": Input(secret=True, required=False),
        "n": Input(type="integer", default=3),
    },
)


def test_secret_inputs_leave_a_marker_whatever_their_value() -> None:
    values = complete_inputs(DEFINITION, {"token": "hunter22"}, "/")
    stored, secrets = split_secrets(DEFINITION, values)
    assert stored == {"token": {"$secret": "token"}, "maybe": None, "n": 3}
    assert secrets == {"token": "hunter22"}
    assert split_secrets(DEFINITION, complete_inputs(DEFINITION, {"token": "another one"}, "/"))[0] == stored


def test_a_secret_input_may_come_from_elsewhere() -> None:
    find = functools.partial(SecretSource({}, ENVIRON).find, None)
    assert complete_inputs(DEFINITION, {}, "/", find=find)["token"] == "of the environment"
    assert complete_inputs(DEFINITION, {"token": "hunter22"}, "/", find=find)["token"] == "hunter22"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({}, "input.missing", "input 'token' (string) was not given"),
        ({"token": "abc"}, "input.value", "the secret input 'token' is shorter than 4 characters"),
        ({"token": 12345678}, "input.type", "input 'token' takes a string, not an int"),
    ],
)
def test_a_secret_input_that_cannot_be_one_is_refused_without_being_shown(
    given: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        complete_inputs(DEFINITION, given, "/")
    (problem,) = caught.value.problems
    assert problem.kind == kind
    assert problem.message.startswith(message)
    assert all(str(value) not in str(caught.value) for value in given.values())


def test_a_secret_elsewhere_that_cannot_be_one_is_a_problem_of_the_input() -> None:
    find = functools.partial(SecretSource({}, {"token": "abc"}).find, None)
    with pytest.raises(InputError, match="'token' is shorter than 4 characters"):
        complete_inputs(DEFINITION, {}, "/", find=find)
