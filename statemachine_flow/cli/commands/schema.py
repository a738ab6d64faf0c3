"""`smf schema`: the JSON Schema of documents."""

from __future__ import annotations

import click

from statemachine_flow.cli.options import common_options, examples
from statemachine_flow.cli.output import to_json, write
from statemachine_flow.compiler.schema import json_schema


@click.command("schema", epilog=examples("smf schema > workflow.schema.json"))
@common_options
def command(*, as_json: bool) -> None:
    """Print the JSON Schema of documents.

    Editors that know it complete keys and mark mistakes in TOML, YAML and JSON documents.
    """
    write(to_json(json_schema(), pretty=not as_json))
