"""End the processes that a dead engine left running, before anything of its runs begins again.

Every process that an engine starts for a step has a variable in its environment, its *mark*: `SMF_MARK`, made of the
engine's own unique name and the run's id. What such a process starts inherits it, sessions and groups of their own
notwithstanding, so all of them are found by looking through the environments of this user's processes. What wiped its
environment (`env -i`, `sudo`) is found only in the group of a process that did not.

No stranger is signalled: on Linux a descriptor of the process (`pidfd_open`) is opened before its mark is read, and
the signal goes through that. A process that got the number of one that ended is another process, and has not the
mark. Where the system has no such descriptors, as on macOS, the mark is read again right before the signal. On
systems without `/proc` and without `ps`, such as Windows, nothing is found; and macOS shows nobody the environments
of its own programs, such as those in `/bin`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, final

#: The variable.
MARK: Final = "SMF_MARK"

#: How long a killed process may take to be gone, in seconds.
_KILL_SECONDS: Final = 2.0
#: How often is looked again for what was started while the others were ended.
_ROUNDS: Final = 10
_HAS_PROC: Final = Path("/proc/self/environ").exists()
_LOOK_AGAIN: Final = 0.02  # seconds, where no descriptor tells of the end


def mark_of(owner: str, run_id: str) -> dict[str, str]:
    """The variable that marks the processes of a run.

    Args:
        owner: the unique name of the engine that works on it.
        run_id: the run.

    Example:
        >>> mark_of("5f", "nightly")
        {'SMF_MARK': '5f:nightly'}
    """
    return {MARK: f"{owner}:{run_id}"}


def reap(marks: Collection[str], grace: float) -> int:
    """End every process that has one of the marks, with its group: TERM, after `grace` KILL; return once they are gone.

    This process and those it descends from are left alone, whatever they are marked with: an engine that a step
    started may take over the run of that very step.

    Args:
        marks: values of `SMF_MARK`.
        grace: the time between TERM and KILL, in seconds.

    Returns:
        How many processes were found.

    Example:
        >>> reap(["nobody:has-this"], grace=1.0)
        0
    """
    if not marks:
        return 0
    found = 0
    for number in range(_ROUNDS):
        with contextlib.ExitStack() as cleanup:
            processes = list(_find(marks, cleanup))
            if not processes:
                break
            found += len(processes)
            if number == 0:
                _send(processes, signal.SIGTERM)
                _send(processes, signal.SIGCONT)  # a stopped process takes TERM only when it goes on
                processes = _wait(processes, grace)
            _send(processes, signal.SIGKILL)
            _wait(processes, _KILL_SECONDS)
    return found


@final
class _Process:
    """A process that was found, and what is needed to signal no other."""

    def __init__(self, pid: int, descriptor: int, marks: Collection[str]) -> None:
        self.pid = pid
        self.descriptor = descriptor
        self._marks = marks

    def send(self, number: int) -> None:
        """Signal it, unless it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.descriptor >= 0 and sys.platform == "linux":
                signal.pidfd_send_signal(self.descriptor, number)
            elif self.is_there():
                os.kill(self.pid, number)

    def is_there(self) -> bool:
        """Whether it has one of the marks, and so is no other that got its number."""
        return _mark_of(self.pid) in self._marks


def _find(marks: Collection[str], cleanup: contextlib.ExitStack) -> Iterator[_Process]:
    """The processes with a mark, and all that are in a group which one of them leads."""
    spared = _ancestors()
    if not _HAS_PROC:
        for pid in _listed(marks):
            if pid not in spared:
                yield _Process(pid, -1, marks)
        return
    groups: set[int] = set()
    others: list[tuple[_Process, int]] = []
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    for pid in (pid for pid in pids if pid not in spared):
        descriptor = _open(pid)
        if descriptor >= 0:
            cleanup.callback(os.close, descriptor)
        process, (_, group, state) = _Process(pid, descriptor, marks), _stat(pid)
        if state in {"Z", "X", ""}:
            continue
        if process.is_there():
            groups |= {group} & {pid}
            yield process
        elif descriptor >= 0:  # else nothing would tell it from a stranger
            others.append((process, group))
    yield from (process for process, group in others if group in groups)


def _open(pid: int) -> int:
    """A descriptor of a process; -1 where there is none to be had."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def _ancestors() -> set[int]:
    """This process and those it descends from."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = _stat(pid)[0] if _HAS_PROC else int(_ps("-o", "ppid=", "-p", str(pid)).strip() or 0)
    return found


def _stat(pid: int) -> tuple[int, int, str]:
    """The parent, the group and the state of a process; "" as its state if it is gone."""
    with contextlib.suppress(OSError, ValueError):
        # What follows the program's name, which may hold anything.
        state, parent, group = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:3]
        return int(parent), int(group), state.decode()
    return 0, 0, ""


def _mark_of(pid: int) -> str:
    """The mark of a process; "" if it has none, has ended, or belongs to somebody else."""
    if _HAS_PROC:
        with contextlib.suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(b"SMF_MARK="):
                    return os.fsdecode(variable.partition(b"=")[2])
        return ""
    return dict(listed_marks(_ps("-E", "-ww", "-o", "pid=,command=", "-p", str(pid)))).get(pid, "")


def _listed(marks: Collection[str]) -> list[int]:
    """The processes with a mark, where only `ps` shows environments."""
    listing = _ps("-A", "-E", "-ww", "-o", "pid=,command=")
    return [pid for pid, mark in listed_marks(listing) if mark in marks]


def listed_marks(listing: str) -> Iterator[tuple[int, str]]:
    r"""Processes and their marks in what `ps -E -o pid=,command=` prints.

    Example:
        >>> list(listed_marks("  7 sleep 600 PATH=/bin SMF_MARK=5f:r1 HOME=/\n  8 top\n"))
        [(7, '5f:r1')]
    """
    for line in listing.splitlines():
        pid, _, rest = line.strip().partition(" ")
        mark = next((word for word in rest.split() if word.startswith(f"{MARK}=")), None)
        if mark is not None and pid.isdecimal():
            yield int(pid), mark.partition("=")[2]


def _ps(*arguments: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(("ps", *arguments), capture_output=True, timeout=10, check=False)  # noqa: S603, S607 - fixed words, and every system has it elsewhere
        return os.fsdecode(done.stdout)
    return ""


def _send(processes: Collection[_Process], number: int) -> None:
    for process in processes:
        process.send(number)


def _wait(processes: list[_Process], seconds: float) -> list[_Process]:
    """Wait until the processes are gone, or the time is over; those that are still there."""
    end = time.monotonic() + seconds
    poll = select.poll()
    left = {process.descriptor: process for process in processes if process.descriptor >= 0}
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    while left and (rest := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(max(1, int(rest * 1000))):
            poll.unregister(descriptor)
            del left[descriptor]
    others = [process for process in processes if process.descriptor < 0]
    while (others := [process for process in others if process.is_there()]) and time.monotonic() < end:
        time.sleep(_LOOK_AGAIN)
    return [*left.values(), *others]
