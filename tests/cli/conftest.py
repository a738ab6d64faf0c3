"""The command line under test: in this process where that will do, in a process of its own where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from statemachine_flow.cli import main

#: A document whose only step succeeds.
GOOD = """
dsl = "1"
name = "good"
inputs.who = { type = "string", default = "you" }
[steps]
greet = { run = ["echo", "hello ${{ inputs.who }}"], outputs = { text = "strip(stdout)" } }
[outputs]
text = "${{ steps.greet.outputs.text }}"
"""
BAD_STEP = """
dsl = "1"
name = "bad"
[steps]
fine = { run = "true" }
breaks = { needs = ["fine"], run = "exit 3" }
after = { needs = ["breaks"], run = "true" }
"""


@attrs.frozen
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Smf = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: empty, and with nothing in the environment that speaks to `smf`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("SMF_DB", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text(BAD_STEP)
    return tmp_path


@pytest.fixture
def smf(folder: Path, capsys: pytest.CaptureFixture[str]) -> Smf:
    """Call `smf` in this process."""

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def command(folder: Path) -> list[str]:
    """What starts `smf` as a process, in `folder`."""
    return [sys.executable, "-m", "statemachine_flow"]


@pytest.fixture
def process(command: list[str]) -> Smf:
    """Run `smf` as a process to its end."""

    def call(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> Done:
        done = subprocess.run(
            [*command, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            env={**os.environ, **(env or {})},
            timeout=60,
            **options,
        )
        return Done(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())

    return call


@pytest.fixture
def run_of(smf: Smf) -> Callable[..., str]:
    """Run a document, whatever comes of it, and return the run's id."""

    def run(file: str, *arguments: str) -> str:
        return str(smf("run", file, "--json", *arguments).json["run"])

    return run
