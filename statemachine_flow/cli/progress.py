"""A run's progress for people, as it happens: one line on stderr per change, or a live table where that works."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Final, final

from statemachine_flow.cli.describe import error_text
from statemachine_flow.cli.output import paint_state, sanitize, say
from statemachine_flow.cli.times import clock_time, span
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.view import Event
from statemachine_flow.lifecycle import STEP_EDGES

#: Kind of a step's event -> the state it leads to.
STATE_AFTER: Final = {f"step.{edge.trigger}": edge.dest for edge in STEP_EDGES}
_MESSAGE_LENGTH: Final = 300
_SHOW_CURSOR: Final = b"\x1b[?25h\n"


def show_progress(workflow: str, run_id: str, states: Mapping[str, str]) -> AbstractContextManager[EventListener]:
    """Show what the events say that are handed to the listener.

    What step functions print while this is open goes to stderr, so that stdout holds nothing but data.

    Args:
        workflow: its name.
        run_id: the run; what its child runs do is told with their ids.
        states: id -> state of every step, in order.
    """
    if _can_draw():
        from statemachine_flow.cli.live import live_table  # noqa: PLC0415 - rich is optional and slow to import

        return live_table(workflow, run_id, states)
    return _lines(run_id)


def restore_terminal() -> None:
    """Undo what the table did to the terminal, for a process that ends without closing it."""
    if _can_draw():
        with contextlib.suppress(OSError):
            os.write(2, _SHOW_CURSOR)


def _can_draw() -> bool:
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return sys.stderr.isatty() and not is_plain and find_spec("rich") is not None


@contextlib.contextmanager
def _lines(run_id: str) -> Iterator[EventListener]:
    progress = Lines(run_id)

    def hear(event: Event) -> None:
        line = progress.line(event)
        if line is not None:
            say(f"{clock_time(event.at)} {line}")

    with contextlib.redirect_stdout(sys.stderr):
        yield hear


@final
class Lines:
    """Turns events into lines.

    Args:
        run_id: the run that is watched; its child runs are heard as well.
    """

    def __init__(self, run_id: str) -> None:
        self._run = run_id
        self._started: dict[tuple[str, str], dt.datetime] = {}

    def line(self, event: Event) -> str | None:
        """What an event says, without its time; None for what the summary says better."""
        if event.step is None:
            return _of_run(event)
        step, name = (event.run_id, event.step), sanitize(event.step)
        if event.run_id != self._run:
            name = f"{sanitize(event.run_id)}: {name}"
        if event.kind == "step.start":
            self._started[step] = event.at
            attempt = event.data["attempt"]
            return f"{name} started" + (f" (attempt {attempt})" if attempt > 1 else "")
        if event.kind == "step.wait":
            return f"{name} {_painted('waiting')} {waits_text(event)}"
        started = self._started.pop(step, None)
        if event.kind == "step.reset":
            return f"{name} begins again: {message_of(event)}"
        return f"{name} {_end(event, None if started is None else (event.at - started).total_seconds())}"


def _of_run(event: Event) -> str | None:
    """What an event says of the run as such."""
    if event.kind == "run.create":
        return f"run {event.run_id} of {sanitize(event.data['workflow'])} created"
    if event.kind == "run.signal":
        return f"signal {sanitize(event.data['event'])} came"
    if event.kind == "run.unwind":
        return f"the steps are at rest; what is left before it is {event.data['outcome']}: its handlers"
    return _noted(event) if event.kind == "run.note" else None


def _noted(event: Event) -> str:
    label, reason = (sanitize(event.data.get(name, "")) for name in ("label", "reason"))
    return f"marked {label}" + (f": {reason}" if reason else "") if label else f"note: {reason}"


def waits_text(event: Event) -> str:
    """What a step that begins to wait waits for; safe to print."""
    on = event.data["on"]
    if on == "items":
        keys = event.data.get("keys")
        return "for its items" if keys is None else f"for its {len(keys)} items"
    if on == "run":
        return f"for its run {sanitize(event.data['run'])}"
    if on == "event":
        return f"for the signal {sanitize(event.data['event'])}"
    if on == "timer":
        due = dt.datetime.fromtimestamp(event.data["due"] / 1e6, dt.UTC)
        return f"for {span((due - event.at).total_seconds())}"
    return "for an approval" if on == "approval" else "for its steps"


def _end(event: Event, seconds: float | None) -> str:
    state = STATE_AFTER[event.kind]
    if event.kind == "step.complete":
        return _painted(state) + ("" if seconds is None else f" in {span(seconds)}")
    if event.kind == "step.back_off":
        due = dt.datetime.fromtimestamp(event.data["due"] / 1e6, dt.UTC)
        return f"{_painted('failed')}: {message_of(event)}; next attempt in {span((due - event.at).total_seconds())}"
    if event.kind == "step.fail" and event.data.get("optional"):
        return f"{_painted(state)}: {message_of(event)}; the run goes on without it"
    message = message_of(event)
    return _painted(state) + (f": {message}" if message else "")


def _painted(state: str) -> str:
    return paint_state(state, stream=sys.stderr)


def message_of(event: Event) -> str:
    """Why a step failed, or was skipped, stopped or reset; safe to print."""
    error = event.data.get("error")
    text = error_text(error["name"], error["message"]) if error else event.data.get("reason", "")
    return sanitize(text, _MESSAGE_LENGTH)
