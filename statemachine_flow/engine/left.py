"""Tasks that do not end when they are asked to: nobody waits for them, and nobody is told of them."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from typing import Any


def leave(task: asyncio.Task[Any]) -> None:
    """Nobody waits for a task any more: if its loop is closed before it ends, Python need not say so, too."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does for its own


def leave_for_good(task: asyncio.Task[Any]) -> None:
    """The same for one that has not listened.

    What swallows its cancellation may swallow `GeneratorExit` as well. Python raises that in a coroutine that nobody
    refers to any more, at the latest at its own end, and would never come back. So somebody always refers to it.
    """
    leave(task)
    if sys.implementation.name != "cpython" or task.done():
        return
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
    task.add_done_callback(_let_go)


def _let_go(task: asyncio.Task[Any]) -> None:
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(task))
