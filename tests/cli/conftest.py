"""The command line under test: in this process where that will do, in a process of its own where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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

#: Its function says that it began through one FIFO, and then waits at the other, deaf to everything.
BLOCKING = """
dsl = "1"
name = "blocking"
steps.a.call = "deaf:block"
"""
DEAF = """
def block():
    open("began", "w").close()
    open("gate").read()
"""
#: A shell step that says that it began, and holds that FIFO open as long as it or its own child lives.
SLEEPING = """
dsl = "1"
name = "sleeping"
steps.a.run = "exec 3> began; echo up >&3; sleep 600; true"
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
Start = Callable[..., "subprocess.Popen[str]"]


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


@pytest.fixture
def start(command: list[str], folder: Path) -> Iterator[Start]:
    """Start `smf`; what is left of it in the end is killed."""
    os.mkfifo(folder / "began")
    os.mkfifo(folder / "gate")
    (folder / "blocking.toml").write_text(BLOCKING)
    (folder / "sleeping.toml").write_text(SLEEPING)
    (folder / "deaf.py").write_text(DEAF)
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]  # whatever a test needs
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def step_began(folder: Path) -> None:
    """Wait for the step to say so."""
    (folder / "began").open().close()
