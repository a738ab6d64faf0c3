"""Time that takes no time, and loops that die."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import statemachine_flow as smf
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing import Killed, Player, Script, Stuck, VirtualClock


def test_sleeps_take_no_time_and_end_in_their_order() -> None:
    clock, ended = VirtualClock(), list[str]()

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append(f"{name} at {clock.monotonic():g}")

    async def main() -> None:
        await asyncio.gather(sleep("late", 86_400 * 30), sleep("early", 0.5), sleep("middle", 3600))

    before = clock.now()
    clock.run(main())

    assert ended == ["early at 0.5", "middle at 3600", f"late at {86_400 * 30:g}"]
    assert clock.now() - before == 86_400 * 30 * 1_000_000


def test_timers_of_the_clock_and_of_the_loop_share_one_time() -> None:
    clock, fired = VirtualClock(), list[float]()

    async def main() -> None:
        clock.call_later(10, lambda: fired.append(clock.monotonic()))
        cancelled = clock.call_later(5, lambda: fired.append(-1))
        cancelled.cancel()
        clock.call_later(0, lambda: fired.append(clock.monotonic()))
        await asyncio.sleep(20)

    clock.run(main())

    assert fired == [0, 10]


def test_a_timeout_of_a_body_comes_without_waiting() -> None:
    workflow = smf.Workflow("slow")
    workflow.call("endless", asyncio.Event().wait, timeout="3h")
    clock = VirtualClock()

    async def main() -> smf.Run:
        async with smf.AsyncEngine("memory://", clock=clock) as engine:
            return await engine.run(workflow)

    run = clock.run(main())

    assert (run.state, run.steps["endless"].error.name) == ("failed", "TimeoutError")  # type: ignore[union-attr]  # it failed
    assert clock.monotonic() == pytest.approx(3 * 3600)


def test_an_asynchronous_engine_with_a_player_works_in_threads_and_commands_without_waiting() -> None:
    def attempt(about: smf.StepContext) -> int:
        return about.attempt

    workflow = smf.Workflow("mixed")
    workflow.call("plain", attempt)
    workflow.agent("asked", "planner", "Plan it.", needs="plain")
    workflow.run("told", ["echo", "hello"], needs="asked")
    retry = {"max_attempts": 2, "delay": "1h", "max_delay": "2h", "jitter": "none"}
    workflow.call("scripted", attempt, retry=retry, needs="told")
    workflow.wait("night", for_="12h", needs="scripted")
    clock, store = VirtualClock(), MemoryStore()
    script = Script.of({"scripted": [{"fail": "OSError"}, {"return": 7}]})

    async def main() -> smf.Run:
        player, agents = Player(script, store), {"planner": lambda request: request.prompt}
        async with smf.AsyncEngine(store, clock=clock, stand_in=player, agents=agents) as engine:
            return await engine.run(workflow)

    run = clock.run(main())

    outputs = [run.steps[name].output for name in ("plain", "asked", "scripted")]
    assert (run.state, outputs) == ("completed", [1, "Plan it.", 7])
    assert run.steps["told"].output["stdout"] == "hello\n"
    assert clock.monotonic() == pytest.approx(13 * 3600)


def test_a_timer_that_sets_itself_again_does_not_hold_up_time() -> None:
    """Else a wait of a year would take as many turns as an engine looks for requests in a year."""
    clock, turns = VirtualClock(), list[float]()

    async def main() -> None:
        def watch() -> None:
            turns.append(clock.monotonic())
            clock.call_later(0.5, watch)

        clock.call_later(0.5, watch)
        await asyncio.sleep(86_400 * 365)

    clock.run(main())

    assert clock.monotonic() == 86_400 * 365
    assert len(turns) < 400  # a loop sleeps for a day at most


def test_what_only_a_watch_can_bring_is_waited_for() -> None:
    clock = VirtualClock()

    async def main() -> None:
        done = asyncio.Event()

        def watch() -> None:
            if clock.monotonic() < 50:
                clock.call_later(0.5, watch)
            else:
                done.set()

        clock.call_later(0.5, watch)
        await done.wait()

    clock.run(main())

    assert clock.monotonic() == 50


def test_a_loop_that_waits_for_nothing_says_so() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="nothing will bring") as caught:
        VirtualClock().run(main())
    assert "`stand_in=Player(...)`" in str(caught.value)


def test_a_virtual_clock_on_another_loop_says_so() -> None:
    async def main() -> None:
        VirtualClock().call_later(1, lambda: None)

    with pytest.raises(Stuck, match="another clock") as caught:
        asyncio.run(main())
    assert "`stand_in=Player(...)`" in str(caught.value)


def test_time_does_not_jump_while_a_thread_or_another_process_works() -> None:
    clock = VirtualClock()
    go = threading.Event()

    def work() -> str:
        assert go.wait(30)
        return "worked"

    async def in_thread() -> str:
        future = asyncio.get_running_loop().run_in_executor(None, work)
        async with asyncio.timeout(3600):
            asyncio.get_running_loop().call_soon(go.set)
            return await future

    async def in_process() -> int:
        reader, writer = os.pipe()
        try:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(reader, ended.set)
            program = f"import os; os.write({writer}, b'x')"
            with subprocess.Popen([sys.executable, "-c", program], pass_fds=[writer]):  # noqa: ASYNC220 - it is not awaited
                async with asyncio.timeout(3600):
                    await ended.wait()
            loop.remove_reader(reader)
            return len(os.read(reader, 1))
        finally:
            os.close(reader)
            os.close(writer)

    assert clock.run(in_thread()) == "worked"
    assert clock.run(in_process()) == 1
    assert clock.monotonic() < 3600


def test_the_clock_can_be_moved_between_two_loops() -> None:
    clock = VirtualClock()
    clock.run(asyncio.sleep(1))
    clock.advance(9)
    clock.jump(-3600)

    assert clock.monotonic() == 10
    assert clock.now() == VirtualClock().now() - 3590 * 1_000_000


@pytest.mark.parametrize("how", ["in a task", "in a callback", "in a timer"])
def test_after_a_kill_nothing_is_called_any_more(how: str) -> None:
    clock, done = VirtualClock(), list[str]()
    loop = clock.loop()

    async def other() -> None:
        try:
            while True:
                await asyncio.sleep(0)
                done.append("other")
        finally:
            done.append("finally")

    async def main() -> None:
        tasks = [asyncio.create_task(other())]
        await asyncio.sleep(0)
        kill: dict[str, Callable[[], object]] = {
            "in a callback": lambda: loop.call_soon(loop.kill),
            "in a timer": lambda: loop.call_later(0, loop.kill),
        }
        loop.call_later(0, done.append, "later")
        kill.get(how, loop.kill)()
        before = len(done)
        await asyncio.gather(*tasks)
        done.append(f"main {before}")

    with pytest.raises(Killed):
        loop.live(main())
    count = len(done)

    assert "finally" not in done
    assert not [one for one in done if one.startswith("main")]
    loop.bury()
    assert done[count:] == ["finally"]


def test_what_stood_in_line_behind_a_kill_is_not_called() -> None:
    loop, done = VirtualClock().loop(), list[str]()

    async def main() -> None:
        loop.call_soon(done.append, "before")
        loop.call_soon(loop.kill)
        loop.call_soon(done.append, "behind")
        loop.call_soon_threadsafe(done.append, "from a thread")
        await asyncio.sleep(3600)

    with pytest.raises(Killed):
        loop.live(main())
    loop.bury()

    assert done == ["before"]


def test_a_loop_that_lives_gives_back_what_it_ran_for() -> None:
    loop = VirtualClock().loop()

    assert loop.live(asyncio.sleep(5, "done")) == "done"
    loop.bury()
    assert loop.is_closed()


def test_what_was_cut_off_is_let_go_of_though_it_awaits_in_its_finally(recwarn: pytest.WarningsRecorder) -> None:
    loop, done = VirtualClock().loop(), list[str]()

    async def main() -> None:
        try:
            loop.kill()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            await asyncio.sleep(1)
            done.append("finally")

    with pytest.raises(Killed):
        loop.live(main())
    loop.bury()
    gc.collect()

    assert done == []
    assert not recwarn.list


def test_a_clock_that_is_exact_stops_at_every_turn() -> None:
    clock, turns = VirtualClock(is_exact=True), list[float]()

    async def main() -> None:
        def watch() -> None:
            turns.append(clock.monotonic())
            clock.call_later(0.5, watch)

        clock.call_later(0.5, watch)
        await asyncio.sleep(10.1)

    clock.run(main())

    assert turns == [number / 2 for number in range(1, 21)]
