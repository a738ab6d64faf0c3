"""Backups: whole, verified, of their own, and never in the place of something else."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import StoreError, UsageError
from statemachine_flow.journal import RunFold
from statemachine_flow.stores.backup import back_up
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.failures import store_error
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import OTHER, OWNER, Author

posix = pytest.mark.skipif(os.name == "nt", reason="modes and signals of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "safe").mkdir()
    return tmp_path / "safe" / "backup.db"


def large() -> str:
    return "x" * 2_000_000


def workflow() -> Workflow:
    one = Workflow("w")
    one.call("a", large)
    return one


def is_whole(store: SqliteStore) -> bool:
    """Whether nothing is damaged, and the journal of the run `r` adds up to its row."""
    fold, row = RunFold("r"), store.row("r")
    fold.replay(store.records("r"))
    return store.damages() == [] and row is not None and (row.seq, row.state) == (fold.seq, fold.state)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_backup_holds_everything_and_is_one_private_file(path: Path, target: Path) -> None:
    with Engine(path) as engine:
        before = engine.run(workflow(), run_id="r1")
        engine.backup(target)
        engine.run(workflow(), run_id="later")
    with Engine(target) as engine:
        assert [row.id for row in engine.list()] == ["r1"]
        assert engine.get("r1").steps["a"].output == before.steps["a"].output == large()
        assert engine.verify().ok
    assert {"backup.db", "backup.db.blobs"} <= set(names(target.parent))


@pytest.mark.parametrize("umask", [0, 0o777])
@posix
def test_the_files_of_a_backup_are_private_and_no_other_is_left(path: Path, target: Path, umask: int) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    before = os.umask(umask)
    try:
        store.backup(target)
    finally:
        os.umask(before)
    store.close()

    assert names(target.parent) == ["backup.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_nobody_owns_the_runs_of_a_backup_and_their_owner_may_not_write_to_it(path: Path, target: Path) -> None:
    """G17: two copies cannot both be worked on by somebody who does not know that there are two."""
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.backup(target)
    copy = SqliteStore(target)
    row = copy.row("r")

    assert row is not None
    assert (row.owner, row.epoch, row.seq) == (None, 2, 2)
    assert copy.commit([author.note()]) == ["r"]
    assert copy.claim("r", 2, OTHER)
    assert store.row("r").owner == OWNER  # type: ignore[union-attr]  # it is there
    ids = [one._store_id() for one in (store, copy)]
    assert ids[0] != ids[1]
    copy.close()
    store.close()


def _a_file(path: Path, target: Path) -> Path:
    target.write_text("theirs")
    return target


def _a_link(path: Path, target: Path) -> Path:
    target.symlink_to(target.with_name("nowhere"))
    return target


def _a_folder(path: Path, target: Path) -> Path:
    target.mkdir()
    return target


TAKEN: dict[str, Callable[[Path, Path], Path]] = {
    "a file": _a_file,
    "a dangling link": _a_link,
    "a folder": _a_folder,
    "the store": lambda path, _: path,
    "its log": lambda path, _: Path(f"{path}-wal"),
    "its mark": lambda path, _: Path(f"{path}-mark"),
    "its blobs": lambda path, _: Path(f"{path}.blobs") / "x",
}


@pytest.mark.parametrize("what", TAKEN)
def test_case_61_a_backup_takes_the_place_of_nothing(path: Path, target: Path, what: str) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    where = TAKEN[what](path, target)
    before = [names(path.parent), names(target.parent)]
    with pytest.raises(StoreError) as caught:
        store.backup(where)

    assert (caught.value.kind, caught.value.exit_code) == ("store.exists", 6)
    assert [names(path.parent), names(target.parent)] == before
    store.close()


def test_case_61_a_folder_that_is_not_there_is_an_error(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreError) as caught:
        store.backup(tmp_path / "no" / "backup.db")
    assert caught.value.kind == "store.io"
    store.close()


def test_case_61_a_name_that_was_taken_meanwhile_is_left_to_who_took_it(path: Path, target: Path) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])

    def take(_: apsw.Connection) -> set[str]:
        _a_file(path, target)
        return set()

    with pytest.raises(StoreError) as caught:
        back_up(path, target, take)

    assert caught.value.kind == "store.exists"
    assert (target.read_text(), names(target.parent)) == ("theirs", ["backup.db"])
    store.close()


@posix
@pytest.mark.parametrize("what", ["journal", "blobs"])
def test_case_61_a_full_target_is_told_and_leaves_no_file(path: Path, target: Path, what: str) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    if what == "journal":
        store.commit([author.note("x" * 1_500_000)])
    for number in range(8):
        spill = store.open_blob()
        spill.write(bytes([number]) * (1_500_000 if what == "blobs" and number == 5 else 1000))
        spill.finish()
    store.close()
    program = """
