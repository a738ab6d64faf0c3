"""G24: an engine inside somebody else's program leaves no trace in it, and works wherever it is called from."""

from __future__ import annotations

import asyncio
import gc
import locale
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow import AsyncEngine, Engine, Workflow
from statemachine_flow.errors import UsageError
from statemachine_flow.model import RetryPolicy
from tests.engine.harness import PATIENCE, Gate, Outcomes, World, add, chain

FD_FOLDER = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


def simple(body: Any = None) -> Workflow:
    workflow = Workflow("simple")
    add(workflow, "a", body or (lambda: 1))
    workflow.run("b", ["true"], needs=["a"])
    return workflow


# --- where it is called from


def test_case_104_the_blocking_engine_works_inside_a_running_loop(tmp_path: Path) -> None:
    async def main() -> Any:
        with Engine(tmp_path / "runs.db") as engine:
            return engine.run(simple()).state

    assert asyncio.run(main()) == "completed"


def test_case_104_the_blocking_engine_works_in_any_thread(tmp_path: Path) -> None:
    found: list[Any] = []

    def work(number: int) -> None:
        with Engine(tmp_path / f"{number}.db") as engine:
            found.append(engine.run(simple()).state)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == ["completed"] * 4


def test_one_blocking_engine_serves_many_threads_at_once(tmp_path: Path) -> None:
    found: list[Any] = []
    with Engine(tmp_path / "runs.db") as engine:
        threads = [threading.Thread(target=lambda: found.append(engine.run(simple()).state)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == ["completed"] * 8
        assert len(engine.list()) == 8


def test_several_engines_of_one_process_share_a_file(tmp_path: Path) -> None:
    with Engine(tmp_path / "runs.db") as one, Engine(tmp_path / "runs.db") as two:
        ids = [engine.run(simple()).id for engine in (one, two, one, two)]
        assert {row.id for row in one.list()} == {row.id for row in two.list()} == set(ids)


def test_an_async_engine_lives_on_the_loop_it_is_used_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncEngine(tmp_path / "runs.db") as engine:
            runs = await asyncio.gather(*(engine.run(simple()) for _ in range(5)))
            assert [run.state for run in runs] == ["completed"] * 5
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("who", ["a coroutine step", "a listener"])
def test_the_blocking_engine_called_from_its_own_loop_says_so_instead_of_waiting_for_itself(who: str) -> None:
    with Engine("memory://") as engine:
        told: list[Any] = []

        def ask() -> None:
            try:
                engine.list()
            except UsageError as error:
                told.append(error)

        async def body() -> None:
            if who == "a coroutine step":
                ask()

        run = engine.run(simple(body), on_event=lambda _: ask() if who == "a listener" else None)
        assert run.state == "completed"
        assert told
        assert "AsyncEngine" in str(told[0])


def test_the_blocking_engine_may_be_called_from_a_step_in_a_thread() -> None:
    with Engine("memory://") as engine:
        run = engine.run(simple(lambda: str(engine.run(simple()).state)))
        assert run.steps["a"].output == "completed"


def test_case_104_a_current_directory_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    with Engine(tmp_path / "runs.db") as engine:
        os.chdir(gone)
        gone.rmdir()
        try:
            with pytest.raises(UsageError) as caught:
                engine.run(simple())
        finally:
            os.chdir(before)
        assert "current directory" in str(caught.value)
        assert engine.run(simple()).state == "completed"


# --- life and end


METHODS: list[tuple[str, tuple[Any, ...]]] = [
    ("start", (simple(),)),
    ("run", (simple(),)),
    ("resume", ("r",)),
    ("retry", ("r",)),
    ("wait", ("r",)),
    ("pause", ("r",)),
    ("cancel", ("r",)),
    ("get", ("r",)),
    ("list", ()),
    ("events", ("r",)),
    ("find", ("r",)),
]


@pytest.mark.parametrize(("method", "arguments"), METHODS, ids=[name for name, _ in METHODS])
@pytest.mark.parametrize("store", ["memory://", "file"])
def test_a_closed_engine_refuses_every_call(
    tmp_path: Path, store: str, method: str, arguments: tuple[Any, ...]
) -> None:
    where = tmp_path / "runs.db" if store == "file" else store
    engine = Engine(where)
    engine.run(simple(), run_id="r")
    engine.close()
    engine.close()
    with pytest.raises(UsageError) as caught:
        getattr(engine, method)(*arguments)
    assert (caught.value.kind, caught.value.exit_code) == ("usage.closed", 2)

    async def main() -> None:
        engine = AsyncEngine(where)
        await engine.close()
        await engine.close()
        with pytest.raises(UsageError) as caught:
            await getattr(engine, method)(*arguments)
        assert caught.value.kind == "usage.closed"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_an_engine_that_is_closing_takes_up_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        begun, leave = asyncio.Event(), asyncio.Event()

        async def slow_to_end() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await leave.wait()

        workflow = Workflow("slow")
        workflow.call("a", slow_to_end)
        engine = AsyncEngine(tmp_path / "runs.db")
        await engine.run(simple(), run_id="done")
        await engine.start(workflow, run_id="r")
        await begun.wait()
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        calls = [
            engine.start(simple(), run_id="new"),
            engine.recover(),
            engine.fork("done", at=2),
            engine.rerun("done", from_="a"),
        ]
        for call in calls:
            with pytest.raises(UsageError) as caught:
                await call
            assert caught.value.kind == "usage.closed"
        leave.set()
        await closing
        async with AsyncEngine(tmp_path / "runs.db") as again:
            assert (await again.get("r")).state == "paused"
            assert all(row.owner is None for row in await again.list())

    asyncio.run(main())


def test_an_engine_that_was_never_used_closes() -> None:
    Engine("memory://").close()
    asyncio.run(AsyncEngine("memory://").close())


def test_closing_from_many_threads_at_once_is_closing_once(tmp_path: Path) -> None:
    engine, gate = Engine(tmp_path / "runs.db"), Gate()
    engine.start(simple(gate.ahold))
    gate.begun()
    errors: list[BaseException] = []

    def close() -> None:
        try:
            engine.close()
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)


def test_closing_an_engine_tells_a_thread_that_waits_for_the_run_of_another(tmp_path: Path) -> None:
    gate = Gate()
    with Engine(tmp_path / "runs.db") as owner:
        owner.start(simple(gate.ahold), run_id="r")
        gate.begun()
        engine, told, waits = Engine(tmp_path / "runs.db"), [], threading.Event()

        def wait() -> None:
            waits.set()
            try:
                engine.wait("r")
            except UsageError as error:
                told.append(error.kind)

        thread = threading.Thread(target=wait)
        thread.start()
        waits.wait(PATIENCE)
        engine.get("r")
        engine.close()
        thread.join(PATIENCE)
        assert told == ["usage.closed"]
        gate.open(1)
        assert owner.wait("r").state == "completed"


def settled(count: Any, expected: int) -> int:
    """A count once threads that were told to end have ended."""
    for _ in range(2000):
        gc.collect(0)
        if count() <= expected:
            break
        threading.Event().wait(0.005)
    return int(count())


@pytest.mark.parametrize("is_async", [False, True], ids=["Engine", "AsyncEngine"])
def test_a_hundred_engines_leave_no_file_thread_or_task(tmp_path: Path, is_async: bool) -> None:
    async def use(number: int) -> None:
        async with AsyncEngine(tmp_path / f"{number % 3}.db") as engine:
            await engine.run(simple())
        assert len(asyncio.all_tasks()) == 1

    def once(number: int) -> None:
        if is_async:
            asyncio.run(use(number))
        else:
            with Engine(tmp_path / f"{number % 3}.db") as engine:
                engine.run(simple())

    def fds() -> int:
        return len(list(FD_FOLDER.iterdir()))

    once(0)
    gc.collect()
    files, threads = fds(), threading.active_count()
    for number in range(100):
        once(number)
    assert settled(threading.active_count, threads) <= threads
    assert settled(fds, files) <= files


def test_an_engine_with_a_thread_that_never_ends_closes_all_the_same(tmp_path: Path) -> None:
    gate = Gate()
    with Engine(tmp_path / "runs.db", grace=0.05) as engine:
        engine.start(simple(gate.hold), run_id="r")
        gate.begun()
    with Engine(tmp_path / "runs.db", functions={"a": lambda: 1}) as engine:
        run = engine.get("r")
        assert (run.state, run.steps["a"].state) == ("paused", "interrupted")
        gate.open(1)
        assert engine.resume("r").state == "completed"


def world_of() -> dict[str, Any]:
    """What belongs to the program, not to a library in it."""
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "cwd": Path.cwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": [os.umask(mask := os.umask(0o22)), mask][1:],
        "environ": dict(os.environ),
        "policy": type(asyncio.get_event_loop_policy()),
        "root": (logging.root.level, list(logging.root.handlers)),
        "logger": (logging.getLogger("statemachine_flow").level, logging.getLogger("statemachine_flow").handlers[:]),
        "excepthook": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "warnings": list(warnings.filters),
        "wakeup": signal.set_wakeup_fd(-1),
        "time": time.tzname,
    }


