"""`smf run`: a run of a document from its start to its rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from statemachine_flow.builder import load
from statemachine_flow.cli.carry import Errand, add_import_folders, carry, engine_options
from statemachine_flow.cli.inputs import read_inputs
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.stores import DEFAULT_STORE
from statemachine_flow.engine.ids import check_run_id, new_run_id
from statemachine_flow.engine.sync import Engine


@click.command(
    "run",
    epilog=examples("smf run review.toml --input repo=. --input max_files=5", "smf run build.yaml --no-save --json"),
)
@click.argument("file", metavar="FILE", type=TEXT)
@click.option("--input", "pairs", metavar="NAME=VALUE", multiple=True, type=TEXT, help="An input; repeatable.")
@click.option("--inputs", "source", metavar="FILE|JSON", type=TEXT, help="Inputs: a file, or a JSON object as text.")
@click.option("--run-id", metavar="ID", type=TEXT, help="The run's id; a run that has it goes on, if it began alike.")
@click.option("--no-save", is_flag=True, help="Keep the run in memory: nothing is written, nothing can be resumed.")
@engine_options
@db_option
@common_options
def command(
    *,
    file: str,
    pairs: tuple[str, ...],
    source: str | None,
    run_id: str | None,
    no_save: bool,
    engine_arguments: dict[str, Any],
    db: str | None,
    as_json: bool,
) -> int:
    """Run a workflow.

    Its outputs are printed as JSON. The value of an --input is text where the workflow declares a string or a path,
    else JSON. Ctrl-C pauses the run; `smf resume` goes on with it.
    """
    workflow = load(Path(file))
    definition = workflow.definition
    inputs = read_inputs(definition, source, pairs)
    add_import_folders(workflow.origin)
    errand = Errand(
        run_id=new_run_id() if run_id is None else check_run_id(run_id),
        workflow=definition.name,
        states={step.id: "pending" for step in definition.steps},
        db=db,
        saved=not no_save,
    )
    store = "memory://" if no_save else db or DEFAULT_STORE
    with Engine(store, **engine_arguments) as engine:
        return carry(
            engine,
            errand,
            lambda hear: engine.run(workflow, inputs, run_id=errand.run_id, on_event=hear),
            as_json=as_json,
        )
