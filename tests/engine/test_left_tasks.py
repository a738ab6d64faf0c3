"""Coroutines that do not end when they are asked to: their attempts are told as given up, and Python tells nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Each is asked to end by its timeout, and goes on.
BODIES = """
import asyncio
import sys
import statemachine_flow as smf

async def deaf():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def stubborn():
    for _ in range(30):
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass

async def endless():
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass

async def in_a_task_of_its_own():
    await asyncio.shield(asyncio.create_task(deaf()))

async def numbers():
    while True:
        try:
            yield 1
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

async def in_a_generator():
    async for _ in numbers():
        pass

workflow = smf.Workflow("left")
for body in (deaf, stubborn, endless, in_a_generator):
    workflow.call(body.__name__, body, timeout=0.01, optional=True)

def tell(run):
    errors = {step.error.kind for step in run.steps.values()}
    print(*errors)
"""
BLOCKING = """
workflow.call("task", in_a_task_of_its_own, timeout=0.01, optional=True)
with smf.Engine("memory://", grace=0.0) as engine:
    tell(engine.run(workflow))
"""
#: The engine knows of no tasks but its own there, and the loop is not its to end.
ON_A_LOOP = """
async def main():
    async with smf.AsyncEngine("memory://", grace=0.0) as engine:
        tell(await engine.run(workflow))

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()  # `asyncio.run` would wait for them
"""


@pytest.mark.parametrize("program", [BLOCKING, ON_A_LOOP], ids=["blocking", "on-a-loop"])
def test_nothing_is_printed_of_tasks_that_were_given_up(program: str) -> None:
    command = [sys.executable, "-c", BODIES + program]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "step.timeout\n", "")
