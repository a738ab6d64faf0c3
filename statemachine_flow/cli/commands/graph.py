"""`smf graph`: a workflow, or a run of it, as a picture in text."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from statemachine_flow.builder import load
from statemachine_flow.cli.drawing import graph_data, mermaid, strokes_for, tree
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.engine.sync import Engine
from statemachine_flow.model import Definition
from statemachine_flow.snapshot import decode_definition

_SUFFIXES: Final = (".toml", ".yaml", ".yml", ".json")


@click.command("graph", epilog=examples("smf graph review.toml", "smf graph @last --format mermaid"))
@click.argument("what", metavar="FILE|RUN", type=TEXT)
@click.option("--format", "form", type=click.Choice(["tree", "mermaid"]), help="Only one of the two drawings.")
@db_option
@common_options
def command(*, what: str, form: str | None, db: str | None, as_json: bool) -> None:
    """Draw a workflow, or a run of it.

    The steps of a document or of a run (its id, the beginning of one, or @last; its steps with their states) as a
    tree and as a Mermaid flowchart.
    """
    definition, states = _found(what, db)
    if as_json:
        write(to_json(graph_data(definition, states)))
        return
    if form != "mermaid":
        write(tree(definition, states, strokes_for(sys.stdout.encoding)))
    if form is None:
        write("")
    if form != "tree":
        write(mermaid(definition, states))


def _found(what: str, db: str | None) -> tuple[Definition, Mapping[str, str] | None]:
    path = Path(what)
    # What looks like a file is one, so that a mistyped name is not looked for among the runs.
    if path.suffix.lower() in _SUFFIXES or len(path.parts) > 1 or os.path.isfile(what):  # noqa: PTH113 - no text is an error to it
        return load(path).definition, None
    store = reading_store(db)
    with Engine(store) as engine:
        run = engine.get(engine.find(what))
        definition = decode_definition(store.definition(run.definition_hash) or b"")
        return definition, {step.id: step.state for step in run.steps.values()}
