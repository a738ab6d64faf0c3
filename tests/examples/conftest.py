"""Git repositories to review, written by the tests."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from review_kit.git import File

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

_IDENTITY = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Repo:
    """A repository of its own, without anything of the user's or the machine's configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **_IDENTITY}
        command = ["git", "-c", "protocol.file.allow=always", *arguments]
        done = subprocess.run(command, cwd=self.path, env=environ, check=True, capture_output=True)
        return os.fsdecode(done.stdout).strip()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(self, files: Mapping[str, str | bytes] = {}, message: str = "change") -> str:
        """Commit these files and whatever else changed; return the commit's id."""
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.git("rev-parse", "HEAD")


class Contents:
    """Contents by id in a repository without commits: what a check reads, without the cost of committing it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        subprocess.run(["git", "init", "--quiet", self.path], check=True)

    def add(self, files: Mapping[str, str | bytes]) -> list[File]:
        return [self._add(name, text if isinstance(text, bytes) else text.encode()) for name, text in files.items()]

    def _add(self, name: str, content: bytes) -> File:
        body = b"blob %d\0%b" % (len(content), content)
        blob = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        path = Path(self.path, ".git", "objects", blob[:2], blob[2:])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(body))
        return {"path": name, "blob": blob, "python": name.endswith(".py")}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Contents(tmp_path_factory.mktemp("contents"))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repo(tmp_path / "a repo")
