"""Cases 104 to 110: the engine inside programs that misbehave, and that run it where it is inconvenient."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow import AsyncEngine, Engine, StepContext, Workflow
from statemachine_flow.errors import ConflictError, UsageError
from tests.engine.harness import PATIENCE, Gate, add

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
FD_FOLDER = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


def simple(body: Callable[..., Any] | None = None) -> Workflow:
    workflow = Workflow("simple")
    add(workflow, "a", body or (lambda: 1))
    return workflow


def run_in(folder: Path) -> str:
    with Engine(folder / "runs.db") as engine:
        return str(engine.run(simple()).state)


# --- 104: where it is called


def test_case_104_inside_a_running_loop(tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with AsyncEngine(tmp_path / "other.db") as engine:
            return [run_in(tmp_path), str((await engine.run(simple())).state)]

    assert asyncio.run(main()) == ["completed"] * 2


def test_case_104_in_a_notebook(tmp_path: Path) -> None:
    """A kernel runs cells with a loop running around them; a cell may use the blocking engine, or await the other."""
    cell = "with Engine(path) as engine:\n    states.append(str(engine.run(make()).state))\n"
    names: dict[str, Any] = {"Engine": Engine, "path": tmp_path / "runs.db", "states": [], "make": simple}

    async def kernel() -> None:
        for _ in range(3):
            exec(cell, names)
            await asyncio.sleep(0)

    asyncio.run(kernel())
    assert names["states"] == ["completed"] * 3


def test_case_104_in_another_thread(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        folders = [tmp_path / str(number) for number in range(4)]
        for folder in folders:
            folder.mkdir()
        assert list(threads.map(run_in, folders)) == ["completed"] * 4


def test_case_104_under_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> str:
        async with AsyncEngine(tmp_path / "runs.db") as engine:
            return str((await engine.run(simple())).state)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "completed"


SCRIPT = """
import os, sys, threading, asyncio, contextlib, atexit, signal
from statemachine_flow import AsyncEngine, Engine, StepContext, Workflow
workflow = Workflow("script")
begun = threading.Event()
def body():
    begun.set()
    {body}
