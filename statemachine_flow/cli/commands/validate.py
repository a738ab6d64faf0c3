"""`smf validate`: is a document valid, and if not, what is wrong with it; nothing is imported and nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from statemachine_flow.builder import Workflow, load
from statemachine_flow.builder.children import children_of
from statemachine_flow.cli.exits import Exit
from statemachine_flow.cli.github import annotation
from statemachine_flow.cli.options import TEXT, common_options, examples
from statemachine_flow.cli.output import paint, sanitize, say, to_json, write
from statemachine_flow.cli.problems import problem_data, problems_text
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.proof import Proof, prove


@attrs.frozen
class _Checked:
    """What is to be said about one file."""

    file: str
    #: None if it is not valid.
    workflow: Workflow | None
    problems: tuple[Problem, ...]
    #: Whether it passes.
    ok: bool
    #: If one was asked for and the file is valid.
    proof: Proof | None = None


@click.command(
    "validate",
    epilog=examples(
        "smf validate review.toml", "smf validate --strict --format github flows/*.yaml", "smf validate --json a.toml"
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=TEXT)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github", "json"]),
    default="text",
    show_default=True,
    help="For people, as annotations of GitHub Actions, or as --json does.",
)
@click.option("--proof", "is_proof", is_flag=True, help="Show what every run keeps to; a refuted property is an error.")
@common_options
def command(*, files: tuple[str, ...], strict: bool, form: str, is_proof: bool, as_json: bool) -> int:
    """Check documents without running anything.

    Every problem is shown, with its place in the text and what to do about it. A warning keeps no workflow from being
    run, and changes the exit code only with --strict.
    """
    checked = [_check(file, strict=strict, is_proof=is_proof) for file in files]
    if as_json or form == "json":
        write(to_json({"ok": all(one.ok for one in checked), "files": [_data(one) for one in checked]}))
    else:
        _show(checked, is_github=form == "github")
    return Exit.OK if all(one.ok for one in checked) else Exit.DEFINITION


def _check(file: str, *, strict: bool, is_proof: bool) -> _Checked:
    try:
        workflow = load(Path(file))
        children_of(workflow)  # the documents that its `workflow` steps name
    except DefinitionError as error:
        return _Checked(file, None, error.problems, ok=False)
    problems = workflow.warnings
    if strict:
        problems = tuple(attrs.evolve(problem, severity="error") for problem in problems)
    ok = not (strict and problems)
    proof = prove(workflow) if ok and is_proof else None
    return _Checked(file, workflow, problems, ok=ok and (proof is None or proof.ok), proof=proof)


def _show(checked: Sequence[_Checked], *, is_github: bool) -> None:
    for one in checked:
        if is_github:
            # On stdout, where the runner that reads them looks.
            for problem in one.problems:
                write(annotation(problem))
        elif one.problems:
            say(problems_text(one.problems))
        if one.workflow is not None and (one.ok or one.proof is not None):
            write(_ok_line(one.file, one.workflow))
        if one.proof is not None:
            for line in one.proof.text().splitlines():
                write(sanitize(line))


def _ok_line(file: str, workflow: Workflow) -> str:
    steps = len(workflow.definition.steps)
    about = f"{steps} step{'' if steps == 1 else 's'}, hash {workflow.content_hash[:12]}"
    return f"{paint('ok', 'green')} {sanitize(workflow.definition.name)} ({about}) {sanitize(file)}"


def _data(one: _Checked) -> dict[str, Any]:
    workflow = one.workflow
    return {
        "file": one.file,
        "ok": one.ok,
        "workflow": None if workflow is None else workflow.definition.name,
        "hash": None if workflow is None else workflow.content_hash,
        "steps": None if workflow is None else len(workflow.definition.steps),
        "problems": [problem_data(problem) for problem in one.problems],
        **({} if one.proof is None else {"proof": one.proof.data()}),
    }
