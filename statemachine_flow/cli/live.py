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
from statemachine_flow.cli.progress import STATE_AFTER, message_of, waits_text
from statemachine_flow.cli.times import span
from statemachine_flow.engine.operations import EventListener
from statemachine_flow.engine.view import Event
from statemachine_flow.journal import is_top
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
def live_table(workflow: str, run_id: str, states: Mapping[str, str]) -> Iterator[EventListener]:
    """See `progress.show_progress`."""
    # A terminal may go away while the run goes on.
    console = Console(file=_Tolerant(sys.stderr), markup=False, highlight=False, emoji=False)  # type: ignore[arg-type]  # it has what rich asks of a stream
    table = LiveTable(workflow, run_id, states, console)
    with Live(console=console, get_renderable=table.render, refresh_per_second=_PER_SECOND):
        yield table.hear


@final
class LiveTable:
    """The state of the table, kept up by events.

    Args:
        workflow: its name, which stands above the table with the run's id.
        run_id: the run; what its child runs do is not shown.
        states: id -> state of every step, in order.
        console: its size decides how many rows are shown.
    """

    def __init__(self, workflow: str, run_id: str, states: Mapping[str, str], console: Console) -> None:
        self._title = sanitize(f"{workflow} {run_id}")
        self._console = console
        self._run = run_id
        self._rows: dict[str, _Row] = {}
        for step, state in states.items():
            self._add(step, state)

    def hear(self, event: Event) -> None:
        """Take in what happened; drawing is left to the next refresh."""
        if event.step is None or event.run_id != self._run:
            return
        row = self._rows.get(event.step) or self._add(event.step, "pending")
        row.hear(event)

    def _add(self, step: str, state: str) -> _Row:
        """A row for a step, which stands below that of the step around it."""
        around = self._rows.get(_container(step))
        row = _Row(step, state, (*(() if around is None else around.place), len(self._rows)))
        self._rows[step] = row
        return row

    def render(self) -> Group:
        """The table as it stands."""
        top = [row for row in self._rows.values() if is_top(row.step)]
        done = sum(row.state in STEP_AT_REST for row in top)
        table = Table(box=None, pad_edge=False)
        table.add_column("step", no_wrap=True, overflow="ellipsis", max_width=max(self._console.width // 2, 10))
        for name in ("state", "time", "attempt"):
            table.add_column(name, no_wrap=True)
        table.add_column("", overflow="ellipsis")  # gives way where there is too little room for all
        now = dt.datetime.now(dt.UTC)
        for row in self._shown(self._console.height - _OTHER_LINES):
            table.add_row(*row.cells(now))
        return Group(Text(f"{self._title}  {done}/{len(top)}", style="bold"), table)

    def _shown(self, room: int) -> list[_Row]:
        rows = sorted(self._rows.values(), key=lambda row: row.place)
        if len(rows) <= room:
            return rows
        ranked = sorted(range(len(rows)), key=lambda index: _ORDER.index(rows[index].state))
        return [rows[index] for index in sorted(ranked[: max(room, 1)])]


def _container(path: str) -> str:
    """The path of the step around a step or item; "" if there is none."""
    if path.endswith("]"):
        return path[: path.rindex("[")]
    inside = path.rpartition("]")[2]  # keys of items may hold a "/"
    return path[: -len(inside)] + inside.rpartition("/")[0] if inside else ""


@final
class _Row:
    """One step.

    Args:
        step: its path.
        state: its state now.
        place: sorts the rows.
    """

    def __init__(self, step: str, state: str, place: tuple[int, ...]) -> None:
        self.step = step
        self.state = state
        self.place = place
        self._attempt = 0
        self._message = ""
        self._started: dt.datetime | None = None
        self._ended: dt.datetime | None = None

    def hear(self, event: Event) -> None:
        self.state = STATE_AFTER[event.kind]
        self._message = waits_text(event) if event.kind == "step.wait" else message_of(event)
        if event.kind == "step.start":
            self._attempt, self._started, self._ended = event.data["attempt"], event.at, None
        elif event.kind == "step.reset":
            self._started = None
        elif event.kind != "step.wait":  # which is a part of an attempt
            self._ended = event.at

    def cells(self, now: dt.datetime) -> list[Text]:
        seconds = None if self._started is None else ((self._ended or now) - self._started).total_seconds()
        style = STATE_COLOURS.get(self.state, "dim")
        return [
            Text(sanitize(self.step)),
            Text(self.state, style=style),
            Text("" if seconds is None else span(seconds)),
            Text(str(self._attempt) if self._attempt > 1 else ""),
            Text(self._message, style=style, no_wrap=True, overflow="ellipsis"),
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
