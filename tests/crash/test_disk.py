"""G2: what the death of a process, a loss of power and torn sectors leave of a store, at every change of its files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from statemachine_flow.stores.database import Durability
from tests.crash.disk import Change, Disk
from tests.crash.proving import Examiner, Finding, Recording, record
from tests.crash.references import REFERENCES

#: In every test run each so-many-th moment is looked at, and all around a sync, where most is decided.
EVERY = 11


def examine(name: str, folder: Path, durability: Durability, *, whole: bool, small_log: bool) -> list[Finding]:
    """Record a reference workflow and look at what would be left of it; say how much that was."""
    reference = REFERENCES[name]
    recording = record(reference, folder / "recorded", durability=durability, small_log=small_log)
    examiner = Examiner(recording, reference, folder / "images")
    findings = examiner.examine(lambda moment: whole or _is_sampled(recording, moment))
    print(f"{name}: {examiner.moments} moments, {examiner.images} images, {examiner.resumed} gone on with")  # noqa: T201 - the figures of README.md, shown by `pytest -rP`
    assert examiner.resumed >= len(recording.states) // 2
    return findings


def _is_sampled(recording: Recording, moment: int) -> bool:
    around = recording.changes[max(0, moment - 1) : moment + 1]
    return moment % EVERY == 0 or any(change.action != "write" for change in around)


@pytest.mark.parametrize("name", REFERENCES)
def test_no_fault_of_the_disk_loses_or_halves_what_was_acknowledged(name: str, tmp_path: Path) -> None:
    small_log = name in ("for_each", "states")  # in a log of that size, pages are moved in the middle of a run
    assert examine(name, tmp_path, "power", whole=False, small_log=small_log) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("small_log", [False, True], ids=["log", "small-log"])
@pytest.mark.parametrize("name", REFERENCES)
def test_no_fault_at_any_moment_loses_or_halves_what_was_acknowledged(
    name: str, tmp_path: Path, *, small_log: bool
) -> None:
    assert examine(name, tmp_path, "power", whole=True, small_log=small_log) == []


@pytest.mark.parametrize("name", ["linear", "transactions"])
def test_a_store_that_is_not_synced_is_seen_to_lose_by_power_and_by_nothing_else(name: str, tmp_path: Path) -> None:
    """What the examiner is worth: with `durability="process"` the last writes may be lost, never a part of one.

    Where the store keeps a mark of how far it came, it says so itself.
    """
    findings = examine(name, tmp_path, "process", whole=False, small_log=False)
    faults = Counter(finding.fault for finding in findings)
    assert faults["power"] > 0
    assert faults["torn"] > 0
    assert faults["kill"] == 0
    assert {finding.what.split(":")[0] for finding in findings} <= {"lost", "told"}


# --- the disk


def test_a_loss_of_power_keeps_any_sectors_of_what_was_not_synced() -> None:
    disk = Disk({})
    disk.apply(Change("a", "write", 0, b"x" * 1024))
    disk.apply(Change("a", "sync"))
    disk.apply(Change("a", "write", 256, b"y" * 512))
    assert disk.synced() == {"a": b"x" * 1024}
    assert disk.written() == {"a": b"x" * 256 + b"y" * 512 + b"x" * 256}
    torn = {files["a"] for fault, files in disk.images("seed") if fault.startswith("torn")}
    whole = [b"x" * 256 + first * 256 + second * 256 + b"x" * 256 for first in (b"x", b"y") for second in (b"x", b"y")]
    assert torn <= set(whole)
    assert len(torn) > 1


def test_a_truncated_file_grows_back_with_zeros_and_a_deleted_one_is_gone() -> None:
    disk = Disk({"a": b"abcdef", "b": b"b"})
    for change in (Change("a", "truncate", 2), Change("a", "write", 4, b"z"), Change("b", "delete")):
        disk.apply(change)
    assert disk.written() == {"a": b"ab\0\0z"}
