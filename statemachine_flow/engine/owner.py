"""Who works on a run: naming this process so that no other is mistaken for it, and telling whether one still lives."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import uuid
from functools import cache
from pathlib import Path
from typing import Final

from statemachine_flow.durations import check_seconds
from statemachine_flow.errors import UsageError
from statemachine_flow.stores.base import Owner

#: For how long a sign of life of an owner holds, in seconds.
LEASE_SECONDS: Final = 30.0

#: Nonces of the engines of this process that are open.
_live: set[str] = set()


def require_lease(seconds: float) -> None:
    """Refuse a lease that is over when it begins, or that others could not be told.

    Raises:
        UsageError: it is none.

    Example:
        >>> require_lease(30.0)
    """
    try:
        check_seconds(seconds)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"a lease of {seconds} s is none: {error}") from error


def new_owner(since: float = 0.0, lease: float = LEASE_SECONDS) -> Owner:
    """A name for one engine of this process; `retire` it when the engine closes.

    Args:
        since: now, by the monotonic clock, in seconds.
        lease: for how many seconds a sign of life holds.
    """
    nonce = uuid.uuid4().hex
    _live.add(nonce)
    pid = os.getpid()
    return Owner(
        host=platform.node(),
        boot=_boot_id(),
        pid=pid,
        started=_started(pid),
        nonce=nonce,
        namespace=_namespace(),
        since=since,
        lease=lease,
    )


def retire(owner: Owner) -> None:
    """The engine has closed: the name is free for others to take over."""
    _live.discard(owner.nonce)


def is_here(owner: Owner) -> bool:
    """Whether the owner ran on this very system, so that its process can be looked for."""
    return owner.host == platform.node() and owner.namespace in ("", _namespace())


def shares_clock(owner: Owner) -> bool:
    """Whether the monotonic clock of the owner is that of this process: it counts from one boot for all processes."""
    return owner.host == platform.node() and owner.boot == _boot_id()


def is_alive(owner: Owner) -> bool:
    """Whether the owner's process may still be there; whether it does anything is for its lease to say.

    Only a process of this host can be known to be dead; one of another host is taken to be alive.
    """
    if not is_here(owner):
        return True
    if owner.boot != _boot_id():
        return False
    if owner.pid == os.getpid() and owner.started == _started(owner.pid):
        return owner.nonce in _live
    started = _started(owner.pid)
    return started != "" and started == owner.started


def was_killed(owner: Owner) -> bool:
    """Whether the process of a gone owner died by itself, perhaps of what it did, as far as that can be known.

    It did not if its whole host was started anew, or if the process is still there: stopped, or without that engine.
    """
    if not is_here(owner):
        return True
    return owner.boot == _boot_id() and not is_mine(owner) and not is_alive(owner)


def is_mine(owner: Owner) -> bool:
    """Whether the owner is, or was, an engine of this very process."""
    return is_here(owner) and owner.pid == os.getpid() and owner.started == _started(owner.pid)


def is_own(owner: Owner) -> bool:
    """Whether the owner is an engine of this process that is open."""
    return owner.nonce in _live


@cache
def _namespace() -> str:
    """Where pids are counted: each container has a count of its own."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path, but a name such as pid:[4026531836]
    return ""


@cache
def _boot_id() -> str:
    """What changes when the host is started anew; "" where the system does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return _output("sysctl", "-n", "kern.boottime") if platform.system() == "Darwin" else ""


def _started(pid: int) -> str:
    """When a process started, in whatever unit the system has; "" if there is no such process."""
    if platform.system() == "Linux":
        with contextlib.suppress(OSError, IndexError):
            # The second field may hold blanks and brackets; the fields behind it are counted from the last bracket.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            return "" if fields[0] == "Z" else fields[19]
        return ""
    if platform.system() == "Windows":
        return "running" if str(pid) in _output("tasklist", "/FI", f"PID eq {pid}", "/NH", "/FO", "CSV") else ""
    return _output("ps", "-o", "lstart=", "-p", str(pid))


def _output(*argv: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed words
        return done.stdout.strip()
    return ""
