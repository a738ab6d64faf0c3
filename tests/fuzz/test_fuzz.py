"""G22: whatever bytes come in, only errors of this library come out."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import ROOT, seeds
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


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_guided_by_coverage_finds_nothing(target: str, tmp_path: Path) -> None:
    """For so many seconds as `SMF_FUZZ_SECONDS` says."""
    pytest.importorskip("atheris", reason="`pip install atheris` first: it is the extra `fuzz`")
    command = [sys.executable, "-m", "tests.fuzz.run", target, os.environ.get("SMF_FUZZ_SECONDS", "60")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    found = {path.name: path.read_bytes()[:2000] for path in tmp_path.glob("*-*")}
    assert done.returncode == 0, (found, done.stderr[-4000:])
