"""The commands that README.md shows, in one folder and one after the other; each ends as its remark says.

A line of a fence `console run` that begins with `$` is a command of the shell. `# exit N` behind it is its exit status;
without that, it is 0. The folder holds the documents that have their name in a comment above them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_fences import FENCE

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
NAMED = re.compile(r"^<!-- (\w+\.(?:toml|yaml)) -->\n```\w+[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for match in FENCE.finditer(README)
    if (match[2], match[3].split()[:1]) == ("console", ["run"])
    for line in match[4].splitlines()
    if line.startswith("$")
]


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
def test_the_commands_of_the_readme_end_as_it_says(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "smf").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m statemachine_flow "$@"\n')
    (bin_ / "smf").chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in NAMED.findall(README):
        (folder / name).write_text(text, encoding="utf-8")
    environ = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "NO_COLOR": "1"}
    environ.pop("SMF_DB", None)

    wrong = []
    for command in COMMANDS:
        expected = re.search(r"# exit (\d+)", command)
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environ, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode != int(expected[1] if expected else 0):
            wrong.append(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")

    assert wrong == []


def test_the_readme_shows_commands_and_the_documents_they_are_for() -> None:
    assert {name for name, _ in NAMED.findall(README)} == {"hello.toml", "release.toml", "script.toml"}
    assert len(COMMANDS) > 10
