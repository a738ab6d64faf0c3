"""What the world does to one run: the outcome of each attempt, the decisions of people, the signals; knows no engine.

A script speaks of steps by their path, or by the path with empty brackets for all items of a loop: `review[]/lint`.
Steps of a child run are spoken of with the child's name before them: `scan!lint`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

_ITEM: Final = re.compile(r"\[[^]]*\]")


class Flaky(Exception):  # noqa: N818 - the name stands in documents
    """An error that is no other error."""


#: What a script may raise; the names of an error are those of its class and of what it is one of.
ERRORS: Final[Mapping[str, type[Exception]]] = {
    "Flaky": Flaky,
    "KeyError": KeyError,
    "ValueError": ValueError,
    "ConnectionError": ConnectionError,
}


def error_names(name: str) -> frozenset[str]:
    """What `retry_on` and `abort_on` may call it."""
    cls = ERRORS[name]
    return frozenset({each.__name__ for each in cls.__mro__} | {f"{cls.__module__}.{cls.__name__}"})


@attrs.frozen
class Outcome:
    """How one attempt ends."""

    #: What it returns; None: a value made from the path and the number of the attempt.
    value: Any = None
    #: A key of `ERRORS`: what it raises instead.
    error: str | None = None
    #: Whether the value tells what the step was given.
    echo: bool = False


@attrs.frozen
class Script:
    """Everything that a run does not decide itself."""

    #: Path -> how attempts 1, 2, ... end; those after the last one return values of their own.
    outcomes: Mapping[str, Sequence[Outcome]] = attrs.field(factory=dict)
    #: Path of an approval -> what is decided the 1st, 2nd, ... time it asks; "silent": nothing, its deadline comes.
    decisions: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    #: Path of a wait for a signal -> whether the 1st, 2nd, ... time a signal is sent to it; else its timeout comes.
    sent: Mapping[str, Sequence[bool]] = attrs.field(factory=dict)
    #: Names of signals that are sent before anybody waits for them, at the first moment when nothing else happens.
    early: Sequence[str] = ()

    def outcome(self, path: str, attempt: int) -> Outcome:
        """How that attempt ends; items of a loop go through their list from different places."""
        outcomes = _listed(self.outcomes, path)
        if not outcomes:
            return Outcome()
        keys = "".join(_ITEM.findall(path))
        place = attempt - 1 + (zlib.crc32(keys.encode()) % len(outcomes) if keys and path not in self.outcomes else 0)
        return outcomes[place] if place < len(outcomes) else Outcome()

    def decision(self, path: str, visit: int) -> str | None:
        """What is decided the n-th time; None where the script does not say."""
        choice: str | None = _nth(_listed(self.decisions, path), visit)
        return choice

    def sends(self, path: str, visit: int) -> bool:
        """Whether a signal is sent for the n-th time of waiting."""
        return _nth(_listed(self.sent, path), visit) is not False


def _listed(table: Mapping[str, Sequence[Any]], path: str) -> Sequence[Any]:
    return table.get(path, table.get(_ITEM.sub("[]", path), ()))


def _nth(values: Sequence[Any], number: int) -> Any:
    return values[number - 1] if number <= len(values) else None


def own_value(path: str, attempt: int) -> dict[str, Any]:
    """What an attempt returns of which the script says nothing: small, and different from one to the next."""
    return {"n": zlib.crc32(f"{path}#{attempt}".encode()) % 5, "at": attempt}


def returned(outcome: Outcome, path: str, attempt: int, arguments: Mapping[str, Any]) -> Any:
    """What an attempt that raises nothing returns."""
    value = own_value(path, attempt) if outcome.value is None else outcome.value
    return {**value, "given": dict(arguments)} if outcome.echo and isinstance(value, dict) else value


def payload(path: str, visit: int) -> dict[str, Any]:
    """What the signal carries that is sent to a step."""
    return own_value(path, visit)


def masked(value: Any) -> Any:
    """A value without what no reference can know of a decision: its time, its digest, the reason a deadline gives."""
    if isinstance(value, Mapping):
        hidden = {"at", "digest", "reason"} if {"decision", "by", "digest"} <= value.keys() else set()
        return {key: masked(item) for key, item in value.items() if key not in hidden}
    return [masked(item) for item in value] if isinstance(value, list | tuple) else value
