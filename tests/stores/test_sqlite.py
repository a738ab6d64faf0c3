"""The SQLite store's file: settings, privacy, what is refused, and what other processes do to it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import NotFoundError, StoreError, UsageError
from statemachine_flow.stores import database
from statemachine_flow.stores.base import Beat, NewRun, Owner, RunFilter, Write
from statemachine_flow.stores.seal import add_seal, seal_all
from statemachine_flow.stores.sqlite import SqliteStore

posix = pytest.mark.skipif(os.name == "nt", reason="modes, links and FIFOs of POSIX")
OWNER = Owner(host="h", boot="b", pid=1, started="s", nonce="n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A store with two runs, everything in its main file."""
    with Engine(path) as engine:
        engine.run(workflow(), run_id="r1")
        engine.run(workflow(), run_id="r2")
    checkpoint(path)
    return path


def workflow() -> Workflow:
    two = Workflow("w")
    two.call("a", text_of, with_={"size": 3000})
    two.call("b", text_of, with_={"size": 10})
    return two


def text_of(size: int) -> str:
    return "x" * size


def checkpoint(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def tampered(path: Path) -> Iterator[apsw.Connection]:
    """A connection past our guards: our triggers are away meanwhile, and there again behind it."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(str(sql))


def refusal(where: Path, *, readonly: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        SqliteStore(where, readonly=readonly)
    return caught.value


def python(code: str, *arguments: object) -> str:
    """What a Python of its own prints; the code may use everything `PRELUDE` imports."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PRELUDE = """
import os, sys
from statemachine_flow.errors import SmfError
from statemachine_flow.stores.base import Owner, RunFilter
from statemachine_flow.stores.sqlite import SqliteStore
"""

# --- settings


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
def test_every_setting_that_durability_rests_on_is_set(
    path: Path, durability: database.Durability, synchronous: int
) -> None:
    store = SqliteStore(path, durability=durability)
    names = (
        "journal_mode",
        "synchronous",
        "foreign_keys",
        "trusted_schema",
        "cell_size_check",
        "secure_delete",
        "fullfsync",
    )

    found = {name: store._database.pragma(name) for name in (*names, "busy_timeout")}
    store.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": synchronous,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "secure_delete": 1,
        "fullfsync": 1,
        "busy_timeout": 30_000,
    }


def test_the_file_says_whose_it_is(path: Path) -> None:
    SqliteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        found = {name: other.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")}

    assert found == {"application_id": 0x736D6631, "user_version": 2}


@pytest.mark.parametrize("name", ["a\0b.db", "\ud800.db"])
def test_a_name_that_is_no_text_names_no_store(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name).kind == "store.unsafe_path"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["defensive", "no_ckpt_on_close"])
def test_the_connection_is_defensive_and_leaves_the_log_alone(path: Path, setting: str) -> None:
    store = SqliteStore(path)
    connection = store._database._connection
    assert connection is not None

    assert connection.config(getattr(apsw, f"SQLITE_DBCONFIG_{setting.upper()}"), -1) == 1
    store.close()


def test_e3_closing_a_second_connection_keeps_the_log_of_the_first(filled: Path) -> None:
    """A process that ends must not remove the log that another one still writes to."""
    store = SqliteStore(filled)
    assert store.claim("r1", 1, OWNER)
    python("SqliteStore(sys.argv[1]).close()", filled)

    assert Path(f"{filled}-wal").stat().st_size > 0
    store.close()


# --- privacy


@posix
@pytest.mark.parametrize("umask", [0, 0o022, 0o277, 0o777])
def test_case_55_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "deep" / "er" / "runs.db"
    before = os.umask(umask)
    try:
        store = SqliteStore(path)
        store.request  # noqa: B018 - the store is open: its log and shared memory are there
        spill = store.open_blob()
        spill.write(b"x")
        digest = spill.finish()
        modes = {
            entry.name: stat.S_IMODE(entry.stat().st_mode)
            for folder in (path.parent, path.with_name("runs.db.blobs"))
            for entry in folder.iterdir()
        }
        folders = [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)]
        assert os.umask(umask) == umask  # the store left it alone
        store.close()
    finally:
        os.umask(before)

    assert modes == {
        "runs.db": 0o600,
        "runs.db-wal": 0o600,
        "runs.db-shm": 0o600,
        "runs.db.blobs": 0o700,
        digest: 0o600,
    }
    assert folders == [0o700, 0o700]


# --- what is no store


def _symlink(path: Path) -> None:
    target = path.with_name("target.db")
    SqliteStore(target).close()
    path.symlink_to(target)


UNSAFE: dict[str, Callable[[Path], None]] = {
    "symlink": _symlink,
    "dangling symlink": lambda path: path.symlink_to(path.with_name("nowhere.db")),
    "folder": Path.mkdir,
    "fifo": lambda path: os.mkfifo(path),  # noqa: PLW0108 - looked up late: Windows has none
}


@posix
@pytest.mark.parametrize("what", UNSAFE)
@pytest.mark.parametrize("readonly", [False, True])
def test_case_54_links_folders_and_special_files_are_refused(path: Path, what: str, readonly: bool) -> None:
    UNSAFE[what](path)
    before = sorted(entry.name for entry in path.parent.iterdir())

    assert refusal(path, readonly=readonly).kind == "store.unsafe_path"
    assert sorted(entry.name for entry in path.parent.iterdir()) == before


def _foreign(mode: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA journal_mode = {mode}")
            other.execute("CREATE TABLE runs (id TEXT)")
            other.execute("INSERT INTO runs VALUES ('theirs')")
            other.commit()

    return make


def _bytes(data: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


STRANGERS: dict[str, Callable[[Path], None]] = {
    "one byte": _bytes(b"x"),
    "blank line": _bytes(b"\n"),
    "short text": _bytes(b"hello\n"),
    "long text": _bytes(b"hello\n" * 10_000),
    "zeros": _bytes(bytes(4096)),
    "PNG": _bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40),
    "almost SQLite": _bytes(b"SQLite format 3\0" + b"\xff" * 5000),
    "header of SQLite alone": _bytes(b"SQLite format 3\0"),
    "SQLite of somebody else": _foreign("delete"),
    "SQLite of somebody else with a log": _foreign("wal"),
}


@pytest.mark.parametrize("what", STRANGERS)
@pytest.mark.parametrize("readonly", [False, True])
def test_case_47_a_file_that_is_no_store_is_refused_and_left_as_it_was(path: Path, what: str, readonly: bool) -> None:
    STRANGERS[what](path)
    path.chmod(0o640)
    before = path.read_bytes(), path.stat().st_mode

    assert refusal(path, readonly=readonly).kind == "store.not_ours"
    assert (path.read_bytes(), path.stat().st_mode) == before


def test_case_46_an_empty_file_becomes_a_store(path: Path) -> None:
    """Our decision: nothing can be lost in a file of no bytes, and `mktemp` makes such files."""
    path.touch()
    store = SqliteStore(path)

    assert store.rows(RunFilter()) == []
    store.close()
    SqliteStore(path).close()


def test_a_store_whose_making_was_cut_short_is_made_again(path: Path) -> None:
    """Switching the log on writes the header before there are tables; a kill may fall between."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    store = SqliteStore(path)

    assert store.rows(RunFilter()) == []
    store.close()


def test_case_46_an_empty_file_is_no_store_to_a_reader(path: Path) -> None:
    path.touch()

    assert refusal(path, readonly=True).kind == "store.not_ours"
    assert path.stat().st_size == 0


@pytest.mark.parametrize("readonly", [False, True])
def test_case_53_a_store_of_a_newer_version_is_refused_and_left_as_it_was(filled: Path, readonly: bool) -> None:
    with contextlib.closing(apsw.Connection(str(filled))) as connection:
        connection.execute("PRAGMA user_version = 3")
    checkpoint(filled)
    before = filled.read_bytes()
    error = refusal(filled, readonly=readonly)

    assert (error.kind, error.exit_code) == ("store.newer", 6)
    assert "schema 3" in error.message
    assert filled.read_bytes() == before


@posix
def test_a_file_in_the_way_of_the_folder_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert refusal(tmp_path / "file" / "runs.db").kind == "store.io"


# --- reading only


def test_a_reader_makes_no_file(path: Path) -> None:
    assert refusal(path, readonly=True).kind == "store.io"
    assert refusal(path.parent / "no" / "runs.db", readonly=True).kind == "store.io"
    assert list(path.parent.iterdir()) == []


def test_a_reader_sees_what_a_writer_commits_and_cannot_write(filled: Path) -> None:
    reader, writer = SqliteStore(filled, readonly=True), SqliteStore(filled)
    assert writer.claim("r1", 1, OWNER)
    row = reader.row("r1")

    assert row is not None
    assert (row.epoch, row.owner) == (2, OWNER)
    with pytest.raises(StoreError):
        reader.claim("r1", 2, OWNER)
    writer.close()
    reader.close()


# --- damage


def everything(path: Path) -> list[object]:
    """All that can be read of a store; folds, not rows, for the journal is what is checksummed."""
    with Engine(path) as engine:
        runs = [engine.get(run_id) for run_id in ("r1", "r2")]
        return [
            (
                run.state,
                run.seq,
                run.definition_hash,
                {step.id: (step.state, step.output) for step in run.steps.values()},
            )
            for run in runs
        ] + [event.data for run in runs for event in engine.events(run.id)]


def read_damaged(path: Path) -> list[object] | str:
    """What is read of a damaged copy, or the kind of error; any other exception fails the test."""
    try:
        return everything(path)
    except StoreError as error:
        return error.kind
    except NotFoundError:
        # An index that lost an entry hides a row; that is found by checking the file, not by reading it.
        return "found by a check" if _fails_check(path) else "lost without a trace"


def _fails_check(path: Path) -> bool:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        try:
            return bool(connection.pragma("integrity_check") != "ok")
        except apsw.CorruptError:
            return True


def damaged(where: Path, data: bytes) -> Path:
    """A store's file with other content."""
    for suffix in ("-wal", "-shm"):
        Path(f"{where}{suffix}").unlink(missing_ok=True)
    where.write_bytes(data)
    return where


@pytest.mark.parametrize("size", [1, 50, 99, 100, 511, 512, 4095, 4096, -1])
def test_case_48_a_store_cut_short_is_reported(filled: Path, tmp_path: Path, size: int) -> None:
    data = filled.read_bytes()
    cut = damaged(tmp_path / "cut.db", data[: len(data) // 2 if size == -1 else size])
    before = cut.read_bytes()

    assert read_damaged(cut) in ("store.corrupt", "store.not_ours")
    assert cut.read_bytes() == before


def test_case_48_each_page_zeroed_is_reported_or_not_needed(filled: Path, tmp_path: Path) -> None:
    good = everything(filled)
    checkpoint(filled)
    data, found = filled.read_bytes(), []
    for start in range(0, len(data), 4096):
        zeroed = data[:start] + bytes(4096) + data[start + 4096 :]
        found.append(read_damaged(damaged(tmp_path / "zeroed.db", zeroed)))

    assert [result for result in found if result not in ("store.corrupt", "store.not_ours", good)] == []
    assert found.count("store.corrupt") >= 3


@pytest.mark.parametrize("readonly", [False, True])
def test_case_48_a_file_without_bytes_leaves_its_log_to_whoever_can_mend_it(path: Path, readonly: bool) -> None:
    store = SqliteStore(path)
    path.write_bytes(b"")
    log = Path(f"{path}-wal")
    before = log.read_bytes()
    assert before

    assert refusal(path, readonly=readonly).kind == "store.lost_tail"
    assert log.read_bytes() == before
    store.close()


@pytest.mark.parametrize("lost", [1, 2, 5, 6])
def test_a_journal_that_lost_its_end_is_reported(filled: Path, lost: int) -> None:
    """The chain of a shorter journal is whole: only the run's row knows how long it was."""
    with contextlib.closing(apsw.Connection(str(filled))) as connection:
        connection.execute("DELETE FROM journal WHERE run = 1 AND seq > 7 - ?", (lost,))
    with Engine(filled) as engine, pytest.raises(StoreError) as caught:
        engine.get("r1")
    assert (caught.value.kind, caught.value.run, caught.value.seq) == ("store.corrupt", "r1", 8 - lost)


def test_a_definition_that_is_not_the_one_the_run_began_with_is_reported(filled: Path) -> None:
    with contextlib.closing(apsw.Connection(str(filled))) as connection:
        ((body,),) = connection.execute("SELECT body FROM definitions").fetchall()
        assert isinstance(body, bytes)
        altered = body.replace(b"text_of", b"next_of")
        assert altered != body
        connection.execute("UPDATE definitions SET body = ?", (altered,))
    with Engine(filled) as engine, pytest.raises(StoreError) as caught:
        engine.get("r1")
    assert (caught.value.kind, caught.value.run) == ("store.corrupt", "r1")


def test_case_49_events_of_a_damaged_journal_are_not_shown(filled: Path) -> None:
    with tampered(filled) as connection:
        connection.execute("UPDATE journal SET at = at + 1 WHERE run = 1 AND seq = 5")
    with Engine(filled) as engine:
        for after in (0, 2, 4):
            with pytest.raises(StoreError) as caught:
                engine.events("r1", after=after)
            assert (caught.value.kind, caught.value.seq) == ("store.corrupt", 5)


def test_case_49_other_runs_stay_usable(filled: Path) -> None:
    with tampered(filled) as connection:
        connection.execute("UPDATE journal SET at = at + 1 WHERE run = 1 AND seq = 2")
    with Engine(filled) as engine:
        with pytest.raises(StoreError) as caught:
            engine.get("r1")
        assert (caught.value.kind, caught.value.run, caught.value.seq) == ("store.corrupt", "r1", 2)
        assert engine.get("r2").ok
        assert engine.run(workflow(), run_id="r3").ok


@pytest.mark.parametrize("column", ["workflow", "message", "version", "state"])
def test_text_that_is_no_longer_text_is_corruption(filled: Path, column: str) -> None:
    with tampered(filled) as connection:
        connection.execute(f"UPDATE runs SET {column} = CAST(x'ff61' AS TEXT) WHERE id = 'r1'")
    store = SqliteStore(filled)
    with pytest.raises(StoreError) as caught:
        store.row("r1")

    assert caught.value.kind == "store.corrupt"
    store.close()


@pytest.mark.parametrize("column", ["id", "definition", "seq", "owner", "created_at"])
def test_a_column_of_another_type_is_corruption(filled: Path, column: str) -> None:
    """As after damage to a record's header: the file is made to say that it was no STRICT table."""
    with contextlib.closing(apsw.Connection(str(filled))) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'runs'")
    with tampered(filled) as connection:
        connection.execute(f"UPDATE runs SET {column} = x'00' WHERE no = 1")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'runs'")
    store = SqliteStore(filled)
    good, bad = store.rows(RunFilter())

    assert (good.id, good.damage) == ("r2", "")
    assert (bad.state, bad.damage != "") == ("", True)
    store.close()


@pytest.mark.parametrize("owner", ["", "{", "[]", "7", '{"host": 1}', "\0"])
def test_an_owner_that_cannot_be_read_is_corruption(filled: Path, owner: str) -> None:
    with contextlib.closing(apsw.Connection(str(filled))) as connection:
        add_seal(connection)
        connection.execute("UPDATE runs SET owner = ?, seal = 0", (owner,))
        seal_all(connection)  # damage that no checksum tells of
    store = SqliteStore(filled)
    with pytest.raises(StoreError) as caught:
        store.row("r1")
    assert (caught.value.kind, caught.value.run) == ("store.corrupt", "r1")
    assert [row.id for row in store.rows(RunFilter()) if row.damage] == ["r2", "r1"]
    store.close()


def test_case_66_a_damaged_blob_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    spill = store.open_blob()
    spill.write(b"a" * 100)
    digest = spill.finish()
    blob = path.with_name("runs.db.blobs") / digest
    for damage in (b"", b"a" * 99, b"a" * 99 + b"b"):
        blob.write_bytes(damage)
        with pytest.raises(StoreError) as caught:
            store.blob(digest)
        assert caught.value.kind == "store.corrupt"
    store.close()


def test_a_blob_that_is_not_finished_leaves_nothing_under_a_final_name(path: Path) -> None:
    store = SqliteStore(path)
    spill = store.open_blob()
    spill.write(b"half")
    folder = path.with_name("runs.db.blobs")

    assert all(entry.name.startswith(".new-") for entry in folder.iterdir())
    spill.discard()
    spill.discard()
    assert list(folder.iterdir()) == []
    store.close()


# --- failing commits


def _new_run(store: SqliteStore, run_id: str) -> NewRun:
    """A run to be created like `r1`, without records."""
    row = store.row("r1")
    assert row is not None
    row.id, row.state, row.seq, row.epoch = run_id, "pending", 0, 1
    return NewRun(row=row, definition=b"", write=Write(run_id=run_id, epoch=1, seq=0, records=[]))


def test_a_commit_that_fails_leaves_no_trace(filled: Path) -> None:
    """Neither in the file nor in memory: the number of a run that was rolled back goes to the next one."""
    store = SqliteStore(filled)
    bad = _new_run(store, "bad")
    bad.write.states = ["completed"]  # no edge leads there
    with pytest.raises(StoreError, match="illegal run edge"):
        store.commit([_new_run(store, "lost"), bad])

    assert (store.row("lost"), store.row("bad")) == (None, None)
    assert store.commit([_new_run(store, "next")]) == []
    stray = Write(run_id="lost", epoch=1, seq=0, records=[], states=["running"])
    assert store.commit([stray]) == ["lost"]
    row = store.row("next")
    assert row is not None
    assert row.state == "pending"
    store.close()


def test_case_75_a_foreign_write_lock_is_waited_for_and_then_reported(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    store = SqliteStore(filled)
    with contextlib.closing(apsw.Connection(str(filled))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            store.claim("r1", 1, OWNER)
        assert caught.value.kind == "store.busy"
        assert store.row("r1") is not None  # readers do not wait
        other.execute("ROLLBACK")
    assert store.claim("r1", 1, OWNER)
    store.close()


def test_a_sign_of_life_that_waits_for_a_foreign_lock_keeps_no_other_thread_from_the_store(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, told = threading.Semaphore(0), list[list[str]]()
    monkeypatch.setattr(time, "sleep", lambda _seconds: pauses.release())
    store = SqliteStore(filled)
    with contextlib.closing(apsw.Connection(str(filled))) as other:
        other.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(target=lambda: told.append(store.beat(Beat("n", 1, 1, 1.0), {"r1": 7})))
        thread.start()
        for _ in range(3):
            assert pauses.acquire(timeout=20), "it waits with the connection in its hands"
            assert store.row("r1") is not None
        other.execute("ROLLBACK")
    thread.join(20)
    assert (told, store.last_beat("n")) == ([["r1"]], Beat("n", 1, 1, 1.0))
    assert store.claim("r1", 1, OWNER)
    store.close()


def test_other_writes_wait_for_a_foreign_lock_as_long_as_before_once_a_sign_of_life_was_given(filled: Path) -> None:
    store = SqliteStore(filled)
    store.beat(Beat("n", 1, 1, 1.0), {})
    assert store._database.pragma("busy_timeout") == database.BUSY_SECONDS * 1000
    store.close()


def test_case_60_a_sqlite_that_can_damage_the_log_is_refused_unless_somebody_allows_it(
    path: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    for file in (filled, path.with_name("new.db")):
        with pytest.raises(StoreError) as caught:
            SqliteStore(file)
        assert caught.value.kind == "store.old_sqlite"
        assert "3.51.2" in caught.value.message
    reader = SqliteStore(filled, readonly=True)  # who reads damages nothing
    assert len(reader.rows(RunFilter())) == 2
    reader.close()
    monkeypatch.setenv("SMF_ALLOW_OLD_SQLITE", "1")
    SqliteStore(filled).close()
    monkeypatch.delenv("SMF_ALLOW_OLD_SQLITE")
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.52.0")
    SqliteStore(filled).close()


def test_case_57_a_full_disk_is_reported_and_keeps_what_was_there(filled: Path) -> None:
    store = SqliteStore(filled)
    assert store._database._connection is not None
    pages = store._database.pragma("page_count")
    store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = _new_run(store, "big")
    big.definition, big.row.definition = b"x" * 100_000, "big"
    with pytest.raises(StoreError) as caught:
        store.commit([big])

    assert caught.value.kind == "store.full"
    assert store.row("big") is None
    store._database._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.commit([big]) == []
    store.close()


# --- other processes and threads


def test_version_changes_when_another_connection_wrote_and_only_then(filled: Path) -> None:
    mine, other = SqliteStore(filled), SqliteStore(filled)
    versions = [mine.version()]
    mine.claim("r1", 1, OWNER)
    versions.append(mine.version())
    other.claim("r1", 2, OWNER)
    versions.append(mine.version())
    other.row("r1")
    versions.append(mine.version())

    assert [a == b for a, b in itertools.pairwise(versions)] == [True, False, True]
    mine.close()
    other.close()


def test_many_openers_of_a_new_path_all_get_the_store(tmp_path: Path) -> None:
    for number in range(20):
        where = tmp_path / f"{number}.db"
        with ThreadPoolExecutor(8) as pool:
            stores = list(pool.map(lambda _, where=where: SqliteStore(where), range(8)))
        for store in stores:
            assert store.rows(RunFilter()) == []
            store.close()


def test_processes_that_open_a_new_path_at_once_all_get_the_store(path: Path) -> None:
    code = f"""{PRELUDE}
sys.stdin.readline()
for number in range(10):
    SqliteStore(f"{{sys.argv[1]}}.{{number}}").close()
"""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, str(path)],
                    stdin=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[1] for process in processes]

    assert said == [""] * 4


CLAIM_ALL = """
store = SqliteStore(sys.argv[1])
me = Owner(host="h", boot="b", pid=os.getpid(), started="s", nonce=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
won = [number for number in range(200) if store.claim(f"run-{number}", 1, me)]
print(*won, flush=True)
store.close()
"""


def test_e5_two_processes_racing_for_200_runs_have_one_winner_each(filled: Path) -> None:
    store = SqliteStore(filled)
    assert store.commit([_new_run(store, f"run-{number}") for number in range(200)]) == []
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PRELUDE + CLAIM_ALL, str(filled), name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in ("one", "two")
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [set(map(int, racer.communicate(timeout=120)[0].split())) for racer in racers]

    assert won[0] & won[1] == set()
    assert won[0] | won[1] == set(range(200))
    rows = {row.id: row for row in store.rows(RunFilter(limit=999))}
    for name, numbers in zip(("one", "two"), won, strict=True):
        owners = {rows[f"run-{number}"].owner.nonce for number in numbers}  # type: ignore[union-attr]  # claimed
        assert owners <= {name}
    assert {rows[f"run-{number}"].epoch for number in range(200)} == {2}
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_case_78_a_child_of_fork_is_told_to_open_its_own_store(filled: Path) -> None:
    said = python(
        """
store = SqliteStore(sys.argv[1])
pid = os.fork()
if pid == 0:
    for use in (lambda: store.row("r1"), lambda: store.claim("r1", 1, None), lambda: store.version()):
        try:
            use()
        except SmfError as error:
            print(error.kind, flush=True)
    store.close()
    mine = SqliteStore(sys.argv[1])
    print("child", mine.row("r1").state, flush=True)
    mine.close()
    os._exit(0)
os.waitpid(pid, 0)
print("parent", store.row("r1").state, store.claim("r1", 1, Owner("h", "b", 1, "s", "n")))
store.close()
""",
        filled,
    )

    assert said.split("\n")[:-1] == ["usage.forked"] * 3 + ["child completed", "parent completed True"]


def test_a_store_that_was_copied_whole_opens(filled: Path, tmp_path: Path) -> None:
    store = SqliteStore(filled)
    store.claim("r1", 1, OWNER)
    copy = tmp_path / "copy" / "runs.db"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{filled}{suffix}", f"{copy}{suffix}")
    copied = SqliteStore(copy)

    assert copied.row("r1") == store.row("r1")
    copied.close()
    store.close()


def test_thousand_stores_leave_no_open_file(path: Path) -> None:
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("this system does not list open files")
    SqliteStore(path).close()
    before = len(list(fds.iterdir()))
    for _ in range(100):
        SqliteStore(path).close()
        with contextlib.suppress(StoreError):
            SqliteStore(path.parent)

    assert len(list(fds.iterdir())) == before


def test_a_closed_stores_transaction_says_so(path: Path) -> None:
    store = SqliteStore(path)
    store.close()

    with pytest.raises(UsageError):
        store.commit([])
