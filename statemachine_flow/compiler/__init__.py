"""From text to a checked workflow, and back.

Layout, each module importing only from those above it:
    source      `Source`: where a text came from, and where in it a value stands
    plain       what plain data is, and how much of it
    places      duplicate keys
    built       data built in Python -> plain data
    read        bytes -> plain data; `read_toml`, `read_yaml`, `read_json` and their helpers do the formats
    suggest     what a wrong word was probably meant to be
    problems    `Problems`: collects what is wrong, with positions
    refused     how refusals of parts add up
    strict      text, numbers, durations
    shapes      mappings -> nouns of the model, through cattrs
    step_fields which fields go with which verb
    steps       what may be written under `steps`, level in level
    document    plain data -> `Definition`: every problem of shape
    graph       who needs whom
    levels      a level of steps: its shape, its ids, its needs
    routes      where states lead, and where rejections go back to
    scopes      what expressions can begin with, place by place
    references  what expressions read
    fields      every expression of a step, with what it can read there
    schemas     whether an `output_schema` is one
    settings    inputs, and what a step says beside its expressions
    conditions  what a `when` says for sure
    doubts      warnings
    check       `Definition` -> every problem of meaning
    schema      the published JSON Schema, made from the model
    write       `Definition` -> TOML, YAML, JSON
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import attrs

from statemachine_flow.compiler.built import take_built
from statemachine_flow.compiler.check import check
from statemachine_flow.compiler.document import structure
from statemachine_flow.compiler.plain import refuse
from statemachine_flow.compiler.read import read_file, read_text
from statemachine_flow.compiler.source import Source
from statemachine_flow.errors import Problem
from statemachine_flow.model import Definition

__all__ = ["Loaded", "check", "load_document", "read_file", "read_text", "structure"]


@attrs.frozen
class Loaded:
    """A workflow that was read and checked."""

    definition: Definition
    #: The text it came from; None for plain data.
    source: Source | None
    #: What is worth a look, in the order of the text.
    warnings: tuple[Problem, ...]


def load_document(document: str | bytes | os.PathLike[str] | Mapping[str, Any]) -> Loaded:
    r"""Read a workflow and check it.

    Args:
        document: a path; or text, which is told from a path by a line end, or given as bytes; or plain data.

    Raises:
        DefinitionError: with every problem, in the order of the text, warnings among them.

    Example:
        >>> loaded = load_document("dsl = '1'\nname = 'hi'\nsteps.a.run = 'true'\n")
        >>> loaded.definition.name, loaded.warnings
        ('hi', ())
    """
    source: Source | None = None
    if isinstance(document, Mapping):
        data = take_built(document)
    elif isinstance(document, bytes) or (isinstance(document, str) and "\n" in document):
        data, source = read_text(document)
    else:
        data, source = read_file(document)
    definition, problems = structure(data, source)
    if definition is not None:
        problems += check(definition, source)
    warnings = refuse(problems)
    return Loaded(cast(Definition, definition), source, warnings)
