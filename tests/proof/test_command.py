"""`smf validate --proof`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from statemachine_flow.cli import main

GOOD = """
dsl = "1"
name = "good"
[steps]
build = { run = ["make"] }
never = { run = ["make", "never"], needs = ["build"], when = "1 > 2" }
"""
ENDLESS = """
dsl = "1"
name = "endless"
start = "a"
[steps]
a = { run = ["true"], next = "b" }
b = { run = ["true"], next = "a" }
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("good.toml", GOOD), ("endless.toml", ENDLESS), ("broken.toml", "name = 'x'\n")):
        Path(name).write_text(text, encoding="utf-8")


def test_the_report_follows_the_line_that_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--proof", "good.toml"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok good ")
    assert lines[1].startswith("proof of good: exhaustive, ")
    assert "  never run: never" in lines


def test_a_refuted_property_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--proof", "endless.toml"]) == 3
    assert "  REFUTED   completes some run completes" in capsys.readouterr().out.splitlines()
    assert main(["validate", "endless.toml"]) == 0


def test_json_has_the_proof_of_each_valid_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--proof", "--json", "good.toml", "endless.toml", "broken.toml"]) == 3

    good, endless, broken = json.loads(capsys.readouterr().out)["files"]
    assert (good["ok"], good["proof"]["ok"], good["proof"]["never_run"]) == (True, True, ["never"])
    assert (endless["ok"], endless["proof"]["ok"]) == (False, False)
    assert "proof" not in broken


def test_without_the_option_there_is_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--json", "good.toml"]) == 0
    assert "proof" not in json.loads(capsys.readouterr().out)["files"][0]
