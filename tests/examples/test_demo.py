"""The demonstration, as `python3 dev.py demo` runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def demo(root: Path, tmp_path: Path) -> str:
    """What the demonstration prints; it must succeed, and leave nothing behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    before = sorted(root.rglob("*"))
    done = subprocess.run(
        [sys.executable, str(root / "examples" / "demo.py")],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=200,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert sorted(root.rglob("*")) == before
    assert list(temporary.iterdir()) == []
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The examples, as in an unpacked archive."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return root


def test_it_kills_and_resumes_a_review_of_this_project(copy: Path, tmp_path: Path) -> None:
    """A clone with a single commit, which has a large share of the project's files."""
    shutil.copytree(
        ROOT / "statemachine_flow", copy / "statemachine_flow", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=all"],
    ):
        subprocess.run(["git", "-C", str(copy), *command], check=True)
    said = demo(copy, tmp_path)

    assert f"files of {copy.resolve()}, and kill" in said
    finished = re.findall(r"^   (\S+) +completed +completed +1 \+ 0 +no$", said, re.MULTILINE)
    assert {"range", "changes"} < set(finished)
    assert len(finished) >= 5
    assert re.search(r"^   \S+ +running +completed +1 \+ 1$", said, re.MULTILINE)
    assert "No step that had finished ran again." in said
    assert "   # Code review: every file of HEAD" in said


def test_without_a_repository_of_its_own_it_makes_one(copy: Path, tmp_path: Path) -> None:
    """The folder lies in somebody else's repository, which is not to be reviewed."""
    subprocess.run(["git", "-C", str(tmp_path), "init", "--quiet"], check=True)
    said = demo(copy, tmp_path)

    assert "A small one is made in a temporary folder" in said
    assert "No step that had finished ran again." in said


def test_without_git_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "demo: git is needed, and not on the PATH\n")
