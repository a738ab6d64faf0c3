"""Inputs of a run against what its workflow declares: defaults filled in, types checked, every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

from statemachine_flow.errors import InputError, Problem, StepError, UsageError
from statemachine_flow.model import Definition, Input
from statemachine_flow.values import encode_value

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "path": (str,),
}


def complete_inputs(definition: Definition, given: Mapping[str, Any], cwd: str) -> dict[str, Any]:
    """The inputs a run begins with.

    Args:
        definition: declares them.
        given: by name; None stands for "not given".
        cwd: where relative paths begin.

    Returns:
        Every declared input; None for an optional one that was not given. Paths are absolute.

    Raises:
        InputError: all problems: `input.unknown`, `input.missing`, `input.type`, `input.value`.
        UsageError: they are not given by name.

    Example:
        >>> from statemachine_flow.model import Step, Verb
        >>> one = Definition(name="one", steps=(), inputs={"n": Input(type="integer", default=3)})
        >>> complete_inputs(one, {}, "/")
        {'n': 3}
    """
    if not isinstance(cast(object, given), Mapping) or not all(isinstance(cast(object, name), str) for name in given):
        raise UsageError("inputs are given as a mapping by name, and names are text")
    problems = [_unknown(name, definition) for name in given if name not in definition.inputs]
    values: dict[str, Any] = {}
    for name, declared in definition.inputs.items():
        value = given.get(name)
        if value is None:
            value = declared.default
            if declared.must_be_given:
                problems.append(_problem("input.missing", name, f"input '{name}' ({declared.type}) was not given"))
        if value is not None:
            if declared.type == "path" and isinstance(value, os.PathLike):
                value = os.fspath(value)
            problems.extend(_faults(name, declared, value))
            if declared.type == "path" and isinstance(value, str):
                value = str(Path(cwd, value))
        values[name] = value
    if problems:
        raise InputError(problems)
    return values


def _faults(name: str, declared: Input, value: Any) -> list[Problem]:
    allowed = _TYPES[declared.type]
    if not isinstance(value, allowed) or (isinstance(value, bool) and declared.type != "boolean"):
        message = f"input '{name}' takes {_article(declared.type)}, not {_article(type(value).__name__)}"
        return [_problem("input.type", name, message)]
    try:
        encode_value(value)
    except StepError as error:
        return [_problem("input.type", name, f"input '{name}' cannot be kept: {error.message}")]
    if declared.enum is not None and value not in declared.enum:
        choices = ", ".join(repr(choice) for choice in declared.enum)
        return [_problem("input.value", name, f"input '{name}' must be one of {choices}")]
    return []


def _unknown(name: str, definition: Definition) -> Problem:
    close = get_close_matches(name, definition.inputs, n=1)
    declared = ", ".join(definition.inputs) or "none"
    hint = f"did you mean '{close[0]}'?" if close else f"declared: {declared}"
    return _problem("input.unknown", name, f"the workflow has no input '{name}'", hint)


def _problem(kind: str, name: str, message: str, hint: str | None = None) -> Problem:
    return Problem(kind=kind, message=message, path=f"inputs.{name}", hint=hint)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
