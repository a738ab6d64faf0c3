"""New stores for rehearsals: in memory, or files in a folder that does not stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from statemachine_flow.stores.base import Store
from statemachine_flow.stores.memory import MemoryStore
from statemachine_flow.testing.places import Places

_FOLDER: Final = "smf-rehearsal-"


@contextlib.contextmanager
def stores(kind: Literal["memory", "sqlite"] | None, places: Places) -> Iterator[Callable[[], Store]]:
    """What makes a new store.

    Args:
        kind: in memory, or SQLite files in a temporary folder that is removed at the end; None for whichever is needed.
        places: of the workflow that is run: `transaction` steps need a file.

    Example:
        >>> from statemachine_flow.builder import Workflow
        >>> workflow = Workflow("one")
        >>> _ = workflow.run("a", ["true"])
        >>> with stores(None, Places(workflow)) as new_store:
        ...     print(new_store().name)
        memory://
    """
    needs_file = any(getattr(step.verb, "transaction", False) for _, step in places.all())
    if kind == "memory" or (kind is None and not needs_file):
        yield MemoryStore
        return
    from statemachine_flow.stores.sqlite import SqliteStore  # noqa: PLC0415 - apsw is loaded only where it is used

    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as folder:
        numbers = iter(range(1 << 62))
        yield lambda: SqliteStore(Path(folder, f"{next(numbers)}.db"), durability="process")


def _sweep() -> None:
    """Remove the folders of rehearsals that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        pid = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if pid.isdecimal() and not _is_process(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
