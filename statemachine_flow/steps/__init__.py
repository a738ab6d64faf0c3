"""What a step can do: one module per verb, listed in `VERBS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from statemachine_flow.model import Verb
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run

#: Document key -> verb, in the order documents name them.
VERBS: Final[Mapping[str, type[Verb]]] = {"call": Call, "run": Run}
