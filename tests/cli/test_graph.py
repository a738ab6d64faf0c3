"""`smf graph`: drawings of documents and of runs, on a terminal, in a pipe and in a file."""

from __future__ import annotations

import os
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Smf

NESTED = """
dsl = "1"
name = "nested"
[steps]
files = { run = "true" }
[steps.each]
needs = ["files"]
for_each = { items = ["a", "b"], key = "${{ item }}" }
steps.one = { run = "true" }
steps.two = { needs = ["one"], run = "exit ${{ 1 if item == 'b' else 0 }}" }
"""


@pytest.fixture(autouse=True)
def nested(folder: Path) -> None:
    (folder / "nested.toml").write_text(NESTED)


def test_graph_draws_a_tree_and_mermaid(smf: Smf) -> None:
    both = smf("graph", "bad.toml").out
    tree, mermaid = (smf("graph", "bad.toml", "--format", form).out for form in ("tree", "mermaid"))

    assert both == f"{tree}\n{mermaid}"
    assert tree.splitlines()[0] == "fine (run)"
    assert mermaid.startswith('flowchart TD\n  s0["fine (run)"]\n')


def test_graph_of_a_run_shows_states(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("bad.toml")
    data = smf("graph", run, "--json").json

    assert {node["id"]: node["state"] for node in data["nodes"]} == {
        "fine": "completed",
        "breaks": "failed",
        "after": "skipped",
    }
    assert [(edge["from"], edge["to"]) for edge in data["edges"]] == [("fine", "breaks"), ("breaks", "after")]
    assert "breaks (run) failed" in smf("graph", run, "--format", "tree").out
    assert '["breaks (run) failed"]:::failed' in smf("graph", run, "--format", "mermaid").out
    assert smf("graph", run, "--format", "json").json == data


def test_graph_of_a_run_counts_items_and_sees_inner_steps(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("nested.toml")
    nodes = {node["id"]: node for node in smf("graph", run, "--json").json["nodes"]}

    assert nodes["each"]["state"] == "failed"
    assert nodes["each"]["items"] == {"done": 2, "total": 2}
    assert (nodes["each/one"]["state"], nodes["each/two"]["state"]) == ("completed", "failed")
    assert nodes["each/two"]["in"] == "each"


def test_graph_draws_a_chain_of_2000_steps_as_a_column(smf: Smf, folder: Path) -> None:
    steps = ['s0 = { run = "true" }', *(f's{n} = {{ needs = ["s{n - 1}"], run = "true" }}' for n in range(1, 2000))]
    (folder / "deep.toml").write_text('dsl = "1"\nname = "deep"\n[steps]\n' + "\n".join(steps))
    lines = smf("graph", "deep.toml", "--format", "tree").out.splitlines()

    assert len(lines) == 2000
    assert max(map(len, lines)) < 40


@pytest.mark.parametrize("form", ["tree", "mermaid", "dot", "svg", "json"])
def test_a_drawing_goes_to_a_file(smf: Smf, folder: Path, form: str) -> None:
    done = smf("graph", "nested.toml", "--format", form, "-o", "out.txt")

    assert (done.code, done.out, done.err) == (0, "", "wrote 'out.txt'\n")
    assert (folder / "out.txt").read_text(encoding="utf-8").strip()


def test_an_image_is_one_xml_document(smf: Smf, run_of: Callable[..., str]) -> None:
    image = ET.fromstring(smf("graph", run_of("nested.toml"), "--format", "svg").out)

    assert image.tag == "{http://www.w3.org/2000/svg}svg"
    assert any("failed 2/2" in (element.text or "") for element in image.iter())


def test_a_file_that_cannot_be_written_is_told(smf: Smf) -> None:
    done = smf("graph", "nested.toml", "-o", "no/such/folder/out.svg")

    assert (done.code, done.out) == (2, "")
    assert "usage.output" in done.err


@pytest.mark.parametrize(
    ("suffix", "begins"), [("svg", "<svg"), ("dot", "digraph"), ("mmd", "flowchart"), ("json", "{"), ("txt", "fine")]
)
def test_the_name_of_the_file_says_the_form_unless_an_option_does(
    smf: Smf, folder: Path, suffix: str, begins: str
) -> None:
    smf("graph", "bad.toml", "-o", f"drawn.{suffix}")
    smf("graph", "bad.toml", "--format", "mermaid", "-o", f"told.{suffix}")

    assert (folder / f"drawn.{suffix}").read_text().startswith(begins)
    assert (folder / f"told.{suffix}").read_text().startswith("flowchart")


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize("umask", [0, 0o777])
def test_case_55_a_picture_of_a_run_is_private_and_a_file_that_was_there_keeps_its_mode(
    smf: Smf, run_of: Callable[..., str], folder: Path, umask: int
) -> None:
    run = run_of("nested.toml")
    (folder / "there.svg").write_text("before")
    (folder / "there.svg").chmod(0o640)
    before = os.umask(umask)
    try:
        codes = [smf("graph", run, "-o", name).code for name in ("new.svg", "there.svg")]
        codes.append(smf("graph", "nested.toml", "-o", "document.svg").code)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.svg")}

    assert codes == [0, 0, 0]
    assert modes == {"new.svg": 0o600, "there.svg": 0o640, "document.svg": 0o666 & ~umask}
    assert "before" not in (folder / "there.svg").read_text()
