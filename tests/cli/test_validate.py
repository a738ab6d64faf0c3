"""`smf validate`: warnings, strictness, and annotations for GitHub Actions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.cli.github import annotation
from statemachine_flow.errors import Position, Problem
from tests.cli.conftest import Smf

#: Valid, and worth a warning: no step can fail that the rule could wait for.
WARNED = """
dsl = "1"
name = "warned"
[steps]
a = { run = "true" }
b = { run = "true", trigger_rule = "any_failed" }
"""


@pytest.fixture(autouse=True)
def documents(folder: Path) -> None:
    (folder / "warned.toml").write_text(WARNED)
    (folder / "wrong, 100%.toml").write_text('dsl = "1"\nname = "w"\n[steps]\na = { run = "true", timout = "1s" }\n')


def test_a_warning_is_shown_and_passes(smf: Smf) -> None:
    done = smf("validate", "warned.toml")

    assert done.code == 0
    assert "ok warned" in done.out
    assert "warning[definition.never_runs]:" in done.err


def test_strictly_a_warning_is_an_error(smf: Smf) -> None:
    done = smf("validate", "--strict", "warned.toml", "good.toml")

    assert done.code == 3
    assert "ok warned" not in done.out
    assert "ok good" in done.out
    assert "error[definition.never_runs]:" in done.err


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "json"]])
def test_json_tells_how_severe_a_problem_is(smf: Smf, arguments: list[str]) -> None:
    loose, strict = (smf("validate", "warned.toml", *arguments, *more) for more in ([], ["--strict"]))

    assert (loose.code, loose.json["ok"], loose.json["files"][0]["ok"]) == (0, True, True)
    assert (strict.code, strict.json["ok"], strict.json["files"][0]["ok"]) == (3, False, False)
    assert loose.json["files"][0]["problems"][0]["severity"] == "warning"
    assert strict.json["files"][0]["problems"][0]["severity"] == "error"


def test_github_gets_a_line_for_each_problem(smf: Smf) -> None:
    done = smf("validate", "--format", "github", "wrong, 100%.toml", "warned.toml")
    error, warning, ok = done.out.splitlines()

    assert (done.code, done.err) == (3, "")
    assert error.startswith(
        "::error file=wrong%2C 100%25.toml,line=4,col=21,title=definition.unknown_field::unknown field"
    )
    assert warning.startswith("::warning file=warned.toml,line=6,")
    assert ok.startswith("ok warned")


@given(st.text(), st.text(), st.text())
def test_an_annotation_is_one_line_whatever_it_says(message: str, file: str, hint: str) -> None:
    problem = Problem(kind="definition.type", message=message, position=Position(file, 1, 2), hint=hint)
    line = annotation(problem)

    assert len(line.splitlines()) == 1
    properties = line.removeprefix("::error ").partition("::")[0]
    assert [part.partition("=")[0] for part in properties.split(",")] == ["file", "line", "col", "title"]


def test_a_problem_without_a_place_names_its_path() -> None:
    assert annotation(Problem(kind="definition.type", message="m", path="steps.a")) == (
        "::error title=definition.type::m - at steps.a"
    )


def test_what_would_end_a_property_is_escaped() -> None:
    problem = Problem(kind="definition.type", message="a:b,c%", position=Position("c:\\x,y%.toml", 1, 2))

    assert annotation(problem) == "::error file=c%3A\\x%2Cy%25.toml,line=1,col=2,title=definition.type::a:b,c%25"
