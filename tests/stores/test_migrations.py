"""Stores of older versions: brought up to date whole or not at all, behind a backup; newer ones left alone."""

from __future__ import annotations

import contextlib
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.known import SCHEMA_VERSION
from statemachine_flow.stores.migrations import OLD
from statemachine_flow.stores.schema import listed, own_statements
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.fixtures.make import greet

FIXTURES = Path(__file__).parent / "fixtures"

#: Migrates the store it is given and is killed before its n-th statement; prints when it is through.
MIGRATE = """
import os, signal, sys
import apsw
from statemachine_flow.stores.sqlite import SqliteStore

left = int(sys.argv[2])

def count(cursor, sql, bindings):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def watch(connection):
    connection.exec_trace = count

apsw.connection_hooks.append(watch)
SqliteStore(sys.argv[1]).close()
print(int(sys.argv[2]) - left)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of version 1."""
    path = tmp_path / "runs.db"
    shutil.copy(FIXTURES / "v1.db", path)
    path.chmod(0o600)
    return path


def migrate(path: Path, statements: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", MIGRATE, str(path), str(statements)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def version_of(path: Path) -> int:
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(str(connection.pragma("user_version")))


def dump(path: Path) -> dict[str, list[object]]:
    """What a store of either version holds, apart from what only one of them has."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        tables = {
            "definitions": "hash, body",
            "journal": "*",
            "steps": "*",
            "runs": "no, id, workflow, version, definition, state, seq, epoch, owner, created_at, updated_at, "
            "started_at, ended_at, steps_total, steps_done, message",
            "requests": "id, run, action, by, reason, at, data",
            "sqlite_sequence": "*",
        }
        return {
            table: list(connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2"))
            for table, columns in tables.items()
        }


def test_there_is_a_store_of_every_older_version() -> None:
    assert {f"v{version}.db" for version in OLD} == {path.name for path in FIXTURES.glob("v*.db")}
    assert set(OLD) == set(range(1, SCHEMA_VERSION))


def test_a_migrated_store_is_like_a_new_one_and_holds_what_it_held(old: Path, tmp_path: Path) -> None:
    before = dump(old)
    SqliteStore(old).close()
    SqliteStore(tmp_path / "new.db").close()
    schemas = []
    for path in (old, tmp_path / "new.db"):
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            schemas.append({name: sql for _, name, _, sql in listed(connection)})

    assert schemas[0] == schemas[1] == dict(own_statements())
    assert dump(old) == before
    assert version_of(old) == SCHEMA_VERSION


def test_runs_of_an_older_version_go_on(old: Path) -> None:
    with Engine(old, functions={"greet": greet}) as engine:
        assert engine.verify().ok
        states = {row.id: row.state for row in engine.list()}
        assert engine.resume("waiting", take_over=True).waiting
        engine.signal("waiting", "go", 7)
        run = engine.wait("waiting", until="rest")
        outputs = engine.get("completed").steps["b"].output

    assert states == {
        "completed": "completed",
        "failed": "failed",
        "waiting": "running",
        "paused": "paused",
        "cancelled": "cancelled",
        "killed": "running",
    }
    assert run.ok
    assert outputs == {"greeting": "Hello Hello you"}


def test_a_migration_keeps_a_private_backup_and_overwrites_none(old: Path) -> None:
    data = old.read_bytes()
    taken = old.with_name("runs.db.v1.bak")
    taken.write_text("somebody's")
    SqliteStore(old).close()
    backup = old.with_name("runs.db.v1.2.bak")

    assert taken.read_text() == "somebody's"
    assert (version_of(backup), stat.S_IMODE(backup.stat().st_mode)) == (1, 0o600)
    shutil.copy(backup, old.with_name("again.db"))
    with contextlib.closing(apsw.Connection(":memory:")):
        original = old.with_name("original.db")
        original.write_bytes(data)
        assert dump(old.with_name("again.db")) == dump(original)


def test_tables_of_users_stay_and_keep_their_references(old: Path) -> None:
    with contextlib.closing(apsw.Connection(str(old))) as connection:
        connection.execute("CREATE TABLE notes (run INTEGER REFERENCES runs (no), text TEXT)")
        connection.execute("CREATE INDEX notes_by_run ON notes (run)")
        connection.execute("INSERT INTO notes VALUES (1, 'mine')")
        sql = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'notes'").fetchall()
    SqliteStore(old).close()
    with contextlib.closing(apsw.Connection(str(old))) as connection:
        assert connection.execute("SELECT * FROM notes").fetchall() == [(1, "mine")]
        assert connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'notes'").fetchall() == sql
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_name_that_the_new_version_needs_and_a_user_has_is_told(old: Path) -> None:
    with contextlib.closing(apsw.Connection(str(old))) as connection:
        connection.execute("CREATE TABLE smf_store (x)")
    before = dump(old)
    with pytest.raises(StoreError, match="'smf_store' is needed") as caught:
        SqliteStore(old)

    assert caught.value.kind == "store.schema_mismatch"
    assert (dump(old), version_of(old)) == (before, 1)


def test_case_52_an_old_store_with_a_planted_trigger_is_not_migrated(old: Path) -> None:
    with contextlib.closing(apsw.Connection(str(old))) as connection:
        connection.execute("CREATE TRIGGER evil AFTER UPDATE ON runs BEGIN DELETE FROM journal; END")
    for readonly in (False, True):
        with pytest.raises(StoreError) as caught:
            SqliteStore(old, readonly=readonly)
        assert caught.value.kind == "store.schema_mismatch"
    assert version_of(old) == 1


def test_case_53_reading_an_old_store_says_what_to_do_and_changes_nothing(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(StoreError) as caught:
        SqliteStore(old, readonly=True)

    assert (caught.value.kind, caught.value.exit_code) == ("store.needs_migration", 6)
    assert "smf doctor --migrate" in str(caught.value)
    assert old.read_bytes() == before


def test_case_53_a_newer_store_is_refused_with_no_file_made(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    SqliteStore(path).close()
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.pragma("journal_mode", "delete")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "wal")
    before = (sorted(entry.name for entry in tmp_path.iterdir()), path.read_bytes())
    for readonly in (False, True):
        with pytest.raises(StoreError) as caught:
            SqliteStore(path, readonly=readonly)
        assert caught.value.kind == "store.newer"

    assert (sorted(entry.name for entry in tmp_path.iterdir()), path.read_bytes()) == before


def test_a_process_of_an_older_version_that_has_the_file_open_is_stopped(old: Path) -> None:
    """The statements are those of version 1."""
    with contextlib.closing(apsw.Connection(str(old))) as process:
        process.execute("SELECT count(*) FROM runs").fetchall()
        SqliteStore(old).close()
        for statement in (
            "UPDATE runs SET seq = 9, updated_at = 1, steps_done = 0 WHERE no = 3 AND epoch = 1",
            "UPDATE runs SET epoch = epoch + 1, owner = 'x' WHERE id = 'waiting' AND epoch = 1",
            "UPDATE runs SET owner = NULL WHERE id = 'waiting' AND epoch = 1",
            "INSERT INTO requests (run, action, by, reason, at, data) VALUES (3, 'pause', '', '', 1, x'')",
        ):
            with pytest.raises((apsw.ConstraintError, apsw.SQLError)):  # SQLError: no such function: smf_seal
                process.execute(statement)
    with Engine(old) as engine:
        assert engine.verify().ok


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_case_79_a_kill_between_any_statements_leaves_the_old_or_the_new_store(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    shutil.copy(FIXTURES / "v1.db", old)
    before, seen = dump(old), set()
    whole = tmp_path / "whole.db"
    shutil.copy(old, whole)
    statements = int(migrate(whole, 10**6).stdout)
    assert statements > 60
    for number in [*range(1, statements, 17), *range(statements - 4, statements + 1)]:
        path = tmp_path / f"{number}" / "runs.db"
        path.parent.mkdir()
        shutil.copy(old, path)
        killed = migrate(path, number)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        seen.add(version_of(path))
        assert dump(path) == before
        store = SqliteStore(path)  # and the next one does it
        assert len(store.rows(RunFilter())) == 6
        store.close()
        assert version_of(path) == SCHEMA_VERSION
        shutil.rmtree(path.parent)

    assert seen == {1, SCHEMA_VERSION}


def test_case_79_of_two_migrators_the_second_waits_and_goes_on(old: Path) -> None:
    argv = [sys.executable, "-c", MIGRATE, str(old), "1000000"]
    several = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [one.communicate(timeout=120) for one in several]

    assert [errors for _, errors in said] == [""] * 4
    assert len(list(old.parent.glob("*.bak"))) == 1
    with Engine(old) as engine:
        assert engine.verify().ok
