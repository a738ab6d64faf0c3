"""A whole document in the canonical layout, in any of the formats, with its comments."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast, final

import attrs
import msgspec

from statemachine_flow.compiler import check, read_text, structure
from statemachine_flow.compiler.plain import refuse
from statemachine_flow.compiler.source import Format, Path, Source, dotted
from statemachine_flow.editing.comments import Comments, collect
from statemachine_flow.editing.roles import by_id, in_order
from statemachine_flow.errors import SmfError, UsageError
from statemachine_flow.model import Definition


@final
@attrs.frozen
class LaidOut:
    """A document in the canonical layout."""

    text: str
    #: The content hash of its workflow, which is that of the text it was made from.
    content_hash: str
    #: How many lines of comment could not be taken along, as JSON holds none.
    lost_comments: int


def lay_out(source: Source, to: Format | None = None) -> LaidOut:
    r"""Write a valid document anew: its fields in the order for reading, its comments with what they stand with.

    Args:
        source: the text of a document.
        to: the format to write; by default that of the text.

    Raises:
        DefinitionError: the document is not valid.
        UsageError: a value is null, which TOML cannot say.
        SmfError: the new text would mean something else; nothing is returned then.

    Example:
        >>> _, source = read_text('steps: {a: {run: "true"}} # one\nname: hi\ndsl: "1"\n')
        >>> print(lay_out(source, "toml").text, end="")
        dsl = "1"
        name = "hi"
        <BLANKLINE>
        [steps]  # one
        <BLANKLINE>
        [steps.a]
        run = "true"
    """
    syntax = to or source.format
    data, _ = read_text(source.text, format=source.format, name=source.name)
    definition = checked(data, source)
    found = Comments() if source.format == "json" else collect(source.text, source.format)
    tree = in_order(data)
    text = _write(tree, found.moved(lambda path: by_id(path, data)), syntax)
    again, made = read_text(text, format=syntax, name=source.name)
    # Files of child workflows are looked for where the first text was.
    if checked(again, attrs.evolve(made, directory=source.directory)).content_hash != definition.content_hash:
        raise SmfError("the new text of the document would mean something else, so it was not written")
    return LaidOut(text, definition.content_hash, found.count if syntax == "json" else 0)


def checked(data: Any, source: Source) -> Definition:
    """The definition that the data of a text make.

    Raises:
        DefinitionError: with every problem, in the order of the text.
    """
    definition, problems = structure(data, source)
    if definition is not None:
        problems += check(definition, source)
    refuse(problems)
    return cast(Definition, definition)


def _write(tree: Any, comments: Comments, syntax: Format) -> str:
    if syntax == "json":
        return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode() + "\n"
    if syntax == "toml" and (null := _first_null(tree, ())) is not None:
        message = f"TOML has no null, and one stands at {dotted(null)}"
        raise UsageError(message, hint="leave the field out, or use ${{ None }}")
    # By name: neither tomlkit nor PyYAML is worth its import time to those who write the other.
    text: str = import_module(f"{__package__}.layout_{syntax}").lay_out(tree, comments)
    return text


def _first_null(value: Any, path: Path) -> Path | None:
    if value is None:
        return path
    if isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            if (found := _first_null(item, (*path, key))) is not None:
                return found
    return None
