"""Bodies that are carried out for real on virtual time: they end as in reality, in one order, each in its own write."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.executors.group import is_alive
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import CrashStore, Report, Return, SteppedEngine, VirtualClock, rehearse
from statemachine_flow.testing.crashing import Crashes

posix = pytest.mark.skipif(os.name == "nt", reason="commands need POSIX")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(clock: VirtualClock) -> Iterator[SteppedEngine]:
    with SteppedEngine(MemoryStore(), clock=clock, grace=0.2) as engine:
        yield engine
    engine.check()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Let go of at the end, and with it the threads that were left to themselves."""
    gate = threading.Event()
    yield gate
    gate.set()


def write_kit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "isolated_kit.py").write_text(
        "import signal\ndef five():\n    return 5\ndef never():\n    signal.pause()\n"
    )
    monkeypatch.syspath_prepend(folder)


def one(call: str | Callable[..., Any], **options: Any) -> smf.Workflow:
    workflow = smf.Workflow("one")
    workflow.call("a", call, **options)
    return workflow


def parallel(count: int, function: Callable[..., Any], **options: Any) -> smf.Workflow:
    workflow = smf.Workflow("parallel")
    items = tuple(range(count))
    workflow.call("each", function, with_={"item": "${{ item }}"}, for_each=smf.ForEach(items=items), **options)
    return workflow


def writes(engine: SteppedEngine) -> list[str]:
    store = engine._engine._core.store
    assert isinstance(store, CrashStore)
    return store.written


def error_of(run: smf.Run, step: str) -> str | None:
    error = run.steps[step].error
    return None if error is None else error.name


# --- processes


