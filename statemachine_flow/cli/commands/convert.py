"""`smf convert`: a document in another format, with the same meaning and, where the format has any, its comments."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, get_args

import click

from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.compiler import read_file
from statemachine_flow.compiler.source import Format, quoted
from statemachine_flow.editing.files import write_file
from statemachine_flow.editing.layout import LaidOut, lay_out
from statemachine_flow.errors import UsageError

_FORMATS: Final[dict[str, Format]] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}


@click.command("convert", epilog=examples("smf convert review.yaml review.toml", "smf convert review.toml - --to json"))
@click.argument("source", metavar="A", type=TEXT)
@click.argument("target", metavar="B", type=TEXT)
@click.option("--to", "syntax", type=click.Choice(get_args(Format)), help="The format of B; else its suffix tells.")
@click.option("--force", is_flag=True, help="Write B even if it is there already.")
@common_options
def command(*, source: str, target: str, syntax: Format | None, force: bool, as_json: bool) -> int:
    """Write a document in another format.

    A and B end in .toml, .yaml, .yml or .json; `-` as B is stdout, and needs --to. Comments go along from TOML to
    YAML and back; JSON has none. The workflow's content hash stays the same.
    """
    to = syntax or _format_of(target)
    _, read = read_file(source)
    if target != "-":
        _refuse_to_overwrite(source, target, force=force)
    made = lay_out(read, to)
    if target != "-":
        _write(Path(os.path.realpath(target)), made.text)
    if as_json:
        text = made.text if target == "-" else None
        lost = made.lost_comments
        write(
            to_json(
                {
                    "from": source,
                    "to": target,
                    "format": to,
                    "hash": made.content_hash,
                    "text": text,
                    "lost_comments": lost,
                }
            )
        )
        return Exit.OK
    if target == "-":
        write(made.text.removesuffix("\n"), exact=True)
    else:
        write(f"wrote {sanitize(target)} (hash {made.content_hash[:12]})")
    _tell_loss(made)
    return Exit.OK


def _format_of(target: str) -> Format:
    if target == "-":
        raise UsageError("the format for stdout is not known", hint="say --to toml, --to yaml or --to json")
    suffix = Path(target).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(
            f"the name {quoted(target)} does not say the format to write",
            hint=f"end it in one of {', '.join(_FORMATS)}, or say --to",
        )
    return _FORMATS[suffix]


def _refuse_to_overwrite(source: str, target: str, *, force: bool) -> None:
    path = Path(target)
    if path.exists() and path.samefile(source):
        raise UsageError("A and B are the same file", hint="`smf fmt` lays out a file in its own format")
    if not force and os.path.lexists(target):
        raise UsageError(f"{quoted(target)} is there already", hint="--force writes over it")
    if path.exists() and not path.is_file():
        raise UsageError(f"{quoted(target)} is no regular file")


def _write(path: Path, text: str) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        write_file(path, text.encode(), mode=mode)
    except OSError as error:
        raise UsageError(f"cannot write {quoted(str(path))}: {error.strerror or error}") from error


def _tell_loss(made: LaidOut) -> None:
    if made.lost_comments:
        lines = "line" if made.lost_comments == 1 else "lines"
        say(f"note: {made.lost_comments} {lines} of comment left out, for JSON has none")
