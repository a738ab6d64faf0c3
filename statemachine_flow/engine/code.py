"""What a run calls: functions pinned by digest when it begins, compared when it goes on; agents looked for."""

from __future__ import annotations

from collections.abc import Iterator

from statemachine_flow.agents import AgentError
from statemachine_flow.builder import Workflow
from statemachine_flow.engine.library import Library
from statemachine_flow.engine.reasons import CODE_CHANGED, CODE_MISSING
from statemachine_flow.engine.worker import Worker
from statemachine_flow.errors import DefinitionError, Problem, SmfError
from statemachine_flow.functions import FunctionError, Functions, code_digest
from statemachine_flow.lifecycle import RunState
from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.call import Call, import_name
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.parameters import argument_problems

Path = tuple[str | int, ...]


def steps_of(definition: Definition) -> Iterator[tuple[Path, Step]]:
    """Every step of a definition with its place in the document; those of inline workflows are left out."""
    for key, steps in (
        ("steps", definition.steps),
        ("on_failure", definition.on_failure),
        ("finally", definition.finally_),
    ):
        yield from _steps_in(steps, (key,))


def _steps_in(steps: tuple[Step, ...], path: Path) -> Iterator[tuple[Path, Step]]:
    for step in steps:
        yield from _within(step, (*path, step.id))


def _within(step: Step, place: Path) -> Iterator[tuple[Path, Step]]:
    yield place, step
    if step.compensate is not None:
        yield from _within(step.compensate, (*place, "compensate"))
    if isinstance(step.verb, Group):
        yield from _steps_in(step.verb.steps, (*place, "steps"))


def code_digests(library: Library, workflow: Workflow) -> dict[str, str]:
    """Function name -> digest of its code, for every function the workflow names.

    Raises:
        DefinitionError: `definition.callable`, `definition.agent`: for each step whose function or agent cannot be had.
    """
    definition = workflow.definition
    functions = library.functions_of(definition.content_hash)
    found: dict[str, str] = {}
    checked: set[tuple[str, str, frozenset[str]]] = set()
    problems: list[Problem] = []
    for path, step in steps_of(definition):
        for key, name in _called(step):
            try:
                if name not in found:
                    found[name] = code_digest(functions.resolve(name))
                if (
                    isinstance(step.verb, Call)
                    and (call := (name, step.verb.isolation, frozenset(step.verb.with_))) not in checked
                ):
                    checked.add(call)
                    _check_arguments(functions, step.verb, name)
            except FunctionError as error:
                problems.append(workflow.problem(error.kind, error.message, (*path, key), error.hint))
        if isinstance(step.verb, Agent):
            try:
                library.agents.resolve(step.verb.agent)
            except AgentError as error:
                problems.append(workflow.problem(error.kind, error.message, (*path, "agent"), error.hint))
    if problems:
        raise DefinitionError(problems)
    return found


def code_of(library: Library, content_hash: str, above: str) -> dict[str, str]:
    """The code that a child run is going to call.

    Args:
        library: the engine's.
        content_hash: the child's definition.
        above: that of the run above it, whose functions it shares.
    """
    library.share(content_hash, above)
    return code_digests(library, Workflow.of(library.plan_of(content_hash).definition))


def _called(step: Step) -> Iterator[tuple[str, str]]:
    if isinstance(step.verb, Call):
        yield "call", step.verb.call
    if step.verify is not None:
        yield "verify", step.verify


def _check_arguments(functions: Functions, verb: Call, name: str) -> None:
    if name != verb.call:
        return
    wrong = argument_problems(functions.resolve(name), verb.with_.keys(), transaction=verb.transaction)
    if wrong is not None:
        raise FunctionError(f"{name!r} {wrong}")
    if verb.isolation == "process":
        import_name(functions, name)


def check_code(library: Library, worker: Worker) -> None:
    """Compare a run's functions with those it began with; pause the run if it, or one below it, cannot go on."""
    if worker.fold.state != RunState.RUNNING:
        return
    fault, remark = compare_code(library, worker)
    if fault is not None:
        worker.tell(lambda decider, now: decider.pause(now, fault, None, interrupt=False))
    elif remark is not None:
        worker.tell(lambda decider, now: decider.note(now, remark))


def compare_code(library: Library, worker: Worker) -> tuple[str | None, str | None]:
    """What keeps a run from going on with its functions as they are now, and else what is to be noted of them."""
    created = worker.fold.created
    try:
        now = code_digests(library, Workflow.of(worker.decider.plan.definition))
        for content_hash in set(created.children.values()) if created.parent is None else ():
            code_of(library, content_hash, created.definition)
    except SmfError as error:
        texts = [problem.message for problem in error.problems] if isinstance(error, DefinitionError) else [str(error)]
        return f"{CODE_MISSING}: {'; '.join(texts)}", None
    changed = ", ".join(name for name, digest in created.code.items() if now.get(name, digest) != digest)
    if not changed:
        return None, None
    fault = f"{CODE_CHANGED}: {changed}" if library.strict_code else None
    return fault, f"code changed since the run began: {changed}"
