"""What README.md shows of a kill and a resume is what happens."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("transcript", ROOT / "examples" / "transcript.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_transcript_in_the_readme_is_what_the_commands_print(example: ModuleType) -> None:
    """If this differs for a good reason: `python examples/transcript.py --write`, and read what it wrote."""
    assert example.transcript() == example.written()


def test_the_first_workflow_of_the_readme_is_the_one_of_the_transcript() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert (ROOT / "examples" / "hello.toml").read_text(encoding="utf-8") in readme
