"""`smf status`: one run and its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from statemachine_flow.cli.describe import (
    allowed_commands,
    error_text,
    failure_of,
    owner_text,
    seconds_of,
    shown_run,
    status_data,
)
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import common_options, db_option, examples, run_argument
from statemachine_flow.cli.output import columns, error_line, paint_state, sanitize, say, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.cli.times import date_and_time, span
from statemachine_flow.cli.waiting import uncertain_lines, waiting_lines, waits_for
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run, StepView

_VALUE_LENGTH: Final = 60
_REMEDY: Final = "`smf verify` says more; `smf rerun` does a step anew, in a new run"
_HEADER: Final = ("STEP", "STATE", "ATTEMPT", "TIME", "WHY")


@click.command("status", epilog=examples("smf status @last", "smf status 0199c3 --json"))
@run_argument
@db_option
@common_options
def command(*, run: str, db: str | None, as_json: bool) -> int:
    """Show a run and its steps.

    RUN is an id, the beginning of one, or @last. Long values are cut; --json has them whole. Steps whose output is
    damaged are shown as such, and make the exit code 6.
    """
    with Engine(reading_store(db)) as engine:
        found = engine.get(engine.find(run))
        write(to_json(status_data(found)) if as_json else _text(found, engine, db))
    damaged = [step for step in found.steps.values() if step.damage]
    if not as_json:
        for step in damaged:
            say(error_line("store.corrupt", f"step {step.id} of run {found.id}: {step.damage}", _REMEDY))
    return Exit.STORE if damaged else Exit.OK


def _text(run: Run, engine: Engine, db: str | None) -> str:
    head = [f"{name:<9} {text}" for name, text in _head(run, engine, db)]
    steps = list(run.steps.values())
    has_generations = any(step.generation > 1 for step in steps)
    header = (*_HEADER[:3], "GENERATION", *_HEADER[3:]) if has_generations else _HEADER
    rows = [_cells(step, with_generation=has_generations) for step in steps]
    return "\n".join([*head, "", columns(header, rows, state=1)])


def _head(run: Run, engine: Engine, db: str | None) -> Iterator[tuple[str, str]]:
    """The lines above the steps: names and safe texts."""
    done, total = run.done
    yield "run", sanitize(run.id)
    yield "workflow", sanitize(f"{run.workflow} {run.version} (hash {run.definition_hash[:12]})")
    yield "state", paint_state(run.state, shown_run(run))
    if run.owner is not None:
        yield "owner", sanitize(owner_text(run.owner))
    yield "steps", f"{done}/{total}"
    yield "created", date_and_time(run.created_at)
    yield "started", date_and_time(run.started_at)
    yield "ended", date_and_time(run.ended_at)
    if run.ended_at is not None:
        yield "took", span(seconds_of(run))
    yield from _failure(run)
    if run.parent is not None:
        yield "parent", sanitize(f"run {run.parent[0]}, step {run.parent[1]}")
    if run.reason:
        yield "reason", sanitize(run.reason)
    for note in run.notes:
        yield "note", sanitize(note)
    if run.origin is not None:
        yield "document", sanitize(run.origin)
    yield from _values("inputs", run.inputs)
    yield from _values("outputs", run.outputs)
    for lines in waiting_lines(run, engine.get, db):
        yield from _under("waits", lines)
    for lines in uncertain_lines(run, db):
        yield from _under("uncertain", lines)
    yield "allowed", ", ".join(allowed_commands(run)) or "-"


def _failure(run: Run) -> Iterator[tuple[str, str]]:
    if (failure := failure_of(run)) is not None:
        kind, text, where = failure
        yield "error", sanitize(f"{kind}: {text}")
        if where is not None:
            yield "where", sanitize(where)


def _under(name: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Lines of which only the first has a name."""
    yield from zip((name, *[""] * (len(lines) - 1)), lines, strict=True)


def _values(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        yield name, f"{sanitize(key)} = {sanitize(to_json(value), _VALUE_LENGTH)}"


def _cells(step: StepView, *, with_generation: bool) -> list[str]:
    why = error_text(step.error.name, step.error.message) if step.error is not None else step.reason
    if step.damage:
        why = f"its output is damaged: {step.damage}"
    generation = [str(step.generation)] if with_generation else []
    attempt = [str(step.attempt), *generation]
    return [step.id, step.state, *attempt, span(step.seconds), why or waits_for(step)]
