"""One command as a process that leads its own group, from its start to the end of that group, in a thread of its own.

`Child` is handed orders and tells when it is done; who gives them, and why, is `process`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

from statemachine_flow.executors.capture import Capture
from statemachine_flow.executors.command import Command, CommandResult
from statemachine_flow.executors.command_errors import lost_status_error, no_program_error, spawn_error
from statemachine_flow.executors.group import is_alive, signal_group

#: How long what a command left behind may still write after its end, and then may take to end after TERM.
DRAIN_SECONDS: Final = 1.0
#: What a child may be ordered to do: end by TERM, and by KILL after its grace; or end by KILL at once.
TERM_ORDER: Final = b"t"
KILL_ORDER: Final = b"k"
#: Of the thread that every command has.
THREAD_NAME: Final = "smf-command"

_CHUNK: Final = 65536  # what a pipe holds on Linux
_LONGEST_WAIT: Final = 86400.0  # poll() takes no infinity
_EXIT_BY_SIGNAL: Final = 128


@final
class Child:
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
        self._input = -1
        self._unread = memoryview(command.input)
        self._stopping = self._killing = False  # what was ordered
        self._hurried = False  # the order came when the command itself had ended
        self._exited = self._reaped = False  # what became of the command itself
        self._status: int | None = None
        self._stop_reason: BaseException = asyncio.CancelledError()
        self._outcome: CommandResult | BaseException = self._stop_reason

    def start(self, report: Callable[[], None]) -> None:
        """Begin; `report` is called in the child's thread once `result` may be asked."""
        thread = threading.Thread(target=self._main, args=(report,), name=THREAD_NAME, daemon=True)
        try:
            self._orders, self._order_end = os.pipe()
            thread.start()
        except (OSError, RuntimeError) as error:
            self._close_orders()
            raise spawn_error(self._command, error) from error

    def order(self, order: bytes) -> None:
        """Have the command ended: `TERM_ORDER` or `KILL_ORDER`; does nothing once it has ended."""
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
                self._pump(lambda: not self._open or self._stopping or self._hurried, DRAIN_SECONDS)
                self._end_group(process, self._grace if self._stopping else DRAIN_SECONDS)
            except BaseException:
                signal_group(process.pid, signal.SIGKILL)
                self._reap(process)
                raise
            if self._stopping:
                raise self._stop_reason
            return self._collect(seconds)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self._command
        if not command.argv:
            raise no_program_error()
        try:
            return subprocess.Popen(  # noqa: S603 - running commands is this module's job
                command.argv,
                executable=_find(command),
                cwd=command.cwd,
                env=command.env,
                bufsize=0,
                stdin=subprocess.PIPE if command.input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if command.inherits_stderr else subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise spawn_error(command, error) from error

    def _watch(self, process: subprocess.Popen[bytes], cleanup: contextlib.ExitStack) -> None:
        """Have `_poll` tell of the orders, the command's end and its output."""
        for stream, capture in zip((process.stdout, process.stderr), self._captures, strict=True):
            if stream is not None:
                cleanup.enter_context(stream)
                self._open[stream.fileno()] = capture
        if process.stdin is not None:
            cleanup.enter_context(process.stdin)
            self._input = process.stdin.fileno()
            os.set_blocking(self._input, False)
            self._poll.register(self._input, select.POLLOUT)
        try:
            self._exit_fd = self._open_exit_fd(process)
        except (OSError, RuntimeError) as error:
            raise spawn_error(self._command, error) from error
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
            ready = [descriptor for descriptor, _ in self._poll.poll(max(0, math.ceil(wait * 1000)))]
            for descriptor in sorted(ready, key=self._orders.__eq__):  # a command that has ended was not stopped
                self._take(descriptor)
            if left <= 0:
                return

    def _take(self, descriptor: int) -> None:
        if descriptor == self._orders:
            # What a command gave that ended by itself is its result, whatever becomes of the rest of its group.
            self._hurried = self._exited and not self._stopping
            self._stopping = not self._hurried
            self._killing |= KILL_ORDER in os.read(descriptor, 64)
        elif descriptor == self._exit_fd:
            self._poll.unregister(descriptor)
            self._exited = True
        elif descriptor == self._input:
            self._write()
        elif data := os.read(descriptor, _CHUNK):
            self._keep(self._open[descriptor], data)
        else:
            self._poll.unregister(descriptor)
            del self._open[descriptor]

    def _write(self) -> None:
        """Give the command what it still has to read."""
        try:
            self._unread = self._unread[os.write(self._input, self._unread) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want the rest
            self._unread = self._unread[:0]
        if not self._unread and self._process is not None and self._process.stdin is not None:
            self._poll.unregister(self._input)
            self._process.stdin.close()
            self._input = -1

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
        signal_group(process.pid, signal.SIGTERM)
        signal_group(process.pid, signal.SIGCONT)  # a stopped process takes TERM only when it goes on
        self._pump(lambda: self._killing or self._is_gone(process), grace)
        if signal_group(process.pid, 0):
            signal_group(process.pid, signal.SIGKILL)
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
        return not (signal_group(process.pid, 0) and is_alive(process.pid))

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
            raise lost_status_error(self._command)
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


def _find(command: Command) -> str | None:
    """Where the command's PATH has its program; None leaves the search, and the error, to the system.

    `subprocess` searches too, but swaps the process's warning filters meanwhile, which threads must not do.
    """
    program = command.argv[0]
    if os.sep in program:
        return None
    found = shutil.which(program, path=command.env.get("PATH", os.defpath))
    return found if found and Path(found).is_absolute() else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal, which has no name of its own
