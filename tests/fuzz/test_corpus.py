"""G22: documents made to hurt are refused, or accepted, within bounds of memory and of processor time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.bombs import BOMBS, MIB
from tests.fuzz.seeds import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no limits for processes")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each bomb was refused as, in a process that may not grow."""
    folder = tmp_path_factory.mktemp("bombs")
    command = [sys.executable, "-m", "tests.fuzz.bounded", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_within_bounds(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts[name] in (BOMBS[name].kinds or {""})


def test_no_bomb_is_too_large_to_be_looked_at_but_those_that_are_meant_to_be() -> None:
    """A document that is refused for its size alone would prove nothing about its contents."""
    assert {name for name, bomb in BOMBS.items() if len(bomb.make()) > MIB} == {
        name for name, bomb in BOMBS.items() if bomb.kinds == {"definition.too_large"}
    }


def test_the_limits_are_felt(tmp_path: Path) -> None:
    """What the verdicts are worth: what takes too much memory, or too long, is told apart."""
    code = """
from tests.fuzz import bounded
bounded.SECONDS = 1
print(bounded.alone(lambda: str(len(b"x" * (3 * bounded.MEMORY)))))
print(bounded.alone(lambda: [None for _ in iter(int, 1)] and ""))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    memory, time = done.stdout.splitlines()
    assert time.startswith(("died by", "MemoryError"))
    if sys.platform == "linux":
        assert memory.startswith("MemoryError")
