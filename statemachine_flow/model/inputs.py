"""Declared inputs of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import attrs
import msgspec

from statemachine_flow.model.kinds import InputType

_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "path": (str,),
}


@attrs.frozen(kw_only=True)
class Input:
    """One declared input of a workflow."""

    #: What values it takes; a `path` is text, made absolute when the run starts.
    type: InputType = "string"
    #: Used when the run gives none.
    default: Any = None
    #: The only values allowed; by default all are.
    enum: Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)] | None = None
    #: Whether a run must give it; by default exactly when there is no default.
    required: bool | None = None
    #: Whether its value is never stored nor shown; a secret is text.
    secret: bool = False
    #: For people.
    description: str = ""

    @property
    def must_be_given(self) -> bool:
        """Whether a run without it is refused."""
        return self.default is None if self.required is None else self.required

    def has_type(self, value: object) -> bool:
        """Whether a value is of the declared type; `true` is no number, and `1.0` no integer."""
        return type(value) in _PYTHON_TYPES[self.type]
