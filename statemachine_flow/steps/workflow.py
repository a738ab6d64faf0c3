"""The verb `workflow`: a child run with an id, a journal and a machine of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs

from statemachine_flow.model import Definition, Verb


@final
@attrs.frozen(kw_only=True)
class Child(Verb):
    """Start a run of another workflow; its outputs are the step's output."""

    key: ClassVar[str] = "workflow"
    templates: ClassVar[tuple[str, ...]] = ("with_",)

    #: A name the engine was given, a file beside the document, or a whole workflow.
    workflow: str | Definition
    #: The child's inputs; placeholders keep their types.
    with_: Mapping[str, Any] = attrs.field(factory=dict)
