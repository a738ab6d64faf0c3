"""What may stand in a field of a document: types that carry their limits and the text of the error."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

#: The language version this library reads and writes.
LANGUAGE_VERSION: Final = "1"

#: A workflow with more steps is refused.
MAX_STEPS: Final = 10_000


def _units(*names: str) -> str:
    return "".join(rf"([0-9]+(\.[0-9]+)?{name})?" for name in names)


DURATION_PATTERN: Final = (
    rf"^((?=[0-9]){_units('w', 'd', 'h', 'm', 's', 'ms')}"
    rf"|P(?=.){_units('W', 'D')}(T(?=[0-9]){_units('H', 'M', 'S')})?)$"
)

# The types below carry what a document may hold: the compiler checks values against them, the published JSON
# Schema is made from them. A description is the text of the error when a value does not fit.

#: Seconds in the model, text such as "30s" in a document.
Seconds = Annotated[
    float,
    msgspec.Meta(extra_json_schema={"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "1h30m"]}),
]

StepId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,63}$",
        description="a step id has lower-case letters, digits, '-' and '_', a letter first, and at most 64",
    ),
]
#: Of inputs and outputs: what an expression can read with a dot, or in brackets when it has a hyphen.
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
        description="a name has letters, digits, '-' and '_', no digit or '-' first, and at most 64",
    ),
]
WorkflowName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9_. -]{0,98}[A-Za-z0-9_.-])?$",
        description="a workflow's name has letters, digits, '_', '.', '-' and inner blanks, a letter or digit "
        "first, and at most 100",
    ),
]

#: What the items of a loop are called: something an expression can begin with.
LoopName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description="a loop's name has lower-case letters, digits and '_', a letter first, and at most 64",
    ),
]
VariableName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$",
        description="an environment variable has letters, digits and '_', no digit first",
    ),
]
Percentage = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$", description="a share is written like '10%', at most 100%"
    ),
]

InputType = Literal["string", "integer", "number", "boolean", "array", "object", "path"]

TriggerRule = Literal["all_success", "none_failed", "all_done", "any_success", "any_failed"]
Delivery = Literal["at_least_once", "at_most_once"]


def document_key(field: str) -> str:
    """The document key of a model field: `with_` is written `with`, everything else as it is named."""
    return field.removesuffix("_")
