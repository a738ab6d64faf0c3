"""`prove`: everything that is found out about a workflow, put together."""

from __future__ import annotations

import os
from typing import Final

import attrs

from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.model import Definition, Step
from statemachine_flow.proof.findings import OF_LEVELS, Findings
from statemachine_flow.proof.levels import Task, examine
from statemachine_flow.proof.lifetimes import Lifetimes
from statemachine_flow.proof.parts import Lanes
from statemachine_flow.proof.report import PROPERTIES, Proof, Property
from statemachine_flow.proof.rules import Rules
from statemachine_flow.steps.group import Group

#: Configurations of one level that are looked at before the structure has to do.
LIMIT: Final = 50_000


def prove(
    workflow: Workflow | Definition | str | os.PathLike[str], *, rules: Rules | None = None, limit: int = LIMIT
) -> Proof:
    """Show what every run of a workflow keeps to, or how a run breaks it.

    Nothing is run and nothing is imported: the machines of runs and steps, the join rules and the workflow's graph are
    searched for a history that breaks a property. What steps do is left open: each attempt may succeed or fail, each
    condition that reads something may be true, false or fail, and an operator may pause, cancel or quarantine. What
    is taken for granted stands at the end of the report. A child run whose workflow is named, not written down, may
    complete or fail, and no more is known of it.

    Args:
        workflow: a workflow, or what `load` takes.
        rules: what is judged instead of the rules that the engine goes by.
        limit: how many configurations of one level of steps are looked at; a level with more is judged by its
            structure, which shows less, and 0 judges all graphs so.

    Returns:
        The proof; its `text()` is the report for people.

    Raises:
        DefinitionError: the workflow is not valid.

    Example:
        >>> from statemachine_flow.builder import Workflow
        >>> flow = Workflow("release")
        >>> build = flow.run("build", ["make"])
        >>> ship = flow.run("ship", ["make", "ship"], needs=["build"], when="1 > 2")
        >>> proof = prove(flow)
        >>> proof.ok, proof.method, proof.never_run, proof["honest"].holds
        (True, 'exhaustive', ('ship',), True)
    """
    definition = as_workflow(workflow).definition
    found = _of_run(definition, "", rules or Rules(), limit)
    asked = [name for name in PROPERTIES if name != "finally" or definition.finally_]
    return Proof(
        workflow=definition.name,
        method=found.method,
        configurations=found.configurations,
        properties=tuple(_property(name, found) for name in asked),
        never_run=tuple(found.never_run),
        always_run=tuple(found.always_run),
        never_skipped=tuple(found.never_skipped),
        may_wait_for_ever=tuple(found.may_wait_for_ever),
    )


def _property(name: str, found: Findings) -> Property:
    holds = False if name in found.broken else None if name in found.open else True
    return Property(name=name, holds=holds, text=PROPERTIES[name], trace=found.broken.get(name, ()))


def _of_run(definition: Definition, prefix: str, rules: Rules, limit: int) -> Findings:
    """What was found about a run and all its levels; its paths begin with the prefix."""
    task = Task(
        definition=definition,
        rules=rules,
        lanes=Lanes(definition),
        limit=limit,
        child=lambda child, before: _of_run(child, before, rules, limit),
    )
    main = examine(definition.steps, definition.start, prefix, task, can_be_cut=bool(prefix))
    handlers = _handlers(definition, prefix, task, set(main.never_run))
    lifetimes = Lifetimes(task, main, handlers)
    lifetimes.explore()
    found = Findings(configurations=lifetimes.configurations)
    found.take_in(main, ("run.start",))
    found.never_run, found.always_run = main.never_run, main.always_run
    found.never_skipped, found.may_wait_for_ever = main.never_skipped, main.may_wait_for_ever
    for name, handler in handlers.items():
        _add_handler(name, handler, lifetimes, found)
    found.never_run += _missing_compensations(definition, prefix, handlers)
    for name, trace in lifetimes.broken.items():
        found.broken.setdefault(name, trace)
    found.ends = {"completed": (), "failed": ()} if lifetimes.can_complete else {"failed": ()}
    found.open -= found.broken.keys()
    if prefix:
        _as_child(found, prefix)
    elif not lifetimes.can_complete:
        found.broken["completes"] = ()
    return found


def _as_child(found: Findings, prefix: str) -> None:
    """Say in traces which run is meant; whether a child can complete is a matter of its step."""
    found.open.discard("completes")
    name = prefix.removesuffix(":")
    for key, trace in found.broken.items():
        found.broken[key] = tuple(f"{line} in {name}" if line.startswith("run.") else line for line in trace)


def _add_handler(name: str, handler: Findings, lifetimes: Lifetimes, found: Findings) -> None:
    before = lifetimes.begins.get(name)
    # That a handler's level cannot complete says nothing about the run.
    inner = attrs.evolve(handler, open=handler.open & set(OF_LEVELS))
    found.take_in(inner, before)
    if before is None:
        found.never_run += [*handler.never_run, *handler.never_skipped]
        return
    found.never_run += handler.never_run
    found.may_wait_for_ever += handler.may_wait_for_ever
    found.never_skipped += handler.never_skipped
    if name == "@finally" and "finally" not in lifetimes.broken:
        found.always_run += handler.always_run


def _handlers(definition: Definition, prefix: str, task: Task, never_run: set[str]) -> dict[str, Findings]:
    handlers = {}
    undone = _compensated(definition.steps, prefix, never_run) if definition.compensate else []
    if undone:
        handlers["@compensate"] = _queue(undone, prefix, task)
    for name, steps in (("@on_failure", definition.on_failure), ("@finally", definition.finally_)):
        if steps:
            handlers[name] = examine(steps, None, f"{prefix}{name}/", task, can_be_cut=False)
    return handlers


def _compensated(steps: tuple[Step, ...], prefix: str, never_run: set[str]) -> list[tuple[str, Step]]:
    """Paths of steps that can be undone, with the step that does it."""
    found = []
    for step in steps:
        path = prefix + step.id
        each = path + ("[*]" if step.for_each is not None or step.matrix else "")
        if step.compensate is not None and path not in never_run:
            found.append((each, step.compensate))
        if isinstance(step.verb, Group):
            found += _compensated(step.verb.steps, f"{each}/", never_run)
    return found


def _queue(undone: list[tuple[str, Step]], prefix: str, task: Task) -> Findings:
    """Compensations, one after the other; one that fails does not stop the others."""
    found = Findings(ends={"completed": (), "failed": ()})
    for path, step in undone:
        before = f"{prefix}@compensate/{path.removeprefix(prefix)}".removesuffix(step.id)
        before = before if before.endswith("/") else before + "/"
        one = examine((step,), None, before, task, can_be_cut=False)
        found.take_in(one, ())
        found.never_run += one.never_run
        found.may_wait_for_ever += one.may_wait_for_ever
    return found


def _missing_compensations(definition: Definition, prefix: str, handlers: dict[str, Findings]) -> list[str]:
    if "@compensate" in handlers or not definition.compensate:
        return []
    return [f"{prefix}@compensate/{path}" for path, _ in _compensated(definition.steps, "", set())]
