"""`smf backup`: a copy of the store that is whole, while runs go on."""

from __future__ import annotations

from pathlib import Path

import click

from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.engine.sync import Engine


@click.command("backup", epilog=examples("smf backup runs-monday.db", "smf list --all --db runs-monday.db"))
@click.argument("file", metavar="FILE", type=TEXT)
@db_option
@common_options
def command(*, file: str, db: str | None, as_json: bool) -> None:
    """Copy the store to a new file, while runs go on.

    The file is a store of its own: nobody owns its runs. It appears once it is whole and was verified, and never takes
    the place of another. Large outputs lie in the folder FILE.blobs beside it.
    """
    with Engine(reading_store(db)) as engine:
        engine.backup(file)
    size = Path(file).stat().st_size
    if as_json:
        write(to_json({"backup": str(Path(file).absolute()), "bytes": size}))
    else:
        write(sanitize(f"{file} holds the store ({size:,} bytes), and was verified"))
