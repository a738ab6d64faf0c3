"""`smf checkpoints`: the points of a run that one can go back to."""

from __future__ import annotations

import click

from statemachine_flow.cli.options import common_options, db_option, examples, run_argument
from statemachine_flow.cli.output import columns, sanitize, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.cli.times import date_and_time
from statemachine_flow.engine.checkpoints import Checkpoint
from statemachine_flow.engine.sync import Engine

_HEADER = ("CHECKPOINT", "STATE", "DONE", "TIME", "STEP", "LABEL")


@click.command("checkpoints", epilog=examples("smf checkpoints @last", "smf checkpoints @last --json"))
@run_argument
@db_option
@common_options
def command(*, run: str, db: str | None, as_json: bool) -> None:
    """List the points of a run that `restore` can go back to.

    They are its start, each end of a step, and what was marked by `smf checkpoint`. RUN is an id, the beginning of one,
    or @last.
    """
    with Engine(reading_store(db)) as engine:
        found = engine.checkpoints(engine.find(run))
    if as_json:
        write(to_json({"checkpoints": [checkpoint_data(one) for one in found]}))
    else:
        write(columns(_HEADER, [_cells(one) for one in found], state=1))


def checkpoint_data(one: Checkpoint) -> dict[str, object]:
    """A checkpoint as JSON shows it."""
    return {
        "id": one.id,
        "seq": one.seq,
        "state": one.state,
        "done": one.done[0],
        "steps": one.done[1],
        "at": one.at.isoformat(),
        "step": one.step,
        "label": one.label,
    }


def _cells(one: Checkpoint) -> list[str]:
    done, steps = one.done
    place = [one.step or "", one.label]
    return [one.id, one.state, f"{done}/{steps}", date_and_time(one.at), *map(sanitize, place)]
