"""Random workflows to which everything happens at any moment: attempts side by side, people, operators, deaths."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings, strategies as st

from statemachine_flow.errors import DefinitionError
from tests.engine.moments import Moments
from tests.reference.generate import Example, examples

EXAMPLES = int(os.environ.get("SMF_EXAMPLES", "200"))
RANDOM = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def varied(tree: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """The document with another number of places, and with steps that are begun at most once."""
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    places = rng.choice([1, 2, 3, None])
    changed.pop("max_parallel")
    if places is not None:
        changed["max_parallel"] = places
    once(changed["steps"], rng)
    return changed


def once(steps: Mapping[str, Any], rng: random.Random) -> None:
    for step in steps.values():
        if "call" in step and "retry" not in step and rng.random() < 0.15:
            step["delivery"] = "at_most_once"
        if isinstance(step.get("steps"), dict):
            once(step["steps"], rng)


def lives(example: Example, number: int) -> None:
    rng = random.Random(number)
    tree = varied(example.tree, rng)
    note(json.dumps(tree, indent=1))
    try:
        moments = Moments(tree, rng)
    except DefinitionError:  # at most once beside what does not go with it
        return
    try:
        moments.live()
    finally:
        note("\n".join(moments.story))


@pytest.mark.parametrize("number", range(4))
def test_whatever_happens_and_whenever_the_run_comes_to_an_end(number: int) -> None:
    seed(number)(settings(RANDOM, max_examples=EXAMPLES)(given(examples(), st.integers(0, 2**32))(lives)))()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(100, 108))
def test_whatever_happens_very_often_the_run_comes_to_an_end(number: int) -> None:
    seed(number)(settings(RANDOM, max_examples=20 * EXAMPLES)(given(examples(), st.integers(0, 2**32))(lives)))()
