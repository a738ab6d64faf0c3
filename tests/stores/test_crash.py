"""A process killed in the middle of its commits loses nothing it was told is kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from statemachine_flow.journal import RunFold
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import OTHER, Author

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")

#: Commits notes for ever, to four runs in turn, and says which after each: `run seq`.
WRITER = """
import sys
from statemachine_flow.journal import Note, RunFold
from statemachine_flow.stores.base import Write
from statemachine_flow.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1])
folds = {}
for run_id in "abcd":
    folds[run_id] = RunFold(run_id)
    folds[run_id].replay(store.records(run_id))
print("ready", flush=True)
while True:
    batch = []
    for fold in folds.values():
        seq = fold.seq
        records = [fold.add("run.note", Note(reason="x" * (fold.seq % 700)), 1) for _ in range(3)]
        batch.append(Write(run_id=fold.id, epoch=1, seq=seq, records=records, updated_at=fold.seq))
    assert store.commit(batch) == []
    print(*(fold.seq for fold in folds.values()), flush=True)
"""


def create_runs(path: Path) -> None:
    """Four runs with nothing but their creation."""
    make = """
import sys
import msgspec
from statemachine_flow.journal import Created, RunFold
from statemachine_flow.stores.base import NewRun, RunRow, Write
from statemachine_flow.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1])
for run_id in "abcd":
    fold = RunFold(run_id)
    data = Created(workflow="w", version="1", definition="d", inputs=msgspec.Raw(b"\\x80"), steps=0, cwd="/")
    write = Write(run_id=run_id, epoch=1, seq=0, records=[fold.add("run.create", data, 1)])
    row = RunRow(id=run_id, workflow="w", version="1", definition="d", state="pending", seq=0, epoch=1, owner=None,
        created_at=1, updated_at=1, started_at=None, ended_at=None, steps_total=0, steps_done=0, message="")
    assert store.commit([NewRun(row=row, definition=b"d", write=write)]) == []
store.close()
"""
    subprocess.run([sys.executable, "-c", make, str(path)], check=True, timeout=60)


def kill_midway(path: Path, seconds: float) -> list[int]:
    """Let a writer work for some time, kill it, and return the sequence numbers it was told are kept."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        timer = threading.Timer(seconds, writer.kill)
        timer.start()
        said = writer.stdout.read()
        timer.join()
    assert writer.returncode == -signal.SIGKILL
    whole = [line for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [int(number) for number in whole[-1].split()] if whole else [0] * 4


def check(path: Path, told: list[int]) -> list[int]:
    """What is there: whole journals, at least as long as was told, by one commit at most, all runs alike."""
    store = SqliteStore(path)
    found = []
    for run_id in "abcd":
        fold = RunFold(run_id)
        fold.replay(store.records(run_id))
        row = store.row(run_id)
        assert row is not None
        assert (row.seq, row.updated_at) == (fold.seq, fold.seq)
        found.append(fold.seq)
    store.close()
    assert len(set(found)) == 1
    assert told[0] <= found[0] <= max(told[0], 1) + 3
    return found


def kill_often(path: Path, rounds: int, seed: int) -> int:
    """Kill a writer again and again on one store; how many records it had kept by the end."""
    rng = random.Random(seed)
    create_runs(path)
    found = [1] * 4
    for _ in range(rounds):
        told = kill_midway(path, rng.uniform(0.0, 0.03))
        found = check(path, told if told[0] else found)
    return sum(found)


def test_twenty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert kill_often(tmp_path / "runs.db", 20, seed=1) > 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert kill_often(tmp_path / "runs.db", 500, seed=2) > 400


#: Packs a store together, as its users do with tools of their own, and is killed on the way.
VACUUM = """
import os, signal, sys
import apsw
connection, left = apsw.Connection(sys.argv[1]), int(sys.argv[2])

def progress():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return False

connection.set_progress_handler(progress, 5)
connection.execute("VACUUM")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.close()
print(int(sys.argv[2]) - left)
"""


def test_case_62_a_kill_in_the_middle_of_a_vacuum_removes_nothing(tmp_path: Path) -> None:
    """There is nothing else that gives room back: no command removes runs."""
    whole = tmp_path / "whole.db"
    store, author = SqliteStore(whole), Author("r")
    store.commit([author.new()])
    for _ in range(300):
        store.commit([author.note()])
    held, rows = store.records("r"), store.rows(RunFilter())
    store.close()

    def vacuum(path: Path, at: int) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", VACUUM, str(path), str(at)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    moments = int(vacuum(_copy(whole, tmp_path / "counted"), 10**9).stdout)
    assert moments > 20
    for at in {*range(1, moments, max(1, moments // 12)), moments}:
        path = _copy(whole, tmp_path / str(at))
        killed = vacuum(path, at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        reopened = SqliteStore(path)
        assert (reopened.records("r"), reopened.rows(RunFilter()), reopened.damages()) == (held, rows, [])
        assert reopened.claim("r", 1, OTHER)
        reopened.close()


def _copy(store: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in store.parent.glob(f"{store.name}*"):
        if file.is_file():
            shutil.copy(file, folder / file.name)
    return folder / store.name
