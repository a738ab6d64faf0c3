"""References: values that will be there when the workflow runs."""

from __future__ import annotations

from typing import Any, final


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
        return Ref(f"{self._expression}.{name}")

    def __getitem__(self, key: str | int) -> Ref:
        if isinstance(key, str) and key.isidentifier() and not key.startswith("_"):
            return Ref(f"{self._expression}.{key}")
        return Ref(f"{self._expression}[{key!r}]")

    def __str__(self) -> str:
        return f"${{{{ {self._expression} }}}}"

    def __repr__(self) -> str:
        return f"<Ref {self._expression}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self._expression} has no value yet: decide on it in `when`")

    def __iter__(self) -> Any:
        raise TypeError(f"{self._expression} has no value yet: it cannot be looped over while the workflow is built")
