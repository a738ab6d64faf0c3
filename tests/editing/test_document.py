"""`edit` and `Document`: what is changed, what stays, and when a file is written."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.editing import Document
from statemachine_flow.errors import ConflictError, DefinitionError, UsageError

TOML = """\
# All that CI does.

dsl = "1"
name = 'ci'   # short

[steps.build]
run = ["make",  'all']   # everything

# The tests.
[steps.test]
needs = ["build"]
run = "make test"  # slow
# retry = { max_attempts = 3 }

[steps.test.env]
CI = "1"

[steps.ship]
needs = [
  "build", # made
  "test",
]
call = "kit:ship"

[outputs]
done = true
"""

YAML = """\
# All that CI does.

dsl: "1"
name:   ci   # short
steps:
  build:
    run: ["make",  'all']   # everything

  # The tests.
  test:
    needs: [ build ]
    run:  make test  # slow
    env: {CI: "1"}
    # retry: {max_attempts: 3}

  ship:
    needs:
      - build # made
      - test
    call: kit:ship
    description: |  # why
      one
      two

outputs:
  done: true
"""

LISTED = """\
dsl: "1"
name: ci
steps:
  - id: build   # first
    run: make
  - run: make test
    id: test
    needs: [build]
"""

Change = Callable[[Document], object]


def changed(text: str, change: Change) -> list[str]:
    """The lines that a change takes out, with `-`, and puts in, with `+`."""
    document = Document(text)
    change(document)
    lines = difflib.ndiff(text.splitlines(), document.text.splitlines())
    return [line[0] + line[2:] for line in lines if line[0] in "+-"]


SETTING: list[tuple[str, Any, list[str] | None, list[str]]] = [
    ("steps.build.timeout", "10m", ['+timeout = "10m"'], ['+    timeout: "10m"']),
    (
        "name",
        "cd",
        ["-name = 'ci'   # short", '+name = "cd"   # short'],
        ["-name:   ci   # short", "+name:   cd   # short"],
    ),
    ("version", "2", ['+version = "2"'], ['+version: "2"']),
    (
        "steps.test.needs",
        ["x"],
        ['-needs = ["build"]', '+needs = ["x"]'],
        ["-    needs: [ build ]", "+    needs: [ x ]"],
    ),
    ("steps.ship.needs[1]", "x", ['-  "test",', '+  "x",'], ["-      - test", "+      - x"]),
    ("steps.ship.needs", ["build"], ['-  "test",'], ["-      - test"]),
    ("steps.ship.needs", ["build", "test", "x"], ['+  "x",'], ["+      - x"]),
    ("steps.test.env.LANG", "C", ['+LANG = "C"'], ['-    env: {CI: "1"}', '+    env: {CI: "1", LANG: C}']),
    (
        "steps.test.run",
        "a\nb\n",
        ['-run = "make test"  # slow', '+run = """', "+a", "+b", '+"""  # slow'],
        ["-    run:  make test  # slow", "+    run: |  # slow", "+      a", "+      b"],
    ),
    ("outputs.done", None, None, ["-  done: true", "+  done: null"]),
    ("steps.test.with", {}, ["+with = {}"], ["+    with: {}"]),
]


@pytest.mark.parametrize(("path", "value", "toml", "yaml"), SETTING)
def test_setting_touches_the_lines_of_the_value_alone(path: str, value: Any, toml: Any, yaml: Any) -> None:
    assert changed(YAML, lambda document: document.set(path, value)) == yaml
    if toml is None:
        with pytest.raises(UsageError, match="TOML has no null"):
            Document(TOML).set(path, value)
    else:
        assert changed(TOML, lambda document: document.set(path, value)) == toml


DELETING = [
    ("name", ["-name = 'ci'   # short"], ["-name:   ci   # short"]),
    ("steps.test.env", ["-[steps.test.env]", '-CI = "1"', "-"], ['-    env: {CI: "1"}']),
    ("steps.test.run", ['-run = "make test"  # slow'], ["-    run:  make test  # slow"]),
    ("outputs.done", ["-done = true"], ["-outputs:", "-  done: true", "+outputs: {}"]),
    ("outputs", ["-", "-[outputs]", "-done = true"], ["-", "-outputs:", "-  done: true"]),
]


@pytest.mark.parametrize(("path", "toml", "yaml"), DELETING)
def test_deleting_takes_the_lines_of_the_value_and_its_comments(path: str, toml: Any, yaml: Any) -> None:
    assert sorted(changed(TOML, lambda document: document.delete(path))) == sorted(toml)
    assert sorted(changed(YAML, lambda document: document.delete(path))) == sorted(yaml)


def test_a_view_is_a_mapping_or_a_list_that_writes_through() -> None:
    for text in (TOML, YAML):
        document = Document(text)
        document["steps"]["ship"]["needs"].insert(1, "lint")
        document["steps"]["ship"]["needs"].append("last")
        del document["steps"]["ship"]["needs"][0]
        document["steps"]["build"].update(optional=True)
        document["steps"]["test"].update(timeout="1m")
        del document["outputs"]

        assert document["steps"]["ship"]["needs"] == ["lint", "test", "last"]
        assert dict(document["steps"]["build"]) == {"run": ["make", "all"], "optional": True}
        assert document["steps"]["test"]["timeout"] == "1m"
        assert list(document) == ["dsl", "name", "steps"]
        assert "# made" not in document.text
        assert "# everything" in document.text


def test_what_is_not_there_is_a_key_error() -> None:
    document = Document(TOML)

    for action in (
        lambda: document["nothing"],
        lambda: document.delete("steps.nothing"),
        lambda: document.delete("steps.nothing.more"),
        lambda: document.set("steps.nothing.timeout", "1s"),
        lambda: document["steps"].pop("nothing"),
    ):
        with pytest.raises(KeyError):
            action()
    assert document.text == TOML


def test_what_is_no_plain_data_is_refused_and_changes_nothing() -> None:
    document = Document(YAML)

    for value in (object(), {1: 2}, float("nan"), 2**70):
        with pytest.raises((UsageError, DefinitionError)):
            document["steps"]["build"]["with"] = value
    assert not document.is_changed


def test_problems_are_those_of_the_compiler_at_the_places_of_the_text_as_it_is_now() -> None:
    document = Document(TOML)
    assert document.problems() == ()
    document["steps"]["build"]["description"] = "two\nlines"
    document["steps"]["ship"]["needs"][0] = "biuld"

    (problem,) = document.problems()

    line = next(number for number, line in enumerate(document.text.split("\n"), 1) if "biuld" in line)
    assert (problem.kind, problem.position and problem.position.line) == ("definition.unknown_step", line)
    assert problem.hint == "did you mean 'build'?"


# --- files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ci.toml"
    path.write_text(TOML)
    return path


def test_a_block_saves_at_its_end_and_not_after_an_error(file: Path) -> None:
    with smf.edit(file) as document:
        document["version"] = "2"
    assert 'version = "2"' in file.read_text()
    assert not document.is_changed

    before = file.read_bytes()
    with pytest.raises(KeyError), smf.edit(file) as document:  # noqa: PT012 - the block is what is tested
        document["version"] = "3"
        document["steps"]["nothing"]["timeout"] = "1s"
    assert file.read_bytes() == before


def test_an_invalid_result_is_refused_unless_the_check_is_waived(file: Path) -> None:
    document = smf.edit(file)
    document["steps"]["test"]["needs"] = ["nothing"]

    with pytest.raises(DefinitionError, match="nothing"):
        document.save()
    assert file.read_text() == TOML

    document.save(check=False)
    assert 'needs = ["nothing"]' in file.read_text()


def test_a_file_that_somebody_else_changed_is_left_as_it_is(file: Path) -> None:
    document = smf.edit(file)
    document["version"] = "2"
    file.write_text(TOML + "# theirs\n")

    with pytest.raises(ConflictError, match="somebody else"):
        document.save()
    assert file.read_text() == TOML + "# theirs\n"

    file.unlink()
    with pytest.raises(ConflictError, match="somebody else"):
        document.save()
    assert list(file.parent.iterdir()) == []


def test_saving_keeps_the_mode_and_the_link_and_leaves_nothing_else(file: Path) -> None:
    file.chmod(0o640)
    link = file.parent / "link.toml"
    link.symlink_to(file)

    with smf.edit(link) as document:
        document["version"] = "2"

    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert 'version = "2"' in file.read_text()
    assert sorted(path.name for path in file.parent.iterdir()) == ["ci.toml", "link.toml"]


def test_a_link_that_leads_elsewhere_by_now_is_not_followed(file: Path) -> None:
    other = file.parent / "other.toml"
    other.write_text(TOML)
    link = file.parent / "link.toml"
    link.symlink_to(file)
    document = smf.edit(link)
    document["version"] = "2"
    link.unlink()
    link.symlink_to(other)

    with pytest.raises(ConflictError):
        document.save()
    assert (file.read_text(), other.read_text()) == (TOML, TOML)


def test_a_document_that_did_not_change_is_not_written(file: Path) -> None:
    before = file.stat()

    with smf.edit(file) as document:
        document["name"] = "ci"

    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_takes_no_file_is_a_usage_error(file: Path) -> None:
    document = smf.edit(file)
    document["version"] = "2"
    file.parent.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot write"):
            document.save()
    finally:
        file.parent.chmod(0o700)
    assert file.read_text() == TOML


@pytest.mark.parametrize("text", [TOML, YAML])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mark_and_line_ends_are_kept(tmp_path: Path, text: str, mark: bytes, end: bytes) -> None:
    path = tmp_path / ("ci.toml" if text is TOML else "ci.yaml")
    path.write_bytes(mark + text.encode().replace(b"\n", end))

    with smf.edit(path) as document:
        document["steps"]["ship"]["description"] = "a\nb\n"

    expected = Document(text)
    expected["steps"]["ship"]["description"] = "a\nb\n"
    assert path.read_bytes() == mark + expected.text.encode().replace(b"\n", end)
    assert smf.load(path).definition.step("ship").description == "a\nb\n"


def test_json_is_written_anew_as_it_was_indented(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n    "dsl": "1",\n    "name": "a",\n    "steps": {\n        "b": {"run": "true"}\n    }\n}\n')

    with smf.edit(path) as document:
        document["steps"]["b"]["timeout"] = "10m"
        document.rename_step("b", "c")

    assert path.read_text().startswith('{\n    "dsl": "1",\n')
    assert list(smf.load(path).definition.steps[0].id) == ["c"]


@pytest.mark.parametrize(("name", "text"), [("a.toml", "a = "), ("a.yaml", "a: [\n"), ("a.txt", TOML)])
def test_a_text_that_cannot_be_read_cannot_be_edited(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(DefinitionError):
        smf.edit(tmp_path / name)
    with pytest.raises(DefinitionError):
        smf.edit(tmp_path / "nothing.toml")
