"""Run one command of the operating system for one attempt, and leave nothing of it behind.

`child` does the work; this module joins it to the event loop. What the command means, when it is cancelled and
where its output ends up is the callers' business. It needs POSIX; elsewhere a command is refused, because nothing
in the standard library can end a whole tree of processes there.

**One thread per command** spawns it, moves its output, ends its group and reaps it; the event loop waits for
one future. No child watcher is needed, so any loop in any thread will do and all releases behave alike; a
spill may block; and the way from TERM to KILL reads from top to bottom. Beside `asyncio`'s own subprocesses
(`/bin/true`, both outputs captured) one at a time takes 10-15 % less time on 3.11, whose child watcher starts
a thread as well, and 3 % less on 3.12 and 3.13; 20 at a time take between 8 % more and 35 % less. Reading in
the loop itself would save another 0.2 ms of 1.1, but there a spill that waits for the disk stops every run of
the engine.

**The group.** A command leads a session and group of its own. When it has ended, or is cancelled, everything
left in its group is ended too: background processes of a step end with the step. A process that left the
group (`setsid`) cannot be found this way; if it still holds the command's output, the result says `leaked`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from statemachine_flow.errors import StepError
from statemachine_flow.executors.capture import Capture, Screen, Spill
from statemachine_flow.executors.child import DRAIN_SECONDS, KILL_ORDER, TERM_ORDER, Child
from statemachine_flow.executors.command import DEFAULT_ENV, Command, CommandResult, inherited_env, shell_argv
from statemachine_flow.executors.command_errors import exit_error

__all__ = [
    "CAPTURE_LIMIT",
    "DEFAULT_ENV",
    "DRAIN_SECONDS",
    "GRACE_SECONDS",
    "SPILL_LIMIT",
    "Command",
    "CommandResult",
    "Screen",
    "Spill",
    "exit_error",
    "inherited_env",
    "run_child",
    "run_command",
    "shell_argv",
]

#: How much of each output stream is kept as text, in bytes.
CAPTURE_LIMIT: Final = 1024 * 1024
#: How much of each output stream a spill gets, in bytes.
SPILL_LIMIT: Final = 64 * 1024 * 1024
#: How long a cancelled command may take to end after TERM, in seconds.
GRACE_SECONDS: Final = 10.0


async def run_command(
    command: Command,
    *,
    capture_limit: int = CAPTURE_LIMIT,
    spill_limit: int = SPILL_LIMIT,
    grace: float = GRACE_SECONDS,
    open_spill: Callable[[], Spill] | None = None,
    screen: Callable[[], Screen] | None = None,
) -> CommandResult:
    r"""Run a command to its end; only its own status says how it went, and any status is a result.

    Its stdin is empty, it inherits no descriptors but 0, 1 and 2, and it has no terminal. What it leaves
    running in its group has `DRAIN_SECONDS` to finish its output, then gets TERM, and as much later KILL.

    Cancelling is how a timeout and a cancelled run arrive here: the group gets TERM, after `grace` KILL, it
    is reaped, and only then is `CancelledError` raised. Cancelling again means KILL at once. A command that had
    ended by itself by then has its result all the same. Only a command that this process may not signal (one
    that changed its user) is given up after `grace`.

    Args:
        command: what to run.
        capture_limit: how much of each stream is kept as text, in bytes.
        spill_limit: how much of a longer stream goes to its spill, counted from its beginning, in bytes.
        grace: the time between TERM and KILL, in seconds.
        open_spill: makes a spill when a stream passes `capture_limit`; it is called in the command's thread.
            None drops what is beyond.
        screen: makes what a stream passes before it is counted, cut and kept; used in the command's thread.
            None lets it through as it is.

    Returns:
        How it ended and what it wrote.

    Raises:
        StepError: it could not be started (`step.spawn`), or its status is not to be had (`step.exit`).
        asyncio.CancelledError: after the command has ended.
        Exception: what the spill raised; the command was ended first.

    Example:
        >>> command = Command(argv=("echo", "hello"), cwd="/", env={"PATH": "/usr/bin:/bin"})
        >>> result = asyncio.run(run_command(command))
        >>> result.exit_code, result.stdout
        (0, 'hello\n')
    """
    captures = [
        Capture(limit=capture_limit, spill_limit=spill_limit, open_spill=open_spill, screen=screen and screen())
        for _ in range(2)
    ]
    return await run_child(command, captures, grace)


async def run_child(command: Command, captures: Sequence[Capture], grace: float) -> CommandResult:
    """`run_command` with what takes its stdout and its stderr, which are finished or discarded here.

    Raises:
        StepError: see `run_command`.
        asyncio.CancelledError: see `run_command`.
    """
    if sys.platform == "win32":
        raise StepError("commands need a POSIX system", kind="step.spawn", hint="run the engine under WSL")
    child = Child(command, captures, grace)
    ended = _start(child)
    try:
        await _wait(child, ended)
    finally:
        child.order(KILL_ORDER)  # finds it alive only when the coroutine was thrown away
    return child.result()


def _start(child: Child) -> asyncio.Future[None]:
    """Start a command; the future is done when it has ended."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def report() -> None:
        # A loop that was closed meanwhile has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set_result, None)

    child.start(report)
    return ended


async def _wait(child: Child, ended: asyncio.Future[None]) -> None:
    """Wait for the end of a command; to be cancelled meanwhile is passed on to it, and the result of one it ended."""
    try:
        await asyncio.wait([ended])
    except asyncio.CancelledError:
        child.order(TERM_ORDER)
        while not ended.done():
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError:
                child.order(KILL_ORDER)
