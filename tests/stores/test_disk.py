"""Disks that are full or fail: a clear error, what was told is kept, and the run goes on once there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import Author

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")

#: Runs 500 steps in a file that may not grow so far, reads, makes room, and goes on.
FULL = """
import collections, json, resource, sys
from statemachine_flow.builder import Workflow
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import StoreError
from statemachine_flow.steps.base import StepContext

bodies = collections.Counter()

def body(context: StepContext) -> str:
    bodies[context.path] += 1
    return "x" * 400

workflow = Workflow("long")
for number in range(500):
    workflow.call(f"s{number}", body, needs=[f"s{number - 1}"] if number else [])

limit = int(sys.argv[2])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
said = {}
with Engine(sys.argv[1], write_timeout=0) as engine:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        engine.run(workflow, run_id="r")
    except StoreError as error:
        said["error"] = [error.kind, error.exit_code]
    run = engine.get("r")
    said["read"] = [str(run.state), len(engine.events("r")) == run.seq, len(engine.list()), engine.verify().ok]
    done = [name for name, step in run.steps.items() if step.state == "completed"]
    said["done"] = len(done)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    said["state"] = str(engine.resume("r").state)
    said["repeated"] = sum(bodies[name] - 1 for name in bodies)
    said["repeated of the done"] = sum(bodies[name] - 1 for name in done)
    said["bodies"] = len(bodies)
    said["whole"] = engine.verify().ok
print(json.dumps(said))
"""


@pytest.mark.parametrize("limit", [300_000, 1_000_000])
def test_case_57_a_run_on_a_full_disk_completes_once_there_is_room(tmp_path: Path, limit: int) -> None:
    argv = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path / "runs.db"), str(limit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)

    assert said["error"] == ["store.full", 6]
    assert said["read"] == ["running", True, 1, True]
    assert 0 < said["done"] < 500
    assert (said["state"], said["bodies"], said["whole"]) == ("completed", 500, True)
    assert said["repeated of the done"] == 0
    assert said["repeated"] <= 1  # the one whose end could not be written


class FailingFile(apsw.VFSFile):
    """A file whose syncs fail when they are to."""

    def __init__(self, failing: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(failing.base, name, flags)
        self.failing = failing

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self.failing.syncs += 1
        if self.failing.fails:
            error = apsw.IOError("the disk does not sync")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined,unused-ignore]  # apsw reads it
            raise error
        super().xSync(flags)


class FailingDisk(apsw.VFS):
    """Where every new connection opens its files."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        super().__init__("failing-disk", self.base, makedefault=True)
        self.fails = False
        self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return FailingFile(self, name, flags)


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    disk = FailingDisk()
    yield disk
    disk.unregister()  # type: ignore[no-untyped-call,unused-ignore]  # apsw


def test_case_58_a_failed_sync_is_not_tried_again_and_the_store_has_to_be_opened_anew(
    tmp_path: Path, disk: FailingDisk
) -> None:
    path = tmp_path / "runs.db"
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    disk.fails, disk.syncs = True, 0
    with pytest.raises(StoreError) as caught:
        store.commit([author.note()])
    assert caught.value.kind == "store.io"
    disk.fails = False
    uses: list[Callable[[], object]] = [lambda: store.row("r"), lambda: store.release("r", 1)]
    for use in uses:
        with pytest.raises(StoreError) as again:
            use()
        assert again.value.kind == "store.io"
    assert disk.syncs == 1
    store.close()

    reopened = SqliteStore(path)
    row = reopened.row("r")
    assert row is not None
    assert row.seq in {2, 3}
    reopened.close()
