"""What the verb `run` makes of a command's result."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any

import pytest

from statemachine_flow.engine.attempt import run_attempt
from statemachine_flow.errors import StepError
from statemachine_flow.executors.thread import ThreadExecutor
from statemachine_flow.functions import Functions
from statemachine_flow.model import Defaults, Step
from statemachine_flow.plan import PlannedStep
from statemachine_flow.secrets import Redactor
from statemachine_flow.steps.base import Attempt, StepContext
from statemachine_flow.steps.run import Run
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.values import decode_value

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


# --- what a command knows and may not know

SECRET = 'canary-7f"/+é'


def run_step(run: Run, **options: Any) -> Any:
    fields: dict[str, Any] = {
        "context": StepContext(run_id="r", workflow="w", step_id="s", attempt=1),
        "functions": Functions(),
        "threads": ThreadExecutor(),
        "cwd": "/",
        "env": {"PATH": os.defpath},
        "grace": 1.0,
        "open_spill": MemoryStore().open_blob,
    }
    attempt = Attempt(**fields | options)
    step = Step(id="s", verb=run)
    return asyncio.run(run_attempt(PlannedStep(0, step, Defaults()), attempt, {"inputs": {}, "run": {}, "steps": {}}))


def test_a_command_is_told_its_place_in_its_environment() -> None:
    context = StepContext(
        run_id="r",
        workflow="w",
        step_id="s",
        attempt=2,
        path="g/s[k 1]",
        generation=3,
        key="k 1",
        idempotency_key="charge-1",
        epoch=4,
    )
    outcome = run_step(Run(run="env | grep ^SMF_ | sort"), context=context)
    assert decode_value(outcome.output)["stdout"].splitlines() == [
        "SMF_ATTEMPT=2",
        "SMF_EPOCH=4",
        "SMF_GENERATION=3",
        "SMF_IDEMPOTENCY_KEY=charge-1",
        "SMF_ITEM_KEY=k 1",
        "SMF_RUN_ID=r",
        "SMF_STEP_ID=s",
        "SMF_STEP_PATH=g/s[k 1]",
    ]


def test_a_context_made_by_hand_has_the_usual_path_and_key() -> None:
    context = StepContext(run_id="r", workflow="w", step_id="s", attempt=2)
    assert (context.path, context.generation, context.key, context.idempotency_key) == ("s", 1, None, "r/s")
    again = StepContext(run_id="r", workflow="w", step_id="s", attempt=2, path="g/s", generation=2)
    assert again.idempotency_key == "r/g/s@2"
    variables = decode_value(run_step(Run(run="env"), context=context).output)["stdout"]
    assert "SMF_ITEM_KEY" not in variables


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_command_gets_its_secrets_by_environment_and_none_is_kept(stream: str) -> None:
    store = MemoryStore()
    options = {
        "context": StepContext(run_id="r", workflow="w", step_id="s", attempt=1, secrets={"TOKEN": SECRET}),
        "redactor": Redactor([SECRET]),
        "open_spill": store.open_blob,
    }
    loop = 'for i in $(seq 60000); do printf %s.................... "$TOKEN"; done'
    outcome = run_step(Run(run=f'{loop} >&{stream}; printf %s "$TOKEN" | wc -c'), **options)
    output = decode_value(store.blob(outcome.blob) if outcome.blob else outcome.output)
    name = {"1": "stdout", "2": "stderr"}[stream]

    assert output[f"{name}_truncated"]
    assert output[name].startswith("***....................***")
    assert store.blob(output[f"{name}_blob"]).startswith(b"***...................." * 1000)
    assert b"canary" not in store.blob(output[f"{name}_blob"])
    assert "canary" not in repr(output)
    if stream == "2":
        assert output["stdout"].strip() == str(len(SECRET.encode()))


def test_a_failing_command_shows_no_secret_in_its_last_words() -> None:
    context = StepContext(run_id="r", workflow="w", step_id="s", attempt=1, secrets={"TOKEN": SECRET})
    outcome = run_step(Run(run='echo "no: $TOKEN" >&2; exit 3'), context=context, redactor=Redactor([SECRET]))
    assert outcome.error.message.startswith("the shell command ended with status 3:\nno: ***")


@pytest.mark.parametrize("run", [("echo", "x" + SECRET), "echo " + SECRET])
def test_a_secret_never_becomes_an_argument(run: Any) -> None:
    outcome = run_step(Run(run=run), redactor=Redactor([SECRET, "echo"]))
    assert (outcome.error.kind, outcome.retryable) == ("step.secret", False)
    assert "canary" not in outcome.error.message


@pytest.mark.parametrize(
    ("allow", "status"), [((0, 3), "completed"), ((3,), "completed"), ((0,), "failed"), ((1, 2), "failed")]
)
def test_exit_statuses_that_are_allowed_are_results(allow: tuple[int, ...], status: str) -> None:
    outcome = run_step(Run(run="echo out; exit 3", allow_exit=allow))
    assert outcome.status == status
    if status == "completed":
        assert decode_value(outcome.output) == {"stdout": "out\n", "stderr": "", "exit_code": 3}
    else:
        assert outcome.error.kind == "step.exit"


def test_success_is_a_failure_where_only_another_status_is_allowed() -> None:
    assert run_step(Run(run="true", allow_exit=(1,))).error.message == "the shell command ended with status 0"
