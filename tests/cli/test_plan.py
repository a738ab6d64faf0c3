"""`smf plan`: what a run would do, on a terminal and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Smf

PLANNED = """
dsl = "1"
name = "planned"
inputs.target = { enum = ["staging", "production"], default = "staging" }
inputs.token = { secret = true }
[steps]
build = { run = ["make"], timeout = "10m", retry = { max_attempts = 3 } }
unit = { needs = ["build"], run = "make unit", optional = true }
scan = { needs = ["build"], call = "kit:scan", when = "steps.build.output.exit_code == 0" }
each = { needs = ["build"], matrix = { os = ["linux", "mac"] }, run = ["test", "${{ matrix.os }}"] }
deploy = { needs = ["unit"], call = "kit:deploy", when = "inputs.target == 'production'" }
[finally]
clean = { run = "rm -rf build" }
"""


@pytest.fixture(autouse=True)
def planned(folder: Path) -> None:
    (folder / "planned.toml").write_text(PLANNED)


def test_a_plan_is_told_in_the_order_of_beginning(smf: Smf) -> None:
    done = smf("plan", "planned.toml", "--input", "token=s3cret-token")
    lines = done.out.splitlines()

    assert (done.code, done.err) == (0, "")
    assert lines[0].startswith("planned 1.0.0 (hash ")
    assert lines[1:14] == [
        'input target = "staging"',
        'input token = "***"',
        "",
        " 1  build (run)  3 attempts  timeout 10m",
        " 2  unit (run)  optional",
        "    scan (call)  undecided: when steps.build.output.exit_code == 0  (depends on steps.build.output.exit_code)",
        "    each (run)  for 2 items",
        " -  deploy (call) skipped: when inputs.target == 'production': false",
        "",
        "finally:",
        "   1  clean (run)",
        "",
        lines[13],
    ]
    assert lines[13].startswith("at once: ")
    assert lines[14:] == [
        "functions: kit:scan, kit:deploy",
        "commands: make, sh, test",
        "secrets: inputs.token",
    ]
    assert "s3cret" not in done.out


def test_other_inputs_make_another_plan(smf: Smf) -> None:
    done = smf("plan", "planned.toml", "--inputs", '{"target": "production", "token": "s3cret-token"}', "--json")

    assert done.json["waves"] == [["build"], ["unit", "scan", "each"], ["deploy"]]
    assert done.json["inputs"] == {"target": "production", "token": "***"}
    assert {step["path"]: step["verdict"] for step in done.json["steps"]} == {
        "build": "begins",
        "unit": "begins",
        "scan": "undecided",
        "each": "begins",
        "deploy": "begins",
    }
    assert done.json["steps"][3]["keys"] == ["linux", "mac"]


@pytest.mark.parametrize("arguments", [["--input", "target=moon"], ["--input", "nope=1"]])
def test_inputs_that_do_not_fit_are_refused(smf: Smf, arguments: list[str]) -> None:
    assert smf("plan", "planned.toml", *arguments).code == 3


def test_nothing_is_left_behind(smf: Smf, folder: Path) -> None:
    before = sorted(folder.iterdir())
    smf("plan", "planned.toml")

    assert sorted(folder.iterdir()) == before
