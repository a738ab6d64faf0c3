"""What `smf rehearse` does around a rehearsal: puts the world back, forgets modules, shows how far it is."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from statemachine_flow.cli.output import show_over
from statemachine_flow.errors import UsageError

#: Folders of what is installed, which no workflow owns.
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_OF_PYTHON: Final = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def resetter(command: str | None) -> Callable[[], object]:
    """What puts the world back to where it was.

    Args:
        command: of a program, split as a shell would, but without a shell; None for nothing.

    Raises:
        click.BadParameter: it cannot be split.

    Example:
        >>> resetter("sh -c 'exit 3'")()
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.UsageError: the command of --reset ended with status 3
    """
    if command is None:
        return lambda: None
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--reset") from None
    if not arguments:
        raise click.BadParameter("it names no program", param_hint="--reset")
    return lambda: _reset(arguments)


def _reset(arguments: list[str]) -> None:
    try:
        # What it prints is no data of this command.
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=_stderr(), check=False)  # noqa: S603 - the user gave it
    except OSError as error:
        raise UsageError(f"the command of --reset cannot be started: {error.strerror or error}") from error
    if done.returncode:
        raise UsageError(f"the command of --reset ended with status {done.returncode}")


def _stderr() -> int:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # it is none of the system's
        return subprocess.DEVNULL


def forget(before: frozenset[str], folders: list[Path]) -> None:
    """Have modules of the workflow's own folders imported again, so that what they remember dies with the process.

    Args:
        before: names of modules that stay.
        folders: where the workflow's own are.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or name in before or name.partition(".")[0] == "statemachine_flow":
            continue
        place = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links
        if not _is_installed(place) and any(place.is_relative_to(folder) for folder in folders):
            del sys.modules[name]


def _is_installed(place: Path) -> bool:
    return not _INSTALLED.isdisjoint(place.parts) or any(
        path.is_relative_to(folder) for path in (place, place.resolve()) for folder in _OF_PYTHON
    )


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int], object]]:
    """Show how far a rehearsal is, in one line of a terminal; elsewhere nothing.

    What step functions print while this is open goes to stderr, so that stdout holds nothing but data.
    """
    shown = ""

    def show(text: str) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            show_over(text, shown)
            shown = text

    show("the undisturbed run")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda done, all_: show(f"{done} of {all_} points")
    finally:
        show("")
