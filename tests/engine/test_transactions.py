"""`transaction = true`: what a function does with the lent connection is there exactly if its step completed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Event, Run
from statemachine_flow.errors import ConflictError, SmfError
from statemachine_flow.lifecycle import RunState
from statemachine_flow.stores.base import Owner
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.stores.sqlite import SqliteStore
from statemachine_flow.testing import ManualClock
from statemachine_flow.testing.crash import CrashStore, Died, When
from tests.engine.harness import add, check_run, stored_steps

NOBODY = Owner(host="h", boot="b", pid=1, started="s", nonce="n")


def count(connection: apsw.Connection) -> int:
    """Add 1 to the counter, and give back what it is."""
    connection.execute("CREATE TABLE IF NOT EXISTS counter (n INTEGER)")
    if not connection.execute("SELECT n FROM counter").fetchall():
        connection.execute("INSERT INTO counter VALUES (0)")
    (n,) = connection.execute("UPDATE counter SET n = n + 1 RETURNING n").fetchall()[0]
    assert isinstance(n, int)
    return n


class Bank:
    """A store on a file, and what its own counter says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: list[SqliteStore] = []

    def open(self) -> SqliteStore:
        self._opened.append(SqliteStore(self.path, durability="process"))
        return self._opened[-1]

    def counter(self) -> int:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        with contextlib.closing(connection):
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counter'").fetchall():
                return 0
            (n,) = connection.execute("SELECT n FROM counter").fetchall()[0]
            assert isinstance(n, int)
            return n

    def check(self) -> None:
        """The counter says how many steps of the run completed."""
        store = self.open()
        completed = 0
        if store.row("r") is not None:
            check_run(store, "r")
            paths = stored_steps(store, "r")
            completes = [record.step for record in store.records("r") if record.kind == "step.complete"]
            completed = sum(step is not None and not self.holds(step, paths) for step in completes)
        assert self.counter() == completed

    @staticmethod
    def holds(step: str, paths: dict[str, Any]) -> bool:
        """Whether a step is carried out by others; approvals count nothing either."""
        return step == "judge" or any(other.startswith((f"{step}/", f"{step}[")) for other in paths)

    def close(self) -> None:
        for store in self._opened:
            store.close()


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    bank = Bank(tmp_path / "runs.db")
    yield bank
    bank.close()


def run(store: Any, workflow: Workflow, **options: Any) -> Run:
    """One process that goes on with the run."""

    async def live() -> Run:
        async with AsyncEngine(store, clock=ManualClock(), grace=0.05) as engine:
            async with asyncio.timeout(20):
                return await engine.run(workflow, run_id="r", **options)

    return asyncio.run(live())


def steps(function: Callable[..., Any] = count, **options: Any) -> Workflow:
    """One step."""
    workflow = Workflow("one")
    add(workflow, "step", function, transaction=True, **options)
    return workflow


def everywhere() -> Workflow:
    """Such steps in a row, side by side, as items, in a group that is repeated, tried again, and at the end."""
    tried: list[int] = []

    def flaky(connection: apsw.Connection) -> int:
        result = count(connection)
        tried.append(1)
        if len(tried) == 1:
            raise ConnectionError("after its effect")
        return result

    workflow = Workflow("everywhere")
    add(workflow, "a", count, transaction=True)
    add(workflow, "b", count, transaction=True, needs=["a"])
    add(workflow, "c", count, transaction=True, needs=["a"])
    add(workflow, "each", count, transaction=True, for_each={"items": [1, 2, 3], "max_parallel": 2}, needs=["c"])
    with workflow.group("group", repeat={"until": "round == 2"}, needs=["each"]) as group:
        add(group, "inside", count, transaction=True)
    retry = {"max_attempts": 3, "delay": "1ms", "jitter": "none"}
    add(workflow, "flaky", flaky, transaction=True, retry=retry, needs=["group"])
    workflow.finally_.call("last", count, transaction=True)
    return workflow


# --- dying


