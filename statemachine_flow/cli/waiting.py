"""What a run waits for, in words and with the commands that say it; its child runs are looked at as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from statemachine_flow.cli.actor import user
from statemachine_flow.cli.output import sanitize
from statemachine_flow.cli.stores import command_line
from statemachine_flow.cli.times import date_and_time
from statemachine_flow.engine.reasons import UNCERTAIN
from statemachine_flow.engine.view import Run, StepView
from statemachine_flow.errors import NotFoundError

#: How much of a question is shown in passing.
_PROMPT_LENGTH: Final = 200
#: How many waits are shown, and how many choices of one.
_MOST: Final = 10
_OF_ITS_OWN: Final = {"steps": "for its steps", "items": "for its items"}


def waits_for(step: StepView) -> str:
    """What a step waits for; "" if it does not wait. Not yet safe to print."""
    if step.on == "event":
        return f"for the signal {step.event}" + (f" with the key {step.key}" if step.key is not None else "")
    if step.on == "timer":
        return f"until {date_and_time(step.due_at)}"
    if step.on == "run":
        return f"for its run {step.child}"
    return "for an approval" if step.on == "approval" else _OF_ITS_OWN.get(step.on, "")


def open_waits(run: Run, read: Callable[[str], Run]) -> Iterator[tuple[Run, StepView]]:
    """The approvals and signals that a run waits for, each with the run that it stands in.

    Args:
        run: the run.
        read: gives its child runs by their ids.
    """
    yield from ((run, step) for step in run.waiting)
    for path, child in run.children.items():
        if run.steps[path].on == "run":
            try:
                found = read(child)
            except NotFoundError:  # it is about to begin
                continue
            yield from open_waits(found, read)


def waiting_lines(run: Run, read: Callable[[str], Run], db: str | None) -> Iterator[list[str]]:
    """What a run waits for, safe to print: of each wait what it is, followed by what says it.

    Args:
        run: the run.
        read: gives its child runs by their ids.
        db: the store that was named.
    """
    waits = list(open_waits(run, read))
    for place, step in waits[:_MOST]:
        name = step.path if place.id == run.id else f"{place.id}: {step.path}"
        yield [sanitize(line) for line in _one(name, place, step, db)]
    if len(waits) > _MOST:
        yield [f"and {len(waits) - _MOST} more"]


def uncertain_lines(run: Run, db: str | None) -> Iterator[list[str]]:
    """The steps of a run of which it is not known whether they took effect, and what says it; safe to print.

    Args:
        run: the run.
        db: the store that was named.
    """
    if run.reason.startswith(UNCERTAIN):
        for step in run.steps.values():
            if step.state == "interrupted" and step.path in run.reason:
                command = command_line("resolve", run.id, db, step.path, "--as", "completed")
                lines = (f"{step.path} completed, failed, or is to be tried again; say which:", f"  {command}")
                yield [sanitize(line) for line in lines]


def _one(name: str, run: Run, step: StepView, db: str | None) -> Iterator[str]:
    due = f" (until {date_and_time(step.due_at)})" if step.due_at is not None else ""
    if step.on == "approval":
        prompt = str(step.question.get("prompt", ""))
        yield f"{name} asks: {prompt[:_PROMPT_LENGTH]}{'...' * (len(prompt) > _PROMPT_LENGTH)}{due}"
        yield from _decisions(run, step, db)
    else:
        yield f"{name} waits {waits_for(step)}{due}"
        key = [] if step.key is None else ["--key", step.key]
        yield f"  {command_line('signal', run.id, db, str(step.event), *key)}"


def _decisions(run: Run, step: StepView, db: str | None) -> Iterator[str]:
    """Who may decide and what has to be filled in, and the command of each choice."""
    question = step.question
    approvers, form = question.get("approvers", ()), question.get("form", {})
    if approvers:
        yield f"  approvers: {', '.join(approvers)}"
    if form:
        fields = (f"{name} ({field['type']}{', required' * field['required']})" for name, field in form.items())
        yield f"  form: {', '.join(fields)}"
    by = ["--by", approvers[0]] if approvers and user() not in approvers else []
    filled = [part for name, field in form.items() if field["required"] for part in ("--form", f"{name}=VALUE")]
    choices = tuple(question.get("choices", ()))
    if choices == ("approve", "reject"):
        yield f"  {command_line('approve', run.id, db, step.path, *filled, *by)}"
        yield f"  {command_line('reject', run.id, db, step.path, *by)}"
        return
    for choice in choices[:_MOST]:
        chosen = [] if choice == "approve" else ["--choice", choice]
        yield f"  {command_line('approve', run.id, db, step.path, *chosen, *filled, *by)}"
