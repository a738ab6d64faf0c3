"""One attempt of one step: render its fields, do its work, and say how it ended. Nothing here touches the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import attrs

from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.errors import ExpressionError, StepError
from statemachine_flow.plan import PlannedStep
from statemachine_flow.steps.base import Attempt, ExecutableVerb
from statemachine_flow.values import encode_value

#: Encoded outputs above this lie in a blob instead of the journal.
INLINE_LIMIT: Final = 1 << 20


async def run_attempt(planned: PlannedStep, attempt: Attempt, names: Mapping[str, Any]) -> Outcome | None:
    """Execute one attempt to its end.

    Args:
        planned: the step.
        attempt: what it may use.
        names: what its placeholders may read.

    Returns:
        How it ended; an exception of the user's code is an outcome, never raised from here. None if its task was
        cancelled although nobody here asked for it: the loop is ending, or the step cancelled itself.
    """
    try:
        verb = _rendered(planned, names)
        output = await verb.execute(attempt)
        return _completed(planned, verb, output, attempt, names)
    except asyncio.CancelledError as error:
        if attempt.context.stop_reason:
            return Outcome(status="aborted")
        # User code may raise it for reasons of its own.
        task = asyncio.current_task()
        return None if task is not None and task.cancelling() else failed(error)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is this attempt's outcome
        return failed(error)


def _rendered(planned: PlannedStep, names: Mapping[str, Any]) -> ExecutableVerb:
    verb = planned.verb
    if not isinstance(verb, ExecutableVerb):
        raise StepError(f"the verb '{verb.key}' cannot be executed", kind="internal")
    fields = {name: verb.render_field(name, template, names) for name, template in planned.templates.items()}
    return attrs.evolve(verb, **fields) if fields else verb  # type: ignore[misc]  # verbs are attrs classes


def _completed(
    planned: PlannedStep, verb: ExecutableVerb, output: Any, attempt: Attempt, names: Mapping[str, Any]
) -> Outcome:
    encoded = encode_value(output)
    outputs = _declared(planned, names, verb.output_names(output))
    if len(encoded) <= INLINE_LIMIT:
        return Outcome(status="completed", output=encoded, outputs=outputs)
    spill = attempt.open_spill()
    try:
        spill.write(encoded)
        return Outcome(status="completed", outputs=outputs, blob=spill.finish())
    except BaseException:
        spill.discard()
        raise


def _declared(planned: PlannedStep, names: Mapping[str, Any], own: Mapping[str, Any]) -> bytes | None:
    if not planned.step.outputs:
        return None
    names = {"inputs": names["inputs"], "run": names["run"], **own}
    values: dict[str, Any] = {}
    for name, expression in planned.outputs.items():
        try:
            values[name] = expression.evaluate(names)
        except ExpressionError as error:
            message = f"output '{name}' cannot be computed: {error}"
            raise StepError(message, kind="step.outputs", name="OutputsError") from error
    return encode_value(values)


def timed_out(seconds: float) -> Outcome:
    """The outcome of an attempt that took longer than its timeout."""
    return failed(StepError(f"the attempt took longer than {seconds:g} s", kind="step.timeout", name="TimeoutError"))