def test_an_engine_changes_nothing_that_belongs_to_the_program(tmp_path: Path) -> None:
    before = world_of()
    with Engine(tmp_path / "runs.db") as engine:
        workflow = simple()
        add(workflow, "c", Outcomes(ValueError()), optional=True, retry=RetryPolicy(max_attempts=2, delay=0.001))
        engine.run(workflow)
        during = world_of()
    after = world_of()
    assert before == during
    assert before == after


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_case_78_an_engine_from_before_a_fork_refuses_and_the_parents_run_is_unharmed(tmp_path: Path) -> None:
    gate = Gate()
    with Engine(tmp_path / "runs.db") as engine:
        engine.start(simple(gate.hold), run_id="r")
        gate.begun()
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads is the case under test
            pid = os.fork()
        if pid == 0:
            told = []
            for call in (engine.list, lambda: engine.run(simple()), engine.close):
                try:
                    call()
                except UsageError as error:
                    told.append(error.kind)
                except BaseException as error:  # noqa: BLE001 - reported to the parent
                    told.append(repr(error))
            os.write(writer, " ".join(told).encode())
            os._exit(0)
        os.close(writer)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(reader, 1000).decode() == "usage.forked usage.forked usage.forked"
        os.close(reader)
        gate.open(1)
        assert engine.wait("r").state == "completed"


