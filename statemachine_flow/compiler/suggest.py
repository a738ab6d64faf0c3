"""Advice for words a document got wrong: the nearest known word, or why it is not known."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Final

#: Words of the language that this version does not have yet.
LATER: Final = frozenset(("sandbox",))

#: What other tools call it -> our words, of which the first that is known counts.
_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "after": ("needs",),
    "allow_failure": ("optional",),
    "always": ("finally",),
    "args": ("with",),
    "arguments": ("with",),
    "catch": ("on_failure",),
    "cmd": ("run",),
    "command": ("run",),
    "condition": ("when",),
    "continueOnError": ("continue_on_error", "optional"),
    "depends": ("needs",),
    "depends_on": ("needs",),
    "dependencies": ("needs",),
    "dependsOn": ("needs",),
    "ensure": ("finally",),
    "environment": ("env",),
    "forEach": ("for_each",),
    "foreach": ("for_each",),
    "function": ("call",),
    "goto": ("next",),
    "group": ("steps",),
    "if": ("when",),
    "initial": ("start",),
    "initial_state": ("start",),
    "jobs": ("steps",),
    "join": ("trigger_rule",),
    "loop": ("for_each", "repeat"),
    "manual": ("approval",),
    "nodes": ("steps",),
    "onFailure": ("on_failure",),
    "on_error": ("on_failure",),
    "parallelism": ("max_parallel",),
    "params": ("with", "inputs"),
    "parameters": ("inputs", "with"),
    "requires": ("needs",),
    "retries": ("retry",),
    "rollback": ("compensate",),
    "schema": ("output_schema",),
    "script": ("run",),
    "shell": ("run",),
    "sleep": ("wait",),
    "states": ("steps",),
    "strategy": ("matrix",),
    "sub_workflow": ("workflow",),
    "subworkflow": ("workflow",),
    "tasks": ("steps",),
    "transitions": ("next",),
    "undo": ("compensate",),
    "uses": ("call", "workflow"),
    "while": ("repeat",),
    "with_items": ("for_each",),
    "working_directory": ("cwd",),
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
        >>> field_hint("depends_on", ["needs", "when"]), field_hint("sandbox", ["needs"])
        ("did you mean 'needs'?", "this version of the library does not have 'sandbox' yet")
    """
    if word in LATER:
        return f"this version of the library does not have '{word}' yet"
    for elsewhere in _ELSEWHERE.get(word, ()):
        if elsewhere in known:
            return f"did you mean '{elsewhere}'?"
    return did_you_mean(word, known) or "known here: " + ", ".join(known)
