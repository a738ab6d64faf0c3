"""`smf restore`: a new run that begins at a checkpoint of another one."""

from __future__ import annotations

import click

from statemachine_flow.cli.copying import Given, copying_options, make
from statemachine_flow.cli.options import TEXT, examples
from statemachine_flow.engine.checkpoints import parse_checkpoint


@click.command("restore", epilog=examples("smf restore nightly@12", "smf restore @last@before-deploy"))
@click.argument("checkpoint", metavar="CHECKPOINT", type=TEXT)
@copying_options
def command(*, checkpoint: str, given: Given) -> int:
    """Begin a new run at a checkpoint of another one.

    CHECKPOINT is RUN@SEQ or RUN@LABEL, as `smf checkpoints` lists them; its run stays as it is.
    """
    run, point = parse_checkpoint(checkpoint)
    return make(given, lambda engine, options: engine.restore(f"{engine.find(run)}@{point}", **options))
