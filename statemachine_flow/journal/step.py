"""The fold of one step: what its records add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.journal.records import ABSENT, ErrorInfo, StepWaiting
from statemachine_flow.lifecycle import STEP, STEP_AT_REST, StepState


@final
class StepFold(msgspec.Struct, gc=False):
    """One step as its records say; also the cursor its lifecycle moves."""

    #: Its path in the run.
    id: str
    state: str = StepState.PENDING.value
    #: Attempts begun so far, in all its generations.
    attempt: int = 0
    #: Attempts that failed since the step was last reset; interrupted ones do not count.
    failures: int = 0
    #: How often in a row an attempt was cut off by the death of its process, since one last ended by itself.
    deaths: int = 0
    #: Grows whenever the step begins anew: through a loop, a rewind, a retry of what holds it.
    generation: int = 1
    #: Of a repeated step: the round it is in.
    round: int = 1
    #: When a step that backs off, waits, or is about to be repeated goes on by itself, microseconds UTC.
    due: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    #: Number of the record that brought it to rest.
    ended_seq: int = 0
    output: msgspec.Raw | None = None
    outputs: msgspec.Raw | None = None
    blob: str | None = None
    #: What it waits for; of a loop, what it last waited for, with its items.
    waits: StepWaiting | None = None
    #: Its result in the generation before.
    previous: msgspec.Raw | None = None
    previous_blob: str | None = None
    #: The decision that sent the run back to it.
    feedback: msgspec.Raw | None = None
    #: The run was sent back, to it or to a step before it.
    rewound: bool = False
    error: ErrorInfo | None = None
    #: It failed, and what holds it may complete all the same.
    forgiven: bool = False
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether something of it is under way: an attempt, or a child run."""
        return self.state == "running" or (
            self.state == "waiting" and self.waits is not None and self.waits.on == "run"
        )


def is_top(path: str) -> bool:
    """Whether a path names a step of the workflow's own level.

    Example:
        >>> is_top("build"), is_top("ci/build"), is_top("review[a.py]"), is_top("@finally/clean")
        (True, False, False, False)
    """
    return "/" not in path and "[" not in path


def _on_step_start(step: StepFold, data: Any, at: int) -> None:
    step.attempt, step.started_at, step.due, step.reason = data.attempt, at, None, ""


def _on_step_wait(step: StepFold, data: StepWaiting, _at: int) -> None:
    if data.keys is None and step.waits is not None and step.waits.keys is not None:
        data = msgspec.structs.replace(data, keys=step.waits.keys, items=step.waits.items)
    step.waits, step.due = data, data.due


def _on_step_complete(step: StepFold, data: Any, at: int) -> None:
    step.output = None if data.output is ABSENT else data.output
    step.outputs = None if data.outputs is ABSENT else data.outputs
    step.blob, step.ended_at, step.error, step.due, step.deaths = data.blob, at, None, None, 0


def _on_step_interrupt(step: StepFold, data: Any, _at: int) -> None:
    step.reason = data.reason
    step.deaths += data.killed


def _on_step_fail(step: StepFold, data: Any, at: int) -> None:
    step.deaths = 0
    step.error, step.forgiven, step.ended_at, step.due = data.error, data.optional, at, None
    step.failures += 1


def _on_step_back_off(step: StepFold, data: Any, _at: int) -> None:
    step.error, step.due, step.deaths = data.error, data.due, 0
    step.failures += 1


def _on_step_reset(step: StepFold, data: Any, _at: int) -> None:
    """Everything but the count of attempts begun, which only grows: an attempt's number is never used twice."""
    if data.generation is not None:
        has_previous = data.previous is not ABSENT
        step.previous, step.previous_blob = (data.previous, None) if has_previous else (step.output, step.blob)
        step.generation, step.waits, step.rewound = data.generation, None, data.rewound
    if data.feedback is not ABSENT:
        step.feedback = data.feedback
    step.round = 1 if data.round is None else data.round
    step.failures, step.due, step.forgiven, step.error = 0, data.due, False, None
    step.deaths = data.deaths
    step.output = step.outputs = step.blob = step.ended_at = None
    step.reason = data.reason


def _on_step_reason(step: StepFold, data: Any, at: int) -> None:
    step.reason = data.reason
    if step.state in STEP_AT_REST:
        step.ended_at, step.due = at, None


#: Trigger -> how a record of it changes the step, whose state has been moved already.
ON_STEP: Final[Mapping[str, Callable[[StepFold, Any, int], None]]] = {
    **dict.fromkeys(STEP.sources, _on_step_reason),
    "start": _on_step_start,
    "wait": _on_step_wait,
    "interrupt": _on_step_interrupt,
    "complete": _on_step_complete,
    "fail": _on_step_fail,
    "back_off": _on_step_back_off,
    "reset": _on_step_reset,
}
