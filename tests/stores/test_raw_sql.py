"""The lifecycle holds against SQL typed by hand, whichever SQLite runs it."""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest

from statemachine_flow.journal import KINDS
from statemachine_flow.lifecycle import RUN, STEP, Lifecycle
from statemachine_flow.stores.sqlite import SqliteStore

RUN_STATES = ("pending", "running", "paused", "cancelling", "completed", "failed", "cancelled", "quarantined")
STEP_STATES = (
    "pending",
    "running",
    "waiting",
    "backing_off",
    "interrupted",
    "completed",
    "failed",
    "skipped",
    "cancelled",
)

# From the design, by hand; tests/lifecycle says the same of the machines.
RUN_EDGES = {
    "pending>running",
    "pending>cancelled",
    "running>completed",
    "running>failed",
    "running>paused",
    "running>cancelling",
    "running>quarantined",
    "paused>running",
    "paused>cancelling",
    "paused>quarantined",
    "cancelling>cancelled",
    "failed>running",
    "failed>cancelled",
    "failed>quarantined",
}
STEP_EDGES = {
    "pending>running",
    "pending>skipped",
    "pending>cancelled",
    "running>waiting",
    "running>completed",
    "running>failed",
    "running>backing_off",
    "running>interrupted",
    "running>cancelled",
    "waiting>completed",
    "waiting>failed",
    "waiting>cancelled",
    "waiting>backing_off",
    "waiting>skipped",
    "interrupted>pending",
    "backing_off>running",
    "backing_off>cancelled",
    "interrupted>running",
    "interrupted>completed",
    "interrupted>failed",
    "interrupted>cancelled",
    "completed>pending",
    "failed>pending",
    "skipped>pending",
    "cancelled>pending",
}

#: How to bring a new row into each state; the first is the one it is inserted with.
RUN_PATHS: Mapping[str, Sequence[str]] = {
    "pending": ("pending",),
    "running": ("pending", "running"),
    "paused": ("pending", "running", "paused"),
    "cancelling": ("pending", "running", "cancelling"),
    "completed": ("pending", "running", "completed"),
    "failed": ("pending", "running", "failed"),
    "cancelled": ("pending", "cancelled"),
    "quarantined": ("pending", "running", "quarantined"),
}
STEP_PATHS: Mapping[str, Sequence[str]] = {
    "pending": ("skipped", "pending"),
    "running": ("running",),
    "waiting": ("running", "waiting"),
    "backing_off": ("running", "backing_off"),
    "interrupted": ("running", "interrupted"),
    "completed": ("running", "completed"),
    "failed": ("running", "failed"),
    "skipped": ("skipped",),
    "cancelled": ("cancelled",),
}


class Sql(Protocol):
    def __call__(self, statement: str, *values: Any) -> list[tuple[Any, ...]]: ...


Refused = (sqlite3.IntegrityError, apsw.ConstraintError)


@pytest.fixture(params=["sqlite3", "apsw"])
def sql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sql]:
    """SQL on a real store's file, with the interpreter's SQLite and with the one that ships with apsw."""
    SqliteStore(tmp_path / "runs.db").close()
    path = str(tmp_path / "runs.db")
    connection: Any
    if request.param == "sqlite3":
        if sqlite3.sqlite_version_info < (3, 37):
            pytest.skip("this Python's SQLite is too old for STRICT tables")
        connection = sqlite3.connect(path, isolation_level=None)
    else:
        connection = apsw.Connection(path)
    with contextlib.closing(connection):
        connection.execute("INSERT INTO definitions VALUES ('d', x'01', 1)")
        yield lambda statement, *values: list(connection.execute(statement, values))


def insert_run(sql: Sql, run_id: str, state: str) -> None:
    columns = "id, workflow, version, definition, state, seq, epoch, created_at, updated_at, steps_total, steps_done"
    sql(
        f"INSERT INTO runs ({columns}, message, seal) VALUES (?, 'w', '1', 'd', ?, 0, 1, 0, 0, 0, 0, '', 0)",
        run_id,
        state,
    )


def bring_run(sql: Sql, run_id: str, path: Sequence[str]) -> None:
    insert_run(sql, run_id, path[0])
    for state in path[1:]:
        sql("UPDATE runs SET state = ? WHERE id = ?", state, run_id)


def bring_step(sql: Sql, step: str, path: Sequence[str]) -> None:
    sql("INSERT INTO steps VALUES (1, ?, ?, 1)", step, path[0])
    for state in path[1:]:
        sql("UPDATE steps SET state = ? WHERE step = ?", state, step)


def test_every_pair_of_run_states_is_accepted_exactly_if_it_is_an_edge(sql: Sql) -> None:
    accepted = set()
    for before, after in itertools.product(RUN_STATES, RUN_STATES):
        run_id = f"{before}>{after}"
        bring_run(sql, run_id, RUN_PATHS[before])
        with contextlib.suppress(*Refused):
            sql("UPDATE runs SET state = ? WHERE id = ?", after, run_id)
            accepted.add(run_id)
        expected = after if run_id in accepted else before
        assert sql("SELECT state FROM runs WHERE id = ?", run_id) == [(expected,)]

    assert accepted == RUN_EDGES


