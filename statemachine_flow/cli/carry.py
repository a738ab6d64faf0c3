"""A run from its start to its rest in one command: what `run`, `resume` and `retry` share."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import attrs
import click

from statemachine_flow.agents import AgentRequest
from statemachine_flow.cli.describe import failure_of, is_elsewhere, result_data, seconds_of
from statemachine_flow.cli.elsewhere import elsewhere_text, is_carried_elsewhere, take_over_hint
from statemachine_flow.cli.exits import Exit, exit_of_state
from statemachine_flow.cli.options import DURATION, TEXT, Duration
from statemachine_flow.cli.output import error_line, paint_state, sanitize, say, to_json, write
from statemachine_flow.cli.progress import show_progress
from statemachine_flow.cli.signals import Interruption
from statemachine_flow.cli.stores import command_line
from statemachine_flow.cli.times import span
from statemachine_flow.cli.waiting import uncertain_lines, waiting_lines
from statemachine_flow.engine.length import MAX_RECORDS
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.owner import LEASE_SECONDS
from statemachine_flow.engine.patience import WRITE_TIMEOUT
from statemachine_flow.engine.reasons import CODE_MISSING
from statemachine_flow.engine.sync import Engine
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import ConflictError, StoreError, UsageError
from statemachine_flow.executors.thread import MAX_ABANDONED
from statemachine_flow.functions import Functions
from statemachine_flow.journal import is_top

#: State of a run that can go on -> the command for it.
_GOES_ON: Final[Mapping[str, str]] = {
    "failed": "retry",
    "paused": "resume",
    "running": "resume",
    "cancelling": "cancel",
}

_F = TypeVar("_F", bound=Callable[..., Any])

_CODE_MISSING: Final = (
    "its functions cannot be imported here: call `smf` in the folder of their module, or with that folder in "
    "PYTHONPATH, or resume the run in the program that it came from"
)

#: A lease that the usual delays of a busy machine do not outlast.
_SHORTEST_LEASE: Final = 1.0
#: Those that mean nothing where deaths are played.
_LIFE_OPTIONS: Final = (
    click.option(
        "--lease",
        metavar="DURATION",
        type=Duration(_SHORTEST_LEASE),
        default=f"{LEASE_SECONDS:g}s",
        show_default=True,
        help="For how long this process may give no sign of life before others take its runs over.",
    ),
    click.option(
        "--max-abandoned",
        metavar="N",
        type=click.IntRange(min=0),
        default=MAX_ABANDONED,
        show_default=True,
        help="How many functions that did not stop may go on in threads before no other begins in one; "
        "0 for any number.",
    ),
    click.option(
        "--poison-after",
        metavar="N",
        type=click.IntRange(min=0),
        default=3,
        show_default=True,
        help="Quarantine a run one of whose steps was cut off that often in a row by the death of its process; "
        "0 for never.",
    ),
)
#: The last stands first in the help.
_ENGINE_OPTIONS: Final = (
    click.option(
        "--workflow",
        "workflows",
        metavar="NAME=FILE",
        multiple=True,
        type=TEXT,
        help="What `workflow` steps start by that name; repeatable.",
    ),
    click.option(
        "--agent",
        "agents",
        metavar="NAME=MODULE:FUNCTION",
        multiple=True,
        type=TEXT,
        help="Whom `agent` steps ask by that name; repeatable.",
    ),
    click.option(
        "--grace",
        metavar="DURATION",
        type=DURATION,
        default="10s",
        show_default=True,
        help="How long a step may take to end after it was asked to.",
    ),
    click.option(
        "--max-records",
        metavar="N",
        type=click.IntRange(min=1),
        default=MAX_RECORDS,
        show_default=True,
        help="How many records the run's journal may have before it is paused.",
    ),
    click.option(
        "--write-timeout",
        metavar="DURATION",
        type=DURATION,
        default=f"{WRITE_TIMEOUT:g}s",
        show_default=True,
        help="How long what has finished is held while the store is full, locked or fails.",
    ),
    click.option(
        "--pass-env",
        metavar="NAME",
        multiple=True,
        type=TEXT,
        help="An environment variable, or a pattern such as CI_*, for commands to inherit; repeatable.",
    ),
    click.option(
        "--allow",
        metavar="PATTERN",
        multiple=True,
        type=TEXT,
        help="Only functions that match, such as 'checks:*'; repeatable.",
    ),
)


def engine_options(command: _F) -> _F:
    """The options of an engine that carries a run; the command gets them as `engine_arguments`."""
    collected = rehearsal_options(command)
    for option in _LIFE_OPTIONS:
        collected = option(collected)
    return collected


def rehearsal_options(command: _F) -> _F:
    """Those of them that count where deaths are played, too."""

    @functools.wraps(command)
    def collected(  # noqa: PLR0913 - what an engine may be told
        *,
        allow: tuple[str, ...],
        pass_env: tuple[str, ...],
        grace: float,
        max_records: int,
        write_timeout: float,
        agents: tuple[str, ...],
        workflows: tuple[str, ...],
        lease: float = LEASE_SECONDS,
        max_abandoned: int = MAX_ABANDONED,
        poison_after: int = 0,
        **others: Any,
    ) -> Any:
        arguments = {
            "allow": allow or None,
            "pass_env": pass_env,
            "grace": grace,
            "max_records": max_records,
            "write_timeout": write_timeout,
            "agents": {name: _LateAgent(function, allow or None) for name, function in named(agents, "--agent")},
            "workflows": dict(named(workflows, "--workflow")),
            "lease": lease,
            "max_abandoned": max_abandoned or None,
            "poison_after": poison_after or None,
        }
        return command(engine_arguments=arguments, **others)

    for option in _ENGINE_OPTIONS:
        collected = option(collected)
    return cast(_F, collected)


def named(pairs: tuple[str, ...], option: str) -> Iterator[tuple[str, str]]:
    """Pairs of a name and what it stands for.

    Raises:
        click.BadParameter: one of them is none.
    """
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise click.BadParameter(f"{pair!r} is not name=value", ctx=click.get_current_context(), param_hint=option)
        yield name, value


class _LateAgent:
    """An agent that is imported when it is asked, as functions of steps are."""

    def __init__(self, name: str, allow: tuple[str, ...] | None) -> None:
        self._name = name
        self._functions = Functions(None, allow)

    def __call__(self, request: AgentRequest) -> Any:
        # In a thread of the engine, which counts those it has to abandon; what a coroutine function gives is awaited.
        return self._functions.resolve(self._name)(request)


def add_import_folders(origin: str | None) -> None:
    """Let steps name functions of modules that lie beside the document, or in the current directory.

    Raises:
        UsageError: the current directory was deleted.
    """
    folders = [os.path.dirname(origin)] if origin else []  # noqa: PTH120 - sys.path holds text
    try:
        current = os.getcwd()  # noqa: PTH109 - as above
    except FileNotFoundError:
        raise UsageError("the current directory is gone", hint="change to one that exists") from None
    for folder in (current, *folders):
        if folder not in sys.path:
            sys.path.insert(0, folder)


@attrs.frozen(kw_only=True)
class Errand:
    """A run that a command is about to carry."""

    run_id: str
    workflow: str
    #: Id -> state of every step, in order.
    states: Mapping[str, str]
    #: The store that was named, for commands to copy; None if none was.
    db: str | None
    #: Whether the run outlives this process.
    saved: bool = True


def errand_of(run: Run, db: str | None) -> Errand:
    """The errand of going on with a run."""
    states = {step.id: str(step.state) for step in run.steps.values()}
    return Errand(run_id=run.id, workflow=run.workflow, states=states, db=db)


def carry(engine: Engine, errand: Errand, work: Callable[[EventListener], Run], *, as_json: bool) -> int:
    """Carry a run to its rest: show its progress, pause it on a signal, print what came of it.

    Args:
        engine: works on the run.
        errand: the run.
        work: brings it to rest, telling the listener of each event.
        as_json: whether stdout gets one object about the run, or only its outputs.

    Returns:
        The exit code.
    """
    interruption = Interruption(engine, [errand.run_id])
    try:
        with show_progress(errand.workflow, errand.run_id, errand.states) as hear, interruption.watching():
            run = work(hear)
    except StoreError as error:
        error.run = error.run or errand.run_id
        raise
    except ConflictError as error:
        owner = engine.get(errand.run_id).owner if error.kind == "run.owned" else None
        if owner is not None and is_elsewhere(owner):
            error.hint = f"wait for it; {take_over_hint(errand.run_id, errand.db)}"
        raise
    _conclude(run, errand, engine)
    with contextlib.suppress(BrokenPipeError):  # nobody wants the outputs; the run is what it is
        if as_json:
            write(to_json(result_data(run)))
        elif run.outputs:
            write(to_json(run.outputs, pretty=True))
    is_left = run.state in ("paused", "cancelling") or is_carried_elsewhere(run)
    if interruption.signal is not None and is_left:
        return 128 + interruption.signal
    if is_carried_elsewhere(run):
        return Exit.CONFLICT
    return Exit.PAUSED if run.state == "running" else exit_of_state(run.state)


def _conclude(run: Run, errand: Errand, engine: Engine) -> None:
    """Say how the run ended, and what can be done about it."""
    top = [step for step in run.steps.values() if is_top(step.path)]
    counts = Counter(str(step.state) for step in top)
    completed = counts.pop("completed", 0)
    others = ", ".join(f"{count} {state}" for state, count in counts.items())
    elsewhere = is_carried_elsewhere(run)
    state = "waiting" if run.state == "running" and not elsewhere else run.state
    line = f"run {sanitize(run.id)} {paint_state(state, stream=sys.stderr)}: {completed}/{len(top)} steps"
    line += f" ({others})" if others else ""
    seconds = seconds_of(run)
    line += f" in {span(seconds)}" if seconds is not None else ""
    say(line + (f": {sanitize(run.reason)}" if run.reason else ""))
    if (failure := failure_of(run)) is not None:
        say(error_line(*failure))
    if run.reason.startswith(CODE_MISSING):
        say(_CODE_MISSING)
    if not errand.saved:
        if run.state in _GOES_ON:
            say("it cannot go on: it was run with --no-save")
        return
    if elsewhere:
        say(elsewhere_text(run, errand.db))
        return
    uncertain = list(uncertain_lines(run, errand.db))
    for lines in (*waiting_lines(run, engine.get, errand.db), *uncertain):
        say("\n".join(lines))
    command = _GOES_ON.get(run.state)
    if command is not None and not uncertain:  # that has to be resolved first
        say(f"go on with: {sanitize(command_line(command, run.id, errand.db))}")
