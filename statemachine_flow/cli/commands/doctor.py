"""`smf doctor`: what the store is, where it lies, and how it is set."""

from __future__ import annotations

import click

from statemachine_flow.cli.options import common_options, db_option, examples
from statemachine_flow.cli.output import sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store, working_engine
from statemachine_flow.engine.sync import Engine


@click.command("doctor", epilog=examples("smf doctor", "smf doctor --migrate", "smf doctor --json"))
@click.option(
    "--migrate", is_flag=True, help="Bring a store of an older version up to date first; a backup is kept beside it."
)
@db_option
@common_options
def command(*, migrate: bool, db: str | None, as_json: bool) -> None:
    """Show facts about the store.

    SQLite's version and settings, the file system and the room on it, sizes, modes of files, runs and their owners.
    """
    with working_engine(db) if migrate else Engine(reading_store(db)) as engine:
        facts = engine.health()
    if as_json:
        write(to_json(facts))
        return
    for name, value in facts.items():
        for number, text in enumerate(_lines(value)):
            write(sanitize(f"{name if number == 0 else '':<13} {text}"))
    if exposed := facts.get("exposed"):
        names = ", ".join(exposed)
        write(sanitize(f"warning: others may read or change {names}; `chmod go-rwx` takes that away"))


def _lines(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} {text}" for name, text in value.items()]
    if isinstance(value, list):
        texts = (map(str, entry.values()) if isinstance(entry, dict) else (str(entry),) for entry in value)
        return [" ".join(text) for text in texts] or ["-"]
    return [f"{value:,}" if isinstance(value, int) else str(value)]
