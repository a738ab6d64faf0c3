"""The verb `steps`: steps inside a step, which share its condition, its timeout and its retries."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import attrs
import msgspec

from statemachine_flow.model import MAX_STEPS, Step, Verb


@final
@attrs.frozen(kw_only=True)
class Group(Verb):
    """Carry out a level of steps; the output is a mapping of their ids to the outputs of those that completed."""

    key: ClassVar[str] = "steps"

    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    #: The step that a level of states begins with; a graph has none.
    start: str | None = None
