"""What a step's expressions can begin with, place by place, and which keys results have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from statemachine_flow.compiler.levels import Roots
from statemachine_flow.model import Definition, Input, Step
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.workflow import Child

_RUN_KEYS: Final = ("id", "workflow", "version")
_ERROR_KEYS: Final = ("kind", "name", "message")
#: Names with a meaning of their own, which no loop can give to its items.
RESERVED: Final = frozenset(
    (
        *("inputs", "steps", "run", "env", "result", "error", "attempt", "previous", "round", "feedback", "secrets"),
        *("index", "matrix", "true", "false", "null"),
    )
)


def step_roots(inputs: Mapping[str, Input]) -> Roots:
    """What `when` and the placeholders of any step can begin with."""
    plain = dict.fromkeys(("env", "feedback", "previous", "round"))
    return {"inputs": inputs, "steps": None, "run": _RUN_KEYS, **plain}


def run_roots(definition: Definition) -> Roots:
    """The same for the outputs of the workflow."""
    return {"inputs": definition.inputs, "steps": None, "run": _RUN_KEYS}


def retry_roots(inputs: Mapping[str, Input]) -> Roots:
    """The same for `retry_if`."""
    return {"error": _ERROR_KEYS, "attempt": None, "inputs": inputs, "run": _RUN_KEYS}


def unwinding_roots(roots: Roots) -> Roots:
    """The same for steps of handlers and for compensations."""
    return {**roots, "error": (*_ERROR_KEYS, "step")}


def loop_names(step: Step) -> Roots:
    """What expressions inside a step that is carried out for items have in addition."""
    names: dict[str, Collection[str] | None] = {}
    if step.for_each is not None:
        names[step.for_each.as_] = None
    if step.matrix:
        names["matrix"] = step.matrix
    return {**names, "index": None} if names else {}


def result_keys(step: Step) -> Collection[str] | None:
    """The keys of one result of a step; None when they are not known before it ran."""
    verb = step.verb
    if isinstance(verb, Approval):
        return ("decision", *verb.approval.form, "by", "at", "reason", "digest")
    if isinstance(verb, Child) and isinstance(verb.workflow, Definition):
        return verb.workflow.outputs
    return verb.result_names


def result_roots(step: Step) -> Roots:
    """What expressions over a step's result have in addition."""
    return {"result": result_keys(step), **dict.fromkeys(step.verb.result_names or ())}


def is_loop(step: Step) -> bool:
    """Whether it is carried out for items, so that its output is a list."""
    return step.for_each is not None or bool(step.matrix)


def output_keys(step: Step) -> Collection[str] | None:
    """The keys of `steps.<id>.output`; None when they are not known before the step ran, or it is a list."""
    return None if is_loop(step) else result_keys(step)


def outputs_keys(step: Step) -> Collection[str] | None:
    """The keys of `steps.<id>.outputs`; None as for `output_keys`."""
    return None if is_loop(step) else step.outputs or result_keys(step)
