"""What `fork`, `rerun` and `restore` share: they make a new run of another one, and carry it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from statemachine_flow.cli.actor import actor
from statemachine_flow.cli.carry import add_import_folders, carry, engine_options, errand_of
from statemachine_flow.cli.options import TEXT, by_option, common_options, db_option, reason_option
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.stores import command_line, working_engine
from statemachine_flow.engine.ids import check_run_id
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.lifecycle import RUN_AT_REST

_F = TypeVar("_F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Given:
    """The options that the three commands share."""

    run_id: str | None
    reason: str
    by: str | None
    no_start: bool
    engine_arguments: dict[str, Any]
    db: str | None
    as_json: bool

    def options(self) -> dict[str, Any]:
        """What each of the engine's methods takes."""
        run_id = None if self.run_id is None else check_run_id(self.run_id)
        return {"run_id": run_id, "reason": self.reason, "by": self.by or actor(), "start": False}


def copying_options(command: _F) -> _F:
    """`--run-id`, `--reason`, `--by`, `--no-start`, and the options of an engine; the command gets `given`."""

    def collected(**arguments: Any) -> Any:
        given = Given(**{field.name: arguments.pop(field.name) for field in attrs.fields(Given)})
        return command(given=given, **arguments)

    collected.__doc__ = command.__doc__
    for option in (
        common_options,
        db_option,
        engine_options,
        click.option("--no-start", is_flag=True, help="Only create the new run; `smf resume` goes on with it."),
        by_option,
        reason_option,
        click.option("--run-id", metavar="ID", type=TEXT, help="The new run's id; with the same id it is made once."),
    ):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # it takes what the options give


def make(given: Given, create: Callable[[Engine, dict[str, Any]], Run]) -> int:
    """Create a new run, say so, and carry it to its rest.

    Args:
        given: the options.
        create: creates it with the engine's options.

    Returns:
        The exit code.
    """
    with working_engine(given.db, **given.engine_arguments) as engine:
        run = create(engine, given.options())
        forked = run.forked
        assert forked is not None  # noqa: S101 - it was made of another run
        if not given.as_json or given.no_start or run.state in RUN_AT_REST:
            _tell(run, forked.run, given)
        if given.no_start or run.state in RUN_AT_REST:
            return 0
        add_import_folders(run.origin)
        return carry(
            engine,
            errand_of(run, given.db),
            lambda hear: engine.resume(run.id, by=given.by or actor(), on_event=hear),
            as_json=given.as_json,
        )


def _tell(run: Run, source: str, given: Given) -> None:
    if given.as_json:
        write(to_json({"run": run.id, "source": source, "state": str(run.state)}))
        return
    say(sanitize(f"run {run.id} was made of run {source}; it is {run.state}"))
    if given.no_start or run.state == "failed":
        command = command_line("retry" if run.state == "failed" else "resume", run.id, given.db)
        say(sanitize(f"go on with: {command}"))
