"""The paths of steps in a run: what they name in the document, and what the states along them add up to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

#: The key of an item; brackets inside a key are escaped.
_KEY: Final = re.compile(r"\[[^\[\]]*\]")
#: Of several states, the one that says most about all of them.
_LOUDEST: Final = (
    "failed",
    "running",
    "waiting",
    "interrupted",
    "backing_off",
    "cancelled",
    "pending",
    "skipped",
    "completed",
)
_AT_REST: Final = frozenset({"completed", "failed", "skipped", "cancelled"})


def place_of(path: str) -> str:
    """The step of the document that a path of a run names: its path without the keys of items.

    Example:
        >>> place_of("review[src/a.py]/lint"), place_of("@finally/cleanup")
        ('review/lint', '@finally/cleanup')
    """
    return _KEY.sub("", path)


@attrs.frozen
class Progress:
    """How far a step of the document is in a run, over all its items."""

    #: Its own state, or the one of its items that says most.
    state: str
    #: Items at rest, and items in all; None for a step without items.
    items: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.state if self.items is None else f"{self.state} {self.items[0]}/{self.items[1]}"


def progress(states: Mapping[str, str]) -> dict[str, Progress]:
    """Add up the states of a run by the places of its document.

    Args:
        states: path -> state.

    Example:
        >>> found = progress({"review": "waiting", "review[a]": "completed", "review[b]": "running"})
        >>> str(found["review"])
        'waiting 1/2'
    """
    own: dict[str, str] = {}
    items: dict[str, Counter[str]] = {}
    for path, state in states.items():
        place = place_of(path)
        if place == path:
            own[place] = state
        else:
            items.setdefault(place, Counter())[state] += 1
    return {
        place: Progress(own.get(place) or _loudest(items[place]), _count(items.get(place)))
        for place in dict.fromkeys([*own, *items])
    }


def _loudest(counts: Iterable[str]) -> str:
    found = set(counts)
    return next((state for state in _LOUDEST if state in found), "pending")


def _count(counts: Counter[str] | None) -> tuple[int, int] | None:
    if counts is None:
        return None
    return sum(count for state, count in counts.items() if state in _AT_REST), counts.total()
