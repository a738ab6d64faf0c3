"""`smf fmt` and `smf convert`: what they write, what they refuse, and how they end."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow import load

MESSY = """# keep me
name = 'm'   # and me
dsl = '1'
steps.a.run = "true"
"""
NEAT = """# keep me
name = 'm'   # and me
"""


@pytest.fixture
def messy(folder: Path) -> Path:
    path = folder / "m.toml"
    path.write_text(MESSY)
    return path


def test_fmt_writes_what_changes_and_says_so(smf: Any, messy: Path) -> None:
    content_hash = load(messy).content_hash
    done = smf("fmt", "m.toml")

    assert (done.code, done.out, done.err) == (0, "changed m.toml\n", "")
    assert messy.read_text() == 'dsl = "1"\n# keep me\nname = "m"  # and me\n\n[steps.a]\nrun = "true"\n'
    assert load(messy).content_hash == content_hash
    assert smf("fmt", "m.toml").out == ""


def test_fmt_check_and_diff_write_nothing(smf: Any, messy: Path) -> None:
    checked = smf("fmt", "--check", "m.toml", "good.toml")
    assert (checked.code, checked.out) == (1, "would change m.toml\nwould change good.toml\n")

    shown = smf("fmt", "--diff", "m.toml")
    assert shown.code == 0
    assert "-dsl = '1'\n" in shown.out
    assert '+dsl = "1"\n' in shown.out
    assert messy.read_text() == MESSY

    smf("fmt", "m.toml")
    assert smf("fmt", "--check", "--diff", "m.toml").code == 0


def test_fmt_leaves_an_invalid_document_alone_and_lays_out_the_others(smf: Any, messy: Path) -> None:
    (messy.parent / "bad.yaml").write_text("dsl: '1'\nname: x\nsteps: {a: {rum: x}}\n")
    done = smf("fmt", "bad.yaml", "m.toml")

    assert done.code == 3
    assert "did you mean 'run'?" in done.err
    assert (messy.parent / "bad.yaml").read_text() == "dsl: '1'\nname: x\nsteps: {a: {rum: x}}\n"
    assert messy.read_text() != MESSY


def test_fmt_as_json(smf: Any, messy: Path) -> None:
    done = smf("fmt", "--json", "--check", "m.toml", "missing.toml")

    first, second = done.json["files"]
    assert (done.code, done.json["ok"], done.err) == (3, False, "")
    assert (first["file"], first["changed"], first["hash"]) == ("m.toml", True, load(messy).content_hash)
    assert (second["changed"], second["problems"][0]["kind"]) == (None, "definition.not_a_file")


def test_fmt_of_stdin_prints_it(smf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"steps: {a: {run: 'true'}}\ndsl: '1'\nname: x\n")))
    done = smf("fmt", "-")

    assert (done.code, done.out) == (0, 'dsl: "1"\nname: x\n\nsteps:\n  a:\n    run: "true"\n')


@pytest.mark.parametrize("to", ["yaml", "json", "toml"])
def test_convert_keeps_the_hash_and_says_what_json_loses(smf: Any, messy: Path, to: str) -> None:
    done = smf("convert", "m.toml", f"new.{to}")

    made = messy.parent / f"new.{to}"
    assert done.code == 0
    assert load(made).content_hash == load(messy).content_hash
    assert f"wrote new.{to}" in done.out
    if to == "json":
        assert done.err == "note: 2 lines of comment left out, for JSON has none\n"
    else:
        assert done.err == ""
        assert "# keep me" in made.read_text()
        assert "  # and me" in made.read_text()


def test_convert_overwrites_only_when_told_to(smf: Any, messy: Path) -> None:
    other = messy.parent / "there.yaml"
    other.write_text("mine")
    other.chmod(0o600)

    refused = smf("convert", "m.toml", "there.yaml")
    assert refused.code == 2
    assert "--force" in refused.err
    assert other.read_text() == "mine"
    assert smf("convert", "m.toml", "m.toml", "--force").code == 2
    assert messy.read_text() == MESSY

    assert smf("convert", "m.toml", "there.yaml", "--force").code == 0
    assert load(other).content_hash == load(messy).content_hash
    assert other.stat().st_mode & 0o777 == 0o600


def test_convert_to_stdout_needs_a_format(smf: Any, messy: Path) -> None:
    assert smf("convert", "m.toml", "-").code == 2
    assert smf("convert", "m.toml", "x.txt").code == 2

    done = smf("convert", "m.toml", "-", "--to", "yaml")
    assert (done.code, done.out.split("\n")[0]) == (0, 'dsl: "1"')
    data = smf("convert", "m.toml", "-", "--to", "json", "--json").json
    assert (data["hash"], data["lost_comments"]) == (load(messy).content_hash, 2)
    assert load(data["text"]).content_hash == data["hash"]


def test_a_null_stops_a_conversion_to_toml(smf: Any, folder: Path) -> None:
    (folder / "n.yaml").write_text("dsl: '1'\nname: n\nsteps: {a: {call: f, with: {x: null}}}\n")
    done = smf("convert", "n.yaml", "n.toml")

    assert done.code == 2
    assert "steps.a.with.x" in done.err
    assert not (folder / "n.toml").exists()
