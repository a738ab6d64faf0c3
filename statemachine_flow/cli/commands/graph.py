"""`smf graph`: a workflow, or a run of it, as a picture."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from statemachine_flow.builder import load
from statemachine_flow.cli.options import TEXT, common_options, db_option, examples
from statemachine_flow.cli.output import paint_state, say, to_json, write
from statemachine_flow.cli.stores import reading_store
from statemachine_flow.editing.files import write_file
from statemachine_flow.engine.sync import Engine
from statemachine_flow.errors import UsageError
from statemachine_flow.model import Definition
from statemachine_flow.snapshot import decode_definition
from statemachine_flow.views.data import graph_data
from statemachine_flow.views.drawing import FORMS
from statemachine_flow.views.picture import Picture, picture_of
from statemachine_flow.views.tree import strokes_for, tree

_SUFFIXES: Final = (".toml", ".yaml", ".yml", ".json")
#: What the name of a file asks for where no format is named.
_BY_SUFFIX: Final = {".svg": "svg", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".json": "json"}


@click.command("graph", epilog=examples("smf graph review.toml", "smf graph @last -o run.svg"))
@click.argument("what", metavar="FILE|RUN", type=TEXT)
@click.option("--format", "form", type=click.Choice(list(FORMS)), help="Only this one.")
@click.option("-o", "--output", "target", metavar="FILE", type=TEXT, help="Write it to a file instead of stdout.")
@db_option
@common_options
def command(*, what: str, form: str | None, target: str | None, db: str | None, as_json: bool) -> None:
    """Draw a workflow, or a run of it.

    The steps of a document or of a run (its id, the beginning of one, or @last; its steps with their states) as a
    tree and as a Mermaid flowchart; or as --format says: an SVG image, `dot` for Graphviz, or `json` for programs.
    """
    definition, states = _found(what, db)
    picture = picture_of(definition, states)
    if form is None and target is not None:
        form = _BY_SUFFIX.get(Path(target).suffix.lower())
    if as_json and (target is None or form is None):
        form = "json"
    text = _drawn(picture, form, is_file=target is not None)
    if target is None:
        write(text)
        return
    _save(target, text, is_private=states is not None)
    if as_json:
        write(to_json({"file": target, "format": form}))
    else:
        say(f"wrote {target!r}")


def _drawn(picture: Picture, form: str | None, *, is_file: bool) -> str:
    if form == "json":
        return to_json(graph_data(picture))
    if form is not None and form != "tree":
        return FORMS[form](picture)
    drawn = tree(picture) if is_file else tree(picture, strokes_for(sys.stdout.encoding), paint_state)
    return drawn if form == "tree" else f"{drawn}\n\n{FORMS['mermaid'](picture)}"


def _save(target: str, text: str, *, is_private: bool) -> None:
    """Write a file; one that is new and shows a run is private to its owner, as the store is."""
    path, data = Path(os.path.realpath(target)), f"{text}\n".encode()
    try:
        if path.exists() and not path.is_file():  # a pipe, or a terminal
            path.write_bytes(data)
        else:
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600 if is_private else None
            write_file(path, data, mode=mode)
    except OSError as error:
        raise UsageError(f"cannot write {target!r}: {error.strerror or error}", kind="usage.output") from error


def _found(what: str, db: str | None) -> tuple[Definition, Mapping[str, str] | None]:
    path = Path(what)
    # What looks like a file is one, so that a mistyped name is not looked for among the runs.
    if path.suffix.lower() in _SUFFIXES or len(path.parts) > 1 or os.path.isfile(what):  # noqa: PTH113 - no text is an error to it
        return load(path).definition, None
    store = reading_store(db)
    with Engine(store) as engine:
        run = engine.get(engine.find(what))
        definition = decode_definition(store.definition(run.definition_hash) or b"")
        return definition, {path: str(step.state) for path, step in run.steps.items()}
