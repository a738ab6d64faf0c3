"""A run's progress as a table that redraws itself on a terminal, with rich."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, TextIO, final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from statemachine_flow.cli.output import STATE_COLOURS, sanitize
from statemachine_flow.cli.progress import STATE_AFTER, message_of
from statemachine_flow.cli.times import span
from statemachine_flow.engine.asynchronous import EventListener
from statemachine_flow.engine.view import Event
from statemachine_flow.lifecycle import STEP_AT_REST

_PER_SECOND: Final = 5
#: Lines of the terminal that are not rows: title, header, and room for what steps print.
_OTHER_LINES: Final = 5
#: What is shown when not all steps fit: work under way, then trouble, then what is done, then what is to come.
_ORDER: Final = (
    "running",
    "waiting",
    "backing_off",
    "interrupted",
    "failed",
    "cancelled",
    "completed",
    "skipped",
    "pending",
)


@contextlib.contextmanager
def live_table(title: str, states: Mapping[str, str]) -> Iterator[EventListener]:
    """See `progress.show_progress`."""
    # A terminal may go away while the run goes on.
    console = Console(file=_Tolerant(sys.stderr), markup=False, highlight=False, emoji=False)  # type: ignore[arg-type]  # it has what rich asks of a stream
    table = LiveTable(title, states, console)
    with Live(console=console, get_renderable=table.render, refresh_per_second=_PER_SECOND):
        yield table.hear


@final
class LiveTable:
    """The state of the table, kept up by events.

    Args:
        title: stands above it.
        states: id -> state of every step, in order.
        console: its size decides how many rows are shown.
    """

    def __init__(self, title: str, states: Mapping[str, str], console: Console) -> None:
        self._title = sanitize(title)
        self._console = console
        self._run = ""
        self._rows = {step: _Row(step, state) for step, state in states.items()}

    def hear(self, event: Event) -> None:
        """Take in what happened; drawing is left to the next refresh."""
        if event.step is None or event.run_id != self._run_of(event):
            return
        if event.step not in self._rows:  # a step inside another one, or an item of a loop
            self._rows[event.step] = _Row(event.step, "pending")
        self._rows[event.step].hear(event)

    def _run_of(self, event: Event) -> str:
        """The run that the table is about: events of its child runs are heard as well."""
        self._run = self._run or event.run_id
        return self._run

    def render(self) -> Group:
        """The table as it stands."""
        done = sum(row.state in STEP_AT_REST for row in self._rows.values())
        table = Table(box=None, pad_edge=False)
        for name in ("step", "state", "time", "attempt", ""):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        now = dt.datetime.now(dt.UTC)
        for row in self._shown(self._console.height - _OTHER_LINES):
            table.add_row(*row.cells(now))
        return Group(Text(f"{self._title}  {done}/{len(self._rows)}", style="bold"), table)

    def _shown(self, room: int) -> list[_Row]:
        rows = list(self._rows.values())
        if len(rows) <= room:
            return rows
        ranked = sorted(range(len(rows)), key=lambda index: _ORDER.index(rows[index].state))
        return [rows[index] for index in sorted(ranked[: max(room, 1)])]


@final
class _Row:
    """One step."""

    def __init__(self, step: str, state: str) -> None:
        self.step = step
        self.state = state
        self._attempt = 0
        self._message = ""
        self._started: dt.datetime | None = None
        self._ended: dt.datetime | None = None

    def hear(self, event: Event) -> None:
        self.state = STATE_AFTER[event.kind]
        self._message = message_of(event)
        if event.kind == "step.start":
            self._attempt, self._started, self._ended = event.data["attempt"], event.at, None
        else:
            self._ended = event.at

    def cells(self, now: dt.datetime) -> list[Text]:
        seconds = None if self._started is None else ((self._ended or now) - self._started).total_seconds()
        style = STATE_COLOURS.get(self.state, "dim")
        return [
            Text(self.step),
            Text(self.state, style=style),
            Text("" if seconds is None else span(seconds)),
            Text(str(self._attempt) if self._attempt > 1 else ""),
            Text(self._message, style=style),
        ]


@final
class _Tolerant:
    """A stream to which nothing is an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