import resource, sys
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1], readonly=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    store.backup(sys.argv[2])
except StoreError as error:
    print(error.kind)
    print(error.message)
    print(error.hint)
"""
    argv = [sys.executable, "-W", "error", "-c", program, str(path), str(target)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    kind, message, hint = done.stdout.splitlines()

    assert (kind, done.stderr) == ("store.full", "")
    assert "not an error" not in message
    assert hint == "free some space, or copy it to another disk"
    assert names(target.parent) == []


def test_the_end_of_a_copy_that_did_not_fit_says_that_there_is_no_space(path: Path) -> None:
    """SQLite has no text for it where the copy's own connection had no error."""
    told = store_error(apsw.FullError("not an error"), "backup")

    assert (told.kind, told.message) == ("store.full", "backup: no space is left on the disk")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM journal WHERE seq = 2",
        "UPDATE runs SET message = 'other'",
        "PRAGMA foreign_keys = OFF; DELETE FROM runs",
        "UPDATE definitions SET body = x'00'",
        "UPDATE requests SET action = 'cancel'",
        "UPDATE rejected SET data = x'00'",
    ],
)
def test_a_damaged_store_gives_no_backup(path: Path, target: Path, damage: str) -> None:
    store = SqliteStore(path)
    author = Author("r")
    store.commit([author.new()])
    store.request("r", "pause", "ann", "", 1)
    store.reject(author.note(), OTHER, 1)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute(damage)
    with pytest.raises(StoreError) as caught:
        store.backup(target)

    assert caught.value.kind == "store.corrupt"
    assert names(target.parent) == []
    store.close()


@pytest.mark.parametrize("damage", [lambda blob: blob.write_bytes(b"other"), Path.unlink])
def test_a_damaged_blob_gives_no_backup(path: Path, target: Path, damage: Callable[[Path], object]) -> None:
    with Engine(path) as engine:
        engine.run(workflow())
        (blob,) = Path(f"{path}.blobs").iterdir()
        damage(blob)
        with pytest.raises(StoreError) as caught:
            engine.backup(target)

    assert caught.value.kind == "store.corrupt"
    assert not target.exists()


@pytest.mark.parametrize("damage", [lambda blob: blob.write_bytes(b"other"), Path.unlink])
@pytest.mark.parametrize("size", [1_100_000, 3_000_000], ids=["just too long", "long"])
def test_a_damaged_stream_of_a_command_gives_no_backup_and_is_found(
    path: Path, target: Path, damage: Callable[[Path], object], size: int
) -> None:
    """Only the output that names it knows of it, which may lie in a blob itself."""
    long = Workflow("long")
    long.run("say", [sys.executable, "-c", f"print('x' * {size})"])
    with Engine(path) as engine:
        run = engine.run(long, run_id="r")
        engine.backup(target.with_name("whole.db"))
        damage(Path(f"{path}.blobs", run.steps["say"].output["stdout_blob"]))
        with pytest.raises(StoreError) as caught:
            engine.backup(target)
        found = engine.verify("r").damages

    assert caught.value.kind == "store.corrupt"
    assert not target.exists()
    assert [(one.run, one.step) for one in found] == [("r", "say")]


