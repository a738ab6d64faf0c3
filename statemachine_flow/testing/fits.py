"""Whether a script fits the workflow it is for: its paths lead to steps, which can end as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.errors import StepError
from statemachine_flow.model import Step
from statemachine_flow.output_schema import conform
from statemachine_flow.steps.agent import Agent, read_json
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait
from statemachine_flow.testing.outcomes import Decide, Exit, Outcome, Return, Signal
from statemachine_flow.testing.places import Places
from statemachine_flow.testing.reader import Read

#: Kind, sentence and advice.
_Fault = tuple[str, str, str | None]

_BREAKS: Final = 'for an attempt whose result is refused, write { fail = "SchemaError" }'


def hold_against(read: Read, places: Places) -> None:
    """Note everything in which a script does not fit a workflow.

    Args:
        read: the script; its problems get more.
        places: of the workflow.
    """
    known = [path for path, _ in places.all()]
    for path, outcomes in read.steps.items():
        step = places.step(path)
        if step is None:
            _unknown(read.problems, path, known, ("steps", path))
            continue
        for number, outcome in enumerate(outcomes):
            for kind, message, hint in faults(step, outcome):
                read.problems.add(kind, message, read.origin.outcome(path, number), hint=hint)
    for number, path in enumerate(read.safe):
        if places.step(path) is None:
            _unknown(read.problems, path, known, ("safe", number))


def _unknown(problems: Problems, path: str, known: list[str], place: tuple[str | int, ...]) -> None:
    is_safe = place[0] == "safe"
    message = f"the workflow has no step {shown(path)}" + (", which `safe` names" if is_safe else "")
    inside = next((other for other in known if other.endswith(f"/{path}")), None)
    hint = problems.advise(path, known) if inside is None else f"did you mean '{inside}'?"
    problems.add("definition.unknown_step", message, place, about_key=not is_safe, hint=hint)


def faults(step: Step, outcome: Outcome) -> Iterator[_Fault]:
    """Why a step cannot end like that; nothing if it can."""
    verb = step.verb
    if not _fits(step, outcome):
        said = type(outcome).__name__.lower()
        yield "definition.type", f"a step with `{verb.key}` cannot end with `{said}`", None
    elif isinstance(outcome, Decide) and isinstance(verb, Approval) and outcome.choice not in verb.choices:
        choices = ", ".join(verb.choices)
        yield "definition.range", f"{shown(outcome.choice)} is none of the choices: {choices}", None
    elif step.output_schema is not None:
        try:
            _conform(step, step.output_schema, outcome)
        except StepError as error:
            yield "definition.range", error.message, _BREAKS


def _fits(step: Step, outcome: Outcome) -> bool:
    verb = step.verb
    if isinstance(outcome, Decide):
        return isinstance(verb, Approval)
    if isinstance(outcome, Signal):
        return isinstance(verb, Wait) and verb.wait.event is not None
    return isinstance(verb, Run) if isinstance(outcome, Exit) else verb.is_body


def _conform(step: Step, schema: Mapping[str, Any], outcome: Outcome) -> None:
    """Hold what is scripted against the step's schema, as the engine will.

    Raises:
        StepError: it breaks it.
    """
    if isinstance(outcome, Return) and isinstance(step.verb, Agent):
        conform(schema, read_json(outcome.value) if isinstance(outcome.value, str) else outcome.value)
    elif isinstance(outcome, Return) and not isinstance(step.verb, Run):
        conform(schema, outcome.value)
    elif isinstance(outcome, Return | Exit) and isinstance(step.verb, Run):
        if (output := written(outcome, step.verb)) is not None:
            conform(schema, output)
    elif isinstance(outcome, Signal):
        conform(schema, outcome.payload)


def written(outcome: Return | Exit, verb: Run) -> Mapping[str, Any] | None:
    """The output of a command that is not started; None if its status is none that the step allows."""
    if isinstance(outcome, Exit):
        if outcome.status not in verb.allow_exit:
            return None
        return {"stdout": outcome.stdout, "stderr": outcome.stderr, "exit_code": outcome.status}
    given = outcome.value if isinstance(outcome.value, Mapping) else {"stdout": outcome.value or ""}
    return {"stdout": "", "stderr": "", "exit_code": 0, **given}
