"""Programs whose files may not grow for a while: once the engine says that something is held, there is room again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: What the programs may use: what was `said`, the `bodies` they count, and `may_grow_to`.
_BEFORE = """
import collections, json, logging, resource, sys
from statemachine_flow import Engine, StepContext, Workflow

bodies, said = collections.Counter(), []
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

def may_grow_to(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))

class MakeRoom(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

logging.getLogger("statemachine_flow").addHandler(MakeRoom())
"""


def run_short_of_room(program: str, store: Path) -> Any:
    """Run a program in a process of its own, in which nothing may go wrong.

    Args:
        program: its text; the store is `sys.argv[1]`.
        store: the store.

    Returns:
        What it printed, as JSON.
    """
    argv = [sys.executable, "-W", "error", "-c", _BEFORE + program, str(store)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)