def test_a_backup_whose_steps_are_not_what_their_journal_gives_is_none(path: Path, target: Path) -> None:
    with Engine(path) as engine:
        engine.run(workflow())
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            connection.execute("UPDATE steps SET attempt = 9")
        with pytest.raises(StoreError, match="rows of its steps") as caught:
            engine.backup(target)

    assert (caught.value.kind, target.exists()) == ("store.corrupt", False)


def test_a_store_in_memory_has_no_file_to_be_copied(target: Path) -> None:
    with Engine("memory://") as engine, pytest.raises(UsageError):
        engine.backup(target)


def test_a_backup_in_the_place_of_its_store_is_asked_about(path: Path, target: Path) -> None:
    """The log and the mark of what was there before belong to another store: nothing is merged."""
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.backup(target)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.commit([author.note()])
    store.close()
    path.write_bytes(target.read_bytes())
    with pytest.raises(StoreError) as caught:
        SqliteStore(path)

    assert caught.value.kind in {"store.lost_tail", "store.corrupt"}
    for suffix in ("-wal", "-shm", "-mark"):
        Path(f"{path}{suffix}").unlink()
    store = SqliteStore(path)
    assert is_whole(store)
    store.close()


#: Commits without end.
LOAD = """
import sys
from statemachine_flow.stores.failures import store_error
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import Author

store = SqliteStore(sys.argv[1])
author = Author("r")
store.commit([author.new()])
print("ready", flush=True)
while True:
    assert store.commit([author.note("x" * 200)]) == []
    print(author.fold.seq, flush=True)
"""
BACKUP = """
import sys
from statemachine_flow.stores.failures import store_error
from statemachine_flow.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1], readonly=True)
print("ready", flush=True)
store.backup(sys.argv[2])
print("done", flush=True)
"""


def back_up_under_load(path: Path, folder: Path, rounds: int, seed: int) -> list[bool]:
    """Back up while another process commits, and kill every second backup; whether each of them came to its end."""
    rng, done = random.Random(seed), []
    with subprocess.Popen([sys.executable, "-c", LOAD, str(path)], stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n"
        for number in range(rounds):
            told = int(load.stdout.readline())
            target = folder / f"{number}.db"
            argv = [sys.executable, "-c", BACKUP, str(path), str(target)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as backup:
                assert backup.stdout is not None
                assert backup.stdout.readline() == "ready\n"
                if number % 2:
                    time.sleep(rng.uniform(0, 0.03))
                    backup.kill()
                is_told = "done" in backup.stdout.read()
            assert is_told or number % 2
            assert target.exists() or not is_told
            if target.exists():
                store = SqliteStore(target)
                row = store.row("r")
                assert row is not None
                assert row.seq >= told
                assert is_whole(store)
                store.close()
            done.append(target.exists())
        load.kill()
    assert load.returncode == -signal.SIGKILL
    return done


@posix
def test_backups_under_load_are_whole_or_not_there(path: Path, target: Path) -> None:
    assert back_up_under_load(path, target.parent, 6, seed=1)[::2] == [True] * 3


@posix
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_500_backups_under_load_are_whole_or_not_there(path: Path, target: Path) -> None:
    done = back_up_under_load(path, target.parent, 500, seed=2)

    assert all(done[::2])
    assert not all(done)


def test_a_backup_keeps_tables_of_users(path: Path, target: Path) -> None:
    store = SqliteStore(path)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE mine (n)")
        connection.execute("INSERT INTO mine VALUES (7)")
    store.backup(target)
    store.close()
    with contextlib.closing(apsw.Connection(str(target))) as connection:
        assert connection.execute("SELECT n FROM mine").fetchall() == [(7,)]
    copy = SqliteStore(target)
    assert copy.rows(RunFilter()) == []
    copy.close()
