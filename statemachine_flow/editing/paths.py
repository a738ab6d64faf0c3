"""Paths as people write them, and the places that people expect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from statemachine_flow.compiler.source import Path, dotted, quoted
from statemachine_flow.editing.roles import in_order, role_at
from statemachine_flow.errors import UsageError

_MOST_SHOWN: Final = 3
_PART: Final = re.compile(r"""\.?(?:([\w-]+)|\[([0-9]+)\]|\["([^"]*)"\])""")


def parts_of(path: str | Path) -> Path:
    """The parts of a path.

    Raises:
        UsageError: the text is no path.

    Example:
        >>> parts_of('steps.build.env["A B"]'), parts_of("steps.a.needs[0]")
        (('steps', 'build', 'env', 'A B'), ('steps', 'a', 'needs', 0))
    """
    if not isinstance(path, str):
        return tuple(path)
    parts: list[str | int] = []
    position = 0
    while position < len(path):
        match = _PART.match(path, position)
        if match is None:
            raise UsageError(f"{quoted(path)} is no path", hint='write it like steps.build.needs[0], or env["A B"]')
        plain_key, index, key = match.groups()
        parts.append(int(index) if index is not None else plain_key if plain_key is not None else key)
        position = match.end()
    return tuple(parts)


def expected_place(parent: dict[str, Any], path: Path) -> str | None:
    """The key that a new one of a document or a step comes behind, for people to find it."""
    role = role_at(path[:-1])
    if role not in ("document", "step"):
        return None
    ordered = list(in_order({**dict.fromkeys(parent), path[-1]: None}, role))
    before = ordered[: ordered.index(path[-1])]
    return max(before, key=list(parent).index, default=None)


def shown(paths: Sequence[Path]) -> str:
    """The first of several paths, for a message."""
    shown = ", ".join(dotted(path) for path in paths[:_MOST_SHOWN])
    more = len(paths) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
