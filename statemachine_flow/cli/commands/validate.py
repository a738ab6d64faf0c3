"""`smf validate`: is a document valid, and if not, what is wrong with it; nothing is imported and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from statemachine_flow.builder import Workflow, load
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import paint, sanitize, say, to_json, write
from statemachine_flow.cli.problems import problem_data, problems_text
from statemachine_flow.errors import DefinitionError, Problem


@click.command("validate", epilog=examples("smf validate review.toml", "smf validate --json flows/*.yaml"))
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=TEXT)
@common_options
def command(*, files: tuple[str, ...], as_json: bool) -> int:
    """Check documents without running anything.

    Every problem is shown, with its place in the text and what to do about it.
    """
    checked = [(file, *_check(file)) for file in files]
    if as_json:
        data = [_data(file, workflow, problems) for file, workflow, problems in checked]
        write(to_json({"ok": all(one["ok"] for one in data), "files": data}))
    else:
        for file, workflow, problems in checked:
            if workflow is not None:
                write(_ok_line(file, workflow))
            else:
                say(problems_text(problems))
    return Exit.OK if all(workflow is not None for _, workflow, _ in checked) else Exit.DEFINITION


def _check(file: str) -> tuple[Workflow | None, tuple[Problem, ...]]:
    try:
        return load(Path(file)), ()
    except DefinitionError as error:
        return None, error.problems


def _ok_line(file: str, workflow: Workflow) -> str:
    steps = len(workflow.definition.steps)
    about = f"{steps} step{'' if steps == 1 else 's'}, hash {workflow.content_hash[:12]}"
    return f"{paint('ok', 'green')} {sanitize(workflow.definition.name)} ({about}) {sanitize(file)}"


def _data(file: str, workflow: Workflow | None, problems: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "file": file,
        "ok": workflow is not None,
        "workflow": None if workflow is None else workflow.definition.name,
        "hash": None if workflow is None else workflow.content_hash,
        "steps": None if workflow is None else len(workflow.definition.steps),
        "problems": [problem_data(problem) for problem in problems],
    }
