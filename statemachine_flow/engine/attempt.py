"""One attempt of one step: render its fields, do its work, and say how it ended. Nothing here touches the journal."""

from __future__ import annotations

import asyncio
import functools
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from statemachine_flow.engine.outcome import Outcome, failed
from statemachine_flow.engine.unkept import UnkeptError
from statemachine_flow.errors import ExpressionError, StepError
from statemachine_flow.executors.thread import Abandoned
from statemachine_flow.journal import Usage
from statemachine_flow.output_schema import conform
from statemachine_flow.plan import PlannedStep
from statemachine_flow.secrets import NO_SECRETS, Redactor
from statemachine_flow.steps.base import Attempt, ExecutableVerb
from statemachine_flow.steps.call import Call
from statemachine_flow.values import encode_value

#: Encoded outputs above this lie in a blob instead of the journal.
INLINE_LIMIT: Final = 1 << 20
#: Larger results are checked against their schema in a thread, not on the loop that others wait for.
_CHECKED_HERE: Final = 1 << 16


async def run_attempt(planned: PlannedStep, attempt: Attempt, names: Mapping[str, Any]) -> Outcome | None:
    """Execute one attempt to its end.

    Args:
        planned: the step.
        attempt: what it may use.
        names: what its placeholders may read.

    Returns:
        How it ended, without the run's secrets; an exception of the user's code is an outcome, never raised from
        here. None if its task was cancelled although nobody here asked for it: the loop is ending, or the step
        cancelled itself.
    """
    try:
        verb = rendered(planned, names)
        stand_in = attempt.stand_in
        output = await (verb.execute(attempt) if stand_in is None else stand_in.execute(verb, attempt))
        return await _completed(planned, verb, output, attempt, names)
    except UnkeptError:
        raise
    except asyncio.CancelledError as error:
        if attempt.context.stop_reason:
            return Outcome(status="aborted", usage=_usage(attempt), abandoned=isinstance(error, Abandoned))
        # User code may raise it for reasons of its own.
        task = asyncio.current_task()
        return None if task is not None and task.cancelling() else _failed(error, attempt)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is this attempt's outcome
        return _failed(error, attempt)


def run_in(connection: Any, planned: PlannedStep, attempt: Attempt, names: Mapping[str, Any]) -> Outcome:
    """Execute one attempt of a `transaction` step inside the store's transaction, which is the caller's to end.

    Args:
        connection: the store's own.
        planned: the step; its verb is a `call`.
        attempt: what it may use.
        names: what its placeholders may read.

    Returns:
        How it ended; if it is not completed, what the function did with the connection must not be kept.
    """
    try:
        verb = cast(Call, rendered(planned, names))  # no other verb has a `transaction`
        if attempt.stand_in is None:
            output = verb.execute_in(connection, attempt)
        else:
            output = attempt.stand_in.execute_in(verb, connection, attempt)
        return completed(planned, verb, output, attempt, names)
    except UnkeptError:
        raise
    except BaseException as error:  # noqa: BLE001 - as in `run_attempt`
        return _failed(error, attempt)


def completed(
    planned: PlannedStep, verb: ExecutableVerb, output: Any, attempt: Attempt, names: Mapping[str, Any]
) -> Outcome:
    """The outcome of an attempt whose verb gave `output`, or for which somebody else said that it would have.

    Args:
        planned: the step.
        verb: the step's verb.
        output: the result, with secrets if it has some.
        attempt: what the attempt used.
        names: what expressions may read.

    Raises:
        StepError: the result cannot be kept, breaks the schema, or lacks what declared outputs need.
    """
    kept = attempt.redactor.value(output)
    encoded = encode_value(kept)
    _check(attempt, output)
    return _outcome(planned, verb, kept, encoded, attempt, names)


