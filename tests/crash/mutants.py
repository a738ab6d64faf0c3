"""Tests of the tests: the twelve mistakes that would cost most, each made in a copy of the library.

A mistake is a few lines of the package as they are and as they would be if somebody had made it. The copy is tested
by what has to find it; what finds nothing there is no test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
#: What a copy needs to be tested.
_PARTS = ("statemachine_flow", "tests", "dsl", "examples", "benchmarks")
_FILES = ("pyproject.toml", "README.md", "dev.py")
#: How long a mistake may take to be found.
SECONDS = 120


@attrs.frozen
class Edit:
    """Text of a file, and what becomes of it."""

    file: str
    before: re.Pattern[str]
    after: str

    def count(self, folder: Path) -> int:
        """How often the text is there."""
        return len(self.before.findall((folder / self.file).read_text(encoding="utf-8")))


def _edit(file: str, before: str, after: str) -> Edit:
    return Edit(f"statemachine_flow/{file}", re.compile(re.escape(before)), after)


@attrs.frozen
class Mutant:
    """A mistake."""

    edits: Sequence[Edit]
    #: What has to find it: arguments of pytest.
    tests: Sequence[str]


def _one(file: str, before: str, after: str, *tests: str) -> Mutant:
    return Mutant([_edit(file, before, after)], tests)


_DISK = ("tests/crash/test_disk.py", "-k", "no_fault_of_the_disk and linear")

MUTANTS: Mapping[str, Mutant] = {
    "commits are not synced": _one("stores/database.py", '"power": ("FULL", 2)', '"power": ("NORMAL", 1)', *_DISK),
    "the state is written after the completion": _one(
        "stores/sqlite.py",
        "        for change in write.steps:\n",
        '        database.run("COMMIT")\n        database.run("BEGIN IMMEDIATE")\n        for change in write.steps:\n',
        *_DISK,
    ),
    "writes do not ask for the epoch": _one(
        "stores/sql/queries.sql",
        "WHERE no = ?4 AND epoch = ?5 AND seq = ?6;",
        "WHERE no = ?4 AND ?5 IS NOT NULL AND seq = ?6;",
        "tests/stores/test_contract.py",
    ),
    "a run is claimed after a look at it": Mutant(
        [
            Edit(
                "statemachine_flow/stores/sql/queries.sql",
                re.compile(r"(?<=-- name: claim\n)(UPDATE [^;]*) = \?;"),
                r"\1 >= ?;",
            )
        ],
        ("tests/stores/test_contract.py",),
    ),
    "the library opens the store's file": _one(
        "stores/sqlite.py",
        '        return int(self._database.read("PRAGMA data_version", ())[0][0])',
        "        self._database.path.read_bytes()\n"
        '        return int(self._database.read("PRAGMA data_version", ())[0][0])',
        "tests/crash/test_alone.py",
    ),
    "bodies begin before their start is kept": Mutant(
        [
            _edit(
                "engine/worker.py",
                "        decision = self.decider.take()\n",
                "        decision = self.decider.take()\n"
                "        for launch in decision.launches:\n            self._attempts.launch(launch)\n",
            ),
            _edit(
                "engine/worker.py",
                "        for launch in decision.launches:\n            self._attempts.launch(launch)\n"
                "        for timer in",
                "        for timer in",
            ),
        ],
        ("tests/crash/test_boundaries.py", "-k", "linear or diamond"),
    ),
    "any state can be entered from any other": _one(
        "lifecycle.py",
        "auto_transitions=False",
        "auto_transitions=True",
        "tests/lifecycle/test_lifecycle.py",
        "-k",
        "automatic_ones",
    ),
    "a process is killed without its children": _one(
        "executors/group.py",
        "os.killpg(group, number)",
        "os.kill(group, number)",
        "tests/executors/test_process.py",
        "-k",
        "case_82 or case_84",
    ),
    "leases are measured by the wall clock": Mutant(
        [
            _edit(
                "engine/lease.py",
                "beat, now = self._store.last_beat(owner.nonce), self._clock.monotonic()",
                "beat, now = self._store.last_beat(owner.nonce), self._clock.now() / 1e6",
            ),
            _edit(
                "engine/lease.py",
                "last = owner.since if beat is None else beat.monotonic",
                "last = now - self._clock.monotonic() + owner.since if beat is None else beat.at / 1e6",
            ),
        ],
        ("tests/engine/test_lease.py",),
    ),
    "values name what reads them": _one(
        "values.py",
        '        raise ValueError(f"unknown tag {tag}")\n',
        '        return __import__("importlib").import_module(bytes(data).decode())\n',
        "tests/values/test_values.py",
        "-k",
        "case_67 or case_68",
    ),
    "a checksum that does not match is passed over": _one(
        "journal/links.py",
        "record.step, record.data) != record.digest:",
        "record.step, record.data) == b'':",
        "tests/journal",
        "-k",
        "flipped_bit",
    ),
    "errors are kept with the secrets in them": _one(
        "engine/outcome.py",
        "clean_text(redactor.text(fault.message))",
        "clean_text(fault.message)",
        "tests/engine/test_secrets.py",
        "tests/cli/test_secret_canary.py",
    ),
}


def copy_tree(folder: Path) -> None:
    """A copy of what is tested, and of the tests."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for part in _PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for file in _FILES:
        shutil.copy(ROOT / file, folder / file)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Make the mistake in a copy.

    Raises:
        AssertionError: the lines it is made in are no longer there; find where they went.
    """
    for edit in mutant.edits:
        assert edit.count(folder) == 1, f"{edit.file} has not once: {edit.before.pattern}"
        path = folder / edit.file
        path.write_text(edit.before.sub(edit.after, path.read_text(encoding="utf-8")), encoding="utf-8")


def run_tests(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy against that copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header", *tests]
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=SECONDS
    )
