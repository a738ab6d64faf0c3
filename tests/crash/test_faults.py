"""G13: whichever call of SQLite to the file system fails, the store stays readable and the run completes afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.breaking import break_all
from tests.crash.faults import FAULTS, Fault
from tests.crash.references import REFERENCES

#: In every test run each so-many-th call fails.
EVERY = 13
SAMPLE = ("linear", "commands", "transactions")


@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SAMPLE)
def test_a_failing_call_is_told_and_costs_nothing(name: str, fault: Fault, tmp_path: Path, *, is_sticky: bool) -> None:
    step = 1 if fault in ("sync", "read") else EVERY  # there are few of them
    told = break_all(REFERENCES[name], tmp_path, fault, is_sticky=is_sticky, step=step)
    assert sum(told.values()) > 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("is_sticky", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", REFERENCES)
def test_every_failing_call_is_told_and_costs_nothing(
    name: str, fault: Fault, tmp_path: Path, *, is_sticky: bool
) -> None:
    told = break_all(REFERENCES[name], tmp_path, fault, is_sticky=is_sticky)
    print(f"{name}: {dict(told)}")  # noqa: T201 - the figures of README.md, shown by `pytest -rP`
    assert sum(told.values()) > 3
