"""`smf plan`: what a run would do; nothing is executed, imported or looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import click

from statemachine_flow.builder import load
from statemachine_flow.cli.inputs import read_inputs
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import paint, sanitize, to_json, write
from statemachine_flow.durations import format_duration
from statemachine_flow.views.needed import Needed
from statemachine_flow.views.preview import Preview, preview, waves_of
from statemachine_flow.views.prospects import Prospect

_VALUE_LENGTH: Final = 60
_COLOURS: Final = {"undecided": "yellow", "fails": "red", "skipped": "dim"}


@click.command("plan", epilog=examples("smf plan review.toml --input repo=.", "smf plan review.toml --json"))
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--input", "pairs", metavar="NAME=VALUE", multiple=True, type=TEXT, help="An input; repeatable.")
@click.option("--inputs", "source", metavar="FILE|JSON", type=TEXT, help="Inputs: a file, or a JSON object as text.")
@common_options
def command(*, file: str, pairs: tuple[str, ...], source: str | None, as_json: bool) -> None:
    """Show what a run would do, without running anything.

    The inputs are checked. Steps stand in the order in which they can begin; those with the same number can be under
    way at the same time. What is skipped with these inputs is told, and what only the run can decide, and by what.
    """
    workflow = load(Path(file))
    found = preview(workflow, read_inputs(workflow.definition, source, pairs))
    write(to_json(_data(found)) if as_json else "\n".join(_lines(found)))


def _lines(found: Preview) -> Iterator[str]:
    definition = found.definition
    yield sanitize(f"{definition.name} {definition.version} (hash {definition.content_hash[:12]})")
    for name, value in found.inputs.items():
        yield f"input {sanitize(name)} = {sanitize(to_json(value), _VALUE_LENGTH)}"
    yield ""
    yield from _level(found.steps, "")
    for name, steps in (("on_failure", found.on_failure), ("finally", found.finally_)):
        if steps:
            yield ""
            yield f"{name}:"
            yield from _level(steps, "  ")
    yield ""
    yield "at once: " + ", ".join(_limit(name, limit) for name, limit in found.limits.items())
    yield from _needs(found.needed)


def _limit(name: str, limit: int) -> str:
    return f"{limit} steps" if name == "*" else f"{limit} {name}"


def _level(steps: tuple[Prospect, ...], indent: str) -> Iterator[str]:
    for number, wave in enumerate(waves_of(steps), 1):
        for index, step in enumerate(wave):
            yield f"{indent}{number if index == 0 else '':>2}  {_line(step)}"
            if step.inside:
                yield from _level(step.inside, indent + "    ")
    for step in steps:
        if step.verdict == "skipped":
            yield f"{indent} -  {_line(step)}"


def _line(step: Prospect) -> str:
    parts = [f"{step.step.id} ({step.step.verb.key})"]
    if step.verdict != "begins":
        parts.append(paint(step.verdict, _COLOURS[step.verdict]) + f": {sanitize(step.why)}")
    if step.verdict == "skipped":
        return " ".join(parts)
    if step.items is not None:
        parts.append("for items known only then" if step.items < 0 else f"for {step.items} items")
    if step.max_attempts > 1:
        parts.append(f"{step.max_attempts} attempts")
    if step.timeout is not None:
        parts.append(f"timeout {format_duration(step.timeout)}")
    if step.step.optional:
        parts.append("optional")
    if step.step.repeat is not None:
        parts.append(f"{step.step.repeat.max} rounds at most")
    if step.depends:
        parts.append(sanitize(f"(depends on {', '.join(step.depends)})"))
    return "  ".join(parts)


def _needs(needed: Needed) -> Iterator[str]:
    for name, values in attrs.asdict(needed, recurse=False).items():
        if values:
            yield f"{name}: {sanitize(', '.join(values))}"


def _data(found: Preview) -> dict[str, Any]:
    return {
        "workflow": found.definition.name,
        "hash": found.definition.content_hash,
        "inputs": found.inputs,
        "waves": [[step.path for step in wave] for wave in found.waves],
        "steps": [one for step in found.steps for one in _steps(step)],
        "on_failure": [one for step in found.on_failure for one in _steps(step)],
        "finally": [one for step in found.finally_ for one in _steps(step)],
        "limits": dict(found.limits),
        "needed": attrs.asdict(found.needed, recurse=False),
    }


def _steps(step: Prospect) -> Iterator[Mapping[str, Any]]:
    """A step and those inside of it."""
    yield {
        "path": step.path,
        "verb": step.step.verb.key,
        "verdict": step.verdict,
        "why": step.why or None,
        "depends": list(step.depends),
        "wave": step.wave,
        "items": None if step.items is None or step.items < 0 else step.items,
        "loops": step.items is not None,
        "keys": list(step.keys),
        "max_attempts": step.max_attempts,
        "timeout": step.timeout,
        "optional": step.step.optional,
    }
    for inner in step.inside:
        yield from _steps(inner)
