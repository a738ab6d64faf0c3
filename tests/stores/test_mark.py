"""The high-water mark: what SQLite does not notice to be missing, and what the mark does not tell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.mark import Mark
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import OTHER, OWNER, Author

posix = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")

#: Commits again and again until it is killed; a word is printed for each commit that returned.
WRITER = """
import sys
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import Author

store = SqliteStore(sys.argv[1])
author = Author("r")
store.commit([author.new()])
for _ in range(int(sys.argv[2])):
    assert store.commit([author.note()]) == []
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def killed_writer(path: Path, commits: int = 20) -> None:
    argv = [sys.executable, "-c", WRITER, str(path), str(commits)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "done\n"
        writer.kill()
    assert writer.returncode == -signal.SIGKILL


def wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def mark(path: Path) -> Path:
    return Path(f"{path}-mark")


def refused(path: Path, *, readonly: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        SqliteStore(path, readonly=readonly)
    return caught.value


def checkpoint(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@posix
@pytest.mark.parametrize("readonly", [False, True])
def test_case_50_a_deleted_log_is_noticed(path: Path, readonly: bool) -> None:
    SqliteStore(path).close()
    checkpoint(path)
    killed_writer(path)
    wal(path).unlink()
    error = refused(path, readonly=readonly)

    assert (error.kind, error.exit_code) == ("store.lost_tail", 6)
    assert "--accept-loss" in str(error)


@posix
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_case_50_a_log_that_was_cut_off_is_noticed(path: Path, share: float) -> None:
    SqliteStore(path).close()
    checkpoint(path)
    killed_writer(path)
    os.truncate(wal(path), int(wal(path).stat().st_size * share))

    assert refused(path).kind == "store.lost_tail"


@posix
def test_case_50_a_log_with_a_flipped_bit_ends_there_and_is_noticed(path: Path) -> None:
    SqliteStore(path).close()
    checkpoint(path)
    killed_writer(path)
    data = bytearray(wal(path).read_bytes())
    data[len(data) // 2] ^= 1
    wal(path).write_bytes(data)

    assert refused(path).kind == "store.lost_tail"


@posix
def test_what_a_kill_leaves_is_not_taken_for_a_loss(path: Path) -> None:
    for number in range(3):
        where = path.with_name(f"{number}.db")
        killed_writer(where, 5 * number)
        store = SqliteStore(where)
        row = store.row("r")
        assert row is not None
        assert row.seq == 2 + 5 * number
        store.close()


@posix
def test_a_loss_can_be_accepted_once_and_for_all(path: Path) -> None:
    SqliteStore(path).close()
    checkpoint(path)
    killed_writer(path)
    wal(path).unlink()
    SqliteStore(path, readonly=True, accept_loss=True).close()  # a look changes nothing
    assert refused(path).kind == "store.lost_tail"
    SqliteStore(path, accept_loss=True).close()
    store = SqliteStore(path)

    assert store.commit([Author("again").new()]) == []
    store.close()
    SqliteStore(path).close()


def test_an_older_copy_put_back_is_noticed(path: Path, tmp_path: Path) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.close()
    checkpoint(path)
    shutil.copy(path, tmp_path / "old.db")
    store = SqliteStore(path)
    store.commit([author.note()])
    store.close()
    checkpoint(path)
    shutil.copy(tmp_path / "old.db", path)

    assert refused(path).kind == "store.lost_tail"


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.claim("r", 1, OTHER),
        lambda store: store.request("r", "pause", "ann", "", 1),
        lambda store: store.transact(lambda _: None, Author("other").new),
    ],
    ids=["a claim", "a request", "a transaction"],
)
def test_the_loss_of_anything_that_was_told_is_noticed(path: Path, write: Callable[[SqliteStore], object]) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    store.close()
    checkpoint(path)
    before = path.read_bytes()
    store = SqliteStore(path)
    assert write(store)
    store.close()
    checkpoint(path)
    path.write_bytes(before)

    assert refused(path).kind == "store.lost_tail"


@pytest.mark.parametrize("damage", ["gone", "empty", "zeros", "torn", "noise"])
def test_a_mark_that_cannot_be_believed_stops_nobody(path: Path, damage: str) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.commit([author.note()])
    store.close()
    data = mark(path).read_bytes()
    if damage == "gone":
        mark(path).unlink()
    else:
        torn = bytes(byte ^ 0x10 if 24 <= at % 4096 < 32 else byte for at, byte in enumerate(data))
        found = {"empty": b"", "zeros": bytes(len(data)), "torn": torn, "noise": os.urandom(len(data))}
        mark(path).write_bytes(found[damage])
    store = SqliteStore(path)

    assert [row.seq for row in store.rows(RunFilter())] == [3]
    store.close()


def test_one_slot_is_enough(path: Path) -> None:
    """The mark of the last commit was torn: that of the one before it still tells of most of what is lost."""
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.close()
    checkpoint(path)
    before = path.read_bytes()
    store = SqliteStore(path)
    for _ in range(4):
        store.commit([author.note()])
    store.close()
    for torn in (0, 4096):
        checkpoint(path)
        data = mark(path).read_bytes()
        path.write_bytes(before)
        mark(path).write_bytes(data[:torn] + bytes(8) + data[torn + 8 :])
        assert refused(path).kind == "store.lost_tail"
        mark(path).write_bytes(data)


def test_unsynced_commits_may_get_lost_and_move_no_mark(path: Path) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.close()
    checkpoint(path)
    before = path.read_bytes()
    store = SqliteStore(path)
    store.commit([author.note(synced=False)])
    store.close()
    checkpoint(path)
    path.write_bytes(before)

    SqliteStore(path).close()


def test_case_51_a_log_of_another_store_is_refused_and_not_merged(path: Path, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "other.db")
    other.commit([Author("theirs").new()])
    other.close()
    store = SqliteStore(path)
    store.commit([Author("mine").new()])
    store.close()
    checkpoint(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "other.db-wal", wal(path))
    before = path.read_bytes()

    assert refused(path).kind == "store.lost_tail"
    assert path.read_bytes() == before
    wal(path).unlink()
    Path(f"{path}-shm").unlink(missing_ok=True)
    store = SqliteStore(path)
    assert [row.id for row in store.rows(RunFilter())] == ["mine"]
    store.close()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_store_that_lost_all_it_had_with_its_log_is_known_and_not_begun_anew(path: Path, readonly: bool) -> None:
    """Before the first checkpoint there is nothing in the file itself."""
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    store.close()
    log, before = wal(path).read_bytes(), path.read_bytes()
    wal(path).unlink()
    Path(f"{path}-shm").unlink()

    assert refused(path, readonly=readonly).kind == "store.lost_tail"
    assert (path.read_bytes(), wal(path).exists() and wal(path).stat().st_size) == (before, 0)
    wal(path).write_bytes(log)
    store = SqliteStore(path)
    assert [row.id for row in store.rows(RunFilter())] == ["r"]
    store.close()


def test_a_store_that_was_removed_leaves_no_mark_to_the_next_one(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    store.close()
    path.unlink()
    store = SqliteStore(path)

    assert store.rows(RunFilter()) == []
    assert not store.claim("r", 1, OWNER)
    store.close()
    SqliteStore(path).close()


def test_a_mark_that_cannot_be_written_costs_no_commit(path: Path) -> None:
    mark(path).mkdir()
    guard = Mark(mark(path), "0" * 32)
    guard.put(1, 1, 1)

    assert guard.read() == []
    guard.close()


def test_a_mark_that_cannot_be_removed_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "runs.db-mark").mkdir()  # which no file can be removed from under
    with pytest.raises(StoreError) as caught:
        Mark(tmp_path / "runs.db-mark", "0" * 32).clear()

    assert (caught.value.kind, caught.value.exit_code) == ("store.io", 6)
