"""How a command that did not start, or did not end well, is told to its user.

The sentences are made here, from values; finding out what happened is the job of `child`.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from statemachine_flow.errors import StepError
from statemachine_flow.executors.capture import TAIL_BYTES
from statemachine_flow.executors.command import Command, CommandResult, shell_argv

_NOT_STARTED: Final = "CommandNotStarted"
_FAILED: Final = "CommandFailed"
_BUSY: Final = "this machine or user has too many processes or open files at the moment"
_SPAWN_HINTS: Final[Mapping[int, str]] = {
    errno.EACCES: "make it executable: chmod +x",
    errno.ENOEXEC: "begin the file with a line such as '#!/bin/sh', or name its interpreter as the program",
    errno.E2BIG: "pass large values in a file",
    errno.EAGAIN: _BUSY,
    errno.EMFILE: _BUSY,
    errno.ENFILE: _BUSY,
    errno.ENOMEM: _BUSY,
}
_EXIT_HINTS: Final[Mapping[int, str]] = {
    126: "126 is the shell's status for a program it found but could not execute; is it executable?",
    127: "127 is the shell's status for a program it did not find; is it installed, and on its PATH?",
    137: "137 is SIGKILL: the system was out of memory, or somebody killed it",
    139: "139 is SIGSEGV: the program crashed",
}


def no_program_error() -> StepError:
    """The error of a command that names nothing to run."""
    return StepError("a command without a program", kind="step.spawn", name=_NOT_STARTED)


def spawn_error(command: Command, error: Exception) -> StepError:
    """The error that a refusal of the system to start a command stands for."""
    place = f" in {command.cwd!r}" if isinstance(error, OSError) and error.filename == command.cwd else ""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StepError(
        f"cannot start {_program(command)}{place}: {reason}",
        kind="step.spawn",
        name=_NOT_STARTED,
        hint=_spawn_hint(command, error),
    )


def _spawn_hint(command: Command, error: Exception) -> str | None:
    if isinstance(error, RuntimeError):  # no thread could be started
        return _BUSY
    if not isinstance(error, OSError):
        return "arguments, directory and environment are text without NUL characters"
    if error.filename == command.cwd:
        return "the directory has to be there, and open to this user, when the step begins"
    if error.errno != errno.ENOENT:
        return _SPAWN_HINTS.get(error.errno or 0)
    program = command.argv[0]
    path = str(Path(command.cwd, program)) if os.sep in program else program
    if shutil.which(path, path=command.env.get("PATH", os.defpath)):
        return "the file is there, but not the interpreter that its first line names"
    return "install it, or give its full path; it is looked for on the command's own PATH"


def lost_status_error(command: Command) -> StepError:
    """The error of a command whose status somebody else has taken."""
    return StepError(
        f"the exit status of {_program(command)} is lost",
        kind="step.exit",
        name=_FAILED,
        hint="something in this process ignores SIGCHLD, or waits for children that are not its own",
    )


def exit_error(command: Command, result: CommandResult) -> StepError:
    r"""The error that a status other than 0 stands for.

    Args:
        command: what ran.
        result: how it ended; its `exit_code` is not 0.

    Returns:
        A `step.exit` error named `CommandFailed` with the last lines of stderr, at most `TAIL_BYTES`.

    Example:
        >>> command = Command(argv=("make", "-j2"), cwd="/", env={})
        >>> print(exit_error(command, CommandResult(exit_code=2, stderr="no rule\n")).message)
        'make' ended with status 2:
        no rule
    """
    how = f"was ended by {result.signal}" if result.signal else f"ended with status {result.exit_code}"
    last_lines = _last_lines(result.stderr_tail or result.stderr)
    message = f"{_program(command)} {how}" + (f":\n{last_lines}" if last_lines else "")
    return StepError(message, kind="step.exit", name=_FAILED, hint=_EXIT_HINTS.get(result.exit_code))


def _last_lines(text: str) -> str:
    """The end of a text: at most `TAIL_BYTES`, whole lines unless a single one is longer."""
    text = text.rstrip()
    data = text.encode()
    if len(data) <= TAIL_BYTES:
        return text
    tail = data[-TAIL_BYTES:].decode(errors="ignore")
    _, found, lines = tail.partition("\n")
    return lines if found else tail


def _program(command: Command) -> str:
    """What to call a command in a sentence; its arguments may be private."""
    is_shell = len(command.argv) > 1 and command.argv == shell_argv(command.argv[-1])
    return "the shell command" if is_shell else repr(command.argv[0][:200])
