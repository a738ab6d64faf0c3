"""Inputs of a run against what its workflow declares: defaults filled in, types checked, every problem at once.

Secret ones are split off before anything is stored: a marker stands for each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

import attrs

from statemachine_flow.errors import InputError, Problem, StepError, UsageError
from statemachine_flow.model import Definition, Input
from statemachine_flow.secrets import Redactor, secret_fault
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


def _nowhere(_name: str) -> str | None:
    return None


def complete_inputs(
    definition: Definition, given: Mapping[str, Any], cwd: str, *, find: Callable[[str], str | None] = _nowhere
) -> dict[str, Any]:
    """The inputs a run begins with.

    Args:
        definition: declares them.
        given: by name; None stands for "not given".
        cwd: where relative paths begin.
        find: looks elsewhere for a secret that was not given, such as `SecretSource.find` does.

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
        try:
            value = _value(name, declared, given, find)
        except StepError as error:  # a secret that is there and cannot be one
            problems.append(_problem("input.value", name, error.message))
            continue
        if declared.must_be_given and (value if declared.secret else given.get(name)) is None:
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


def complete_fields(
    fields: Mapping[str, Input], given: Mapping[str, Any], *, path: str
) -> tuple[list[Problem], dict[str, Any]]:
    """What was filled into a form.

    Args:
        fields: the form.
        given: by name.
        path: where the form stands, for problems.

    Returns:
        What is wrong with it, and the value of every field; null for one that was left out and has no default.

    Example:
        >>> complete_fields({"n": Input(type="integer")}, {"n": 3}, path="form")
        ([], {'n': 3})
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name in given:
        if name not in fields:
            known = ", ".join(fields) or "none"
            message = f"the form has no field '{name}'"
            problems.append(Problem(kind="input.unknown", message=message, path=path, hint=f"fields: {known}"))
    for name, field in fields.items():
        value = given.get(name)
        if value is None and field.must_be_given:
            problems.append(_problem("input.missing", name, f"the field '{name}' ({field.type}) was not filled in"))
        elif value is None:
            value = field.default
        else:
            problems.extend(_faults(name, field, value, noun="field"))
        values[name] = value
    return [attrs.evolve(one, path=path) for one in problems], values


def split_secrets(definition: Definition, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Part what may be stored from what may not.

    Args:
        definition: says which inputs are secret.
        values: what `complete_inputs` gave.

    Returns:
        The inputs as they are stored, with `{"$secret": name}` for each secret that there is, whatever its value;
        and those secrets, by name.

    Example:
        >>> one = Definition(name="one", steps=(), inputs={"token": Input(secret=True), "n": Input(default=3)})
        >>> split_secrets(one, {"token": "hunter22", "n": 3})
        ({'token': {'$secret': 'token'}, 'n': 3}, {'token': 'hunter22'})
    """
    declared = definition.inputs
    secrets = {name: value for name, value in values.items() if declared[name].secret and value is not None}
    return {**values, **{name: {"$secret": name} for name in secrets}}, secrets


def require_plain(stored: Mapping[str, Any], secrets: Iterable[str]) -> None:
    """That no secret stands in an input that will be stored.

    Args:
        stored: the inputs as they are stored, from `split_secrets`.
        secrets: values of every secret that the run may read.

    Raises:
        InputError: `input.value` for each that holds one.

    Example:
        >>> require_plain({"n": 3, "text": "no more"}, ["hunter22"])
    """
    redactor = Redactor(tuple(dict.fromkeys(secrets)))
    problems = [
        _problem(
            "input.value",
            name,
            f"the input '{name}' holds a secret of the workflow, and would be stored",
            "declare the input with `secret = true`, or leave the secret out",
        )
        for name, value in stored.items()
        if redactor.value(value) != value
    ]
    if problems:
        raise InputError(problems)


def _value(name: str, declared: Input, given: Mapping[str, Any], find: Callable[[str], str | None]) -> Any:
    value = given.get(name)
    if value is not None:
        return value
    return find(name) if declared.secret else declared.default


def _faults(name: str, declared: Input, value: Any, *, noun: str = "input") -> list[Problem]:
    allowed = _TYPES[declared.type]
    if not isinstance(value, allowed) or (isinstance(value, bool) and declared.type != "boolean"):
        message = f"{noun} '{name}' takes {_article(declared.type)}, not {_article(type(value).__name__)}"
        return [_problem("input.type", name, message)]
    if declared.secret:
        fault = secret_fault(value)
        return [] if fault is None else [_problem("input.value", name, f"the secret input '{name}' {fault}")]
    try:
        encode_value(value)
    except StepError as error:
        return [_problem("input.type", name, f"{noun} '{name}' cannot be kept: {error.message}")]
    if declared.enum is not None and value not in declared.enum:
        choices = ", ".join(repr(choice) for choice in declared.enum)
        return [_problem("input.value", name, f"{noun} '{name}' must be one of {choices}")]
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
