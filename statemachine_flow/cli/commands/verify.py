"""`smf verify`: does the store still hold what was written to it."""

from __future__ import annotations

import click

from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import paint, sanitize, to_json, write
from statemachine_flow.cli.stores import DEFAULT_STORE, reading_store
from statemachine_flow.engine.examine import Verification
from statemachine_flow.engine.sync import Engine
from statemachine_flow.stores import open_store


@click.command("verify", epilog=examples("smf verify", "smf verify @last --json", "smf verify --accept-loss"))
@click.argument("run", metavar="[RUN]", required=False, type=TEXT)
@click.option(
    "--accept-loss", is_flag=True, help="Go on with a store that lost what was committed last (store.lost_tail)."
)
@db_option
@common_options
def command(*, run: str | None, accept_loss: bool, db: str | None, as_json: bool) -> int:
    """Check a run, or everything the store holds.

    Runs are computed again from their journals and compared with all that the store has of them; every damage is
    shown, and nothing is changed. RUN is an id, the beginning of one, or @last.
    """
    if accept_loss:
        reading_store(db, accept_loss=True).close()
        open_store(db or DEFAULT_STORE, accept_loss=True).close()
    with Engine(reading_store(db)) as engine:
        found = engine.verify(None if run is None else engine.find(run))
    if as_json:
        damages = [{"run": one.run, "step": one.step, "seq": one.seq, "message": one.message} for one in found.damages]
        write(to_json({"ok": found.ok, "runs": found.runs, "records": found.records, "damages": damages}))
    else:
        write(_text(found))
    return Exit.OK if found.ok else Exit.STORE


def _text(found: Verification) -> str:
    said = paint("ok", "green") if found.ok else paint("damaged", "red")
    runs, records = (_plural(found.runs, "run"), _plural(found.records, "record"))
    return "\n".join([*(sanitize(str(one)) for one in found.damages), f"{said} {runs}, {records}"])


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
