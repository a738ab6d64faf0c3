"""`smf rehearse`: does a workflow end in the same way wherever its process dies?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from statemachine_flow.builder import load
from statemachine_flow.cli.carry import add_import_folders, engine_options
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.inputs import read_inputs
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import sanitize, to_json, write
from statemachine_flow.testing.rehearsal import rehearse

#: Folders of what is installed, which no workflow owns.
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@click.command(
    "rehearse",
    epilog=examples(
        "smf rehearse deploy.toml --script deploy.script.toml", "smf rehearse deploy.toml --seed 7 --point 12"
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
@click.option("--sqlite", "is_sqlite", is_flag=True, help="Use SQLite files in a temporary folder, not memory.")
@click.option(
    "--strict", is_flag=True, help="A step that may be carried out twice and is not declared safe is an error."
)
@engine_options
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
    is_sqlite: bool,
    strict: bool,
    engine_arguments: dict[str, Any],
    as_json: bool,
) -> int:
    """Kill a workflow at each of its writes, and see how it ends.

    The workflow is run in memory, on a clock where waiting takes no time: undisturbed, then with a death right before
    and right after each of its writes. What the script says nothing of is carried out for real, each time again, but
    for steps that are at_most_once, of which it has to speak. Modules beside the document are imported again after each
    death: what they held in variables is gone. The exit code is 1 if anything ends otherwise.
    """
    workflow = load(Path(file))
    inputs = read_inputs(workflow.definition, source, pairs)
    add_import_folders(workflow.origin)
    before = frozenset(sys.modules)
    folders = [Path.cwd(), *([Path(workflow.origin).parent] if workflow.origin else [])]
    report = rehearse(
        workflow,
        inputs,
        script=None if script is None else Path(script),
        seed=seed,
        rows=rows,
        point=point,
        store="sqlite" if is_sqlite else None,
        reset=lambda: _forget(before, folders),
        forget=lambda: _forget(before, folders),
        is_careful=True,
        **engine_arguments,
    )
    write(to_json(report.data()) if as_json else "\n".join(map(sanitize, str(report).splitlines())))
    return Exit.OK if report.ok and not (strict and report.undeclared) else Exit.FAILED


def _forget(before: frozenset[str], folders: list[Path]) -> None:
    """Have modules of the workflow's own folders imported again, so that what they remember dies with the process."""
    for name, module in list(sys.modules.items()):
        place = Path(os.path.abspath(getattr(module, "__file__", None) or os.devnull))  # noqa: PTH100 - keeps links
        is_installed = name.partition(".")[0] == "statemachine_flow" or not _INSTALLED.isdisjoint(place.parts)
        if name not in before and not is_installed and any(place.is_relative_to(folder) for folder in folders):
            del sys.modules[name]
