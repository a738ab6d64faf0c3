"""`smf explain`: kinds of errors, and steps of runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from statemachine_flow.errors import KINDS
from tests.cli.conftest import Smf


def test_all_kinds_are_listed(smf: Smf) -> None:
    lines = smf("explain").out.splitlines()

    assert [line.split()[0] for line in lines] == list(KINDS)
    assert smf("explain", "--json").json == dict(KINDS)


@pytest.mark.parametrize("kind", ["definition.cycle", "[definition.cycle]", "cycle"])
def test_a_kind_is_explained_as_it_stands_in_an_error(smf: Smf, kind: str) -> None:
    done = smf("explain", kind)

    assert done.code == 0
    assert done.out.splitlines()[0] == "definition.cycle: steps need each other in a circle (exit code 3)"
    assert "JOIN-2" in done.out.splitlines()[-1]
    assert smf("explain", kind, "--json").json["exit_code"] == 3


def test_a_near_miss_is_a_usage_error_with_advice(smf: Smf) -> None:
    done = smf("explain", "definition.cycles")

    assert (done.code, done.out) == (2, "")
    assert "did you mean 'definition.cycle'?" in done.err


def test_a_step_of_a_run_is_explained(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    breaks, after = smf("explain", run, "breaks"), smf("explain", "@last", "after")

    assert breaks.out.splitlines()[:3] == [
        "breaks is failed: step.exit: CommandFailed: the shell command ended with status 3",
        "  needs fine: completed",
        "  trigger_rule all_success: holds",
    ]
    assert "attempt 1 began" in breaks.out
    assert after.out.startswith("after is skipped: its rule all_success does not hold: breaks failed\n")


def test_a_step_as_json(smf: Smf, run_of: Callable[..., str]) -> None:
    data = smf("explain", run_of("bad.toml"), "fine", "--json").json

    assert data.keys() == {"run", "step", "state", "verdict", "rules", "facts", "now"}
    assert [fact["text"] for fact in data["facts"]] == ["attempt 1 began", "completed"]
    assert data["facts"][0]["at"].endswith("Z")


def test_a_step_or_run_that_is_not_there(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")

    assert smf("explain", run, "nope").code == 2
    assert smf("explain", "zzz", "fine").code == 4