async def _process(store: CrashStore, workflow: Workflow, clock: ManualClock) -> Run | None:
    clock.advance(3600)  # nobody comes at once
    engine = AsyncEngine(store, clock=clock, grace=0.05)
    try:
        async with asyncio.timeout(20):

            def hurry(event: Event) -> None:
                if event.kind == "step.back_off":
                    clock.advance(60)

            return await engine.run(workflow, run_id="r", on_event=hurry)
    except (Died, SmfError):
        assert store.dead
        return None
    finally:
        with contextlib.suppress(Died):
            await engine.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_at_any_write_leaves_the_effect_of_completed_steps_and_of_no_others(tmp_path: Path, when: When) -> None:
    at, died = 0, True
    while died:
        at += 1
        bank = Bank(tmp_path / f"{at}.db")
        workflow, clock = everywhere(), ManualClock()
        died = asyncio.run(_process(CrashStore(bank.open(), at, when), workflow, clock)) is None
        bank.check()
        found = asyncio.run(_process(CrashStore(bank.open(), 0, when), workflow, clock))
        assert found is not None
        assert found.state == RunState.COMPLETED
        bank.check()
        assert bank.counter() == 10
        bank.close()
    assert at >= 12


def test_deaths_in_a_row_leave_the_effect_of_completed_steps_and_of_no_others(tmp_path: Path) -> None:
    rng = random.Random("transactions")
    for trial in range(40):
        bank, workflow, clock = Bank(tmp_path / f"{trial}.db"), everywhere(), ManualClock()
        for _ in range(rng.randint(1, 5)):
            store = CrashStore(bank.open(), rng.randint(1, 8), rng.choice(["before", "after"]))
            asyncio.run(_process(store, workflow, clock))
            bank.check()
        assert asyncio.run(_process(CrashStore(bank.open(), 0, "before"), workflow, clock)) is not None
        bank.check()
        assert bank.counter() == 10
        bank.close()


# --- failing