async def _completed(
    planned: PlannedStep, verb: ExecutableVerb, output: Any, attempt: Attempt, names: Mapping[str, Any]
) -> Outcome:
    """`completed`, where a large result keeps nobody waiting."""
    kept = attempt.redactor.value(output)
    encoded = encode_value(kept)
    # A stand-in told of the end in its turn: nothing may come in between.
    if attempt.stand_in is None and attempt.output_schema is not None and len(encoded) > _CHECKED_HERE:
        await attempt.threads.run(functools.partial(_check, attempt, output))
    else:
        _check(attempt, output)
    return _outcome(planned, verb, kept, encoded, attempt, names)


def require_output(planned: PlannedStep, output: Any, names: Mapping[str, Any]) -> None:
    """That a value can be the output of a step, by its schema and by what the step declares to make of it.

    Raises:
        StepError: it cannot.
    """
    encode_value(output)
    if planned.step.output_schema is not None:
        conform(planned.step.output_schema, output)
    if planned.outputs and isinstance(planned.verb, ExecutableVerb):
        _declared(planned, NO_SECRETS, ChainMap(dict(planned.verb.output_names(output)), names))  # type: ignore[arg-type]  # it is only read


def rendered(planned: PlannedStep, names: Mapping[str, Any]) -> ExecutableVerb:
    """The step's verb with its placeholders filled in.

    Raises:
        ExpressionError: one of them failed.
        StepError: `internal`, the verb is none that can be executed.
    """
    verb = planned.verb
    if not isinstance(verb, ExecutableVerb):
        raise StepError(f"the verb '{verb.key}' cannot be executed", kind="internal")
    fields = {name: verb.render_field(name, template, names) for name, template in planned.templates.items()}
    return attrs.evolve(verb, **fields) if fields else verb  # type: ignore[misc]  # verbs are attrs classes


def _usage(attempt: Attempt) -> Usage | None:
    meter = attempt.meter
    return Usage(meter.cost_usd, meter.tokens) if meter.cost_usd or meter.tokens else None


def _failed(error: BaseException, attempt: Attempt) -> Outcome:
    outcome = failed(error, attempt.redactor)
    outcome.usage = _usage(attempt)
    return outcome


def _check(attempt: Attempt, output: Any) -> None:
    """Hold the result itself against the schema: what stands for a secret is not what was promised."""
    if attempt.output_schema is not None:
        conform(attempt.output_schema, output)


def _outcome(  # noqa: PLR0917 - what is known of the attempt by now
    planned: PlannedStep,
    verb: ExecutableVerb,
    kept: Any,
    encoded: bytes,
    attempt: Attempt,
    names: Mapping[str, Any],
) -> Outcome:
    # Declared outputs see what is kept, so that no expression brings a secret back in another form.
    outputs: bytes | None = None
    if planned.step.outputs:
        outputs = _declared(planned, attempt.redactor, ChainMap(dict(verb.output_names(kept)), names))  # type: ignore[arg-type]  # it is only read
    outcome = Outcome(status="completed", outputs=outputs, usage=_usage(attempt))
    if len(encoded) <= INLINE_LIMIT:
        outcome.output = encoded
        return outcome
    spill = attempt.open_spill()
    try:
        spill.write(encoded)
        outcome.blob = spill.finish()
    except BaseException:
        spill.discard()
        raise
    return outcome


def _declared(planned: PlannedStep, redactor: Redactor, names: Mapping[str, Any]) -> bytes:
    values: dict[str, Any] = {}
    for name, expression in planned.outputs.items():
        try:
            values[name] = expression.evaluate(names)
        except ExpressionError as error:
            message = f"output '{name}' cannot be computed: {error}"
            raise StepError(message, kind="step.outputs", name="OutputsError") from error
    return encode_value(redactor.value(values))


def timed_out(seconds: float, *, abandoned: bool = False) -> Outcome:
    """The outcome of an attempt that took longer than its timeout.

    Args:
        seconds: the timeout.
        abandoned: whether its function goes on in its thread.
    """
    message = f"the attempt took longer than {seconds:g} s"
    if abandoned:
        message += "; its function goes on in the background, for a thread cannot be stopped"
    return failed(StepError(message, kind="step.timeout", name="TimeoutError"))
