"""The inputs of a run as the command line gives them: read here, checked against the workflow by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from statemachine_flow.compiler import read_file, read_text
from statemachine_flow.errors import DefinitionError
from statemachine_flow.model import Definition

#: Types whose text is the value; that of all others is JSON.
_AS_TEXT: Final = ("string", "path")


def read_inputs(definition: Definition, source: str | None, pairs: Iterable[str]) -> dict[str, Any]:
    """What `--inputs` and `--input` give a run; the latter win.

    Args:
        definition: declares the inputs and their types.
        source: a TOML, YAML or JSON file of inputs by name, or a JSON object as text.
        pairs: `name=value` each.

    Raises:
        DefinitionError: the file is not valid.
        click.UsageError: the text is not valid.

    Example:
        >>> from statemachine_flow.model import Input
        >>> declared = Definition(name="one", steps=(), inputs={"n": Input(type="integer"), "s": Input()})
        >>> read_inputs(declared, '{"n": 1}', ["n=5", "s=5"])
        {'n': 5, 's': '5'}
    """
    values = {} if source is None else read_source(source)
    types = {name: declared.type for name, declared in definition.inputs.items()}
    values |= _read_pairs(pairs, types, "--input", "input")
    return values


def read_fields(form: Mapping[str, Mapping[str, Any]], pairs: Iterable[str]) -> dict[str, Any]:
    """What `--form` gives an approval.

    Args:
        form: name -> the field, with its `type`.
        pairs: `name=value` each.

    Raises:
        click.UsageError: the text is not valid.
    """
    return _read_pairs(pairs, {name: str(field["type"]) for name, field in form.items()}, "--form", "field")


def read_edits(types: Mapping[str, str], pairs: Iterable[str]) -> dict[str, Any]:
    """What `--set` changes in the copy of a run.

    Args:
        types: name of an input -> its type.
        pairs: `path=value` each.

    Returns:
        Path -> value: text for inputs that take text, else what the text is as JSON, or itself if it is none.

    Raises:
        click.UsageError: one of them is no pair.

    Example:
        >>> read_edits({"n": "string"}, ["inputs.n=5", "steps.a.output.x=5", "steps.a.output.y=five"])
        {'inputs.n': '5', 'steps.a.output.x': 5, 'steps.a.output.y': 'five'}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path:
            _refuse(f"{pair!r} is not path=value", "--set")
        if types.get(path.removeprefix("inputs.")) in _AS_TEXT and path.startswith("inputs."):
            values[path] = text
            continue
        try:
            found = read_text(f'{{"value": {text}}}', format="json", name="--set")[0]
        except DefinitionError:
            found = {}
        values[path] = found["value"] if set(found) == {"value"} else text
    return values


def _read_pairs(pairs: Iterable[str], types: Mapping[str, str], option: str, noun: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            _refuse(f"{pair!r} is not name=value", option)
        values[name] = _read_value(f"{noun} '{name}'", text, types.get(name, "string"), option)
    return values


def read_source(source: str) -> dict[str, Any]:
    """What `--inputs` gives: inputs by name, from a file or from JSON text.

    Raises:
        DefinitionError: the file is not valid.
        click.UsageError: the text is not valid.
    """
    if not source.lstrip().startswith("{"):
        return read_file(Path(source))[0]
    try:
        return read_text(source, format="json", name="--inputs")[0]
    except DefinitionError as error:
        if error.kind == "definition.empty":
            return {}  # no inputs are inputs too
        _refuse("; ".join(problem.message for problem in error.problems), "--inputs")


def _read_value(what: str, text: str, type_name: str, option: str) -> Any:
    # An unknown name is the engine's to report, along with everything else that does not fit.
    if type_name in _AS_TEXT:
        return text
    wanted = f"{what} takes {_EXAMPLES[type_name]}, not {text[:60]!r}"
    try:
        # As the one value of a mapping, for which alone there is a reader.
        values = read_text(f'{{"value": {text}}}', format="json", name=option)[0]
    except DefinitionError as error:
        faults = [problem.message for problem in error.problems if problem.kind != "definition.syntax"]
        _refuse("; ".join([wanted, *faults]), option)
    if len(values) > 1:  # it was no value, but a value and further keys
        _refuse(wanted, option)
    return values["value"]


_EXAMPLES: Final[Mapping[str, str]] = {
    "integer": "an integer such as 5",
    "number": "a number such as 2.5",
    "boolean": "true or false",
    "array": "a JSON array such as [1, 2]",
    "object": 'a JSON object such as {"a": 1}',
}


def _refuse(message: str, option: str) -> NoReturn:
    raise click.BadParameter(message, ctx=click.get_current_context(), param_hint=option)
