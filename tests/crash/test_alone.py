"""Nobody but SQLite opens the files of a store: whoever closes such a file takes all locks of this process with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Works on a store in every way there is, and prints what was opened of its files: name and flags.
WORK = """
import contextlib
import io
import json
import os
import os
import sys
from pathlib import Path

db = Path(sys.argv[1]) / "runs.db"
own = {str(db) + suffix for suffix in ("", "-wal", "-shm", "-journal")}
opened = []

def hear(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        if os.path.abspath(os.fsdecode(arguments[0])) in own:
            opened.append([Path(os.fsdecode(arguments[0])).name, arguments[2]])

sys.addaudithook(hear)
from statemachine_flow import Engine, Workflow
from statemachine_flow.cli import main
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.stores.sqlite import SqliteStore

workflow = Workflow("alone")
workflow.run("a", ["printf", "x" * 100_000])
workflow.call("b", lambda: "y" * 2_000_000, needs=["a"])
workflow.approval("c", "?", needs=["b"])
with Engine(db) as engine:
    run = engine.run(workflow)
    engine.events(run.id)
    with Engine(db) as other:
        other.list()
        other.get(run.id)
with contextlib.closing(SqliteStore(db)) as store, contextlib.closing(SqliteStore(db, readonly=True)) as reader:
    for each in (store, reader):
        each.version(), each.rows(RunFilter()), each.row(run.id)
        each.records(run.id), each.requests(), each.match("", 1)
for command in ("list", "status", "events"):
    with contextlib.redirect_stdout(io.StringIO()):
        words = [] if command == "list" else [run.id]
        assert main([command, *words, "--db", str(db), "--json"]) in (0, 8)
print(json.dumps(opened))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="its locks belong to handles, not to processes")
def test_nobody_but_sqlite_opens_the_files_of_a_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    # A file that is there already is not opened by this: it is how a new one is made.
    others = [(name, flags) for name, flags in json.loads(done.stdout) if not flags & os.O_EXCL]
    assert others == []
