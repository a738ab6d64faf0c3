"""Functions that tests call in processes of their own, which import this module."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from statemachine_flow.errors import StepError
from statemachine_flow.steps.base import StepContext


def echo(value: Any = None) -> Any:
    return value


def values() -> Any:
    return [None, {"a": [1, 2.5, "ü", b"\x00"]}, {1, 2}, (1, (2,)), 2**70, "x" * 300_000]


def pid() -> int:
    return os.getpid()


def about(context: StepContext) -> dict[str, Any]:
    fields = ("run_id", "workflow", "step_id", "path", "attempt", "generation", "key", "idempotency_key", "epoch")
    return {field: getattr(context, field) for field in fields} | {"cancelled": context.cancelled}


def where_the_secret_is(context: StepContext) -> dict[str, bool]:
    """Whether the secret is in the context, and where else it would show."""
    secret = context.secrets["TOKEN"]
    return {
        "context": secret == "hush-hush",
        "argv": secret in " ".join(sys.orig_argv),
        "environ": secret in os.environ.values(),
    }


def talk(context: StepContext) -> None:
    print("printed")  # noqa: T201 - where it goes is what is tested
    context.logger.warning("half of %s, %s", "it", context.secrets.get("TOKEN"))
    context.logger.debug("details")
    sys.stdin.read()


async def wait_a_turn(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def promise(value: Any) -> Any:
    return wait_a_turn(value)


class TideError(ValueError):
    pass


def fail(message: str) -> None:
    raise TideError(message)


def fail_as_step() -> None:
    raise StepError("no route", kind="step.route", name="Lost")


def leave(how: str) -> None:
    """End the process without an answer."""
    if how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "babble":
        for descriptor in range(3, 30):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"\0\0\0\4what")
        signal.pause()
    raise SystemExit(5)


def die_once(place: str, context: StepContext) -> int:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(place).write_text("done", encoding="ascii")
    return context.attempt


def raise_no_unicode(context: StepContext) -> None:
    """Raise, and log, text that no encoding takes: the name of a file that is no UTF-8 comes so."""
    context.logger.warning("no such file: caf\udce9")
    raise FileNotFoundError("caf\udce9")


def come_back_twice() -> str:
    """Fork, and let the other process come back too, and last."""
    parent = os.getpid()
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.close(writable)
        os.read(readable, 1)  # until the parent has ended
        raise ValueError("from the fork")
    return f"from {parent == os.getpid()}"


def close_all(place: str, first: int, how: str, context: StepContext) -> str:
    """Close what one did not open, and open a file, which then has the number of what was the way back."""
    print("some words", end="")  # noqa: T201 - they lie in a buffer while their descriptor is closed
    os.closerange(first, 256)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT)
    context.logger.warning("nobody hears this")
    if how == "raise":
        raise ValueError(descriptor)
    return f"{descriptor}"


def close_printing() -> int:
    """Print, and close what is printed to."""
    print("some words", end="")  # noqa: T201 - as above
    os.close(1)
    return 1


def leave_a_thread(place: str) -> int:
    """Return, with a thread that goes on for long; it says who it belongs to once Python waits for it."""

    def go_on() -> None:
        threading.main_thread().join()
        Path(place).write_text(f"{os.getpid()} {os.getpid()}", encoding="ascii")
        time.sleep(600)

    threading.Thread(target=go_on).start()
    return 1


def unkeepable() -> Any:
    return object()


def hang(place: str) -> None:
    """Start a command, say who both are, and never end."""
    with subprocess.Popen(["sleep", "600"]) as command:
        Path(place).write_text(f"{os.getpid()} {command.pid}", encoding="ascii")


def hang_on(place: str, context: StepContext) -> None:
    """Ignore that it is asked to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(place)


def tidy(place: str, context: StepContext) -> None:
    """Never end, and tidy up when asked to."""
    try:
        hang(place)
    finally:
        Path(place).with_suffix(".tidy").write_text(context.stop_reason, encoding="ascii")
