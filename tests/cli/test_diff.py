"""`smf diff`: what two documents mean, told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from statemachine_flow import load
from tests.cli.conftest import BAD_STEP, GOOD, Smf


@pytest.fixture(autouse=True)
def documents(folder: Path) -> None:
    (folder / "same.yaml").write_text(load(GOOD).to_yaml())
    (folder / "new.toml").write_text(BAD_STEP.replace("exit 3", "true \\u001b[2J").replace("after", "later"))


def test_the_same_in_another_format_is_no_difference(smf: Smf) -> None:
    done = smf("diff", "good.toml", "same.yaml")

    assert (done.code, done.err) == (0, "")
    assert "good.toml and same.yaml mean the same (hash " in done.out


def test_differences_are_listed_and_change_the_exit_code(smf: Smf) -> None:
    done = smf("diff", "bad.toml", "new.toml")

    assert done.code == 1
    assert done.out.splitlines() == [
        "~ code       breaks run: exit 3 -> true \\x1b[2J",
        "~ renamed    after -> later",
        "",
        "a run that began with A goes on with A; a new one begins with B",
    ]


def test_with_a_run_each_change_says_what_it_would_mean(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    done = smf("diff", "bad.toml", "new.toml", "--run", run)

    assert "already failed: a retry would use the new form" in done.out
    assert "skipped: it would go on under its new name" in done.out
    assert done.out.splitlines()[-1] == f"run {run} began with A and goes on with A; above is what B would mean for it"
    assert "did not begin with A" in smf("diff", "good.toml", "new.toml", "--run", run).out


def test_json_has_the_same_keys_always(smf: Smf) -> None:
    same, other = smf("diff", "good.toml", "same.yaml", "--json"), smf("diff", "bad.toml", "new.toml", "--json")

    assert (same.code, other.code) == (0, 1)
    assert same.json["same"] is True
    assert same.json["changes"] == []
    assert same.json.keys() == other.json.keys()
    assert other.json["changes"][1] == {
        "kind": "renamed",
        "path": "later",
        "was": "after",
        "field": None,
        "before": None,
        "after": None,
        "effect": None,
    }


@pytest.mark.parametrize("arguments", [["gone.toml", "good.toml"], ["good.toml", "gone.toml"]])
def test_a_document_that_cannot_be_read_is_no_difference(smf: Smf, arguments: list[str]) -> None:
    assert smf("diff", *arguments).code == 3


def test_a_run_that_is_not_there(smf: Smf, run_of: Callable[..., str]) -> None:
    run_of("bad.toml")

    assert smf("diff", "bad.toml", "new.toml", "--run", "zzz").code == 4
