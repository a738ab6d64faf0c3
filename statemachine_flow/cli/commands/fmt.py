"""`smf fmt`: documents in the canonical layout, with the same meaning and with their comments."""

from __future__ import annotations

import difflib
import sys
from typing import Any

import attrs
import click

from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import sanitize, say, to_json, write
from statemachine_flow.cli.problems import problem_data, problems_text
from statemachine_flow.compiler import read_text
from statemachine_flow.editing.files import File
from statemachine_flow.editing.layout import lay_out
from statemachine_flow.errors import DefinitionError, Problem


@attrs.frozen
class _Formatted:
    """One document, before and after; the file is None for stdin, and for what could not be read."""

    name: str
    file: File | None = None
    before: str = ""
    after: str = ""
    content_hash: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


@click.command(
    "fmt", epilog=examples("smf fmt review.toml", "smf fmt --check --diff flows/*.yaml", "smf fmt - < a.toml")
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=TEXT)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@common_options
def command(*, files: tuple[str, ...], check: bool, diff: bool, as_json: bool) -> int:
    """Lay documents out in the canonical way.

    The fields get the order in which people read them; quotes, blanks and indentation become the same everywhere.
    Comments stay with what they stand at, steps keep their order, and the workflow's content hash stays the same.
    `-` reads a document from stdin and prints it.
    """
    formatted = [_format(file) for file in files]
    if not check and not diff:
        for one in formatted:
            if one.file is not None and one.is_changed:
                one.file.replace(one.after)
    if as_json:
        write(to_json({"ok": not any(one.problems for one in formatted), "files": [_data(one) for one in formatted]}))
    else:
        for one in formatted:
            _show(one, check=check, diff=diff)
    if any(one.problems for one in formatted):
        return Exit.DEFINITION
    return Exit.FAILED if check and any(one.is_changed for one in formatted) else Exit.OK


def _format(name: str) -> _Formatted:
    try:
        if name == "-":
            _, source = read_text(sys.stdin.buffer.read(), name="<stdin>")
            made = lay_out(source)
            return _Formatted(name, None, source.text, made.text, made.content_hash)
        file = File.read(name)
        made = lay_out(file.source)
    except DefinitionError as error:
        return _Formatted(name, problems=error.problems)
    return _Formatted(name, file, file.text, made.text, made.content_hash)


def _show(one: _Formatted, *, check: bool, diff: bool) -> None:
    if one.problems:
        say(problems_text(one.problems))
    elif diff:
        if one.is_changed:
            write(_difference(one))
    elif one.file is None and not check:
        write(one.after.removesuffix("\n"), exact=True)
    elif one.is_changed:
        write(f"{'would change' if check else 'changed'} {sanitize(one.name)}")


def _difference(one: _Formatted) -> str:
    lines = difflib.unified_diff(
        one.before.splitlines(), one.after.splitlines(), one.name, one.name, "as it is", "as it would be", lineterm=""
    )
    return "\n".join(sanitize(line.replace("\t", "    ")) for line in lines)


def _data(one: _Formatted) -> dict[str, Any]:
    return {
        "file": one.name,
        "changed": None if one.problems else one.is_changed,
        "hash": one.content_hash,
        "text": one.after if one.name == "-" and not one.problems else None,
        "problems": [problem_data(problem) for problem in one.problems],
    }
