"""The costs that can be counted: no noise touches them, so they are held to here and not only measured."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import attrs
import pytest

from benchmarks import workflows
from statemachine_flow.model import CheckpointPolicy
from statemachine_flow.stores.base import Store


class SyncCounter(apsw.VFS):
    """The system's own file access, with every sync counted by the kind of file."""

    def __init__(self) -> None:
        self.syncs: Counter[str] = Counter()
        self.below = apsw.vfs_names()[0]  # the default one, as long as this one is not registered
        super().__init__("counting-syncs", self.below, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's own name
        counter = self

        class File(apsw.VFSFile):
            def __init__(self) -> None:
                super().__init__(counter.below, name, flags)

            def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's own name
                counter.syncs["log" if flags_of & apsw.SQLITE_OPEN_WAL else "file"] += 1
                super().xSync(flags)

        flags_of = flags[0]
        return File()


@pytest.fixture
def syncs() -> Iterator[Counter[str]]:
    vfs = SyncCounter()
    yield vfs.syncs
    vfs.unregister()


def test_a_step_of_a_durable_chain_costs_one_sync(tmp_path: Path, syncs: Counter[str]) -> None:
    """And nothing else: 200 steps more are 200 syncs of the log more; a checkpoint now and then syncs the file."""

    def of_the_log(steps: int) -> int:
        before = syncs["log"]
        workflows.run(workflows.chain(steps), tmp_path / f"{steps}.db")
        return syncs["log"] - before

    short, long = of_the_log(20), of_the_log(120)

    assert long - short == 100


def test_a_run_that_need_not_outlive_the_machine_is_not_synced(tmp_path: Path, syncs: Counter[str]) -> None:
    """Whatever the store does for others, which share their commits with it and are synced."""

    def of_the_log(steps: int) -> int:
        before = syncs["log"]
        relaxed = attrs.evolve(workflows.chain(steps), checkpoint=CheckpointPolicy(durability="process"))
        workflows.run(relaxed, tmp_path / f"{steps}.db")
        return syncs["log"] - before

    assert of_the_log(120) == of_the_log(20)


def test_a_chain_commits_once_per_step_and_once_to_begin(tmp_path: Path) -> None:
    store = workflows.CountingStore(tmp_path / "runs.db")

    workflows.run(workflows.chain(300), cast("Store", store))

    assert store.commits == 301


def test_a_fan_out_shares_its_commits(tmp_path: Path) -> None:
    """At most 20 commits for 1,000 steps that are ready at once."""
    store = workflows.CountingStore(tmp_path / "runs.db")

    workflows.run(workflows.fan_out(1000), cast("Store", store))

    assert store.commits <= 20 + 3


def test_the_file_grows_by_at_most_700_bytes_a_step(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    workflows.run(workflows.chain(2000), path)
    with apsw.Connection(str(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert path.stat().st_size / 2000 <= 700


def test_importing_the_package_imports_little_else() -> None:
    code = "import sys; before = set(sys.modules); import statemachine_flow; print(len(set(sys.modules) - before))"

    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert int(printed) <= 150
