"""Functions in threads: results, errors, giving up, and threads that end when they should."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

from statemachine_flow.errors import StepError
from statemachine_flow.executors.thread import Abandoned, ThreadExecutor, ThreadExit

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)
PATIENCE = 10.0


def threads() -> set[threading.Thread]:
    """Threads of executors, those that other tests left behind included, whose names may be the same."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("smf-step-")}


def test_a_result_and_an_error_come_back() -> None:
    executor = ThreadExecutor()
    assert asyncio.run(executor.run(lambda: threading.current_thread().name)).startswith("smf-step-")
    with pytest.raises(KeyError, match="k"):
        asyncio.run(executor.run(lambda: dict[str, int]()["k"]))
    executor.close()


class Held:
    """A function that says it began, in which thread, and waits until it is let go."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self._begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self._begun.set()
        assert self.go.wait(PATIENCE)
        return "late"

    async def begun(self) -> threading.Thread:
        await asyncio.to_thread(self._begun.wait, PATIENCE)
        assert self.thread is not None
        return self.thread


def raiser(error: BaseException) -> Any:
    def function() -> None:
        raise error

    return function


class Textless(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(5), asyncio.CancelledError(), Textless()],
)
def test_what_must_not_travel_through_the_loop_comes_back_wrapped(error: BaseException) -> None:
    async def main() -> None:
        with pytest.raises(ThreadExit) as caught:
            await executor.run(raiser(error))
        assert caught.value.__cause__ is error
        assert await executor.run(lambda: "alive") == "alive"

    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


def test_context_variables_go_in_and_do_not_come_back() -> None:
    def function() -> int:
        VARIABLE.set(VARIABLE.get() + 1)
        return VARIABLE.get()

    async def main() -> None:
        VARIABLE.set(5)
        assert [await executor.run(function), await executor.run(function), VARIABLE.get()] == [6, 6, 5]

    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


def test_as_many_threads_as_functions_at_once_and_idle_ones_are_used_again() -> None:
    async def main() -> None:
        barrier = threading.Barrier(8, timeout=PATIENCE)
        await asyncio.gather(*(executor.run(barrier.wait) for _ in range(8)))
        used = threads() - before
        assert len(used) == 8
        for _ in range(50):
            await executor.run(lambda: None)
        more = {thread.name for thread in threads() - before - used}
        assert more <= {"smf-step-9", "smf-step-10"}

    before = threads()
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


def test_closing_ends_every_idle_thread_and_a_busy_one_when_it_is_done() -> None:
    async def main() -> None:
        idle = [await executor.run(threading.current_thread) for _ in range(3)]
        held = Held()
        task = asyncio.create_task(executor.run(held))
        busy = await held.begun()
        executor.close()
        for thread in {*idle} - {busy}:
            thread.join(PATIENCE)
        assert busy.is_alive()
        held.go.set()
        await task
        busy.join(PATIENCE)
        assert not any(thread.is_alive() for thread in [*idle, busy])

    executor = ThreadExecutor()
    asyncio.run(main())


def test_a_caller_without_patience_gives_up_at_once_and_the_function_is_counted_until_it_ends() -> None:
    async def main() -> None:
        task = asyncio.create_task(executor.run(held))
        await held.begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert executor.abandoned == 1
        held.go.set()
        while executor.abandoned:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)

    held = Held()
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


@pytest.mark.parametrize("result", ["value", ValueError("error")])
def test_a_patient_caller_gets_what_the_function_still_gives(result: Any) -> None:
    """The caller was cancelled, and the function ended in the time it was allowed."""

    def function() -> Any:
        begun.set()
        assert asked.wait(PATIENCE)
        if isinstance(result, Exception):
            raise result
        return result

    def patience() -> float:
        asked.set()
        return PATIENCE

    async def main() -> Any:
        task = asyncio.create_task(executor.run(function, patience=patience))
        await asyncio.to_thread(begun.wait, PATIENCE)
        task.cancel()
        return await task

    begun, asked = threading.Event(), threading.Event()
    executor = ThreadExecutor()
    if isinstance(result, Exception):
        with pytest.raises(ValueError, match="error"):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == "value"
    assert executor.abandoned == 0
    executor.close()


async def given_up(executor: ThreadExecutor, held: Held) -> asyncio.Task[Any]:
    """What somebody waits on for, and has no patience with: it is counted as abandoned."""
    task = asyncio.create_task(executor.run(held, waits_on=lambda: True))
    await held.begun()
    task.cancel()
    while not executor.abandoned:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    return task


def test_what_comes_late_is_given_to_who_waits_on_and_until_then_counted_as_abandoned() -> None:
    async def main() -> None:
        task = await given_up(executor, held)
        assert (executor.abandoned, task.done()) == (1, False)
        held.go.set()
        assert await task == "late"
        assert executor.abandoned == 0

    held = Held()
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_who_waits_on_does_so_until_he_is_cancelled_again_or_the_threads_are_closed(how: str) -> None:
    async def main() -> None:
        task = await given_up(executor, held)
        if how == "cancel":
            task.cancel()
        else:
            executor.close()
        with pytest.raises(Abandoned):
            await task
        assert executor.abandoned == 1
        held.go.set()
        while executor.abandoned:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)

    held = Held()
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


def test_a_second_cancel_ends_the_patience() -> None:
    async def main() -> None:
        task = asyncio.create_task(executor.run(held, patience=lambda: PATIENCE))
        await held.begun()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert executor.abandoned == 1
        held.go.set()

    held = Held()
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()


def test_a_function_that_ends_after_its_loop_did_harms_nobody() -> None:
    async def main() -> None:
        task = asyncio.create_task(executor.run(held))
        await held.begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    held = Held()
    executor = ThreadExecutor()
    asyncio.run(main())
    held.go.set()
    assert asyncio.run(executor.run(lambda: 1)) == 1
    executor.close()
    assert held.thread is not None
    held.thread.join(PATIENCE)
    assert not held.thread.is_alive()


def test_an_idle_thread_keeps_nothing_of_its_last_function_alive() -> None:
    class Large:
        pass

    async def main() -> None:
        await hand_over(Large())
        await executor.run(lambda: None)

    async def hand_over(large: Large) -> None:
        references.append(weakref.ref(large))
        await executor.run(functools.partial(repr, large))

    references: list[Any] = []
    executor = ThreadExecutor()
    asyncio.run(main())
    gc.collect()
    assert references[0]() is None
    executor.close()


def test_when_the_system_has_no_thread_left_the_function_does_not_run_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                await executor.run(lambda: ran.append("refused"))
        for _ in range(3):
            await executor.run(lambda: ran.append("later"))

    ran: list[str] = []
    executor = ThreadExecutor()
    asyncio.run(main())
    executor.close()
    assert ran == ["later"] * 3


def test_a_thread_that_never_ends_does_not_keep_the_interpreter_from_ending() -> None:
    text = """
import asyncio, threading
from statemachine_flow.executors.thread import ThreadExecutor
async def main():
    begun = threading.Event()
    task = asyncio.create_task(ThreadExecutor().run(lambda: (begun.set(), threading.Event().wait())))
    while not begun.is_set():
        await asyncio.sleep(0)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_beyond_the_cap_of_abandoned_functions_there_is_no_room_until_one_returns() -> None:
    async def abandon(held: Held) -> None:
        task = asyncio.create_task(executor.run(held))
        await held.begun()
        task.cancel()
        with pytest.raises(Abandoned):
            await task

    async def main() -> None:
        first, second = Held(), Held()
        await abandon(first)
        executor.require_room()
        await abandon(second)
        with pytest.raises(StepError, match="2 functions") as caught:
            executor.require_room()
        assert (caught.value.kind, caught.value.name) == ("step.abandoned", "AbandonedError")
        assert await executor.run(lambda: "the engine's own work goes on") != ""
        first.go.set()
        while executor.abandoned > 1:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        executor.require_room()
        second.go.set()

    executor = ThreadExecutor(max_abandoned=2)
    asyncio.run(main())
    executor.close()
