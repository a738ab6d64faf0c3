r"""The one way out: every piece of data that is printed as text passes `sanitize`, every JSON text `to_json`.

What is said and written passes once more on its way out: no control character leaves but line ends, tabs and the
colours of `paint`, whatever a caller forgot. A document that goes into a file or a pipe stays as it is, see `write`.

A reader that goes away (`| head -1`) ends the printing, never the work: `write` lets the BrokenPipeError out for the
caller that prints last, `say` swallows it. Streams are prepared so that no character can be one too many for them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

from statemachine_flow.views.escape import sanitize as sanitize, sanitize_lines  # noqa: PLC0414 - commands take it from here

_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}
#: What `paint` writes; in a group, so that splitting keeps it.
_PAINT: Final = re.compile("(\x1b\\[(?:0|1|2|3[1-4])m)")

#: Run and step states -> colour; other states have none.
STATE_COLOURS: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "red",
    "cancelling": "red",
    "quarantined": "red",
    "running": "blue",
    "paused": "yellow",
    "waiting": "yellow",
    "backing_off": "yellow",
    "interrupted": "yellow",
}


def join_parts(*parts: str | None) -> str:
    """What happened - where - what to do, as far as each is known, in one line."""
    return " - ".join(sanitize(part) for part in parts if part)


def error_line(kind: str, *parts: str | None) -> str:
    """An error as a line for stderr; see `join_parts`."""
    return f"{paint(f'error[{kind}]:', 'red', sys.stderr)} {join_parts(*parts)}"


def prepare_streams() -> None:
    """Make stdout and stderr take every character, and be there even if the caller closed them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - it stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str, *, exact: bool = False) -> None:
    """Print data to stdout.

    Args:
        text: without its last line end.
        exact: it is a document: every character counts, except to a terminal.

    Raises:
        BrokenPipeError: the reader went away.
        UsageError: `usage.output`: the text cannot be written, for instance because a disk is full.
    """
    try:
        sys.stdout.write((text if exact and not sys.stdout.isatty() else _harmless(text)) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
        raise
    except OSError as error:
        from statemachine_flow.errors import UsageError  # noqa: PLC0415 - only when it is needed

        _silence(sys.stdout)
        raise UsageError(f"cannot write to stdout: {error.strerror or error}", kind="usage.output") from error


def say(text: str) -> None:
    """Talk to the user on stderr. If nobody listens any more, nothing happens."""
    try:
        sys.stderr.write(_harmless(text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        _silence(sys.stderr)


def show_over(text: str, before: str) -> None:
    """Show a line on stderr in the place of the one before, without ending it; plain, for any terminal.

    Args:
        text: what is shown; "" for nothing.
        before: what was shown there before.
    """
    try:
        sys.stderr.write("\r" + sanitize(text).ljust(len(before)) + ("" if text else "\r"))
        sys.stderr.flush()
    except (OSError, ValueError):
        _silence(sys.stderr)


def _harmless(text: str) -> str:
    return "".join(part if _PAINT.fullmatch(part) else sanitize_lines(part) for part in _PAINT.split(text))


def _silence(stream: TextIO) -> None:
    """Lead the stream nowhere, so that what it still holds does not fail again when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def to_json(value: Any, *, pretty: bool = False) -> str:
    r"""A value of a workflow as JSON in ASCII, valid whatever it holds.

    Example:
        >>> print(to_json({"a": float("nan"), 1: (b"x", "\x9b")}))
        {"a": "nan", "1": ["x", "\u009b"]}
    """
    from statemachine_flow.values import jsonable  # noqa: PLC0415 - `smf --help` has no values to show

    return json.dumps(jsonable(value), allow_nan=False, indent=2 if pretty else None)


def uses_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`: NO_COLOR forbids it, FORCE_COLOR demands it, else a terminal decides."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str | None, stream: TextIO | None = None) -> str:
    """`text` in a colour, if `stream` (by default stdout) takes one; safe text only, for it is not escaped here."""
    if colour is None or not uses_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def paint_state(state: str, shown: str | None = None, stream: TextIO | None = None) -> str:
    """A state in its colour; `shown` is the text to show for it, such as one with blanks around it."""
    return paint(shown or state, STATE_COLOURS.get(state), stream)


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], *, state: int) -> str:
    """Rows in aligned columns, the last one as long as it likes.

    Args:
        header: the columns' names.
        rows: cells as plain text; they are sanitized here.
        state: the column that holds a state, which gets its colour.

    Example:
        >>> print(columns(["ID", "STATE"], [["a1", "failed"], ["b", "completed"]], state=1))
        ID  STATE
        a1  failed
        b   completed
    """
    cells = [list(header), *([sanitize(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(header))]
    lines = []
    for number, row in enumerate(cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        padded[-1] = row[-1]
        if number > 0:
            word = row[state].partition(" ")[0]
            padded[state] = paint_state(word, padded[state])
        lines.append("  ".join(padded).rstrip())
    lines[0] = paint(lines[0], "bold")
    return "\n".join(lines)
