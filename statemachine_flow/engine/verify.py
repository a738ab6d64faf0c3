"""Ask a step's `verify` function whether an attempt that was cut off took effect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal, cast, final

import attrs

from statemachine_flow.engine.outcome import failed
from statemachine_flow.errors import StepError
from statemachine_flow.plan import PlannedStep
from statemachine_flow.steps.base import Attempt
from statemachine_flow.steps.invoke import fill, fresh, invoke
from statemachine_flow.steps.parameters import accepted, shape_of

#: What may be said of an attempt.
Ending = Literal["completed", "failed", "retry"]
_ENDINGS: Final = ("completed", "failed", "retry")


@final
@attrs.frozen
class Verdict:
    """What became of an attempt that was cut off.

    Example:
        >>> verdict_of("retry"), verdict_of({"as": "completed", "output": {"id": 7}})
        (Verdict(as_='retry'), Verdict(as_='completed'))
    """

    #: `retry`: it had no effect, and the step may begin again.
    as_: Ending
    #: The step's output, if it completed.
    output: Any = attrs.field(default=None, repr=False)


async def verify_attempt(planned: PlannedStep, attempt: Attempt, names: Mapping[str, Any]) -> Verdict:
    """Call the step's `verify` function.

    Args:
        planned: the step; it has a `verify`.
        attempt: the attempt that was cut off.
        names: what the placeholders under `with` may read.

    Returns:
        What the function said. The output is as it came: `completed` checks it and takes the secrets out.

    Raises:
        StepError: the function raised something, or what it returned is no verdict; told without the run's secrets.
        asyncio.CancelledError: the caller gave up.
    """
    try:
        return await _ask(planned, attempt, names)
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        told = failed(error, attempt.redactor).error
        if told is None:
            raise
        message = f"`verify` gave no answer: {told.name}: {told.message}"
        raise StepError(message, kind=told.kind, name=told.name) from error


async def _ask(planned: PlannedStep, attempt: Attempt, names: Mapping[str, Any]) -> Verdict:
    name = planned.step.verify
    if name is None:
        raise StepError("the step has no `verify`", kind="internal")
    if attempt.stand_in is not None and (said := attempt.stand_in.verdict(attempt)) is not None:
        return verdict_of(said)
    function = attempt.functions.resolve(name)
    template = planned.templates.get("with_")
    given = getattr(planned.verb, "with_", {}) if template is None else template.render(names)
    arguments = accepted(function, fresh(given))
    context = shape_of(function).context
    if context is not None:
        arguments.pop(context, None)  # the step's own function may take it from `with`
    fill(arguments, context, attempt.context, "the attempt's context")
    return verdict_of(await invoke(function, attempt, **arguments))


def verdict_of(said: Any) -> Verdict:
    """What somebody said of an attempt: "completed", "failed" or "retry", or a mapping of `as` and `output`.

    Raises:
        StepError: it is nothing of the kind.
    """
    as_, output, rest = said, None, set()
    if isinstance(said, Verdict):
        return said
    if isinstance(said, Mapping):
        as_, output, rest = said.get("as"), said.get("output"), said.keys() - {"as", "output"}
    if not isinstance(as_, str) or as_ not in _ENDINGS or rest or (output is not None and as_ != "completed"):
        hint = "return 'completed', 'failed' or 'retry', or {'as': 'completed', 'output': ...}"
        raise StepError(f"a value of the type {type(said).__name__} is no verdict", name="TypeError", hint=hint)
    return Verdict(cast(Ending, as_), output)
