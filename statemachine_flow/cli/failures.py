"""Errors at the edge of the program: each becomes a line on stderr or an object on stdout, and an exit code."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any, Final

import click

from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.output import error_line, paint, sanitize, say, to_json, write
from statemachine_flow.cli.problems import problem_data, problems_text
from statemachine_flow.errors import ProblemsError, SmfError

_REPORT: Final = "this is a bug: please report it, with what `--debug` shows"


def report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Say what went wrong, once.

    Args:
        error: what ended the command.
        as_json: whether `--json` was given: then stdout gets one object and stderr nothing.
        debug: whether to show the traceback as well.

    Returns:
        The exit code.
    """
    if debug:
        say("\n".join(sanitize(line) for line in "".join(traceback.format_exception(error)).splitlines()))
    if as_json:
        with contextlib.suppress(BrokenPipeError):
            write(to_json({"error": _data(error)}))
    else:
        say(_text(error))
    return _exit_code(error)


def _exit_code(error: Exception) -> int:
    if isinstance(error, click.ClickException):
        return int(Exit.USAGE)
    return error.exit_code if isinstance(error, SmfError) else int(Exit.INTERNAL)


def _text(error: Exception) -> str:
    if isinstance(error, ProblemsError):
        return problems_text(error.problems)
    if isinstance(error, click.ClickException):
        return _usage_text(error)
    kind, message, where, hint = _parts(error)
    return error_line(kind, message, where, hint)


def _usage_text(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # made by click where a group is called without a command
        return error.format_message()
    line = f"{paint('error[usage]:', 'red', sys.stderr)} {sanitize(_message(error))}"
    if context is None:
        return line
    return f"{context.get_usage()}\n{line} - `{context.command_path} --help` says more"


def _message(error: click.ClickException) -> str:
    """What click says, as one line."""
    return " ".join(error.format_message().rstrip(".").split())


def _parts(error: Exception) -> tuple[str, str, str | None, str | None]:
    if isinstance(error, click.ClickException):
        return "usage", _message(error), None, None
    if isinstance(error, SmfError):
        hint = error.hint or (_REPORT if error.exit_code == Exit.INTERNAL else None)
        return error.kind, error.message, error.where, hint
    return "internal", f"{type(error).__name__}: {error}", None, _REPORT


def _data(error: Exception) -> dict[str, Any]:
    kind, message, _, hint = _parts(error)
    problems = error.problems if isinstance(error, ProblemsError) else ()
    return {
        "kind": kind,
        "message": problems[0].message if problems else message,
        "path": problems[0].path if problems else None,
        "run": getattr(error, "run", None),
        "step": getattr(error, "step", None),
        "hint": problems[0].hint if problems else hint,
        "problems": [problem_data(problem) for problem in problems],
    }
