"""Each of the twelve mistakes is found by the tests that are there to find it, within two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.mutants import MUTANTS, copy_tree, mutate, run_tests

#: Made in every test run: one of the store, one of the lifecycle, one of the journal.
SAMPLE = (
    "commits are not synced",
    "any state can be entered from any other",
    "a checksum that does not match is passed over",
)
#: What pytest ends with when tests failed; not when it found none, or could not begin.
TESTS_FAILED = 1


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without a mistake."""
    folder = tmp_path_factory.mktemp("healthy")
    copy_tree(folder)
    return folder


def check_is_found(name: str, healthy: Path, folder: Path) -> None:
    """Tests that pass without the mistake fail with it."""
    mutant = MUTANTS[name]
    before = run_tests(healthy, mutant.tests)
    assert before.returncode == 0, before.stdout[-4000:]
    copy_tree(folder)
    mutate(folder, mutant)
    after = run_tests(folder, mutant.tests)
    assert after.returncode == TESTS_FAILED, after.stdout[-4000:] + after.stderr[-1000:]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_grave_mistake_is_found(name: str, healthy: Path, tmp_path: Path) -> None:
    check_is_found(name, healthy, tmp_path / "copy")


@pytest.mark.soak
@pytest.mark.timeout(3 * 120)
@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in SAMPLE])
def test_every_grave_mistake_is_found(name: str, healthy: Path, tmp_path: Path) -> None:
    check_is_found(name, healthy, tmp_path / "copy")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistakes_can_still_be_made(name: str, healthy: Path) -> None:
    """A mistake whose lines were moved or rewritten has to be made anew where they went."""
    for edit in MUTANTS[name].edits:
        assert edit.count(healthy) == 1, edit


def test_there_are_twelve() -> None:
    assert len(MUTANTS) == 12
