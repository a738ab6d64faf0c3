"""`smf rehearse`: does a workflow end in the same way wherever its process dies?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import click

from statemachine_flow.builder import load
from statemachine_flow.cli.again import arguments_of
from statemachine_flow.cli.carry import add_import_folders, rehearsal_options
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.inputs import read_inputs
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import sanitize, to_json, write
from statemachine_flow.cli.rehearsing import forget, progress, resetter
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.testing.rehearsal import rehearse

#: What a report says itself of each point, and how it is printed.
_CHOSEN: Final = frozenset({"seed", "point", "as_json"})


@click.command(
    "rehearse",
    epilog=examples(
        "smf rehearse deploy.toml --script deploy.script.toml",
        "smf rehearse deploy.toml --reset 'rm -rf out' --seed 7 --point 12",
    ),
)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--input", "pairs", metavar="NAME=VALUE", multiple=True, type=TEXT, help="An input; repeatable.")
@click.option(
    "--inputs", "-i", "source", metavar="FILE|JSON", type=TEXT, help="Inputs: a file, or a JSON object as text."
)
@click.option("--script", metavar="FILE", type=TEXT, help="How attempts end and what people do, by paths of steps.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the rows of deaths, and the jitter of retries."
)
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="Rows of several deaths to try.")
@click.option("--point", type=click.IntRange(0), help="Try only this one.")
@click.option(
    "--reset",
    metavar="COMMAND",
    type=TEXT,
    help="A program with its arguments, called before each run to put the world outside back to where it was.",
)
@click.option("--sqlite", "is_sqlite", is_flag=True, help="Use SQLite files in a temporary folder, not memory.")
@click.option(
    "--strict", is_flag=True, help="A step that may be carried out twice and is not declared safe is an error."
)
@rehearsal_options
@common_options
def command(  # noqa: PLR0913 - what a rehearsal may be told
    *,
    file: str,
    pairs: tuple[str, ...],
    source: str | None,
    script: str | None,
    seed: int,
    rows: int,
    point: int | None,
    reset: str | None,
    is_sqlite: bool,
    strict: bool,
    engine_arguments: dict[str, Any],
    as_json: bool,
) -> int:
    """Kill a workflow at each of its writes, and see how it ends.

    The workflow is run in memory, on a clock where waiting takes no time: undisturbed, then with a death right before
    and right after each of its writes. What the script says nothing of is carried out for real at every point, each
    time again, so slow steps and those with effects belong in the script; of steps that are at_most_once it has to
    speak. `dsl/rehearsal.md` says how scripts are written. Modules beside the document are imported again after each
    death: what they held in variables is gone. The exit code is 1 if anything ends otherwise.
    """
    workflow = load(Path(file))
    inputs = read_inputs(workflow.definition, source, pairs)
    put_back = resetter(reset)
    add_import_folders(workflow.origin)
    before = frozenset(sys.modules)
    folders = [Path.cwd(), *([Path(workflow.origin).parent] if workflow.origin else [])]

    def begin() -> None:
        put_back()
        forget(before, folders)

    with progress() as on_point, _advising():
        report = rehearse(
            workflow,
            inputs,
            script=script,
            seed=seed,
            rows=rows,
            point=point,
            store="sqlite" if is_sqlite else None,
            reset=begin,
            forget=lambda: forget(before, folders),
            is_careful=True,
            on_point=on_point,
            **engine_arguments,
        )
    secrets = [name for name, declared in workflow.definition.inputs.items() if declared.secret]
    arguments = arguments_of(click.get_current_context(), _CHOSEN, secrets)
    report = attrs.evolve(report, arguments=arguments)
    write(to_json(report.data()) if as_json else "\n".join(map(sanitize, str(report).splitlines())))
    return Exit.OK if report.ok and not (strict and report.undeclared) else Exit.FAILED


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    """Say what can be done about an agent that is not there, in the words of the command line."""
    try:
        yield
    except DefinitionError as error:
        raise DefinitionError(map(_advised, error.problems)) from error


def _advised(problem: Problem) -> Problem:
    if problem.kind != "definition.agent" or "Engine(" not in (problem.hint or ""):
        return problem
    return attrs.evolve(
        problem, hint="give it with `--agent NAME=MODULE:FUNCTION`, or say in the script what it returns"
    )
