"""What is wrong with a document, as a compiler shows it: the place, the message, the line with a caret, the advice."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from statemachine_flow.cli.output import join_parts, paint, sanitize
from statemachine_flow.errors import Position, Problem

#: How much of a long line stands before and behind the caret.
_BEFORE: Final = 60
_BEHIND: Final = 60


def problem_text(problem: Problem) -> str:
    """A problem in one to four lines.

    Example:
        >>> print(problem_text(Problem(kind="definition.type", message="expected text", source_line="name = 5",
        ...     position=Position("a.toml", 2, 8), hint="put it in quotes")))
        a.toml:2:8: error[definition.type]: expected text
        2 | name = 5
          |        ^
          = put it in quotes
    """
    colour = "red" if problem.severity == "error" else "yellow"
    kind = paint(f"{problem.severity}[{problem.kind}]:", colour, sys.stderr)
    if problem.position is None:
        where = f"at {problem.path}" if problem.path else None
        return f"{kind} {join_parts(problem.message, where, problem.hint)}"
    lines = [f"{sanitize(str(problem.position))}: {kind} {sanitize(problem.message)}"]
    gutter = " " * len(str(problem.position.line))
    if problem.source_line is not None:
        shown, caret = _cut(problem.source_line, problem.position.column - 1)
        lines += [
            f"{problem.position.line} | {shown}".rstrip(),
            f"{gutter} | {' ' * caret}{paint('^', colour, sys.stderr)}",
        ]
    if problem.hint:
        lines.append(f"{gutter} = {sanitize(problem.hint)}")
    return "\n".join(lines)


def _cut(line: str, index: int) -> tuple[str, int]:
    """The part of a line around a character, fit for a terminal, and the columns before that character."""
    start = max(0, index - _BEFORE) if len(line) > _BEFORE + _BEHIND else 0
    dots = "..." if start else ""
    before = dots + sanitize(line[start:index].replace("\t", " "))
    behind = sanitize(line[index:].replace("\t", " "), _BEHIND)
    return (before + behind).rstrip(), sum(_width(character) for character in before)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def problem_data(problem: Problem) -> dict[str, Any]:
    """A problem for `--json`: the same keys always, null where there is nothing to say."""
    position: Position | None = problem.position
    return {
        "kind": problem.kind,
        "severity": problem.severity,
        "message": problem.message,
        "path": problem.path,
        "file": position and position.file,
        "line": position and position.line,
        "column": position and position.column,
        "hint": problem.hint,
    }


def problems_text(problems: Iterable[Problem]) -> str:
    """Problems below each other."""
    return "\n".join(problem_text(problem) for problem in problems)
