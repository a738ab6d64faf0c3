"""What holds for several hosts over one store, whatever happens to them, and that it would be seen if it did not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.broken import MUTANTS
from tests.crash.hosts import Violation
from tests.crash.simulator import simulate

#: Seeds of every test run; the soak goes on from there, to `SMF_SEEDS`.
_USUAL, _PART = 200, 20
_ALL = int(os.environ.get("SMF_SEEDS", "10000"))


def play(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


@pytest.mark.parametrize("first", range(0, _USUAL, _PART))
def test_whatever_happens_to_hosts_every_run_ends_as_it_may(first: int) -> None:
    play(range(first, first + _PART))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(_USUAL, _ALL, 200))
def test_whatever_happens_to_hosts_for_many_seeds_more(first: int) -> None:
    play(range(first, min(first + 200, _ALL)))


def found(mutant: str, patch: pytest.MonkeyPatch, seeds: int) -> str:
    """What the first seed says that finds a broken engine; one of few is rare, for much else is in its way."""
    MUTANTS[mutant](patch)
    for seed in range(seeds):
        try:
            simulate(seed)
        except Violation as violation:
            return str(violation)
    return ""


@pytest.mark.parametrize(
    ("mutant", "what", "seeds"),
    [
        ("lease_by_wall_clock", "was taken from|died long ago", _USUAL),
        *(
            pytest.param(mutant, what, 10 * _USUAL, marks=[pytest.mark.soak])
            for mutant, what in [
                ("epoch_not_asked", "wrote under epoch"),
                ("nothing_interrupted", "was left running"),
                ("late_result_kept", "wrote under epoch|the late|was kept"),
                ("body_before_its_start", "before its start was kept"),
                ("never_gone", "died long ago"),
                ("forgotten_requests", "heard 2 times|nobody answered|was heard"),
            ]
        ),
    ],
)
def test_a_broken_engine_is_found(mutant: str, what: str, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    violation = found(mutant, monkeypatch, seeds)
    assert re.match(r"seed=\d+: ", violation), f"no seed finds {mutant}"
    assert re.search(what, violation)


def test_one_seed_is_one_history_in_every_process() -> None:
    code = "from tests.crash.simulator import simulate\nprint([simulate(seed).digest for seed in (1, 7, 21)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert said == {f"{[simulate(seed).digest for seed in (1, 7, 21)]}\n"}