def test_every_pair_of_step_states_is_accepted_exactly_if_it_is_an_edge(sql: Sql) -> None:
    insert_run(sql, "r", "pending")
    accepted = set()
    for before, after in itertools.product(STEP_STATES, STEP_STATES):
        step = f"{before}>{after}"
        bring_step(sql, step, STEP_PATHS[before])
        with contextlib.suppress(*Refused):
            sql("UPDATE steps SET state = ? WHERE step = ?", after, step)
            accepted.add(step)
        expected = after if step in accepted else before
        assert sql("SELECT state FROM steps WHERE step = ?", step) == [(expected,)]

    assert accepted == STEP_EDGES


def test_one_illegal_row_keeps_a_whole_update_from_happening(sql: Sql) -> None:
    bring_run(sql, "a", ("pending", "running"))
    bring_run(sql, "b", ("pending", "cancelled"))

    with pytest.raises(Refused, match="illegal run edge"):
        sql("UPDATE runs SET state = 'paused'")
    assert sql("SELECT state FROM runs ORDER BY id") == [("running",), ("cancelled",)]


@pytest.mark.parametrize("state", [state for state in RUN_STATES if state != "pending"])
def test_a_run_cannot_be_born_in_another_state(sql: Sql, state: str) -> None:
    with pytest.raises(Refused, match="illegal run edge"):
        insert_run(sql, "r", state)


def test_a_step_can_only_be_born_one_edge_from_the_beginning(sql: Sql) -> None:
    insert_run(sql, "r", "pending")
    born = set()
    for state in STEP_STATES:
        with contextlib.suppress(*Refused):
            sql("INSERT INTO steps VALUES (1, ?, ?, 1)", state, state)
            born.add(state)

    assert born == {"running", "skipped", "cancelled"}


@pytest.mark.parametrize("word", ["succeeded", "Running", "running ", "", "1", "running\0"])
@pytest.mark.parametrize("table", ["runs", "steps"])
def test_words_that_are_no_state_are_refused(sql: Sql, table: str, word: str) -> None:
    bring_run(sql, "r", ("pending", "running"))
    bring_step(sql, "s", ("running",))

    with pytest.raises(Refused):
        sql(f"UPDATE {table} SET state = ?", word)
    with pytest.raises(Refused):
        insert_run(sql, "other", word) if table == "runs" else bring_step(sql, "other", (word,))


@pytest.mark.parametrize("value", [None, 7, b"running"])
def test_values_that_are_no_text_are_no_state(sql: Sql, value: object) -> None:
    bring_run(sql, "r", ("pending", "running"))

    with pytest.raises(Refused):
        sql("UPDATE runs SET state = ?", value)


RECORD = "INSERT INTO journal VALUES (1, ?, ?, 0, NULL, x'80', x'00')"


def test_a_journal_takes_known_kinds_once_and_lets_none_be_changed(sql: Sql) -> None:
    insert_run(sql, "r", "pending")
    for seq, kind in enumerate(KINDS, start=1):
        sql(RECORD, seq, kind)

    with pytest.raises(Refused):
        sql(RECORD, len(KINDS) + 1, "run.unknown")
    with pytest.raises(Refused):
        sql(RECORD, 1, "run.note")
    for column, value in {
        "kind": "'run.note'",
        "data": "x'81'",
        "digest": "x'01'",
        "at": "1",
        "seq": "seq + 99",
    }.items():
        with pytest.raises(Refused, match="append-only"):
            sql(f"UPDATE journal SET {column} = {value} WHERE seq = 1")
    assert [kind for (kind,) in sql("SELECT kind FROM journal ORDER BY seq")] == list(KINDS)


def words(text: str) -> set[str]:
    return set(re.findall(r"'([^']*)'", text))


def check_of(column: str, table: str) -> str:
    """The CHECK of one column, from the text of its table."""
    (line,) = (line for line in table.splitlines() if line.strip().startswith(f"{column} "))
    return line.partition("CHECK")[2]


@pytest.mark.parametrize(("table", "lifecycle"), [("runs", RUN), ("steps", STEP)])
def test_the_schema_has_the_states_and_edges_of_the_table(sql: Sql, table: str, lifecycle: Lifecycle) -> None:
    schema = dict(sql("SELECT name, sql FROM sqlite_master"))
    cases = re.findall(r"WHEN '(\w+)' THEN \(([^)]*)\)", schema[f"{table}_edge"])

    assert words(check_of("state", schema[table])) == set(lifecycle.states)
    assert [(source, dest) for source, dests in cases for dest in sorted(words(dests))] == [
        (source, dest)
        for source in dict.fromkeys(edge.source for edge in lifecycle.edges)
        for dest in sorted(edge.dest for edge in lifecycle.edges if edge.source == source)
    ]


def test_the_schema_has_the_kinds_and_beginnings_of_the_table(sql: Sql) -> None:
    schema = dict(sql("SELECT name, sql FROM sqlite_master"))

    assert words(check_of("kind", schema["journal"])) == set(KINDS)
    assert "NEW.state <> 'pending'" in schema["runs_begin"]
    assert words(schema["steps_begin"].partition("BEGIN SELECT")[0]) == {"running", "skipped", "cancelled"}
