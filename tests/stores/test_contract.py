"""What every store owes; one suite over all of them."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from statemachine_flow.errors import StepError, StoreError, UsageError
from statemachine_flow.journal import (
    Created,
    Data,
    Note,
    Reason,
    Record,
    RunFold,
    RunStarted,
    StepCompleted,
    StepStarted,
)
from statemachine_flow.stores import open_store
from statemachine_flow.stores.base import Beat, NewRun, Owner, RunFilter, RunRow, Seen, StepChange, Store, Write
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.values import encode_value

OWNER = Owner(host="here", boot="b1", pid=1, started="s1", nonce="n1")
OTHER = Owner(host="there", boot="b2", pid=2, started="s2", nonce="n2")
NOBODY = "no-such-run"


class Author:
    """Writes for one run, with records as the engine makes them."""

    def __init__(self, run_id: str, *, workflow: str = "w", at: int = 1000) -> None:
        self.fold = RunFold(run_id)
        self.epoch = 1
        self.workflow = workflow
        self.at = at
        self._known: set[str] = set()

    def new(self, *, steps: int = 2) -> NewRun:
        """The run, created and running."""
        created = Created(
            workflow=self.workflow,
            version="1",
            definition=f"hash of {self.workflow}",
            inputs=msgspec.Raw(encode_value({})),
            steps=steps,
            cwd="/",
        )
        write = self.write(("run.create", created, None), ("run.start", RunStarted(), None))
        write.states = ["running"]
        row = RunRow(
            id=self.fold.id,
            workflow=self.workflow,
            version="1",
            definition=created.definition,
            state="pending",
            seq=0,
            epoch=1,
            owner=OWNER,
            created_at=self.at,
            updated_at=self.at,
            started_at=None,
            ended_at=None,
            steps_total=steps,
            steps_done=0,
            message="",
        )
        return NewRun(row=row, definition=f"body of {self.workflow}".encode(), write=write)

    def write(self, *changes: tuple[str, Data, str | None], **fields: Any) -> Write:
        """What follows from these changes."""
        seq, states, steps = self.fold.seq, [], []
        records: list[Record] = []
        for kind, data, step in changes:
            records.append(self.fold.add(kind, data, self.at, step))
            if step is not None:
                fold = self.fold.steps[step]
                steps.append(StepChange(step, fold.state, fold.attempt, step not in self._known))
                self._known.add(step)
            elif kind not in ("run.create", "run.note"):
                states.append(self.fold.state)
        return Write(
            run_id=self.fold.id,
            epoch=self.epoch,
            seq=seq,
            records=records,
            states=states,
            steps=steps,
            updated_at=self.at,
            started_at=self.fold.started_at,
            ended_at=self.fold.ended_at,
            **fields,
        )

    def note(self, text: str = "note", **fields: Any) -> Write:
        """One record that changes no state."""
        return self.write(("run.note", Note(reason=text), None), **fields)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "runs.db")
    yield opened
    opened.close()


def seqs(store: Store, run_id: str, after: int = 0) -> list[int]:
    return [record.seq for record in store.records(run_id, after)]


# --- commits


def test_a_new_run_is_kept_whole(store: Store) -> None:
    author = Author("r", workflow="deploy")
    new = author.new(steps=3)

    assert store.commit([new]) == []
    row = store.row("r")
    expected = msgspec.structs.replace(new.row, state="running", seq=2, started_at=1000)
    assert row == expected
    assert store.records("r") == list(new.write.records)
    assert store.definition("hash of deploy") == b"body of deploy"


def test_a_write_moves_the_row_and_appends_to_the_journal(store: Store) -> None:
    author = Author("r")
    store.commit([author.new(steps=1)])
    author.at = 2000
    output = StepCompleted(output=msgspec.Raw(encode_value(1)))
    changes = [("step.start", StepStarted(attempt=1), "a"), ("step.complete", output, "a")]

    assert store.commit([author.write(*changes, steps_done=1)]) == []
    row = store.row("r")
    assert row is not None
    assert (row.seq, row.steps_done, row.updated_at, row.state, row.message) == (4, 1, 2000, "running", "")
    assert [record.kind for record in store.records("r", 2)] == ["step.start", "step.complete"]


def test_the_row_shows_the_last_of_several_states(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    changes = [("run.pause", Reason(reason="x"), None), ("run.resume", Reason(), None), ("run.pause", Reason(), None)]
    store.commit([author.write(*changes, message="lunch")])

    row = store.row("r")
    assert row is not None
    assert (row.state, row.message, row.started_at, row.ended_at) == ("paused", "lunch", 1000, None)


def test_a_taken_id_is_refused_and_the_rest_of_the_batch_is_kept(store: Store) -> None:
    first, usurper, other = Author("r"), Author("r", workflow="usurper"), Author("s")
    store.commit([first.new()])
    before = (store.row("r"), store.records("r"))

    assert store.commit([usurper.new(steps=9), other.new(), first.note()]) == ["r"]
    assert store.row("s") is not None
    row = store.row("r")
    assert row is not None
    assert (row.workflow, row.seq, store.records("r")[:2]) == ("w", 3, before[1])
    assert store.definition("hash of usurper") is None


def test_an_id_taken_within_the_same_batch_is_refused(store: Store) -> None:
    assert store.commit([Author("r").new(), Author("r", workflow="usurper").new()]) == ["r"]
    row = store.row("r")
    assert row is not None
    assert (row.workflow, row.seq) == ("w", 2)


@pytest.mark.parametrize(("epoch", "seq"), [(0, 2), (2, 2), (1, 1), (1, 3), (1, 0), (-1, -1)])
def test_a_write_from_a_wrong_epoch_or_sequence_is_refused_with_nothing_kept(
    store: Store, epoch: int, seq: int
) -> None:
    author, other = Author("r"), Author("s")
    store.commit([author.new(), other.new()])
    asked = store.request("r", "cancel", "me", "", 5)
    before = (store.row("r"), store.records("r"))
    write = author.write(
        ("step.start", StepStarted(attempt=1), "a"), ("run.pause", Reason(), None), answered=[asked], release=True
    )
    write.epoch, write.seq = epoch, seq

    assert store.commit([write, other.note()]) == ["r"]
    assert (store.row("r"), store.records("r")) == before
    assert [request.id for request in store.requests()] == [asked]
    assert seqs(store, "s") == [1, 2, 3]


def test_a_write_for_a_run_that_does_not_exist_is_refused(store: Store) -> None:
    author = Author(NOBODY)
    author.new()

    assert store.commit([author.note()]) == [NOBODY]
    assert store.row(NOBODY) is None


def test_one_batch_may_hold_several_writes_of_one_run(store: Store) -> None:
    author = Author("r")

    assert store.commit([author.new(), author.note("one"), author.note("two")]) == []
    assert seqs(store, "r") == [1, 2, 3, 4]


def test_an_empty_batch_is_no_error(store: Store) -> None:
    assert store.commit([]) == []


def test_what_a_store_returns_is_not_what_it_keeps(store: Store) -> None:
    store.commit([Author("r").new()])
    row, records = store.row("r"), store.records("r")
    assert row is not None
    row.state, row.epoch = "completed", 99
    records.clear()
    store.rows(RunFilter())[0].seq = 99

    kept = store.row("r")
    assert kept is not None
    assert (kept.state, kept.epoch, kept.seq, seqs(store, "r")) == ("running", 1, 2, [1, 2])


def test_text_of_any_kind_comes_back_as_it_went_in(store: Store) -> None:
    author = Author("r", workflow="Bauplan 'x' \"y\" % _ ☃ \U0001f600")
    store.commit([author.new()])
    store.commit([author.write(("run.pause", Reason(reason="a\nb"), None), message="'); DROP TABLE runs; --")])

    row = store.row("r")
    assert row is not None
    assert (row.workflow, row.message) == (author.workflow, "'); DROP TABLE runs; --")


# --- owners


def test_a_claim_succeeds_once_per_epoch(store: Store) -> None:
    store.commit([Author("r").new()])

    assert [store.claim("r", 1, OTHER), store.claim("r", 1, OWNER), store.claim("r", 0, OWNER)] == [True, False, False]
    row = store.row("r")
    assert row is not None
    assert (row.epoch, row.owner) == (2, OTHER)


def test_a_claim_of_a_run_that_does_not_exist_fails(store: Store) -> None:
    assert store.claim(NOBODY, 1, OWNER) is False


def test_a_claim_shuts_the_last_owner_out(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    stale = author.note("too late")
    store.claim("r", 1, OTHER)

    assert store.commit([stale]) == ["r"]
    fresh = msgspec.structs.replace(stale, epoch=2)
    assert store.commit([fresh]) == []


def test_release_clears_the_owner_of_its_own_epoch_alone(store: Store) -> None:
    store.commit([Author("r").new()])
    store.release("r", 2)
    held = store.row("r")
    store.release("r", 1)
    free = store.row("r")

    assert held is not None
    assert free is not None
    assert (held.owner, free.owner, free.epoch) == (OWNER, None, 1)
    store.release(NOBODY, 1)


def test_a_write_may_give_up_ownership(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    store.commit([author.note(release=True)])

    row = store.row("r")
    assert row is not None
    assert (row.owner, row.epoch, row.seq) == (None, 1, 3)


def test_a_beat_takes_the_place_of_the_last_one_and_says_which_runs_are_lost(store: Store) -> None:
    store.commit([Author(name).new() for name in ("kept", "taken")])
    store.claim("taken", 1, OTHER)
    first, second = Beat("n1", 1, 1000, 0.5), Beat("n1", 2, 2000, 1.5)

    assert store.last_beat("n1") is None
    assert store.beat(first, {}) == []
    assert store.beat(second, {"kept": 1, "taken": 1}) == ["taken"]
    assert store.beat(Beat("n2", 1, 2000, 1.5), {"taken": 2}) == []
    assert store.last_beat("n1") == second
    store.leave("n1")
    assert (store.last_beat("n1"), store.last_beat("n2")) == (None, Beat("n2", 1, 2000, 1.5))


def test_what_was_refused_is_kept_beside_the_journal(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    before = store.records("r")
    late = author.note("too late")
    store.claim("r", 1, OTHER)
    assert store.commit([late]) == ["r"]
    store.reject(late, OWNER, 5000)

    (rejected,) = store.rejected("r")
    record = late.records[0]
    assert (rejected.run_id, rejected.epoch, rejected.owner, rejected.at) == ("r", 1, OWNER, 5000)
    assert (rejected.kind, rejected.step, rejected.data) == (record.kind, record.step, record.data)
    assert store.records("r") == before
    assert store.rejected(NOBODY) == []


def test_only_runs_with_an_owner_are_listed_when_asked_for(store: Store) -> None:
    store.commit([Author(name).new() for name in "abc"])
    store.release("b", 1)
    assert [row.id for row in store.rows(RunFilter(owned=True))] == ["c", "a"]


# --- reading


def test_a_run_that_does_not_exist_has_nothing(store: Store) -> None:
    assert store.row(NOBODY) is None
    assert store.records(NOBODY) == []
    assert store.requests(NOBODY) == []
    assert store.definition("no such hash") is None
    assert (store.rows(RunFilter()), store.match("", 10)) == ([], [])


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "\0", "%", "_", "' OR 1=1 --", "x" * 10_000, ""])
def test_case_37_a_strange_name_finds_nothing(store: Store, name: str) -> None:
    store.commit([Author("a").new()])

    assert store.row(name) is None
    assert store.records(name) == []
    assert store.requests(name) == []
    assert store.definition(name) is None
    assert store.match(name, 10) == (["a"] if name == "" else [])
    assert store.rows(RunFilter(workflow=name)) == []


def test_records_come_in_order_from_behind_a_number(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    for _ in range(20):
        store.commit([author.note()])

    assert seqs(store, "r") == list(range(1, 23))
    assert seqs(store, "r", 20) == [21, 22]
    assert [seqs(store, "r", after) for after in (22, 99)] == [[], []]


def many(store: Store) -> None:
    """Six runs: two workflows, created a second apart, some paused."""
    for number in range(6):
        author = Author(f"run-{number}", workflow="even" if number % 2 == 0 else "odd", at=number * 1000)
        store.commit([author.new()])
        if number in (1, 2, 5):
            store.commit([author.write(("run.pause", Reason(), None))])


@pytest.mark.parametrize(
    ("which", "numbers"),
    [
        (RunFilter(), [5, 4, 3, 2, 1, 0]),
        (RunFilter(limit=2), [5, 4]),
        (RunFilter(limit=0), []),
        (RunFilter(states=("paused",)), [5, 2, 1]),
        (RunFilter(states=("paused", "running")), [5, 4, 3, 2, 1, 0]),
        (RunFilter(states=("failed",)), []),
        (RunFilter(workflow="even"), [4, 2, 0]),
        (RunFilter(workflow="EVEN"), []),
        (RunFilter(workflow="e%"), []),
        (RunFilter(since=3000), [5, 4, 3]),
        (RunFilter(since=3001), [5, 4]),
        (RunFilter(states=("paused",), workflow="odd", since=2000, limit=9), [5]),
    ],
)
def test_lists_show_what_passes_the_filter_newest_first(store: Store, which: RunFilter, numbers: list[int]) -> None:
    many(store)

    assert [row.id for row in store.rows(which)] == [f"run-{number}" for number in numbers]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", ["100%", "100_", "100x", "1'0", 'q"0', "äöü", "Äpfel", "abc", "ab", "a"]),
        ("a", ["abc", "ab", "a"]),
        ("ab", ["abc", "ab"]),
        ("abcd", []),
        ("A", []),
        ("%", []),
        ("_", []),
        ("100%", ["100%"]),
        ("100_", ["100_"]),
        ("1'", ["1'0"]),
        ('q"', ['q"0']),
        ("ä", ["äöü"]),
        ("Ä", ["Äpfel"]),
        ("*", []),
        ("[a]", []),
    ],
)
def test_a_prefix_matches_itself_and_is_no_pattern(store: Store, prefix: str, found: list[str]) -> None:
    for run_id in ["a", "ab", "abc", "Äpfel", "äöü", 'q"0', "1'0", "100x", "100_", "100%"]:
        store.commit([Author(run_id).new()])

    assert store.match(prefix, 99) == found
    assert store.match(prefix, 2) == found[:2]


# --- requests


def test_requests_wait_in_order_until_a_write_answers_them(store: Store) -> None:
    author = Author("r")
    store.commit([author.new(), Author("s").new()])
    first = store.request("r", "pause", "me", "why not", 7)
    second = store.request("s", "cancel", "", "", 8)
    third = store.request("r", "cancel", "you", "☃", 9, b"\x00\xff")

    assert [request.id for request in store.requests()] == [first, second, third]
    assert [msgspec.structs.astuple(request) for request in store.requests("r")] == [
        (first, "r", "pause", "me", "why not", 7, b""),
        (third, "r", "cancel", "you", "☃", 9, b"\x00\xff"),
    ]
    assert store.commit([author.note(answered=[first])]) == []
    assert [request.id for request in store.requests()] == [second, third]
    assert store.commit([author.write(answered=[third, 12345])]) == []
    assert [request.id for request in store.requests()] == [second]


def test_an_answered_requests_number_is_not_used_again(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    first = store.request("r", "pause", "", "", 1)
    store.commit([author.write(answered=[first])])

    assert store.request("r", "pause", "", "", 2) > first


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(range(256)) * 4096], ids=len)
def test_what_belongs_to_a_request_comes_back_byte_for_byte(store: Store, data: bytes) -> None:
    store.commit([Author("r").new()])
    store.request("r", "signal", "", "", 1, data=data)

    assert [(type(request.data), request.data) for request in store.requests("r")] == [(bytes, data)]


def test_a_run_that_ends_leaves_no_requests_but_those_of_others(store: Store) -> None:
    author = Author("r")
    store.commit([author.new(), Author("s").new()])
    for run_id in ("r", "s", "r"):
        store.request(run_id, "signal", "", "", 1, b"data")
    store.commit([author.write(("run.cancel", Reason(), None), ends=True)])

    assert [request.run_id for request in store.requests()] == ["s"]


def test_nothing_is_asked_of_a_run_that_does_not_exist(store: Store) -> None:
    with pytest.raises(StoreError):
        store.request(NOBODY, "signal", "", "", 1)
    assert store.requests() == []


@pytest.mark.parametrize("change", ["note", "claim", "request", "answer"])
def test_a_request_may_be_kept_only_while_the_run_is_as_it_was_seen(store: Store, change: str) -> None:
    author = Author("r")
    store.commit([author.new(), Author("s").new()])
    first = store.request("r", "decide", "", "", 1, seen=Seen(1, 2, 0))
    assert first > 0
    seen = Seen(1, 2, first)
    store.request("s", "pause", "", "", 1)  # what is asked of others is none of its concern
    second = store.request("r", "decide", "", "", 2, seen=seen)
    changes: dict[str, Callable[[], object]] = {
        "note": lambda: store.commit([author.note()]),
        "claim": lambda: store.claim("r", 1, OTHER),
        "request": lambda: store.request("r", "cancel", "", "", 2),
        "answer": lambda: store.commit([author.write(answered=[first, second])]),
    }
    changes[change]()
    before = store.requests()

    assert second > first
    assert store.request("r", "decide", "", "", 3, seen=Seen(1, 2, second)) == 0
    assert store.requests() == before
    row = store.row("r")
    assert row is not None
    now = Seen(row.epoch, row.seq, max((one.id for one in store.requests("r")), default=0))
    assert store.request("r", "decide", "", "", 4, seen=now) > second


def test_version_stands_still_while_nothing_happens(store: Store) -> None:
    store.commit([Author("r").new()])

    assert len({store.version() for _ in range(3)}) == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("change", ["commit", "request", "claim", "release"])
def test_version_changes_when_somebody_else_wrote(kind: str, change: str, tmp_path: Path) -> None:
    ours: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "runs.db")
    theirs = ours if isinstance(ours, MemoryStore) else SqliteStore(tmp_path / "runs.db")
    author = Author("r")
    theirs.commit([author.new()])
    before = ours.version()
    changes: dict[str, Callable[[], object]] = {
        "commit": lambda: theirs.commit([author.note()]),
        "request": lambda: theirs.request("r", "signal", "", "", 1),
        "claim": lambda: theirs.claim("r", 1, OTHER),
        "release": lambda: theirs.release("r", 1),
    }
    changes[change]()

    assert ours.version() != before
    ours.close()
    theirs.close()


# --- children


def test_the_definitions_of_children_are_kept_with_the_run_that_may_start_them(store: Store) -> None:
    new = Author("r", workflow="top").new()
    new.children = {"hash of a": b"body of a", "hash of b": b"body of b"}
    assert store.commit([new]) == []

    assert [store.definition(f"hash of {name}") for name in ("top", "a", "b", "c")] == [
        b"body of top",
        b"body of a",
        b"body of b",
        None,
    ]


def test_a_definition_that_is_there_stays_as_it_is(store: Store) -> None:
    first, second = Author("r", workflow="top").new(), Author("s", workflow="top").new()
    first.children = {"hash of a": b"body of a"}
    second.children = {"hash of a": b"other", "hash of top": b"other", "hash of b": b"body of b"}
    second.definition = b"other"

    assert store.commit([first, second]) == []
    assert [store.definition(f"hash of {name}") for name in ("top", "a", "b")] == [
        b"body of top",
        b"body of a",
        b"body of b",
    ]


def test_a_run_that_is_refused_brings_no_definitions(store: Store) -> None:
    store.commit([Author("r").new()])
    refused = Author("r", workflow="other").new()
    refused.children = {"hash of a": b"body of a"}

    assert store.commit([refused]) == ["r"]
    assert (store.definition("hash of other"), store.definition("hash of a")) == (None, None)


# --- transactions


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """A store that has a connection to lend."""
    store = SqliteStore(tmp_path / "lent.db")
    yield store
    store.close()


def insert(connection: Any) -> None:
    """What a step may do with a connection: write to a table of its own."""
    connection.execute("CREATE TABLE IF NOT EXISTS mine (x)")
    connection.execute("INSERT INTO mine VALUES (1)")


def nothing() -> None:
    """No write."""


def inserted(store: Store) -> int:
    """How often `insert` was kept."""
    counted: list[int] = []

    def count(connection: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (x)")
        counted.append(next(iter(connection.execute("SELECT count(*) FROM mine")))[0])

    assert store.transact(count, nothing) is False
    return counted[0]


def test_a_store_without_a_connection_says_so_and_calls_nothing() -> None:
    called: list[object] = []
    store = MemoryStore()

    with pytest.raises(StoreError):
        store.transact(called.append, nothing)
    assert called == []


def test_a_write_is_kept_together_with_what_else_is_done(sqlite: Store) -> None:
    author = Author("r")
    sqlite.commit([author.new()])

    assert sqlite.transact(insert, author.note)
    assert sqlite.transact(insert, author.note)
    assert (inserted(sqlite), seqs(sqlite, "r")) == (2, [1, 2, 3, 4])


def test_a_new_run_may_be_kept_in_a_transaction(sqlite: Store) -> None:
    assert sqlite.transact(lambda _: None, Author("r").new)
    assert sqlite.row("r") is not None


def test_of_a_write_that_is_refused_nothing_is_kept_nor_of_what_else_was_done(sqlite: Store) -> None:
    author = Author("r")
    sqlite.commit([author.new()])
    author.epoch = 2

    assert not sqlite.transact(insert, author.note)
    assert (inserted(sqlite), seqs(sqlite, "r")) == (0, [1, 2])


def test_a_transaction_without_a_write_keeps_nothing(sqlite: Store) -> None:
    assert not sqlite.transact(insert, nothing)
    assert inserted(sqlite) == 0


def test_an_error_inside_a_transaction_comes_out_and_nothing_is_kept(sqlite: Store) -> None:
    author = Author("r")

    def work(connection: Any) -> None:
        insert(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sqlite.transact(work, author.new)
    assert inserted(sqlite) == 0
    assert sqlite.commit([author.new()]) == []


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "DELETE FROM runs",
        "UPDATE runs SET state = 'completed'",
        "INSERT INTO definitions VALUES ('h', x'00', 1)",
        "DROP TABLE journal",
        "DROP TRIGGER runs_edge",
        "ALTER TABLE runs RENAME TO mine",
        "CREATE TRIGGER t AFTER INSERT ON journal BEGIN SELECT 1; END",
        "CREATE INDEX i ON runs (id)",
        "PRAGMA journal_mode = DELETE",
        "ATTACH ':memory:' AS other",
    ],
)
def test_what_belongs_to_the_store_is_out_of_reach_in_a_transaction(sqlite: Store, statement: str) -> None:
    author = Author("r")
    sqlite.commit([author.new()])

    with pytest.raises(Exception, match="not authorized"):
        sqlite.transact(lambda connection: connection.execute(statement), author.note)
    assert sqlite.commit([author.note()]) == []
    assert sqlite.row("r").state == "running"  # type: ignore[union-attr]  # it is there


#: What shows only behind a transaction: committed, it would keep everybody out of the store, or end the run's owner.
SPOILS = {
    "CREATE VIEW v AS SELECT id FROM runs": "the view 'v' reads 'runs'",
    "CREATE TABLE a (x REFERENCES b (y) DEFERRABLE INITIALLY DEFERRED); CREATE TABLE b (y PRIMARY KEY);"
    "INSERT INTO a VALUES (1)": "a foreign key names a row that is not there",
    "UPDATE sqlite_sequence SET seq = 0": "sqlite_sequence was changed",
    "DELETE FROM sqlite_sequence": "sqlite_sequence was changed",
}


@pytest.mark.parametrize("statements", SPOILS)
def test_what_would_keep_others_out_of_the_store_is_undone(sqlite: Store, tmp_path: Path, statements: str) -> None:
    author = Author("r")
    sqlite.commit([author.new()])
    sqlite.request("r", "pause", "", "", 1)

    with pytest.raises(StepError, match=SPOILS[statements]):
        sqlite.transact(lambda connection: connection.execute(statements), author.note)
    assert sqlite.transact(lambda _: None, author.note)
    SqliteStore(tmp_path / "lent.db").close()


def test_a_lent_connection_that_was_closed_is_told_of_and_nothing_is_kept(sqlite: Store, tmp_path: Path) -> None:
    author = Author("r")
    sqlite.commit([author.new()])

    def close(connection: Any) -> None:
        insert(connection)
        connection.close()

    with pytest.raises(StoreError, match="a step closed the connection it was lent"):
        sqlite.transact(close, author.note)
    with pytest.raises(StoreError, match="a step closed the connection it was lent"):
        sqlite.row("r")
    again = SqliteStore(tmp_path / "lent.db")
    assert (inserted(again), seqs(again, "r")) == (0, [1, 2])
    again.close()


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE VIEW v AS SELECT 1 FROM counted",
        "DROP TABLE counted",
        "ALTER TABLE counted RENAME TO other",
        "CREATE TRIGGER t AFTER INSERT ON counted BEGIN DELETE FROM counted; END; INSERT INTO counted VALUES (7)",
        "CREATE VIRTUAL TABLE texts USING fts5 (x); INSERT INTO texts VALUES ('words')",
    ],
)
def test_tables_of_users_may_be_changed_as_they_like(sqlite: Store, tmp_path: Path, statements: str) -> None:
    author = Author("r")
    sqlite.commit([author.new()])
    counted = "CREATE TABLE counted (x INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counted VALUES (5)"
    sqlite.transact(lambda connection: connection.execute(counted), author.note)

    assert sqlite.transact(lambda connection: connection.execute(statements), author.note)
    SqliteStore(tmp_path / "lent.db").close()


# --- blobs


@pytest.mark.parametrize("pieces", [[], [b""], [b"x"], [b"ab", b"", b"c" * 100_000], [bytes(range(256))] * 5])
def test_a_blob_is_named_by_its_digest_and_comes_back(store: Store, pieces: list[bytes]) -> None:
    spill = store.open_blob()
    for piece in pieces:
        spill.write(piece)
    digest = spill.finish()

    assert digest == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert store.blob(digest) == b"".join(pieces)


def test_the_same_blob_twice_is_one(store: Store) -> None:
    digests = set()
    for _ in range(2):
        spill = store.open_blob()
        spill.write(b"same")
        digests.add(spill.finish())

    assert len(digests) == 1
    assert store.blob(digests.pop()) == b"same"


def test_a_discarded_blob_is_not_there(store: Store) -> None:
    spill = store.open_blob()
    spill.write(b"secret")
    spill.discard()

    with pytest.raises(StoreError) as caught:
        store.blob(hashlib.sha256(b"secret").hexdigest())
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize("digest", ["", "x", "../runs.db", "0" * 64, "é" * 64, "\0" * 64, "/" * 64, "A" * 64])
def test_case_66_a_blob_that_is_missing_is_corruption(store: Store, digest: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.blob(digest)
    assert caught.value.kind == "store.corrupt"


# --- the end


USES: dict[str, Callable[[Store], object]] = {
    "claim": lambda store: store.claim("r", 1, OWNER),
    "release": lambda store: store.release("r", 1),
    "beat": lambda store: store.beat(Beat("n", 1, 1, 1.0), {}),
    "last_beat": lambda store: store.last_beat("n"),
    "leave": lambda store: store.leave("n"),
    "reject": lambda store: store.reject(Author("r").note(), OWNER, 1),
    "rejected": lambda store: store.rejected("r"),
    "commit": lambda store: store.commit([]),
    "row": lambda store: store.row("r"),
    "rows": lambda store: store.rows(RunFilter()),
    "match": lambda store: store.match("", 1),
    "records": lambda store: store.records("r"),
    "definition": lambda store: store.definition("d"),
    "request": lambda store: store.request("r", "cancel", "", "", 1),
    "requests": lambda store: store.requests(),
    "version": lambda store: store.version(),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_store_says_so_whatever_is_asked_of_it(store: Store, use: str) -> None:
    store.commit([Author("r").new()])
    store.close()

    with pytest.raises(UsageError) as caught:
        USES[use](store)
    assert caught.value.kind == "usage.closed"


def test_closing_twice_does_nothing(store: Store) -> None:
    store.close()
    store.close()


# --- threads


def test_eight_threads_commit_their_own_runs_and_nothing_is_lost(store: Store) -> None:
    rounds = 25

    def work(number: int) -> None:
        author = Author(f"run-{number}")
        assert store.commit([author.new()]) == []
        for _ in range(rounds):
            assert store.commit([author.note()]) == []

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [seqs(store, f"run-{number}") for number in range(8)] == [list(range(1, rounds + 3))] * 8


def test_eight_threads_writing_the_same_sequence_have_one_winner_each_time(store: Store) -> None:
    author = Author("r")
    store.commit([author.new()])
    barrier = threading.Barrier(8)
    for round_ in range(25):
        writes = [msgspec.structs.replace(author.note(), seq=2 + round_) for _ in range(8)]
        for write in writes:
            write.records = [msgspec.structs.replace(write.records[0], seq=3 + round_)]

        def work(write: Write) -> bool:
            barrier.wait()
            return store.commit([write]) == []

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, writes)) == 1
    assert seqs(store, "r") == list(range(1, 28))


# --- all stores alike


@pytest.mark.parametrize("address", ["memory://", "sqlite:///{}/a.db", "{}/b.db"])
def test_addresses_open_the_store_they_name(address: str, tmp_path: Path) -> None:
    store = open_store(address.format(tmp_path))
    reopened = open_store(store.name)

    assert (type(reopened), reopened.name) == (type(store), store.name)
    assert open_store(store) is store
    store.close()
    reopened.close()


@pytest.mark.parametrize("address", ["postgres://x", "sqlite://x", "memory://x", "http://x/y"])
def test_an_unknown_address_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="unknown store"):
        open_store(address)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.sampled_from("abc"), st.sampled_from(["w", "v"])),
        st.tuples(st.sampled_from(["note", "pause", "resume", "start", "release"]), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("claim"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("free"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("stale"), st.sampled_from("abc"), st.sampled_from(["epoch", "seq"])),
        st.tuples(st.just("request"), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("answer"), st.sampled_from("abc"), st.integers(1, 5)),
    ),
    max_size=40,
)


def _apply(
    stores: list[Store], authors: dict[str, Author], ticks: Iterator[int], operation: tuple[str, str, Any]
) -> None:
    """Do one thing to every store, and have them agree on what came of it."""
    name, run_id, detail = operation
    if name != "new" and run_id not in authors:
        results: list[Any] = [store.row(run_id) for store in stores]
    elif name == "new":
        author = Author(run_id, workflow=detail, at=next(ticks))
        new = author.new()
        results = [store.commit([new]) for store in stores]
        authors.setdefault(run_id, author)
    elif name == "claim":
        results = [store.claim(run_id, detail, OTHER) for store in stores]
        authors[run_id].epoch += results[0]
    elif name == "free":
        for store in stores:
            store.release(run_id, detail)
        results = [store.row(run_id) for store in stores]
    elif name == "request":
        at = next(ticks)
        results = [store.request(run_id, "cancel", "me", "", at) for store in stores]
    else:
        write = _write(authors[run_id], name, detail)
        results = [store.commit([write]) for store in stores]
    assert results[0] == results[1]


def _write(author: Author, name: str, detail: Any) -> Write:
    fold = author.fold
    if name == "stale":
        note = Write(run_id=fold.id, epoch=author.epoch, seq=fold.seq, records=[], steps_done=7)
        setattr(note, detail, getattr(note, detail) - 1)
        return note
    if name == "pause" and fold.state == "running":
        return author.write(("run.pause", Reason(), None), message="paused")
    if name == "resume" and fold.state == "paused":
        return author.write(("run.resume", Reason(), None))
    if name == "start" and "a" not in fold.steps:
        return author.write(("step.start", StepStarted(attempt=1), "a"))
    return author.note(answered=[detail] if name == "answer" else [], release=name == "release")


def everything(store: Store) -> object:
    journals = {run_id: store.records(run_id) for run_id in store.match("", 99)}
    filters = [RunFilter(), RunFilter(states=("paused",)), RunFilter(workflow="v"), RunFilter(since=3, limit=2)]
    definitions = [store.definition(f"hash of {workflow}") for workflow in "wv"]
    return journals, [store.rows(which) for which in filters], store.requests(), definitions


@given(OPERATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_stores_answer_alike_whatever_is_done_to_them(
    tmp_path: Path, operations: list[tuple[str, str, Any]]
) -> None:
    number = len(list(tmp_path.iterdir()))
    stores: list[Store] = [MemoryStore(), SqliteStore(tmp_path / f"{number}.db")]
    authors: dict[str, Author] = {}
    ticks = itertools.count(1)
    for operation in operations:
        _apply(stores, authors, ticks, operation)

    assert everything(stores[0]) == everything(stores[1])
    for store in stores:
        store.close()
