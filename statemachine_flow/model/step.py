"""A step: its policies, its loops, its routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from statemachine_flow.model.kinds import (
    Delivery,
    LoopName,
    Name,
    Percentage,
    Seconds,
    StepId,
    TriggerRule,
    VariableName,
)
from statemachine_flow.model.verb import Verb


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another, and after how long.

    Example:
        >>> RetryPolicy(max_attempts=3, delay=2.0).max_attempts
        3
    """

    #: Counts the first try; 1 means no retry.
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    #: Before the second attempt.
    delay: Seconds = 1.0
    #: How the delay grows from attempt to attempt: times `factor`, or not at all.
    backoff: Literal["exponential", "constant"] = "exponential"
    #: What an exponential delay is multiplied with.
    factor: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    #: No delay is longer.
    max_delay: Seconds = 300.0
    #: `full` draws evenly between 0 and the delay, so that many runs do not come back at once.
    jitter: Literal["full", "none"] = "full"
    #: Error names that are retried; empty means all.
    retry_on: tuple[str, ...] = ()
    #: Error names that are not, whatever `retry_on` says.
    abort_on: tuple[str, ...] = ()
    #: A bare expression over `error` and `attempt`; an attempt is retried only if it is true.
    retry_if: str | None = None


@attrs.frozen(kw_only=True)
class ForEach:
    """A step carried out once for each item of a list, each with attempts of its own."""

    #: A list, or a placeholder that gives one when the step begins.
    items: str | tuple[Any, ...]
    #: What an item is called in the step's expressions.
    as_: LoopName = "item"
    #: A placeholder that names an item for as long as the run lives; by default its place in the list.
    key: str | None = None
    #: How many items are under way at once; by default the limits of the run count.
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    #: How many items may fail before the step does: a number, or a share such as "10%".
    max_failures: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | Percentage = 0


@attrs.frozen(kw_only=True)
class Repeat:
    """A step carried out again and again until something holds."""

    #: A bare expression over `result`, asked after each round.
    until: str
    #: Rounds in all; the step fails when the last one ends without `until` being true.
    max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    #: Between two rounds.
    delay: Seconds | None = None


@attrs.frozen(kw_only=True)
class Route:
    """One way out of a step: `{ when, goto }`, or `{ default }` as the last one."""

    #: A bare expression.
    when: str | None = None
    #: A step of the same level, or "end".
    goto: str | None = None
    #: A step of the same level, or "end"; taken when no `when` before it is true.
    default: str | None = None


#: What ends a level of states.
END: Final = "end"


# Slots would make this noun, of which there may be ten thousand, twice as slow to make.
@attrs.frozen(kw_only=True, slots=False)
class Step:
    """One step of a workflow."""

    #: Unique in its level.
    id: StepId
    #: What it does.
    verb: Verb
    #: Ids of the steps it waits for.
    needs: tuple[str, ...] = ()
    #: Which ends of the steps in `needs` let it run.
    trigger_rule: TriggerRule = "all_success"
    #: A bare expression; the step is skipped when it is false.
    when: str | None = None
    for_each: ForEach | None = None
    #: Name -> values; the step is carried out for every combination.
    matrix: Mapping[Name, Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]] = attrs.field(factory=dict)
    repeat: Repeat | None = None
    #: In a level of states: the step that follows, by name, by value of the first output, or by conditions.
    next: str | Mapping[str, str] | tuple[Route, ...] | None = None
    #: In a level of states: how often the token may come here; 100 by default.
    max_visits: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    #: For one attempt.
    timeout: Seconds | None = None
    retry: RetryPolicy | None = None
    #: Whether the run may complete although the step failed.
    optional: bool = False
    #: `at_most_once`: an attempt that was cut off is never begun again by itself.
    delivery: Delivery = "at_least_once"
    #: The name of a function that tells whether an attempt that was cut off took effect.
    verify: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    #: What outside systems tell repeated attempts by; by default made from run and step.
    idempotency_key: str | None = None
    #: Names of environment variables that the step may read and that are never stored.
    secrets: tuple[VariableName, ...] = ()
    #: Name -> bare expression over the step's result.
    outputs: Mapping[Name, str] = attrs.field(factory=dict)
    #: JSON Schema of the step's result; a result that breaks it fails the attempt.
    output_schema: Mapping[str, Any] | None = None
    #: Undoes the step when the run fails or is cancelled.
    compensate: Step | None = None
    #: For people.
    description: str = ""