@posix
@pytest.mark.parametrize("options", [{}, {"timeout": "10m"}], ids=["endless", "with a timeout"])
def test_an_isolated_function_is_waited_for(
    options: Any, engine: SteppedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kit(tmp_path, monkeypatch)
    workflow = one("isolated_kit:five", isolation="process", **options)

    run = engine.run(workflow)
    report = rehearse(workflow, rows=0, point=1)
    with Crashes(VirtualClock(), {}, {}, lambda _store: None) as crash:
        crashed = crash(workflow, at=1)
        crash.check()

    assert (run.state, run.steps["a"].output) == ("completed", 5)
    assert (report.state, report.differences) == ("completed", ())
    assert crashed.steps["a"].output == 5


@posix
def test_an_isolated_function_that_hangs_is_ended_by_its_timeout(
    engine: SteppedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kit(tmp_path, monkeypatch)

    run = engine.run(one("isolated_kit:never", isolation="process", timeout="200ms"))

    assert (run.state, error_of(run, "a")) == ("failed", "TimeoutError")


async def version() -> str:
    """A short command of asyncio's own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(3)", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


@posix
def test_commands_that_a_coroutine_starts_are_waited_for(engine: SteppedEngine) -> None:
    async def shell() -> int:
        return await (await asyncio.create_subprocess_shell("exit 3")).wait()

    workflow = one(version, timeout="1h")
    workflow.call("b", shell, timeout="1h")

    run = engine.run(workflow)

    assert [run.steps[step].output for step in ("a", "b")] == ["3", 3]


@posix
def test_processes_of_coroutines_end_with_their_rehearsal_and_nobody_complains(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some are under way when their process dies; pipes that are left open are errors here."""
    pids = tmp_path / "pids"

    async def first(item: int) -> int:
        process = await asyncio.create_subprocess_shell(
            f"echo $$ >> {pids}; exec sleep 333", stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        if item == 0:
            process.kill()
        await process.communicate()
        return item

    report = rehearse(parallel(2, first, timeout="1s"), rows=0, point=3)
    gc.collect()

    assert report.state == "failed"
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())
    assert caplog.messages == []


def test_a_process_is_outside_until_its_end_was_told(clock: VirtualClock) -> None:
    """Its pipes may be closed long before: a process that closed them itself is still under way."""
    program = "import os; os.closerange(0, 3); os.read(int(os.environ['GATE']), 1)"
    reader, writer = os.pipe()

    async def main() -> int:
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, pass_fds=[reader], env={**os.environ, "GATE": str(reader)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.read()
        async with asyncio.timeout(3600):
            loop.call_soon(os.write, writer, b"x")
            return await process.wait()

    try:
        assert clock.run(main()) == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_a_thread_that_nobody_knows_of_may_answer_before_a_loop_is_stuck(clock: VirtualClock) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        # It answers only when the loop has come to its end, for it needs a while to begin.
        threading.Timer(0.05, loop.call_soon_threadsafe, (answer.set_result, "answered")).start()
        return await answer

    assert clock.run(main()) == "answered"


# --- timeouts


@posix
def test_a_command_is_ended_by_its_timeout_with_all_its_group(
    engine: SteppedEngine, clock: VirtualClock, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    workflow = smf.Workflow("slow")
    workflow.run("a", f"trap '' TERM; sleep 333 & echo $$ > {pid}; wait; sleep 333", timeout="300ms")

    run = engine.run(workflow)

    assert (run.state, error_of(run, "a")) == ("failed", "TimeoutError")
    assert not is_alive(int(pid.read_text()))
    assert clock.monotonic() < 60


def test_a_function_that_blocks_is_abandoned_at_its_timeout(engine: SteppedEngine, gate: threading.Event) -> None:
    run = engine.run(one(gate.wait, timeout="200ms"))

    assert (run.state, error_of(run, "a")) == ("failed", "TimeoutError")
    assert "goes on in the background" in run.steps["a"].error.message  # type: ignore[union-attr]  # it failed


def test_a_rehearsal_ends_a_function_that_blocks_as_reality_does(gate: threading.Event) -> None:
    report = rehearse(one(gate.wait, timeout="100ms"), rows=0)

    assert (report.state, report.differences) == ("failed", ())


def test_a_timeout_counts_the_step_itself_not_those_whose_turn_comes_first(engine: SteppedEngine) -> None:
    """Together they take longer than the timeout of each."""

    def work(item: int) -> int:
        threading.Event().wait(0.15)
        return item

    run = engine.run(parallel(8, work, timeout="1s"))

    assert (run.state, run.steps["each"].output) == ("completed", list(range(8)))


def test_what_waits_for_its_turn_begins_before_time_passes(engine: SteppedEngine, gate: threading.Event) -> None:
    """The first blocks until the timeout of both: the second has its time too, and needs next to none."""
    workflow = smf.Workflow("two")
    workflow.call("a", gate.wait, timeout="300ms", optional=True)
    workflow.call("b", lambda: 2, timeout="300ms")

    run = engine.run(workflow)

    assert (error_of(run, "a"), run.steps["b"].output) == ("TimeoutError", 2)


def test_bodies_that_need_each_other_both_begin(engine: SteppedEngine, gate: threading.Event) -> None:
    workflow = smf.Workflow("two")
    workflow.call("waits", lambda: gate.wait(60))
    workflow.call("opens", gate.set)

    run = engine.run(workflow)

    assert (run.state, run.steps["waits"].output) == ("completed", True)


def test_a_body_takes_no_time_where_nothing_falls_due(engine: SteppedEngine, clock: VirtualClock) -> None:
    engine.run(one(lambda: threading.Event().wait(0.05), timeout="1h"))

    assert clock.monotonic() == 0


def test_what_falls_due_while_a_body_goes_on_happens_then(engine: SteppedEngine, gate: threading.Event) -> None:
    workflow = smf.Workflow("two")
    workflow.call("a", lambda: gate.wait(60))
    workflow.wait("soon", for_="50ms")
    workflow.call("b", gate.set, needs="soon")

    assert engine.run(workflow).steps["a"].output is True


def test_an_engine_is_closed_though_a_body_does_not_listen(clock: VirtualClock) -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    engine = SteppedEngine(MemoryStore(), clock=clock, grace=0.1)
    with pytest.raises(smf.testing.Stuck):
        engine.run(one(deaf))

    engine.close()
    engine.close()


# --- one write for each completion


@pytest.mark.parametrize("how", ["function", "coroutine", "script", "slow script"])
def test_every_body_ends_in_a_write_of_its_own(how: str, engine: SteppedEngine) -> None:
    def function(item: int) -> int:
        return item

    async def coroutine(item: int) -> int:
        return item

    if "script" in how:
        engine.script = {"each": Return(0, takes=60 if how == "slow script" else 0)}
    engine.run(parallel(8, coroutine if how == "coroutine" else function))

    completions = [write for write in writes(engine) if "complete each[" in write]
    assert len(completions) == 8
    assert [write.partition("[")[2].partition("]")[0] for write in completions] == list("01234567")


@posix
def test_commands_end_in_writes_of_their_own_too(engine: SteppedEngine) -> None:
    workflow = smf.Workflow("commands")
    for name in ("slow", "quick"):
        workflow.run(name, ["true"] if name == "quick" else ["sleep", "0.1"])
    engine.run(workflow)

    ends = [write for write in writes(engine) if "step.complete" in write]
    assert [write.split(",")[0] for write in ends] == ["step.complete slow", "step.complete quick"]


def test_failures_end_in_writes_of_their_own(engine: SteppedEngine) -> None:
    def fail(item: int) -> None:
        raise ValueError(item)

    engine.run(parallel(4, fail, optional=True))

    assert len([write for write in writes(engine) if "step.fail each[" in write]) == 4


def test_a_rehearsal_tries_deaths_between_the_ends_of_parallel_steps() -> None:
    """One step has ended and the other has not: only there this fault shows."""
    done: list[str] = []

    def do(item: int) -> int:
        done.append(str(item))
        return len(done)

    workflow = parallel(2, do)

    report: Report = rehearse(workflow, rows=0, reset=done.clear)

    (first,) = {one.point.what for one in report.differences if "each[0]" in one.point.what}
    assert "step.complete each[1]" not in first


def test_bodies_see_each_others_effects_in_one_order(engine: SteppedEngine) -> None:
    seen: list[int] = []

    def body(item: int) -> int:
        seen.append(item)
        threading.Event().wait(0.01 * (8 - item))
        return len(seen)

    assert engine.run(parallel(8, body)).steps["each"].output == list(range(1, 9))


# --- time between calls


def test_what_fell_due_between_two_calls_is_seen_by_the_next(engine: SteppedEngine, clock: VirtualClock) -> None:
    workflow = smf.Workflow("patience")
    workflow.approval("gate", "Go?")
    workflow.wait("ci", event="ci.done", timeout="1d", then="complete")
    workflow.call("after", lambda: 7, needs="ci")
    run = engine.run(workflow, run_id="r")
    assert run.steps["ci"].state == "waiting"

    clock.advance(2 * 86_400)
    run = engine.wait("r")

    assert (run.steps["ci"].state, run.steps["after"].output) == ("completed", 7)


def test_a_run_that_failed_by_time_alone_is_seen_so_at_once(engine: SteppedEngine, clock: VirtualClock) -> None:
    workflow = smf.Workflow("patience")
    workflow.wait("ci", event="ci.done", timeout="1d")
    engine.run(workflow, run_id="r")

    clock.advance(2 * 86_400)

    assert engine.get("r").state == "failed"
