"""What the verb `run` makes of a command's result."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

import pytest

from statemachine_flow.errors import StepError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.steps.run import Run
from statemachine_flow.stores.memory import MemoryStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="commands need POSIX")

#: Starts a process that leaves the group with the output, tells its number, and ends with the given status.
LEAVES_THE_GROUP = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
os.write(1, str(child.pid).encode())
os.write(2, str(child.pid).encode())
os._exit(int(sys.argv[1]))
"""


def execute(*argv: str) -> Any:
    attempt = Attempt(
        context=StepContext(run_id="r", workflow="w", step_id="s", attempt=2),
        functions=Functions(),
        threads=ThreadExecutor(),
        cwd="/",
        env={"PATH": os.defpath},
        grace=1.0,
        open_spill=MemoryStore().open_blob,
    )
    return asyncio.run(Run(run=argv).execute(attempt))


@pytest.mark.parametrize(
    ("argv", "output"),
    [
        (("printf", "plain"), {"stdout": "plain", "stderr": "", "exit_code": 0}),
        (("printf", r"a\377"), {"stdout": "a\ufffd", "stderr": "", "exit_code": 0, "lossy": True}),
        (("sh", "-c", r"printf '\377' >&2"), {"stdout": "", "stderr": "\ufffd", "exit_code": 0, "lossy": True}),
    ],
)
def test_case_83_the_output_says_lossy_only_when_bytes_were_replaced(
    argv: tuple[str, ...], output: dict[str, Any]
) -> None:
    assert execute(*argv) == output


def test_case_83_every_key_of_an_output_is_a_name_that_expressions_may_read() -> None:
    output = execute("sh", "-c", r"yes | head -c 2000000; printf '\377' >&2")

    assert {"stdout_truncated", "stdout_bytes", "stdout_blob", "lossy"} < set(output) <= set(Run.result_names)


@pytest.mark.parametrize("status", [0, 3])
def test_case_84_a_process_that_left_the_group_is_a_warning_of_the_attempt(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """However the command itself ended."""
    with caplog.at_level(logging.WARNING, "statemachine_flow.step"):
        try:
            pid = execute(sys.executable, "-c", LEAVES_THE_GROUP, str(status))["stdout"]
        except StepError as error:
            pid = error.message.rpartition("\n")[2]
    os.kill(int(pid), signal.SIGKILL)

    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "statemachine_flow.step")
    assert record.getMessage() == "a process left the step's group and still runs"
    assert {"run": "r", "step": "s", "attempt": 2}.items() <= vars(record).items()


def test_case_84_a_command_that_left_nothing_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    execute("sh", "-c", "sleep 600 & exit 0")

    assert caplog.records == []
