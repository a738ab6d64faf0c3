"""Hostile documents, each in a process of its own that has little memory and little time.

`python -m tests.fuzz.bounded FOLDER` prints a line of JSON per document: its name, and the kind of error, "" if it
was accepted, or what went wrong.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from statemachine_flow.compiler import load_document
from statemachine_flow.errors import DefinitionError
from tests.fuzz.bombs import BOMBS

#: Of memory, above what a process needs that has read nothing yet.
MEMORY = 256 * 1024 * 1024
#: Of processor time, in seconds; the slowest takes a few.
SECONDS = 30
#: Of a report on one document, in characters.
LONGEST = 200_000


def verdict(data: bytes, folder: Path, syntax: str) -> str:
    """What a document is refused as; "" if it is not."""
    path = folder / f"document.{syntax}"
    path.write_bytes(data)
    try:
        load_document(path)
    except DefinitionError as error:
        is_short = len(str(error)) < LONGEST
        return error.kind if is_short else f"a report of {len(str(error))} characters"
    return ""


def alone(work: Callable[[], str]) -> str:
    """Do something in a child with limits; what it says, or how it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _limit()
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is said
            said = f"{type(error).__name__}: {str(error)[:500]}"
        os.write(writer, said.encode(errors="backslashreplace"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"died by {signal.Signals(os.WTERMSIG(status)).name}"
    return said


def _limit() -> None:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def main(folder: str) -> None:
    """Read every bomb."""
    for syntax, text in (("toml", "a = 1"), ("yaml", "a: 1"), ("json", "{}")):  # what is loaded is loaded once
        verdict(text.encode(), Path(folder), syntax)
    for name, bomb in BOMBS.items():
        data = bomb.make()
        said = alone(lambda data=data, bomb=bomb: verdict(data, Path(folder), bomb.format))  # type: ignore[misc]  # bound now
        print(json.dumps([name, said]), flush=True)  # noqa: T201 - it is what this program is for


if __name__ == "__main__":
    main(sys.argv[1])
