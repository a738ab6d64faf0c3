"""Run one command of the operating system for one attempt, and leave nothing of it behind.

This module knows processes, groups, signals and pipes; what the command means, when it is cancelled and where
its output ends up is its callers' business. It needs POSIX; elsewhere a command is refused, because nothing
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
import errno
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, final

import attrs

from statemachine_flow.errors import StepError
from statemachine_flow.executors.capture import TAIL_BYTES, Capture, Spill

__all__ = [
    "CAPTURE_LIMIT",
    "DEFAULT_ENV",
    "DRAIN_SECONDS",
    "GRACE_SECONDS",
    "SPILL_LIMIT",
    "Command",
    "CommandResult",
    "Spill",
    "exit_error",
    "inherited_env",
    "run_command",
    "shell_argv",
]

#: How much of each output stream is kept as text, in bytes.
CAPTURE_LIMIT: Final = 1024 * 1024
#: How much of each output stream a spill gets, in bytes.
SPILL_LIMIT: Final = 64 * 1024 * 1024
#: How long a cancelled command may take to end after TERM, in seconds.
GRACE_SECONDS: Final = 10.0
#: How long what a command left behind may still write after its end, and then may take to end after TERM.
DRAIN_SECONDS: Final = 1.0

#: The variables a command inherits; a trailing `*` stands for any rest. No tokens, keys or proxies.
DEFAULT_ENV: Final[tuple[str, ...]] = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERNAME", "USERPROFILE", "HOMEDRIVE"),
    *("HOMEPATH", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES*", "PROCESSOR_ARCHITECTURE"),
)

_CHUNK: Final = 65536  # what a pipe holds on Linux
_LONGEST_WAIT: Final = 86400.0  # poll() takes no infinity
_EXIT_BY_SIGNAL: Final = 128
_TERM_ORDER, _KILL_ORDER = b"t", b"k"


@attrs.frozen(kw_only=True)
class Command:
    """What to run, with nothing left to look up."""

    #: The program and its arguments; nothing in them is expanded.
    argv: tuple[str, ...]
    #: The directory to run it in, absolute.
    cwd: str
    #: The whole environment of the child. It may hold secrets, so no repr shows it.
    env: Mapping[str, str] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class CommandResult:
    """How a command ended and what it wrote."""

    #: 0 for success; 128 + N when signal N ended it, as shells say.
    exit_code: int
    #: `SIGKILL` and the like when a signal ended it.
    signal: str | None = None
    #: The stream as text, or its first bytes up to the capture limit; invalid UTF-8 became U+FFFD.
    stdout: str = ""
    stderr: str = ""
    #: Whether the text is less than the stream.
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    #: The last `TAIL_BYTES` of a truncated stderr; "" when `stderr` is whole.
    stderr_tail: str = ""
    #: How many bytes the command wrote in all.
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    #: Whether bytes of either text had to be replaced.
    lossy: bool = False
    #: The name of the spill that has the stream up to the spill limit; None when nothing was spilled.
    stdout_spill: str | None = None
    stderr_spill: str | None = None
    #: Whether a process that left the command's group still holds its output.
    leaked: bool = False
    #: From the start to the end of the command itself, in seconds.
    seconds: float = 0.0


async def run_command(
    command: Command,
    *,
    capture_limit: int = CAPTURE_LIMIT,
    spill_limit: int = SPILL_LIMIT,
    grace: float = GRACE_SECONDS,
    open_spill: Callable[[], Spill] | None = None,
) -> CommandResult:
    r"""Run a command to its end; only its own status says how it went, and any status is a result.

    Its stdin is empty, it inherits no descriptors but 0, 1 and 2, and it has no terminal. What it leaves
    running in its group has `DRAIN_SECONDS` to finish its output, then gets TERM, and as much later KILL.

    Cancelling is how a timeout and a cancelled run arrive here: the group gets TERM, after `grace` KILL, it
    is reaped, and only then is `CancelledError` raised. Cancelling again means KILL at once. Only a command
    that this process may not signal (one that changed its user) is given up after `grace`.

    Args:
        command: what to run.
        capture_limit: how much of each stream is kept as text, in bytes.
        spill_limit: how much of a longer stream goes to its spill, counted from its beginning, in bytes.
        grace: the time between TERM and KILL, in seconds.
        open_spill: makes a spill when a stream passes `capture_limit`; it is called in the command's thread.
            None drops what is beyond.

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
    if sys.platform == "win32":
        raise StepError("commands need a POSIX system", kind="step.spawn", hint="run the engine under WSL")
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def report() -> None:
        # A loop that was closed meanwhile has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set_result, None)

    captures = [Capture(limit=capture_limit, spill_limit=spill_limit, open_spill=open_spill) for _ in range(2)]
    child = _Child(command, captures, grace)
    child.start(report)
    try:
        await asyncio.wait([ended])
    except asyncio.CancelledError:
        child.order(_TERM_ORDER)
        while not ended.done():
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError:
                child.order(_KILL_ORDER)
        raise
    finally:
        child.order(_KILL_ORDER)  # finds it alive only when the coroutine was thrown away
    return child.result()


