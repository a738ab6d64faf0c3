"""References: values that will be there when the workflow runs."""

from __future__ import annotations

import keyword
import re
from abc import abstractmethod
from typing import Any, Final, final

#: What may stand after a dot, unless it is a reserved word.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@final
class Ref:
    """A value that will be there when the workflow runs: an input, or something of a step.

    Attributes and items lead further into it; as text it is its placeholder, so it can stand in an f-string.

    Example:
        >>> diff = Ref("steps.diff")
        >>> f"Review {diff.outputs.files[0]}"
        'Review ${{ steps.diff.outputs.files[0] }}'
    """

    __slots__ = ("_expression",)

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int | slice | Ref) -> Ref:
        if isinstance(key, str) and _NAME.fullmatch(key) and not keyword.iskeyword(key):
            return Ref(f"{self._expression}.{key}")
        return Ref(f"{self._expression}[{_subscript(key)}]")

    def __str__(self) -> str:
        return f"${{{{ {self._expression} }}}}"

    def __repr__(self) -> str:
        return f"<Ref {self._expression}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self._expression} has no value yet: decide on it in `when`")

    def __iter__(self) -> Any:
        raise TypeError(f"{self._expression} has no value yet: it cannot be looped over while the workflow is built")


def _subscript(key: Any) -> str:
    """What stands in the brackets; what an expression cannot have there is the compiler's to refuse."""
    if isinstance(key, slice):
        parts = [key.start, key.stop] if key.step is None else [key.start, key.stop, key.step]
        return ":".join("" if part is None else _subscript(part) for part in parts)
    return str(bare(key)) if isinstance(key, Ref) else repr(key)


class Referable:
    """What can stand for a step beside the reference to it."""

    @property
    @abstractmethod
    def ref(self) -> Ref:
        """The reference to the step."""


def bare(value: Any) -> Any:
    """A reference as the expression it stands for, as `when` holds it; anything else as it is."""
    return str(value)[4:-3] if isinstance(value, Ref) else value


#: The item of the `for_each` around, where that has no `as` of its own.
item: Final = Ref("item")
#: The place of the item among the others, from 0.
index: Final = Ref("index")
#: The combination of a `matrix`.
matrix: Final = Ref("matrix")
#: The result of the round before, null in the first one.
previous: Final = Ref("previous")
#: What an approval that came back here said, null before.
feedback: Final = Ref("feedback")
