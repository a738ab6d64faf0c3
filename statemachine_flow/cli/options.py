"""The options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from statemachine_flow.durations import parse_duration

_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")

_F = TypeVar("_F", bound=Callable[..., Any])


class Text(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic only since click 8.3
    """Text that is valid Unicode: bytes that the command line could not decode would not survive the journal."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType.convert`."""
        text = str(value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.fail("it is not valid Unicode text", param, ctx)
        return text


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic only since click 8.3
    """A time such as `500ms` or `1h30m`, or a number of seconds; a float.

    Args:
        least: the shortest one that makes sense, in seconds.
    """

    name = "duration"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See `click.ParamType.convert`."""
        text = str(value)
        try:
            seconds = float(text) if _SECONDS.fullmatch(text) else parse_duration(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self._least:
            self.fail(f"{text!r} is shorter than {self._least:g} s", param, ctx)
        return seconds


TEXT = Text()
DURATION = Duration()


def common_options(command: _F) -> _F:
    """`--json` and `--debug`, which every command has."""
    command = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an error.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout, errors included.")(command)


def db_option(command: _F) -> _F:
    """`--db`, for commands that need a store; None stands for the default place."""
    return click.option(
        "--db",
        metavar="PATH",
        envvar="SMF_DB",
        type=TEXT,
        help="The store; else $SMF_DB, else .smf/runs.db under the current directory.",
    )(command)


def run_argument(command: _F) -> _F:
    """The run that a command is about."""
    return click.argument("run", metavar="RUN", type=TEXT)(command)


def reason_option(command: _F) -> _F:
    """`--reason`, where none is needed."""
    return click.option("--reason", metavar="TEXT", default="", type=TEXT, help="Why, for the journal.")(command)


def by_option(command: _F) -> _F:
    """`--by`: who gives a command, where it is not the user of this shell."""
    return click.option(
        "--by", metavar="NAME", type=TEXT, help="Who asks, for the journal. By default the user of this shell."
    )(command)


def examples(*lines: str) -> str:
    """The end of a command's help: lines to copy."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
