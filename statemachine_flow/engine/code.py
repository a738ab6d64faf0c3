"""The code that a run calls: pinned by digest when it begins, compared when it goes on."""

from __future__ import annotations

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.core import Core
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.functions import FunctionError, Functions, code_digest
from statemachine_flow.lifecycle import RunState
from statemachine_flow.steps.call import Call


def code_digests(functions: Functions, workflow: Workflow) -> dict[str, str]:
    """Function name -> digest of its code, for every function the workflow names.

    Raises:
        DefinitionError: `definition.callable`, for each step whose function cannot be had.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for step in workflow.definition.steps:
        if isinstance(step.verb, Call) and step.verb.call not in found:
            try:
                found[step.verb.call] = code_digest(functions.resolve(step.verb.call))
            except FunctionError as error:
                path = ("steps", step.id, "call")
                problems.append(workflow.problem(error.kind, error.message, path, error.hint))
    if problems:
        raise DefinitionError(problems)
    return found


def check_code(core: Core, worker: Worker) -> None:
    """Compare a run's functions with those it began with; pause the run if it cannot go on as it was."""
    if worker.fold.state != RunState.RUNNING:
        return
    try:
        now = code_digests(worker.functions, Workflow.of(worker.decider.plan.definition))
    except DefinitionError as error:
        missing = f"code_missing: {'; '.join(problem.message for problem in error.problems)}"
        worker.tell(lambda decider, at: decider.pause(at, missing, None, interrupt=False))
        return
    began_with = worker.fold.created.code
    changed = ", ".join(name for name, digest in began_with.items() if now.get(name, digest) != digest)
    if changed and core.strict_code:
        reason = f"code_changed: {changed}"
        worker.tell(lambda decider, at: decider.pause(at, reason, None, interrupt=False))
    elif changed:
        remark = f"code changed since the run began: {changed}"
        worker.tell(lambda decider, at: decider.note(at, remark))