@pytest.mark.parametrize(
    ("result", "options", "kind"),
    [
        (ValueError("no"), {}, "step.failed"),
        (object(), {}, "step.unserializable"),
        ("text", {"output_schema": {"type": "integer"}}, "step.schema"),
        ("text", {"outputs": {"x": "result.x"}}, "step.outputs"),
        (KeyboardInterrupt(), {}, "step.failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_failed_attempt_did_is_not_there_and_its_failure_is_recorded(
    bank: Bank, result: Any, options: Any, kind: str
) -> None:
    def fail(connection: apsw.Connection) -> Any:
        count(connection)
        if isinstance(result, BaseException):
            raise result
        return result

    found = run(bank.open(), steps(fail, **options))
    error = found.steps["step"].error
    assert found.state == RunState.FAILED
    assert error is not None
    assert error.kind == kind
    bank.check()
    assert bank.counter() == 0


def test_it_is_tried_again_if_it_says_so_itself_and_not_by_default(bank: Bank) -> None:
    calls: list[int] = []

    def fail(connection: apsw.Connection) -> None:
        count(connection)
        calls.append(1)
        raise ValueError

    workflow = Workflow("retries", retry={"max_attempts": 5, "delay": "1ms"})
    add(workflow, "step", fail, transaction=True)
    assert run(bank.open(), workflow).state == RunState.FAILED
    assert len(calls) == 1
    bank.check()


@pytest.mark.parametrize("path", ["async", "awaitable"])
def test_an_asynchronous_function_is_refused(bank: Bank, path: str) -> None:
    async def wait(connection: apsw.Connection) -> None:
        count(connection)

    def disguised(connection: apsw.Connection) -> Any:
        count(connection)
        return wait(connection)

    found = run(bank.open(), steps(wait if path == "async" else disguised))
    error = found.steps["step"].error
    assert error is not None
    assert "asynchronous" in error.message
    assert bank.counter() == 0


def test_a_store_in_memory_has_no_transactions() -> None:
    found = run(MemoryStore(), steps())
    error = found.steps["step"].error
    assert found.state == RunState.FAILED
    assert error is not None
    assert "needs a SQLite store" in error.message


# --- what the connection cannot be used for

TOUCHING = [
    "COMMIT",
    "ROLLBACK",
    "END",
    "BEGIN",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "PRAGMA synchronous = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA user_version = 99",
    "PRAGMA writable_schema = ON",
    "SELECT * FROM pragma_user_version",
    "UPDATE runs SET state = 'completed'",
    "UPDATE RUNS SET epoch = 9",
    "UPDATE runs SET owner = NULL WHERE id = 'r' AND epoch = 1",
    "DELETE FROM journal",
    "INSERT INTO requests (run, action, by, reason, at, data) VALUES (1, 'cancel', '', '', 0, x'')",
    "INSERT INTO definitions (hash, body, seal) VALUES ('x', x'', 1)",
    "REPLACE INTO steps SELECT * FROM steps",
    "DROP TABLE steps",
    "ALTER TABLE runs RENAME TO mine",
    "ALTER TABLE runs ADD COLUMN x",
    "CREATE INDEX mine ON runs (state)",
    "CREATE TRIGGER mine AFTER INSERT ON journal BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON journal BEGIN SELECT 1; END",
    "DROP TRIGGER runs_begin",
    "CREATE TEMP TABLE runs (id)",
    "CREATE TEMP TABLE Journal (id)",
    "CREATE TEMP VIEW steps AS SELECT 1",
    "CREATE TABLE m (x); CREATE TRIGGER t AFTER INSERT ON m BEGIN DELETE FROM journal; END; INSERT INTO m VALUES (1)",
    "UPDATE sqlite_schema SET sql = ''",
    "VACUUM",
]


@pytest.mark.parametrize("sql", TOUCHING)
def test_what_belongs_to_the_store_is_out_of_reach(bank: Bank, sql: str) -> None:
    def touch(connection: apsw.Connection) -> int:
        count(connection)
        connection.execute(sql).fetchall()
        return 1

    workflow = steps(touch, optional=True)
    add(workflow, "next", count, transaction=True, needs=["step"])
    found = run(bank.open(), workflow)
    assert found.state == RunState.COMPLETED
    error = found.steps["step"].error
    assert error is not None, f"{sql} was done"
    assert error.kind == "step.failed"
    assert bank.counter() == 1
    bank.check()


def test_what_is_refused_and_forgiven_by_the_function_itself_changes_nothing_else(bank: Bank) -> None:
    def touch(connection: apsw.Connection) -> int:
        for sql in TOUCHING:
            with contextlib.suppress(apsw.Error):
                connection.execute(f"SAVEPOINT one; {sql}").fetchall()
            connection.execute("ROLLBACK TO one; RELEASE one")
        return count(connection)

    found = run(bank.open(), steps(touch))
    assert (found.state, found.steps["step"].output) == (RunState.COMPLETED, 1)
    bank.check()


def test_a_connection_that_was_kept_or_closed_is_no_way_out(bank: Bank) -> None:
    """What is left of it after the step obeys nobody else's rules; closing it loses the run, not the store."""

    def close(connection: apsw.Connection) -> None:
        count(connection)
        connection.close()

    store = bank.open()
    with pytest.raises(SmfError):
        run(store, steps(close))
    assert bank.counter() == 0
    row = bank.open().row("r")
    assert row is not None
    assert row.state == "running"


def test_tables_of_ones_own_can_be_made_read_and_changed(bank: Bank) -> None:
    def work(connection: apsw.Connection) -> Any:
        connection.execute("CREATE TABLE mine (name TEXT PRIMARY KEY, n INTEGER); CREATE INDEX by_n ON mine (n)")
        connection.executemany("INSERT INTO mine VALUES (?, ?)", [("a", 1), ("b", 2), ("c", 3)])
        with contextlib.suppress(ZeroDivisionError), connection:
            connection.execute("DELETE FROM mine")
            _ = 1 / 0
        with connection:
            connection.execute("UPDATE mine SET n = n * 10 WHERE name <> 'b'")
        connection.execute("CREATE TRIGGER t AFTER DELETE ON mine BEGIN UPDATE mine SET n = 0; END")
        connection.execute("DELETE FROM mine WHERE name = 'a'")
        connection.execute(
            "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counted VALUES (NULL)"
        )
        connection.execute("ALTER TABLE mine ADD COLUMN more; CREATE TABLE gone (x); DROP TABLE gone; DROP INDEX by_n")
        state = connection.execute("SELECT state FROM runs WHERE id = 'r'").fetchall()
        return [state, connection.execute("SELECT name, n FROM mine ORDER BY name").fetchall()]

    found = run(bank.open(), steps(work))
    assert found.steps["step"].output == [[("running",)], [("b", 0), ("c", 0)]]
    connection = apsw.Connection(str(bank.path))
    assert connection.execute("SELECT name, n FROM mine ORDER BY name").fetchall() == [("b", 0), ("c", 0)]
    connection.close()


# --- beside others


def test_other_runs_keep_committing_and_all_are_there_at_the_end(bank: Bank) -> None:
    async def turn() -> None:
        await asyncio.sleep(0)

    counting, other = Workflow("counting"), Workflow("other")
    for index in range(10):
        needs = [f"s{index - 1}"] if index else None
        add(counting, f"s{index}", count, transaction=True, needs=needs)
        add(other, f"s{index}", turn, needs=needs)

    async def live() -> list[Run]:
        async with AsyncEngine(bank.open(), clock=ManualClock()) as engine:
            async with asyncio.timeout(20):
                runs = [engine.run(other, run_id=f"o{number}") for number in range(4)]
                return await asyncio.gather(engine.run(counting, run_id="r"), *runs)

    assert {each.state for each in asyncio.run(live())} == {RunState.COMPLETED}
    assert bank.counter() == 10
    bank.check()
    store = bank.open()
    for number in range(4):
        check_run(store, f"o{number}")


def test_a_large_result_is_kept_with_its_effect(bank: Bank) -> None:
    def large(connection: apsw.Connection) -> str:
        count(connection)
        return "x" * (1 << 21)

    found = run(bank.open(), steps(large))
    assert found.state == RunState.COMPLETED
    bank.check()


def test_what_a_lost_owner_still_does_is_not_there(bank: Bank) -> None:
    """Another owner takes the run between the start of the attempt and its body."""
    other = bank.open()

    def take(event: Event) -> None:
        if event.kind == "step.start":
            row = other.row("r")
            assert row is not None
            assert other.claim("r", row.epoch, NOBODY)

    with pytest.raises(ConflictError) as caught:
        run(bank.open(), steps(), on_event=take)
    assert caught.value.kind == "run.fenced"
    assert bank.counter() == 0


def test_what_an_attempt_that_was_given_up_still_does_is_not_there(bank: Bank) -> None:
    """The run is sent back in the moment in which the attempt begins."""
    workflow = Workflow("rewound")
    add(workflow, "draft", count, transaction=True)
    add(workflow, "beside", count, transaction=True, needs=["draft"])
    back = {"rewind_to": "draft", "max_rounds": 3}
    workflow.approval("judge", "?", needs=["draft"], on_reject=back)

    async def live() -> Run:
        async with AsyncEngine(bank.open(), clock=ManualClock(), grace=0.05) as engine:
            asked: list[Any] = []

            def reject(event: Event) -> None:
                if (event.kind, event.step) == ("step.start", "beside") and not asked:
                    asked.append(asyncio.ensure_future(engine.reject("r", "judge")))

            async with asyncio.timeout(20):
                await engine.run(workflow, run_id="r", on_event=reject)
                await asyncio.gather(*asked)
                await engine.approve("r", "judge")
                return await engine.run(workflow, run_id="r")

    found = asyncio.run(live())
    assert found.state == RunState.COMPLETED
    assert found.steps["draft"].generation == 2
    bank.check()


def test_the_function_may_read_what_the_engine_reads_meanwhile(bank: Bank) -> None:
    """Outputs of earlier steps that lie beside the store are read while the transaction is open."""

    def large() -> str:
        return "y" * (1 << 21)

    def length(connection: apsw.Connection, text: str) -> int:
        count(connection)
        return len(text)

    workflow = Workflow("reads")
    add(workflow, "large", large)
    text = "${{ steps.large.output }}"
    add(workflow, "length", length, transaction=True, with_={"text": text}, outputs={"n": "result * 2"})
    found = run(bank.open(), workflow)
    assert (found.state, found.steps["length"].output) == (RunState.COMPLETED, 1 << 21)
    assert found.steps["length"].outputs == {"n": 1 << 22}
    assert bank.counter() == 1


def test_what_would_keep_others_out_of_the_store_is_a_failed_attempt_and_the_run_goes_on(bank: Bank) -> None:
    def show(connection: apsw.Connection) -> None:
        count(connection)
        connection.execute("CREATE VIEW progress AS SELECT id, state FROM runs")

    workflow = steps(show, optional=True)
    add(workflow, "next", count, transaction=True, needs=["step"])
    found = run(bank.open(), workflow)
    assert (found.state, found.steps["step"].state) == (RunState.COMPLETED, "failed")
    assert "the view 'progress' reads 'runs'" in found.steps["step"].error.message  # type: ignore[union-attr]
    bank.check()


class FullStore(CrashStore):
    """A store whose disk is full when the transaction is kept."""

    def transact(self, work: Callable[[Any], Any], write: Callable[[], Any]) -> bool:
        def full() -> Any:
            write()
            raise apsw.FullError("database or disk is full")

        return self.inner.transact(work, full)


def test_a_full_disk_loses_the_run_here_and_keeps_nothing_of_the_attempt(bank: Bank) -> None:
    with pytest.raises(SmfError) as caught:
        run(FullStore(bank.open(), 0, "before"), steps())
    assert caught.value.kind == "store.full"
    assert bank.counter() == 0
    again = run(bank.open(), steps())
    assert (again.state, again.steps["step"].attempt) == (RunState.COMPLETED, 2)
    bank.check()
