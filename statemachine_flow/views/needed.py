"""What a workflow takes from outside: functions, agents, commands, children, secrets, signals, people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait
from statemachine_flow.steps.workflow import Child


@attrs.frozen(kw_only=True)
class Needed:
    """Names of things a run may ask for, each once, in the order of the document."""

    functions: tuple[str, ...]
    agents: tuple[str, ...]
    #: Programs of argument lists; shell text is `sh`.
    commands: tuple[str, ...]
    #: Names and files; a workflow that is written out is told by its own needs.
    workflows: tuple[str, ...]
    #: Environment variables, and inputs as `inputs.NAME`.
    secrets: tuple[str, ...]
    signals: tuple[str, ...]
    #: Who may decide; "anybody" where nobody is named.
    approvers: tuple[str, ...]


def needed_by(definition: Definition) -> Needed:
    """Collect what a workflow takes from outside, handlers included.

    Example:
        >>> step = Step(id="a", verb=Run(run=("git", "status")), secrets=("TOKEN",))
        >>> found = needed_by(Definition(name="w", steps=(step,)))
        >>> found.commands, found.secrets
        (('git',), ('TOKEN',))
    """
    found: dict[str, dict[str, None]] = {field.name: {} for field in attrs.fields(Needed)}
    for kind, name in _all(definition):
        found[kind][name] = None
    return Needed(**{kind: tuple(names) for kind, names in found.items()})


def every_step(levels: Sequence[Sequence[Step]]) -> Iterator[Step]:
    """Every step of some levels, with those inside of them and those that undo them."""
    todo = [step for level in reversed(levels) for step in reversed(level)]
    while todo:
        step = todo.pop()
        yield step
        if isinstance(step.verb, Group):
            todo.extend(reversed(step.verb.steps))
        if step.compensate is not None:
            todo.append(step.compensate)


def _all(definition: Definition) -> Iterator[tuple[str, str]]:
    definitions = [definition]
    while definitions:
        one = definitions.pop()
        for name, declared in one.inputs.items():
            if declared.secret:
                yield "secrets", f"inputs.{name}"
        for step in every_step((one.steps, one.on_failure, one.finally_)):
            yield from _of_step(step)
            if isinstance(step.verb, Child) and isinstance(step.verb.workflow, Definition):
                definitions.append(step.verb.workflow)


def _of_step(step: Step) -> Iterator[tuple[str, str]]:
    verb = step.verb
    if step.verify is not None:
        yield "functions", step.verify
    yield from (("secrets", name) for name in step.secrets)
    if isinstance(verb, Call):
        yield "functions", verb.call
    elif isinstance(verb, Run):
        yield "commands", "sh" if isinstance(verb.run, str) else verb.run[0]
    elif isinstance(verb, Agent):
        yield "agents", verb.agent
    elif isinstance(verb, Child) and isinstance(verb.workflow, str):
        yield "workflows", verb.workflow
    elif isinstance(verb, Wait) and verb.wait.event is not None:
        yield "signals", verb.wait.event
    elif isinstance(verb, Approval):
        yield from (("approvers", name) for name in verb.approval.approvers or ("anybody",))
