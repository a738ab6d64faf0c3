"""What a step that is about to complete gives: its result, the names over it, its declared outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from statemachine_flow.engine.outcome import Outcome
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import SmfError, StepError
from statemachine_flow.journal import StepFold
from statemachine_flow.output_schema import conform
from statemachine_flow.plan import Node
from statemachine_flow.steps.base import ExecutableVerb
from statemachine_flow.values import encode_value


def result_of(rules: Rules, node: Node, outcome: Outcome) -> Any:
    """The result of a body that just ended, decoded."""
    step = as_completed(rules, node, outcome)
    return rules.names.results.output(node.step, step, is_loop=node.is_loop)


def result_names(rules: Rules, node: Node, outcome: Outcome) -> dict[str, Any]:
    """The names that expressions over a result may use."""
    result = result_of(rules, node, outcome)
    verb = node.step.verb
    if isinstance(verb, ExecutableVerb) and isinstance(result, Mapping):
        return dict(verb.output_names(result))
    return {"result": result}


def as_completed(rules: Rules, node: Node, outcome: Outcome) -> StepFold:
    """What the step is going to look like."""
    output = msgspec.Raw(outcome.output) if outcome.output else None
    outputs = None if outcome.outputs is None else msgspec.Raw(outcome.outputs)
    step = rules.fold.step(node.path)
    return msgspec.structs.replace(
        step, state="completed", output=output, outputs=outputs, blob=outcome.blob, error=None
    )


def with_outputs(rules: Rules, node: Node, outcome: Outcome) -> Outcome:
    """Hold the result of a step that has no body of its own to its schema, and compute what it declares.

    Raises:
        StepError: `step.schema`, `step.outputs`.
    """
    step = node.step.step
    if not node.is_loop and step.output_schema is not None:
        conform(step.output_schema, result_of(rules, node, outcome))
    kept = rules.names.hide_encoded(outcome.output)
    if kept is not outcome.output:
        outcome = msgspec.structs.replace(outcome, output=kept)
    if node.is_loop or not step.outputs:
        return outcome
    result = result_of(rules, node, outcome)
    member = next(iter(node.inner.nodes.values()), node) if node.inner is not None else node
    names = rules.names(member, {"result": result})
    values: dict[str, Any] = {}
    for name, expression in node.step.outputs.items():
        try:
            values[name] = expression.evaluate(names)
        except SmfError as error:
            message = f"output '{name}' cannot be computed: {error}"
            raise StepError(message, kind="step.outputs", name="OutputsError") from error
    return msgspec.structs.replace(outcome, outputs=encode_value(rules.names.hide(values)))