SCRIPT = """
import os, signal, sys, threading
from statemachine_flow import Engine, Workflow
workflow = Workflow("script")
begun = threading.Event()
def body():
    begun.set()
    {body}
workflow.call("a", lambda: body())
engine = Engine(sys.argv[1], grace=0.1)
{main}
"""
FOR_EVER = "threading.Event().wait()"


def script(tmp_path: Path, main: str, body: str = FOR_EVER) -> subprocess.CompletedProcess[str]:
    text = SCRIPT.format(main=main, body=body)
    command = [sys.executable, "-c", text, str(tmp_path / "runs.db")]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)


def test_case_108_a_program_that_ends_without_closing_ends_at_once_and_its_run_can_be_resumed(tmp_path: Path) -> None:
    done = script(tmp_path, "engine.start(workflow, run_id='r'); begun.wait(); print('end')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    with Engine(tmp_path / "runs.db", functions={"a": lambda: "again"}) as engine:
        assert engine.get("r").state == "running"
        run = engine.resume("r")
        assert (run.state, run.steps["a"].attempt) == ("completed", 2)


def test_a_step_that_ends_its_process_is_an_interrupted_attempt(tmp_path: Path) -> None:
    """Case 106: `os._exit` in a function."""
    done = script(tmp_path, "engine.run(workflow, run_id='r')", body="os._exit(7)")
    assert done.returncode == 7
    with Engine(tmp_path / "runs.db", functions={"a": lambda: "again"}) as engine:
        assert (engine.resume("r").state, engine.get("r").steps["a"].attempt) == ("completed", 2)


INTERRUPT = "os.kill(os.getpid(), signal.SIGINT); threading.Event().wait()"


@pytest.mark.parametrize("how", ["run", "resume"])
def test_case_41_ctrl_c_pauses_the_run_and_reaches_the_caller(tmp_path: Path, how: str) -> None:
    main = "engine.run(workflow, run_id='r')"
    if how == "resume":
        script(tmp_path, "engine.start(workflow, run_id='r'); begun.wait(); os._exit(0)")
        main = "engine.register('a', lambda: body()); engine.resume('r')"
    done = script(tmp_path, f"try: {main}\nexcept KeyboardInterrupt: print('caught')", body=INTERRUPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")
    with Engine(tmp_path / "runs.db", functions={"a": lambda: "again"}) as engine:
        run = engine.get("r")
        assert (run.state, run.reason, run.steps["a"].state) == (
            "paused",
            "interrupted from the keyboard",
            "interrupted",
        )
        assert engine.resume("r").state == "completed"


def test_an_async_program_that_is_interrupted_pauses_its_runs_when_its_engine_closes(tmp_path: Path) -> None:
    text = """
import asyncio, os, signal, sys
from statemachine_flow import AsyncEngine, Workflow
async def body():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()
async def main():
    workflow = Workflow("script")
    workflow.call("a", "body")
    async with AsyncEngine(sys.argv[1], functions={"body": body}) as engine:
        await engine.run(workflow, run_id="r")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("caught")
"""
    command = [sys.executable, "-c", text, str(tmp_path / "runs.db")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "caught\n", "")
    with Engine(tmp_path / "runs.db", functions={"body": lambda: "again"}) as engine:
        assert engine.get("r").state == "paused"
        assert engine.resume("r").state == "completed"


def test_case_104_optimised_python_keeps_every_promise(tmp_path: Path) -> None:
    text = """
from statemachine_flow import Engine, Workflow
import sys
workflow = Workflow("optimised")
workflow.run("a", ["true"])
with Engine(sys.argv[1]) as engine:
    print(engine.run(workflow).state)
"""
    command = [sys.executable, "-OO", "-c", text, str(tmp_path / "runs.db")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("completed\n", "")


def test_uvloop_is_just_another_loop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> Any:
        async with AsyncEngine(tmp_path / "runs.db") as engine:
            return (await engine.run(simple())).state

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "completed"


def test_memory_of_finished_runs_is_given_back(one_world: World) -> None:
    engine = one_world.open()
    for _ in range(3):
        engine.run(chain(50, lambda: "x" * 1000))
    assert engine.core.workers == {}
    assert len(engine.core.library._plans) <= 16
    assert not engine.core.watch.is_on
