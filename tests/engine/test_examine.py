"""`Engine.verify`: every damage is found and named, one run's damage is none of the others', nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.examine import Damage
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import NotFoundError, StoreError
from statemachine_flow.stores.seal import add_seal, seal_all


def large() -> str:
    return "x" * 2_000_000


def workflow() -> Workflow:
    three = Workflow("w")
    three.call("a", large)
    three.call("b", text)
    three.call("c", text)
    return three


def text() -> str:
    return "text"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with Engine(path) as engine:
        for run_id in ("r1", "r2", "r3"):
            assert engine.run(workflow(), run_id=run_id).ok
    return path


@contextlib.contextmanager
def tampered(path: Path) -> Iterator[apsw.Connection]:
    """A connection past our triggers, whose changes of rows are sealed as if they were ours."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        add_seal(connection)
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        seal_all(connection)
        for _, sql in triggers:
            connection.execute(str(sql))


def damages(path: Path, run_id: str | None = None) -> list[Damage]:
    with Engine(path) as engine:
        return list(engine.verify(run_id).damages)


def test_a_store_without_a_flaw_is_told_to_be_one(path: Path) -> None:
    with Engine(path) as engine:
        found = engine.verify()
        one = engine.verify("r2")

    assert (found.ok, found.runs, one.ok, one.runs) == (True, 3, True, 1)
    assert found.records == 3 * one.records > 0


def test_a_run_that_is_not_there_is_not_found(path: Path) -> None:
    with Engine(path) as engine, pytest.raises(NotFoundError):
        engine.verify("nobody")


