"""Facts about a SQLite store: what it is, where it lies, how it is set, and who works on its runs."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any, Final

import apsw

from statemachine_flow.stores.database import Database
from statemachine_flow.stores.files import COMPANIONS
from statemachine_flow.stores.filesystem import kind_of_filesystem
from statemachine_flow.stores.queries import SQL

_SYNCHRONOUS: Final = ("off", "normal", "full", "extra")


def health(database: Database) -> dict[str, Any]:
    """The facts by name, all of them plain values.

    Raises:
        StoreError: the store cannot be read.
    """
    path = database.path
    files = [path, *(Path(f"{path}{suffix}") for suffix in COMPANIONS), path.with_name(f"{path.name}.blobs")]
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in files if file.exists()}
    runs = database.read(SQL["extents"], ())
    owners = database.read(SQL["owners"], ())
    return {
        "store": str(path),
        "sqlite": apsw.sqlite_lib_version(),
        "schema": database.pragma("user_version"),
        "journal_mode": database.pragma("journal_mode"),
        "synchronous": _SYNCHRONOUS[int(str(database.pragma("synchronous")))],
        "filesystem": kind_of_filesystem(path.parent) or "unknown",
        "free_bytes": shutil.disk_usage(path.parent).free,
        "file_bytes": _size(path),
        "log_bytes": _size(Path(f"{path}-wal")),
        "modes": {file.name: f"{mode:04o}" for file, mode in modes.items()},
        "exposed": [file.name for file, mode in modes.items() if os.name == "posix" and mode & 0o077],
        "runs": len(runs),
        "damaged_rows": sum(not is_whole for *_, is_whole in runs),
        "owners": [{"run": str(run_id), "owner": str(owner)} for run_id, owner in owners],
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
