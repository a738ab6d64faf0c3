"""Call one function in a fresh Python process, which ends with the attempt: the engine's side.

`run_child` starts and ends the process as it does a command: a session and group of its own, TERM, after the grace
KILL, to everything in it. The other side is `statemachine_flow.isolated`. Arguments and secrets go in by a pipe, never
by the command line or the environment, where others could read them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from statemachine_flow.errors import StepError
from statemachine_flow.executors.capture import Capture
from statemachine_flow.executors.command import Command, CommandResult
from statemachine_flow.executors.faults import FaultError
from statemachine_flow.executors.messages import EXIT_CUT_OFF, Logged, Messages, Raised, Request, encode_request
from statemachine_flow.executors.process import run_child

#: The first line that the process reads says where modules are found here, this library among them.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from statemachine_flow.isolated import main; main()"
)
_DIED: Final = "ProcessDied"


async def call_isolated(
    request: Request, *, env: Mapping[str, str], grace: float, hear: Callable[[Logged], None]
) -> bytes:
    """Call a function in a process of its own.

    Args:
        request: what is called.
        env: the whole environment of the process.
        grace: the time between TERM and KILL, in seconds.
        hear: told what the function logs, in another thread.

    Returns:
        What it returned, encoded by `values`.

    Raises:
        FaultError: the function raised something, or could not be imported.
        StepError: `step.died`: the process ended without an answer; `step.spawn`: it could not be started.
        asyncio.CancelledError: after the process has ended.
    """
    if not sys.executable:
        raise StepError("this program does not know its Python interpreter", kind="step.spawn", name="SpawnError")
    command = _command(request, env)
    messages = Messages(hear)
    captures = [Capture(limit=0, spill_limit=0, open_spill=None, screen=screen) for screen in (messages, None)]
    try:
        result = await run_child(command, captures, grace)
    except msgspec.MsgspecError as error:
        raise StepError("the process of the function said what is no message", kind="step.died", name=_DIED) from error
    answer = messages.answer
    if answer is None:
        raise _died(result)
    if isinstance(answer, Raised):
        raise FaultError(answer.told())
    return answer.value


def _command(request: Request, env: Mapping[str, str]) -> Command:
    paths = json.dumps([os.path.abspath(path) for path in sys.path])  # noqa: PTH100 - sys.path holds text
    return Command(
        argv=(sys.executable, "-c", _BOOT),
        cwd=os.path.abspath(os.curdir),  # noqa: PTH100 - as above
        env=env,
        input=paths.encode() + b"\n" + encode_request(request),
        inherits_stderr=True,
    )


def _died(result: CommandResult) -> StepError:
    how = f"was ended by {result.signal}" if result.signal else f"ended with status {result.exit_code}"
    hint = "the system ends a process so when memory runs out" if result.signal == "SIGKILL" else None
    if result.exit_code == EXIT_CUT_OFF:
        hint = "did it close descriptors that it did not open, and with them the way back?"
    message = f"the process of the function {how} before the function returned"
    return StepError(message, kind="step.died", name=_DIED, hint=hint)
