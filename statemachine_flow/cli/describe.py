"""Runs as plain data for `--json`, the same keys always, null where there is nothing to say; and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from statemachine_flow.cli.app import COMMANDS
from statemachine_flow.cli.times import from_micros, iso
from statemachine_flow.engine.owner import is_alive, is_here
from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.errors import SmfError
from statemachine_flow.journal import ErrorInfo
from statemachine_flow.stores.base import Owner, RunRow, damaged_row

#: States in which somebody has to work on the run.
_AT_WORK: Final = ("running", "cancelling")


def is_abandoned(state: str, owner: Owner | None) -> bool:
    """Whether a run should be worked on, and the process that did is gone."""
    return state in _AT_WORK and (owner is None or not is_alive(owner))


def is_worked_on(owner: Owner | None) -> bool:
    """Whether a process works on a run, as far as this host can tell."""
    return owner is not None and (is_elsewhere(owner) or is_alive(owner))


def is_waiting(state: str, owner: Owner | None) -> bool:
    """Whether a run was let go of because only people, signals or child runs can bring it on."""
    return state == "running" and owner is None


def shown_state(state: str, owner: Owner | None) -> str:
    """The state of a run for people."""
    if is_waiting(state, owner):
        return f"{state} (waiting)"
    if is_abandoned(state, owner):
        return f"{state} (to be resumed)" if owner is None else f"{state} (owner gone)"
    return f"{state} (owner unknown: another host)" if owner is not None and is_elsewhere(owner) else state


def shown_run(run: Run) -> str:
    """The state of a run for people who see its steps as well: whether it waits for the world, or for a resume."""
    waits = any(step.on for step in run.steps.values())
    return (
        f"{run.state} (to be resumed)"
        if is_waiting(run.state, run.owner) and not waits
        else shown_state(run.state, run.owner)
    )


def is_elsewhere(owner: Owner) -> bool:
    """Whether the owner is on another host, or in another container, so that nobody here can tell if it lives."""
    return not is_here(owner)


def owner_text(owner: Owner) -> str:
    """The process that works on a run, and whether it lives."""
    life = "unknown: another host" if is_elsewhere(owner) else "alive" if is_alive(owner) else "gone"
    return f"process {owner.pid} on {owner.host} ({life})"


def error_text(name: str, message: str) -> str:
    """An error in words: its name alone where it says no more.

    Example:
        >>> error_text("KeyError", "'a'"), error_text("TimeoutError", "")
        ("KeyError: 'a'", 'TimeoutError')
    """
    return f"{name}: {message}" if message else name


def failure_of(run: Run) -> tuple[str, str, str | None] | None:
    """Why a run failed, by the step that made it fail: kind, text and place; None if it did not."""
    if run.error is None:
        return None
    step = run.steps.get(run.error.step or "")
    if step is None or step.error is None:
        return run.error.kind, error_text(run.error.name, run.error.message), run.error.where
    text = f"step '{step.id}' failed: {error_text(step.error.name, step.error.message)}"
    return step.error.kind, text, step.error.where


def allowed_commands(run: Run) -> list[str]:
    """What `smf` can do with a run in its state."""
    allowed = [trigger for trigger in run.allowed if trigger in COMMANDS]
    if not is_abandoned(run.state, run.owner):
        return allowed
    return list(dict.fromkeys(["resume", *allowed, "cancel"]))  # which also end what was left while it was cancelled


def row_data(row: RunRow) -> dict[str, Any]:
    """One run of a list."""
    if row.damage:
        return {**dict.fromkeys(row_data(_UNDAMAGED)), "run": row.id, "damage": row.damage}
    return {
        "run": row.id,
        "workflow": row.workflow,
        "version": row.version,
        "definition": row.definition,
        "state": row.state,
        "owner": _owner_data(row.owner),
        "steps_done": row.steps_done,
        "steps_total": row.steps_total,
        "created": iso(from_micros(row.created_at)),
        "updated": iso(from_micros(row.updated_at)),
        "started": None if row.started_at is None else iso(from_micros(row.started_at)),
        "ended": None if row.ended_at is None else iso(from_micros(row.ended_at)),
        "message": row.message,
        "damage": None,
    }


#: A row whose keys are those of every other.
_UNDAMAGED: Final = damaged_row("", "")


def result_data(run: Run) -> dict[str, Any]:
    """A run as `run`, `resume` and their relatives print it."""
    return {
        "run": run.id,
        "workflow": run.workflow,
        "state": str(run.state),
        "outputs": run.outputs,
        "steps": {step.id: _step_result(step) for step in run.steps.values()},
        "error": _error_data(run.error),
        "waiting": [_waiting_data(step) for step in run.waiting],
    }


def status_data(run: Run) -> dict[str, Any]:
    """A run with all that is known of it."""
    done, total = run.done
    return {
        **result_data(run),
        "version": run.version,
        "definition": run.definition_hash,
        "origin": run.origin,
        "owner": _owner_data(run.owner),
        "steps_done": done,
        "steps_total": total,
        "created": iso(run.created_at),
        "started": iso(run.started_at),
        "ended": iso(run.ended_at),
        "seconds": seconds_of(run),
        "reason": run.reason,
        "notes": list(run.notes),
        "allowed": allowed_commands(run),
        "seq": run.seq,
        "parent": None if run.parent is None else {"run": run.parent[0], "step": run.parent[1]},
        "usage": {"cost_usd": run.usage.cost_usd, "tokens": run.usage.tokens},
        "inputs": run.inputs,
        "steps": {step.id: _step_data(step) for step in run.steps.values()},
    }


def event_data(event: Event) -> dict[str, Any]:
    """One record of a journal."""
    return {
        "run": event.run_id,
        "seq": event.seq,
        "kind": event.kind,
        "at": iso(event.at),
        "step": event.step,
        "data": event.data,
    }


def seconds_of(run: Run) -> float | None:
    """From start to end; None while the run has not ended."""
    if run.started_at is None or run.ended_at is None:
        return None
    return (run.ended_at - run.started_at).total_seconds()


def _step_result(step: StepView) -> dict[str, Any]:
    return {
        "state": str(step.state),
        "attempt": step.attempt,
        "seconds": step.seconds,
        "error": _error_data(step.error),
    }


def _step_data(step: StepView) -> dict[str, Any]:
    return {
        **_step_result(step),
        "generation": step.generation,
        "on": step.on or None,
        "child": step.child,
        "reason": step.reason,
        "started": iso(step.started_at),
        "ended": iso(step.ended_at),
        "due": iso(step.due_at),
        **_step_values(step),
    }


def _waiting_data(step: StepView) -> dict[str, Any]:
    return {
        "step": step.path,
        "on": step.on,
        "event": step.event,
        "key": step.key,
        "question": step.question or None,
        "due": iso(step.due_at),
    }


def _step_values(step: StepView) -> dict[str, Any]:
    """A step's values; damage to one of them must not hide the rest of the run."""
    try:
        return {"output": step.output, "outputs": step.outputs, "unreadable": None}
    except SmfError as error:
        return {"output": None, "outputs": {}, "unreadable": f"{error.kind}: {error.message}"}


def _error_data(error: ErrorInfo | None) -> Mapping[str, Any] | None:
    if error is None:
        return None
    return {name: getattr(error, name) for name in error.__struct_fields__}


def _owner_data(owner: Owner | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    return {"pid": owner.pid, "host": owner.host, "alive": None if is_elsewhere(owner) else is_alive(owner)}
