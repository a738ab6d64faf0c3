"""Groups of processes: signal one, and see whether anybody in it is alive.

A group is known by the number of the process that leads it; who may still trust that number is the caller's
business.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def signal_group(group: int, number: int) -> bool:
    """Signal a group; 0 only asks. Whether there is anybody in it that this process may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def is_alive(group: int) -> bool:
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
