"""Advice for words a document got wrong: the nearest known word, or why it is not known."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

#: Words of the language that this version does not have yet.
LATER: Final = frozenset(
    (
        "agent",
        "allow_exit",
        "approval",
        "budget",
        "checkpoint",
        "compensate",
        "delivery",
        "event",
        "finally",
        "for_each",
        "idempotency_key",
        "matrix",
        "max_visits",
        "next",
        "on_failure",
        "output_schema",
        "prompt",
        "repeat",
        "retry_if",
        "sandbox",
        "secrets",
        "start",
        "trigger_rule",
        "verify",
        "wait",
        "workflow",
    )
)

#: What other tools call it -> our word, which counts where it is known.
_ELSEWHERE: Final = {
    "after": "needs",
    "args": "with",
    "arguments": "with",
    "cmd": "run",
    "command": "run",
    "condition": "when",
    "depends_on": "needs",
    "dependencies": "needs",
    "dependsOn": "needs",
    "environment": "env",
    "function": "call",
    "if": "when",
    "parallelism": "max_parallel",
    "params": "with",
    "requires": "needs",
    "retries": "retry",
    "script": "run",
    "shell": "run",
    "working_directory": "cwd",
}

#: Comparing is slow next to checking: a document full of errors gets advice for the first ones.
_MOST_COMPARED: Final = 300
_LENGTHS_APART: Final = 2


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be.

    Args:
        word: as written.
        known: what it could have been; of very many, only the first few hundred of similar length count.

    Example:
        >>> nearest("timout", ["timeout", "retry"]), nearest("x", ["timeout"])
        ('timeout', None)
    """
    similar = (other for other in known if abs(len(other) - len(word)) <= _LENGTHS_APART)
    found = difflib.get_close_matches(word, list(islice(similar, _MOST_COMPARED)), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint for a name that does not exist, or None.

    Example:
        >>> did_you_mean("revieww", ["review", "merge"])
        "did you mean 'review'?"
    """
    found = nearest(word, known)
    return None if found is None else f"did you mean '{found}'?"


def field_hint(word: str, known: Collection[str]) -> str | None:
    """A hint for a field that does not exist where it stands, or None.

    Args:
        word: the field as written.
        known: the fields that exist there.

    Example:
        >>> field_hint("depends_on", ["needs", "when"]), field_hint("for_each", ["needs"])
        ("did you mean 'needs'?", "this version of the library does not have 'for_each' yet")
    """
    if word in LATER:
        return f"this version of the library does not have '{word}' yet"
    elsewhere = _ELSEWHERE.get(word)
    if elsewhere in known:
        return f"did you mean '{elsewhere}'?"
    return did_you_mean(word, known) or "known here: " + ", ".join(known)