COLUMNS = {
    "workflow": "'other'",
    "version": "'2'",
    "created_at": "created_at + 1",
    "updated_at": "updated_at + 1",
    "started_at": "NULL",
    "ended_at": "ended_at - 1",
    "steps_total": "4",
    "steps_done": "2",
    "message": "'nothing'",
    "state": "'failed'",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_is_not_what_the_journal_gives_is_found(path: Path, column: str) -> None:
    """Its checksum is right: somebody wrote it."""
    with tampered(path) as connection:
        connection.execute(f"UPDATE runs SET {column} = {COLUMNS[column]} WHERE id = 'r2'")

    assert [(one.run, column in one.message) for one in damages(path)] == [("r2", True)]


def test_a_row_that_fails_its_checksum_is_found(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE runs SET message = 'other' WHERE id = 'r2'")
    found = damages(path)

    assert [(one.run, "fails its checksum" in one.message) for one in found] == [("r2", True)]
    assert damages(path, "r2") == found
    assert damages(path, "r1") == []


STEPS = {
    "changed": "UPDATE steps SET state = 'failed' WHERE run = 2 AND step = 'b'",
    "attempts": "UPDATE steps SET attempt = 9 WHERE run = 2 AND step = 'b'",
    "gone": "DELETE FROM steps WHERE run = 2 AND step = 'b'",
    "more": "INSERT INTO steps VALUES (2, 'b', 'running', 1) ON CONFLICT DO UPDATE SET state = 'running'",
}


@pytest.mark.parametrize("what", STEPS)
def test_a_row_of_a_step_that_is_not_what_the_journal_gives_is_found(path: Path, what: str) -> None:
    with tampered(path) as connection:
        connection.execute(STEPS[what])

    assert [(one.run, one.step) for one in damages(path)] == [("r2", "b")]


#: G18: each entry of a journal dropped, edited, exchanged.
JOURNAL = {
    "dropped": "DELETE FROM journal WHERE run = 2 AND seq = {seq}",
    "data": "UPDATE journal SET data = CAST(data || x'00' AS BLOB) WHERE run = 2 AND seq = {seq}",
    "kind": "UPDATE journal SET kind = 'run.note' WHERE run = 2 AND seq = {seq}",
    "time": "UPDATE journal SET at = at + 1 WHERE run = 2 AND seq = {seq}",
    "step": "UPDATE journal SET step = 'other' WHERE run = 2 AND seq = {seq}",
    "digest": "UPDATE journal SET digest = zeroblob(16) WHERE run = 2 AND seq = {seq}",
    "of another run": "UPDATE OR REPLACE journal SET run = 2 WHERE run = 1 AND seq = {seq} + 1",
}


@pytest.mark.parametrize("what", JOURNAL)
def test_any_entry_of_a_journal_that_was_changed_is_found(path: Path, what: str) -> None:
    data = path.read_bytes()
    with Engine(path) as engine:
        last = engine.get("r2").seq
    for seq in range(1, last if what == "of another run" else last + 1):
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        data = data if seq > 1 else path.read_bytes()
        path.write_bytes(data)
        with tampered(path) as connection:
            connection.execute(JOURNAL[what].format(seq=seq))
        found = damages(path, "r2")
        assert [(one.run, one.seq in {seq, seq + 1}) for one in found] == [("r2", True)], seq
        assert damages(path, "r3") == []


def test_two_entries_that_changed_places_are_found(path: Path) -> None:
    with tampered(path) as connection:
        for old, new in ((3, -1), (4, 3), (-1, 4)):
            connection.execute("UPDATE journal SET seq = ? WHERE run = 2 AND seq = ?", (new, old))

    assert [(one.run, one.seq) for one in damages(path)] == [("r2", 3)]


def test_a_journal_that_lost_its_end_is_found(path: Path) -> None:
    with tampered(path) as connection:
        connection.execute("DELETE FROM journal WHERE run = 2 AND seq > 3")

    assert [(one.run, one.seq) for one in damages(path)] == [("r2", 4)]
    with Engine(path) as engine, pytest.raises(StoreError) as caught:
        engine.checkpoints("r2")
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize("change", ["DELETE FROM definitions", "UPDATE definitions SET body = substr(body, 1, 40)"])
def test_a_definition_that_is_not_the_one_that_was_kept_is_found(path: Path, change: str) -> None:
    with tampered(path) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(change)
    found = damages(path)

    assert {"r1", "r2", "r3"} <= {one.run for one in found}
    assert all("definition" in one.message for one in found)


def test_a_definition_that_took_the_place_of_another_is_found(path: Path) -> None:
    other = Workflow("other")
    other.call("a", text)
    with Engine(path) as engine:
        engine.run(other, run_id="r4")
    with tampered(path) as connection:
        connection.execute(
            "UPDATE definitions SET body = (SELECT body FROM definitions WHERE hash = "
            "(SELECT definition FROM runs WHERE id = 'r4'))"
        )

    assert [one.run for one in damages(path)] == ["r3", "r2", "r1"]


def test_case_66_a_blob_that_is_gone_or_altered_is_found(path: Path) -> None:
    (blob,) = Path(f"{path}.blobs").iterdir()
    blob.write_bytes(b"other")
    assert {(one.run, one.step) for one in damages(path)} == {(None, None), ("r1", "a"), ("r2", "a"), ("r3", "a")}
    blob.unlink()
    assert {(one.run, one.step) for one in damages(path)} == {("r1", "a"), ("r2", "a"), ("r3", "a")}


def test_a_request_that_fails_its_checksum_is_found(path: Path) -> None:
    waiting = Workflow("waiting")
    waiting.wait("w", event="go")
    with Engine(path) as engine:
        engine.run(waiting, run_id="r4")
    with Engine(path) as engine:
        engine.signal("r4", "other", 1)
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            connection.execute("UPDATE requests SET action = 'cancel'")
        found = engine.verify()
        with pytest.raises(StoreError) as caught:
            engine.resume("r4")

    assert [one.message for one in found.damages] == ["request 1 of run r4 fails its checksum"]
    assert caught.value.kind == "store.corrupt"


def test_a_damaged_run_keeps_no_other_from_going_on(path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE runs SET message = 'other' WHERE id = 'r2'")
    with Engine(path) as engine:
        assert engine.get("r1").ok
        assert engine.run(workflow(), run_id="r4").ok
        rows = {row.id: row.damage for row in engine.list()}
        with pytest.raises(StoreError) as caught:
            engine.get("r2")

    assert {run_id for run_id, damage in rows.items() if damage} == {"r2"}
    assert set(rows) == {"r1", "r2", "r3", "r4"}
    assert (caught.value.kind, caught.value.run) == ("store.corrupt", "r2")


def test_damage_that_hides_a_run_is_not_taken_for_its_absence(path: Path) -> None:
    """The index says that there is no such run; whether that is so, the table says."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_runs_1'")
        ((size,),) = connection.execute("PRAGMA page_size")
    data = bytearray(path.read_bytes())
    start = (int(str(root)) - 1) * int(str(size))
    assert data.count(b"r2", start, start + int(str(size))) == 1
    at = data.index(b"r2", start)
    data[at : at + 2] = b"r9"
    path.write_bytes(bytes(data))
    with Engine(path) as engine:
        for look in (engine.get, engine.events):
            with pytest.raises(StoreError) as caught:
                look("r2")
            assert caught.value.kind == "store.corrupt"


def test_a_run_that_is_written_to_meanwhile_is_no_damage(path: Path) -> None:
    with Engine(path) as engine, Engine(path) as reader:
        run_id = engine.start(workflow(), run_id="r4")
        while engine.get(run_id).state != "completed":
            assert reader.verify().ok
        assert reader.verify().ok
