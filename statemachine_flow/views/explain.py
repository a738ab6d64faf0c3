"""Kinds of errors, explained: what each means, where it comes from, how it is mended."""

from __future__ import annotations

import difflib
from typing import Final

import attrs

from statemachine_flow import errors
from statemachine_flow.errors import KINDS, UsageError
from statemachine_flow.views.advice import ADVICE, EXAMPLES
from statemachine_flow.views.rules import RULES

#: The first part of a kind, or a whole one -> the class of its errors; a whole one wins.
_CLASSES: Final[dict[str, type[errors.SmfError]]] = {
    "usage": errors.UsageError,
    "definition": errors.DefinitionError,
    "expression": errors.ExpressionError,
    "input": errors.InputError,
    "transition": errors.TransitionRefused,
    "store": errors.StoreError,
    "step": errors.StepError,
    "run": errors.ConflictError,
    "run.not_found": errors.NotFoundError,
    "run.failed": errors.StepError,
    "run.timeout": errors.StepError,
    "run.outputs": errors.StepError,
}


@attrs.frozen(kw_only=True)
class Explanation:
    """All there is to say about a kind of error."""

    kind: str
    meaning: str
    #: Of the command that ends with it.
    exit_code: int
    #: What usually causes it and what to do, in one to three sentences.
    advice: str
    #: Lines of a document; "" where they would say no more.
    example: str
    #: Ids of rules in the language's reference.
    rules: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.kind}: {self.meaning} (exit code {self.exit_code})", self.advice, self.example]
        if self.rules:
            parts.append(f"rules: {', '.join(self.rules)}")
        return "\n".join(filter(None, parts))


def _close(kind: str) -> list[str]:
    """The kinds that were probably meant, in whole or by the part behind the dot."""
    words = {**{known.rpartition(".")[2]: known for known in KINDS}, **{known: known for known in KINDS}}
    found = difflib.get_close_matches(kind, words, n=1, cutoff=0.6)
    return [words[word] for word in found]


def explain(kind: str) -> Explanation:
    """Explain a kind of error.

    Args:
        kind: a key of `errors.KINDS`; the part behind the dot will do where it is unmistakable.

    Raises:
        UsageError: there is no such kind; the hint names the nearest.

    Example:
        >>> print(explain("definition.duplicate"))
        definition.duplicate: a list names the same thing twice (exit code 3)
        Remove one of the two.
        rules: ...
    """
    if kind not in KINDS:
        ends = [known for known in KINDS if known.rpartition(".")[2] == kind]
        if len(ends) != 1:
            close = ends or _close(kind)
            hint = f"did you mean {' or '.join(repr(known) for known in close)}?" if close else None
            raise UsageError(f"there is no kind of error {kind!r}", hint=hint or "`smf explain` lists all kinds")
        kind = ends[0]
    owner = _CLASSES.get(kind) or _CLASSES.get(kind.partition(".")[0], errors.SmfError)
    return Explanation(
        kind=kind,
        meaning=KINDS[kind],
        exit_code=owner.exit_code,
        advice=ADVICE[kind],
        example=EXAMPLES.get(kind, ""),
        rules=tuple(RULES.get(kind, "").split()),
    )
