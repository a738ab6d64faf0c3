"""The nouns of a workflow: frozen values without behaviour, the same whatever text or code they came from.

A `Definition` is a checked workflow. Placeholders and expressions in it are still text; `plan` compiles them.
`Definition.tree` gives the one canonical form: plain data with defaults left out, from which the content hash
and the TOML, YAML and JSON writers are made.

Layout, each module importing only from those above it:
    kinds       what may stand in a field
    verb        what a step does; each kind has a module of its own in `steps`
    inputs      declared inputs
    step        a step with its policies, loops and routes
    tree        the canonical tree of a noun
    definition  a whole workflow
"""

from statemachine_flow.model.definition import Budget, CheckpointPolicy, Defaults, Definition
from statemachine_flow.model.inputs import Input
from statemachine_flow.model.kinds import (
    DURATION_PATTERN,
    LANGUAGE_VERSION,
    MAX_STEPS,
    Delivery,
    InputType,
    LoopName,
    Name,
    Percentage,
    Seconds,
    StepId,
    TriggerRule,
    VariableName,
    WorkflowName,
    document_key,
)
from statemachine_flow.model.step import END, ForEach, Repeat, RetryPolicy, Route, Step
from statemachine_flow.model.verb import Finding, Verb

__all__ = [
    "DURATION_PATTERN",
    "END",
    "LANGUAGE_VERSION",
    "MAX_STEPS",
    "Budget",
    "CheckpointPolicy",
    "Defaults",
    "Definition",
    "Delivery",
    "Finding",
    "ForEach",
    "Input",
    "InputType",
    "LoopName",
    "Name",
    "Percentage",
    "Repeat",
    "RetryPolicy",
    "Route",
    "Seconds",
    "Step",
    "StepId",
    "TriggerRule",
    "VariableName",
    "Verb",
    "WorkflowName",
    "document_key",
]
