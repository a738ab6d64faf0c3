"""G22: whatever bytes come in, only errors of this library come out."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

#: How many inputs of each target there are in a test run; those that take long are fewer.
EXAMPLES = dict.fromkeys(TARGETS, 400) | {"store_open": 200, "cli_argv": 150}


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_raises_no_error_but_ours(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_bytes_raise_no_error_but_ours(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False))
    def fuzz(rng: random.Random) -> None:
        TARGETS[target](mutate(rng, seeds(target)))

    fuzz()
