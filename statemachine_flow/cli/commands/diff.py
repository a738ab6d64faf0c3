"""`smf diff`: how two documents differ in meaning, and what that is to a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from statemachine_flow.builder import load
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import paint, sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.views.changes import Change, Difference, diff

_VALUE_LENGTH: Final = 70
_COLOURS: Final = {"added": "green", "removed": "red", "renamed": "yellow"}
_SIGNS: Final = {"added": "+", "removed": "-"}


@click.command("diff", epilog=examples("smf diff old.toml new.yaml", "smf diff old.toml new.toml --run @last"))
@click.argument("before", metavar="A", type=TEXT)
@click.argument("after", metavar="B", type=TEXT)
@click.option("--run", metavar="RUN", type=TEXT, help="A run of A: what would each change mean for it?")
@db_option
@common_options
def command(*, before: str, after: str, run: str | None, db: str | None, as_json: bool) -> int:
    """Show how two workflows differ, and what that means.

    A and B are documents of any format; layout, comments and the order of keys are no difference. The exit code is 0
    if they mean the same, and 1 if they do not.
    """
    found = None if run is None else _run(run, db)
    difference = diff(load(Path(before)), load(Path(after)), run=found)
    if as_json:
        write(to_json(_data(difference, found)))
    else:
        write("\n".join(_lines(before, after, difference, found)))
    return Exit.OK if difference.same else Exit.FAILED


def _run(run: str, db: str | None) -> Run:
    with Engine(reading_store(db)) as engine:
        return engine.get(engine.find(run))


def _lines(before: str, after: str, difference: Difference, run: Run | None) -> Iterator[str]:
    if difference.same:
        yield f"{sanitize(before)} and {sanitize(after)} mean the same (hash {difference.before.content_hash[:12]})"
        return
    for change in difference.changes:
        yield _line(change)
        if change.effect:
            yield f"             {paint(sanitize(change.effect), 'dim')}"
    yield ""
    if run is None:
        yield "a run that began with A goes on with A; a new one begins with B"
    elif run.definition_hash != difference.before.content_hash:
        yield f"run {sanitize(run.id)} did not begin with A (its own hash is {run.definition_hash[:12]})"
    else:
        yield f"run {sanitize(run.id)} began with A and goes on with A; above is what B would mean for it"


def _line(change: Change) -> str:
    sign = paint(_SIGNS.get(change.kind, "~"), _COLOURS.get(change.kind))
    return f"{sign} {change.kind:<9}  {_what(change)}"


def _what(change: Change) -> str:
    if change.kind in ("added", "removed"):
        return sanitize(change.path)
    if change.kind == "renamed":
        return f"{sanitize(change.was or '')} -> {sanitize(change.path)}"
    where = f"{change.path} {change.field}" if change.field else change.path
    return f"{sanitize(where)}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return sanitize(value if isinstance(value, str) else to_json(value), _VALUE_LENGTH)


def _data(difference: Difference, run: Run | None) -> dict[str, Any]:
    return {
        "same": difference.same,
        "before": {"workflow": difference.before.name, "hash": difference.before.content_hash},
        "after": {"workflow": difference.after.name, "hash": difference.after.content_hash},
        "run": None if run is None else run.id,
        "changes": [
            {
                "kind": change.kind,
                "path": change.path,
                "was": change.was,
                "field": change.field or None,
                "before": change.before,
                "after": change.after,
                "effect": change.effect or None,
            }
            for change in difference.changes
        ],
    }
