"""The engine against the reference on random workflows, undisturbed and with engines that die on the way."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from hypothesis import HealthCheck, assume, given, note, seed, settings, strategies as st

from statemachine_flow.builder import load
from statemachine_flow.testing.crash import When
from tests.reference.drive import Play, differences
from tests.reference.generate import Example, examples
from tests.reference.interpreter import Interpreter, Result
from tests.reference.world import Unbounded

EXAMPLES = int(os.environ.get("SMF_EXAMPLES", "200"))
RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
DEATHS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["before", "after"])), min_size=1, max_size=3)


def referred(example: Example) -> Result:
    """What the reference makes of it, as the compiler wrote it."""
    tree = load(example.tree).definition.tree()
    note(json.dumps(tree, indent=1))
    note(str(example.script))
    try:
        result = Interpreter(tree, {}, example.script).run()
    except Unbounded:
        assume(condition=False)
        raise
    assert result.state in {"completed", "failed"}
    note(f"the world: {result.acts}")
    return result


def agree(example: Example) -> None:
    expected = referred(example)
    play = Play(example, expected)
    run = asyncio.run(play.undisturbed())
    found = differences(expected, run, play.store)
    assert not found, "\n".join(found)


def agree_after_deaths(example: Example, deaths: list[tuple[int, When]]) -> None:
    expected = referred(example)
    play = Play(example, expected)
    run = asyncio.run(play.with_deaths(deaths))
    found = differences(expected, run, play.store, was_cut_off=True)
    assert not found, "\n".join(found)


def check(number: int, how_many: int) -> None:
    seed(number)(settings(RANDOM, max_examples=how_many)(given(examples())(agree)))()


def check_deaths(number: int, how_many: int) -> None:
    example = examples(may_count=False)
    seed(number)(settings(RANDOM, max_examples=how_many)(given(example, DEATHS)(agree_after_deaths)))()


@pytest.mark.parametrize("number", range(4))
def test_the_engine_does_what_the_rules_say(number: int) -> None:
    check(number, EXAMPLES)


@pytest.mark.parametrize("number", range(2))
def test_the_engine_does_so_whenever_it_dies(number: int) -> None:
    check_deaths(number, EXAMPLES // 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(100, 140))
def test_the_engine_does_what_the_rules_say_very_often(number: int) -> None:
    check(number, 2 * EXAMPLES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(100, 120))
def test_the_engine_does_so_whenever_it_dies_very_often(number: int) -> None:
    check_deaths(number, EXAMPLES)