workflow.call("a", lambda: body())
{main}
"""
#: What asyncio in its debug mode says of a machine that is busy with something else.
SLOW = re.compile(r"^Executing <.*> took [0-9.]+ seconds\n", re.MULTILINE)
RUN = "with Engine(sys.argv[1]) as engine: print(engine.run(workflow, run_id='r').state)"


def script(folder: Path, main: str = RUN, body: str = "pass", *flags: str) -> subprocess.CompletedProcess[str]:
    text = SCRIPT.format(main=main, body=body)
    command = [sys.executable, *flags, "-c", text, str(folder / "runs.db")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("flags", [["-O"], ["-OO"], ["-I"], ["-X", "dev"], ["-W", "error"]], ids=" ".join)
def test_case_104_with_flags_of_python(tmp_path: Path, flags: list[str]) -> None:
    done = script(tmp_path, RUN, "pass", *flags)

    assert (done.returncode, done.stdout, SLOW.sub("", done.stderr)) == (0, "completed\n", "")


@posix
def test_case_104_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    with Engine(tmp_path / "runs.db") as engine:
        os.chdir(gone)
        gone.rmdir()
        try:
            with pytest.raises(UsageError, match="the current directory is gone"):
                engine.run(simple())
        finally:
            os.chdir(before)


# --- 105: what functions raise


class Own(BaseException):
    pass


def recurse() -> Any:
    return recurse()


RAISED: list[BaseException | type[BaseException]] = [
    SystemExit(3),
    SystemExit,
    KeyboardInterrupt(),
    GeneratorExit(),
    Own("own"),
    RecursionError("deep"),
    MemoryError(),
    asyncio.CancelledError(),
    StopIteration(1),
    BaseExceptionGroup("many", [KeyboardInterrupt(), Own()]),
]


@pytest.mark.parametrize("is_async", [True, False], ids=["coroutine", "function"])
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: getattr(raised, "__name__", type(raised).__name__))
def test_case_105_whatever_is_raised(raised: Any, is_async: bool) -> None:
    """The attempt is recorded as failed; the engine and the steps beside it go on."""

    def body() -> None:
        raise raised

    async def coroutine() -> None:
        raise raised

    workflow = Workflow("raises")
    add(workflow, "a", coroutine if is_async else body, optional=True)
    add(workflow, "b", lambda: "alive", needs=["a"])
    with Engine("memory://") as engine:
        run = engine.run(workflow)
        assert (run.state, run.steps["a"].state, run.steps["b"].output) == ("completed", "failed", "alive")
        assert run.steps["a"].error is not None
        assert engine.run(simple()).state == "completed"


def test_case_105_real_recursion_and_a_real_lack_of_memory() -> None:
    def hungry() -> int:
        return len(bytearray(1 << 62))

    for body, name in ((recurse, "RecursionError"), (hungry, "MemoryError")):
        with Engine("memory://") as engine:
            error = engine.run(simple(body)).steps["a"].error
            assert error is not None
            assert error.name == name
            assert engine.run(simple()).state == "completed"


# --- 106: what functions do


def test_case_106_a_coroutine_that_swallows_its_cancellation(tmp_path: Path) -> None:
    begun = threading.Event()

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            begun.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    with Engine(tmp_path / "runs.db", grace=0.05) as engine:
        engine.start(simple(deaf), run_id="r")
        begun.wait(PATIENCE)
        assert engine.cancel("r").state == "cancelled"
        assert engine.run(simple()).state == "completed"


def test_case_106_a_function_that_leaves_threads_behind() -> None:
    stop = threading.Event()
    left: list[threading.Thread] = []

    def body() -> str:
        left.extend(threading.Thread(target=stop.wait, daemon=True) for _ in range(10))
        for thread in left:
            thread.start()
        return "done"

    try:
        with Engine("memory://") as engine:
            assert engine.run(simple(body)).steps["a"].output == "done"
    finally:
        stop.set()
        for thread in left:
            thread.join(PATIENCE)


@posix
@pytest.mark.parametrize("how", ["os._exit(0)", "os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_case_106_a_function_that_ends_the_process(tmp_path: Path, how: str) -> None:
    """Whatever the process' status, 0 included: the attempt is interrupted, not completed, and begins again."""
    script(tmp_path, RUN, f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {how}")
    with Engine(tmp_path / "runs.db", functions={"a": lambda: "again"}) as engine:
        assert engine.get("r").steps["a"].state == "running"
        run = engine.resume("r")
        assert (run.state, run.steps["a"].attempt, run.steps["a"].output) == ("completed", 2, "again")
        assert "step.interrupt" in [event.kind for event in engine.events("r")]


MOVES = {
    "descriptors": "[os.close(number) for number in (0, 1, 2)]",
    "folder": "os.chdir('/')",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "environment": "os.environ.clear()",
    "umask": "os.umask(0)",
    "signals": "signal.getsignal(signal.SIGCHLD)",
    "streams": "sys.stdout = sys.stderr = None",
    "limit": "sys.setrecursionlimit(200)",
}


@posix
@pytest.mark.parametrize("what", MOVES)
def test_case_106_a_function_that_changes_the_process(tmp_path: Path, what: str) -> None:
    """What follows in the run does not depend on it: the next command stands where the run began."""
    main = """
workflow.run("pwd", ["pwd"], needs=["a"])
workflow.call("later", lambda: 1, needs=["pwd"])
with Engine(sys.argv[1]) as engine: engine.run(workflow, run_id="r")
"""
    script(tmp_path, main, MOVES[what])
    with Engine(tmp_path / "runs.db") as engine:
        run = engine.get("r")
        assert (run.state, run.steps["pwd"].output["stdout"].strip()) == ("completed", os.path.realpath(tmp_path))
    assert [path.stat().st_mode & 0o077 for path in tmp_path.glob("runs.db*") if path.is_file()] == [
        0 for path in tmp_path.glob("runs.db*") if path.is_file()
    ]


# --- 108: the end of the interpreter


ENDINGS = {
    "falls off the end": "engine = Engine(sys.argv[1]); engine.start(workflow, run_id='r'); begun.wait()",
    "sys.exit": "engine = Engine(sys.argv[1]); engine.start(workflow, run_id='r'); begun.wait(); sys.exit(0)",
    "exits the block": "with Engine(sys.argv[1], grace=0) as engine: engine.start(workflow, run_id='r'); begun.wait()",
    "at exit": (
        "engine = Engine(sys.argv[1], grace=0.1); atexit.register(engine.close); "
        "engine.start(workflow, run_id='r'); begun.wait()"
    ),
    "asyncio.run": (
        "async def main():\n"
        "    async with AsyncEngine(sys.argv[1], grace=0.1) as engine:\n"
        "        await engine.start(workflow, run_id='r')\n"
        "        await asyncio.to_thread(begun.wait)\n"
        "asyncio.run(main())"
    ),
    "a loop that is dropped": (
        "async def main():\n"
        "    engine = AsyncEngine(sys.argv[1], grace=0.1)\n"
        "    await engine.start(workflow, run_id='r')\n"
        "    await asyncio.to_thread(begun.wait)\n"
        "asyncio.run(main())"
    ),
}


@posix
@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("body", ["threading.Event().wait()", "os.read(os.pipe()[0], 1)"], ids=["waits", "blocks"])
def test_case_108_a_program_that_ends_while_a_step_runs(tmp_path: Path, how: str, body: str) -> None:
    """It ends, without a word, and the run can be resumed: a step that never ends keeps nobody from leaving."""
    done = script(tmp_path, ENDINGS[how], body)
    with Engine(tmp_path / "runs.db", functions={"a": lambda: "again"}) as engine:
        run = engine.resume("r")
        assert (run.state, run.steps["a"].attempt, run.steps["a"].output) == ("completed", 2, "again")
        assert "step.interrupt" in [event.kind for event in engine.events("r")]
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


# --- 109: many engines


def settled(count: Callable[[], int], expected: int) -> int:
    """A count, once threads that were told to end have ended."""
    for _ in range(2000):
        if count() <= expected:
            break
        gc.collect(0)
        threading.Event().wait(0.005)
    return count()


def open_and_close(folder: Path, times: int) -> None:
    def descriptors() -> int:
        return len(list(FD_FOLDER.iterdir()))

    def once(number: int) -> None:
        with Engine(folder / f"{number % 3}.db") as engine:
            if number % 50 == 0:
                engine.run(simple())
            else:
                engine.list()

    for number in range(3):
        once(number * 50)
    gc.collect()
    files, threads = descriptors(), threading.active_count()
    for number in range(times):
        once(number)
    assert settled(threading.active_count, threads) <= threads
    assert settled(descriptors, files) <= files


@posix
def test_case_109_engines_leave_nothing_behind(tmp_path: Path) -> None:
    open_and_close(tmp_path, 300)


@posix
@pytest.mark.soak
def test_case_109_ten_thousand_engines_leave_nothing_behind(tmp_path: Path) -> None:
    open_and_close(tmp_path, 10_000)


def test_case_109_two_engines_on_one_path_in_one_process(tmp_path: Path) -> None:
    """Each sees the other's runs, and is refused what the other works on; closing one frees no lock of the other."""
    gate = Gate()
    with Engine(tmp_path / "runs.db") as first:
        with Engine(tmp_path / "runs.db") as second:
            first.start(simple(gate.hold), run_id="r")
            gate.begun()
            with pytest.raises(ConflictError) as caught:
                second.resume("r")
            assert caught.value.kind == "run.owned"
            assert second.get("r").state == "running"
            assert second.run(simple(), run_id="s").state == "completed"
        # SQLite's POSIX locks belong to the process: closing a file must not drop those of another handle on it.
        code = (
            "import sys, apsw; c = apsw.Connection(sys.argv[1]); c.set_busy_timeout(0); "
            "c.execute('BEGIN IMMEDIATE'); c.execute('ROLLBACK'); print('written')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "runs.db")], capture_output=True, text=True, check=False
        )
        assert done.stdout == "written\n", done.stderr
        gate.open(1)
        assert first.wait("r").state == "completed"
        assert {row.id for row in first.list()} == {"r", "s"}
    with Engine(tmp_path / "runs.db") as engine:
        assert [engine.get(run).state for run in ("r", "s")] == ["completed"] * 2


# --- 110: logging


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "No space left on device")


@contextlib.contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("statemachine_flow")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        handler.close()


@posix
def test_case_110_a_handler_that_raises(tmp_path: Path) -> None:
    """Neither what a function logs nor what the library does: a command that leaves a process behind is a warning."""

    def body(context: StepContext) -> str:
        context.logger.warning("hello")
        return "done"

    workflow = Workflow("logs")
    add(workflow, "a", body)
    code = "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(5)\n"
    workflow.run("b", [sys.executable, "-c", code], needs=["a"])
    with logging_to(Broken()), Engine(tmp_path / "runs.db") as engine:
        run = engine.run(workflow)
    assert (run.state, run.steps["a"].output) == ("completed", "done")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_case_110_a_log_file_on_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    def body(context: StepContext) -> str:
        context.logger.warning("hello")
        return "done"

    with contextlib.suppress(OSError), logging_to(logging.FileHandler("/dev/full")), Engine("memory://") as engine:
        assert engine.run(simple(body)).steps["a"].output == "done"
    assert "No space left" in capsys.readouterr().err  # as logging itself tells it
