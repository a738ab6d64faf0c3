"""The schema of a store is exactly ours at every opening, and tables of users are no concern of ours."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw
import pytest

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.schema import listed, make_tables, own_names, own_statements
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import OWNER, Author


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    assert store.commit([Author("r").new()]) == []
    store.close()
    return path


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def test_the_statements_are_what_sqlite_lists_of_a_new_store() -> None:
    connection = apsw.Connection(":memory:")
    make_tables(connection)

    assert {name: sql for _, name, _, sql in listed(connection)} == dict(own_statements())
    assert own_names() == {name for _, name, _, _ in listed(connection)}


REWRITE = "UPDATE sqlite_schema SET sql = replace(sql, '{}', '{}') WHERE name = '{}'"
PLANTED = {
    "trigger on runs": ["CREATE TRIGGER evil AFTER UPDATE ON runs BEGIN UPDATE runs SET message = 'evil'; END"],
    "trigger on journal": ["CREATE TRIGGER evil AFTER INSERT ON journal BEGIN DELETE FROM steps; END"],
    "trigger in another case": ["CREATE TRIGGER evil AFTER INSERT ON Journal BEGIN SELECT raise(ignore); END"],
    "index": ["CREATE INDEX more ON journal (kind)"],
    "partial index": ["CREATE UNIQUE INDEX more ON runs (state) WHERE state = 'running'"],
    "index gone": ["DROP INDEX runs_by_state"],
    "trigger gone": ["DROP TRIGGER runs_edge"],
    "trigger changed": ["DROP TRIGGER runs_edge", "CREATE TRIGGER runs_edge BEFORE UPDATE ON runs BEGIN SELECT 1; END"],
    "column": ["ALTER TABLE runs ADD COLUMN more TEXT DEFAULT 'x'"],
    "default": [
        "PRAGMA writable_schema = ON",
        REWRITE.format("message TEXT NOT NULL", "message TEXT DEFAULT 0", "runs"),
    ],
    "check": ["PRAGMA writable_schema = ON", REWRITE.format("attempt INTEGER NOT NULL", "attempt INTEGER", "steps")],
    "table gone": ["PRAGMA foreign_keys = OFF", "DROP TABLE requests"],
    "table renamed": ["ALTER TABLE steps RENAME TO steps2"],
    "view on ours": ["CREATE VIEW theirs AS SELECT id FROM (SELECT * FROM runs) WHERE id <> 'x'"],
    "view in place of ours": ["ALTER TABLE steps RENAME TO s", "CREATE VIEW steps AS SELECT * FROM s"],
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("what", PLANTED)
def test_case_52_what_was_planted_into_the_schema_is_refused(path: Path, what: str, readonly: bool) -> None:
    change(path, *PLANTED[what])
    with pytest.raises(StoreError) as caught:
        SqliteStore(path, readonly=readonly)

    assert (caught.value.kind, caught.value.exit_code) == ("store.schema_mismatch", 6)


@pytest.mark.parametrize("what", ["trigger on runs", "table gone", "table renamed"])
def test_case_52_a_store_that_is_refused_is_left_as_it_is(path: Path, what: str) -> None:
    """Also one that has no log yet, such as a backup: that is not switched on."""
    change(path, "PRAGMA journal_mode = DELETE", *PLANTED[what])
    path.chmod(0o640)
    before = path.read_bytes(), {file.name for file in path.parent.iterdir()}
    with pytest.raises(StoreError):
        SqliteStore(path)

    assert (path.read_bytes(), {file.name for file in path.parent.iterdir()}) == before
    assert path.stat().st_mode & 0o777 == (0o640 if os.name == "posix" else path.stat().st_mode & 0o777)


def test_case_52_a_planted_trigger_never_fires(path: Path) -> None:
    change(
        path,
        "CREATE TABLE fired (n)",
        "CREATE TRIGGER evil AFTER UPDATE ON runs BEGIN INSERT INTO fired VALUES (1); END",
    )
    with contextlib.suppress(StoreError):
        SqliteStore(path).claim("r", 1, OWNER)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        assert connection.execute("SELECT * FROM fired").fetchall() == []


THEIRS = {
    "table": ["CREATE TABLE accounts (id INTEGER PRIMARY KEY, run TEXT, steps INT)"],
    "index and trigger on it": [
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, n INT)",
        "CREATE INDEX accounts_by_n ON accounts (n)",
        "CREATE TRIGGER log AFTER INSERT ON accounts BEGIN UPDATE accounts SET n = 1; END",
    ],
    "view on it": ["CREATE TABLE a (steps, runs)", "CREATE VIEW journal_of_a AS SELECT steps AS runs FROM a"],
    "a view that cannot be read": ["CREATE VIEW odd AS SELECT no_function(1) FROM nowhere"],
    "statistics": ["ANALYZE"],
    "reference to ours": ["CREATE TABLE notes (run INTEGER REFERENCES runs (no))"],
}


@pytest.mark.parametrize("what", THEIRS)
def test_tables_of_users_and_what_belongs_to_them_are_let_be(path: Path, what: str) -> None:
    change(path, *THEIRS[what])
    store = SqliteStore(path)

    assert store.claim("r", 1, OWNER)
    store.close()
