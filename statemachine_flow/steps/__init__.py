"""What a step can do: one module per verb, listed in `VERBS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from statemachine_flow.model import Verb
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait
from statemachine_flow.steps.workflow import Child

#: Document key -> verb, in the order documents name them.
VERBS: Final[Mapping[str, type[Verb]]] = {verb.key: verb for verb in (Call, Run, Agent, Child, Approval, Wait, Group)}