@final
class _Child:
    """One command and its group. All but `start`, `order` and `result` happens in its own thread."""

    def __init__(self, command: Command, captures: Sequence[Capture], grace: float) -> None:
        self._command = command
        self._captures = captures
        self._grace = grace
        self._lock = threading.Lock()  # guards the pipe of orders, which two threads use
        self._orders = self._order_end = -1
        self._poll = select.poll()
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_fd = -1
        self._waiter: threading.Thread | None = None
        self._open: dict[int, Capture] = {}
        self._stopping = self._killing = False  # what was ordered
        self._exited = self._reaped = False  # what became of the command itself
        self._status: int | None = None
        self._stop_reason: BaseException = asyncio.CancelledError()
        self._outcome: CommandResult | BaseException = self._stop_reason

    def start(self, report: Callable[[], None]) -> None:
        """Begin; `report` is called in the child's thread once `result` may be asked."""
        thread = threading.Thread(target=self._main, args=(report,), name="smf-command", daemon=True)
        try:
            self._orders, self._order_end = os.pipe()
            thread.start()
        except (OSError, RuntimeError) as error:
            self._close_orders()
            raise _spawn_error(self._command, error) from error

    def order(self, order: bytes) -> None:
        """Have the command ended by TERM or by KILL; does nothing once it has ended."""
        with self._lock:
            if self._order_end >= 0:
                os.write(self._order_end, order)

    def result(self) -> CommandResult:
        """The result; raises the error that stands in its place."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _close_orders(self) -> None:
        with self._lock:
            for descriptor in {self._orders, self._order_end} - {-1}:
                os.close(descriptor)
            self._orders = self._order_end = -1

    def _main(self, report: Callable[[], None]) -> None:
        try:
            self._outcome = self._attempt()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            self._outcome = error
        self._close_orders()
        report()
        if self._process is not None:
            # It takes no time, unless the command was given up: then it is reaped here whenever it ends.
            self._reap(self._process)

    def _attempt(self) -> CommandResult:
        with contextlib.ExitStack() as cleanup:
            for capture in self._captures:
                cleanup.callback(capture.discard)
            started = time.monotonic()
            process = self._process = self._spawn()
            try:
                self._watch(process, cleanup)
                self._pump(lambda: self._exited or self._stopping)
                seconds = time.monotonic() - started
                # What the command wrote is in the pipes by now; others that hold them may finish a sentence.
                self._pump(lambda: not self._open or self._stopping, DRAIN_SECONDS)
                self._end_group(process, self._grace if self._stopping else DRAIN_SECONDS)
            except BaseException:
                _signal_group(process.pid, signal.SIGKILL)
                self._reap(process)
                raise
            if self._stopping:
                raise self._stop_reason
            return self._collect(seconds)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self._command
        if not command.argv:
            raise StepError("a command without a program", kind="step.spawn", name=_NOT_STARTED)
        try:
            return subprocess.Popen(  # noqa: S603 - running commands is this module's job
                command.argv,
                executable=_find(command),
                cwd=command.cwd,
                env=command.env,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise _spawn_error(command, error) from error

    def _watch(self, process: subprocess.Popen[bytes], cleanup: contextlib.ExitStack) -> None:
        """Have `_poll` tell of the orders, the command's end and its output."""
        for stream, capture in zip((process.stdout, process.stderr), self._captures, strict=True):
            if stream is not None:
                cleanup.enter_context(stream)
                self._open[stream.fileno()] = capture
        try:
            self._exit_fd = self._open_exit_fd(process)
        except (OSError, RuntimeError) as error:
            raise _spawn_error(self._command, error) from error
        cleanup.callback(os.close, self._exit_fd)
        for descriptor in (self._orders, self._exit_fd, *self._open):
            self._poll.register(descriptor, select.POLLIN)

    def _open_exit_fd(self, process: subprocess.Popen[bytes]) -> int:
        """A descriptor that becomes readable when the command has ended."""
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                return os.pidfd_open(process.pid)
        readable, writable = os.pipe()
        waiter = threading.Thread(target=self._wait_and_close, args=(process, writable), daemon=True)
        try:
            waiter.start()
        except RuntimeError:
            os.close(readable)
            os.close(writable)
            raise
        self._waiter = waiter
        return readable

    def _pump(self, until: Callable[[], bool], seconds: float = math.inf) -> None:
        """Move output and take orders until `until` says so or the time is over; 0 takes what is there."""
        deadline = time.monotonic() + seconds
        look_again = 0.001
        while not until():
            left = deadline - time.monotonic()
            wait = min(left, _LONGEST_WAIT)
            if self._reaped:
                # Nobody tells when the rest of a group ends, for it is not our child. Look, ever less often.
                wait = min(wait, look_again)
                look_again = min(2 * look_again, 0.05)
            for descriptor, _ in self._poll.poll(max(0, math.ceil(wait * 1000))):
                self._take(descriptor)
            if left <= 0:
                return

    def _take(self, descriptor: int) -> None:
        if descriptor == self._orders:
            self._stopping = True
            self._killing |= _KILL_ORDER in os.read(descriptor, 64)
        elif descriptor == self._exit_fd:
            self._poll.unregister(descriptor)
            self._exited = True
        elif data := os.read(descriptor, _CHUNK):
            self._keep(self._open[descriptor], data)
        else:
            self._poll.unregister(descriptor)
            del self._open[descriptor]

    def _keep(self, capture: Capture, data: bytes) -> None:
        if self._stopping:
            return
        try:
            capture.feed(data)
        except Exception as error:  # noqa: BLE001 - whatever the spill raises, the caller gets
            self._stopping = True
            self._stop_reason = error

    def _end_group(self, process: subprocess.Popen[bytes], grace: float) -> None:
        """End what is alive of the group: TERM, after `grace` KILL; returns when it is gone or given up."""
        # With a pidfd the command is not reaped yet, so its number cannot have passed to a stranger.
        _signal_group(process.pid, signal.SIGTERM)
        _signal_group(process.pid, signal.SIGCONT)  # a stopped process takes TERM only when it goes on
        self._pump(lambda: self._killing or self._is_gone(process), grace)
        if _signal_group(process.pid, 0):
            _signal_group(process.pid, signal.SIGKILL)
            self._pump(lambda: self._is_gone(process), DRAIN_SECONDS)
        for _ in ("the last words", "nothing after them"):  # a pipe holds no more than one read takes
            self._pump(lambda: not self._open, 0)

    def _is_gone(self, process: subprocess.Popen[bytes]) -> bool:
        if not self._exited:
            return False
        self._reap(process)
        with contextlib.suppress(ChildProcessError):
            # The group's orphans are our children when we are process 1 of a container, or a subreaper.
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
        return not (_signal_group(process.pid, 0) and _is_alive(process.pid))

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        if self._waiter is not None:
            self._waiter.join()
        elif not self._reaped:
            self._take_status(process)

    def _take_status(self, process: subprocess.Popen[bytes]) -> None:
        # Not `process.wait()`: it takes a status that somebody else has taken for success.
        with contextlib.suppress(ChildProcessError):
            self._status = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        process.returncode = self._status or 0  # else it would warn and wait by itself when it is collected
        self._reaped = True

    def _wait_and_close(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        try:
            self._take_status(process)
        finally:
            os.close(descriptor)

    def _collect(self, seconds: float) -> CommandResult:
        if self._status is None:
            raise StepError(
                f"the exit status of {_program(self._command)} is lost",
                kind="step.exit",
                name="CommandFailed",
                hint="something in this process ignores SIGCHLD, or waits for children that are not its own",
            )
        stdout, stderr = (capture.finish() for capture in self._captures)
        return CommandResult(
            exit_code=self._status if self._status >= 0 else _EXIT_BY_SIGNAL - self._status,
            signal=_signal_name(-self._status) if self._status < 0 else None,
            stdout=stdout.text,
            stderr=stderr.text,
            stdout_truncated=stdout.truncated,
            stderr_truncated=stderr.truncated,
            stderr_tail=stderr.tail,
            stdout_bytes=stdout.size,
            stderr_bytes=stderr.size,
            lossy=stdout.lossy or stderr.lossy,
            stdout_spill=stdout.spill,
            stderr_spill=stderr.spill,
            leaked=bool(self._open),
            seconds=seconds,
        )


def _signal_group(group: int, number: int) -> bool:
    """Signal a group; 0 only asks. Whether there is anybody in it that this process may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_alive(group: int) -> bool:
    """Whether a group that has members has one that is more than a zombie.

    Orphans wait as zombies for process 1, which in many containers reaps them late or never.
    """
    if sys.platform != "linux":
        return True
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # Only what follows the program's name, which may hold anything: state, parent, group ...
            state, _, its_group = (process / "stat").read_bytes().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state not in {b"Z", b"X"}:
                return True
    return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal, which has no name of its own


def shell_argv(text: str) -> tuple[str, ...]:
    """The argument vector that has the system's shell run `text`.

    Example:
        >>> shell_argv("make && make install")
        ('/bin/sh', '-c', 'make && make install')
    """
    if sys.platform == "win32":
        return (os.environ.get("COMSPEC", "cmd.exe"), "/d", "/s", "/c", text)
    return ("/bin/sh", "-c", text)


def inherited_env(environ: Mapping[str, str], extra: Iterable[str] = ()) -> dict[str, str]:
    """The part of an environment that a command gets to see.

    Args:
        environ: where to take it from, such as `os.environ`.
        extra: names beside `DEFAULT_ENV`, compared exactly; a trailing `*` stands for any rest.

    Returns:
        A new mapping.

    Example:
        >>> inherited_env({"PATH": "/bin", "LC_ALL": "C", "API_KEY": "k", "CI_JOB": "7"}, ["CI_*"])
        {'PATH': '/bin', 'LC_ALL': 'C', 'CI_JOB': '7'}
    """
    patterns = {*DEFAULT_ENV, *extra}
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return {name: value for name, value in environ.items() if name in patterns or name.startswith(prefixes)}


_NOT_STARTED: Final = "CommandNotStarted"
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


def _program(command: Command) -> str:
    """What to call a command in a sentence; its arguments may be private."""
    is_shell = len(command.argv) > 1 and command.argv == shell_argv(command.argv[-1])
    return "the shell command" if is_shell else repr(command.argv[0][:200])


def _find(command: Command) -> str | None:
    """Where the command's PATH has its program; None leaves the search, and the error, to the system.

    `subprocess` searches too, but swaps the process's warning filters meanwhile, which threads must not do.
    """
    program = command.argv[0]
    if os.sep in program:
        return None
    found = shutil.which(program, path=command.env.get("PATH", os.defpath))
    return found if found and Path(found).is_absolute() else None


def _spawn_error(command: Command, error: Exception) -> StepError:
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
    return StepError(message, kind="step.exit", name="CommandFailed", hint=_EXIT_HINTS.get(result.exit_code))


def _last_lines(text: str) -> str:
    """The end of a text: at most `TAIL_BYTES`, whole lines unless a single one is longer."""
    text = text.rstrip()
    data = text.encode()
    if len(data) <= TAIL_BYTES:
        return text
    tail = data[-TAIL_BYTES:].decode(errors="ignore")
    _, found, lines = tail.partition("\n")
    return lines if found else tail
