"""What may be written: plain data becomes a `Definition`, or every problem with its shape is told.

Knows the fields and their types, through the classes of `model` and `steps`. Whether they make sense together
is for `check` to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.refused import Refused, findings_of, under, wrong_type
from statemachine_flow.compiler.shapes import Shape, unknown_fields
from statemachine_flow.compiler.source import Source
from statemachine_flow.compiler.steps import structure_steps
from statemachine_flow.errors import Problem
from statemachine_flow.model import LANGUAGE_VERSION, Definition, Finding, Input

_HEAD: Final = Shape(Definition, given=("steps",))
_HEAD_KEYS: Final = dict.fromkeys(("dsl", *_HEAD.keys, "steps")).keys()
_input: Final = Shape(Input)


def structure(data: object, source: Source | None = None) -> tuple[Definition | None, list[Problem]]:
    """Make a definition from plain data.

    Args:
        data: what a reader made of a document, or the same built in Python.
        source: the document's text, for positions.

    Returns:
        The definition and no problems; or all problems of shape with what is sound of the definition, if
        enough is for `check` to look at it; see `structure_steps`.

    Example:
        >>> definition, problems = structure({"dsl": "1", "name": "hi", "steps": {"a": {"run": "true"}}})
        >>> definition.steps[0].verb.run, problems
        ('true', [])
    """
    try:
        return _definition(data), []
    except Refused as refused:
        problems = Problems(source)
        for finding in refused.findings:
            problems.add_finding(finding, ())
        return _sound_part(data, {finding.path[0] for finding in refused.findings if finding.path}), problems.found


def _definition(data: Any) -> Definition:
    if type(data) is not dict:
        raise wrong_type("a mapping", data)
    findings = _language_findings(data)
    if not data.keys() <= _HEAD_KEYS:
        findings += unknown_fields(data, _HEAD_KEYS)
    if "steps" in data:
        steps, wrong = structure_steps(data["steps"])
        findings += under("steps", wrong)
    else:
        steps = ()
        findings.append(Finding("definition.missing_field", "the field 'steps' is missing", ("steps",)))
    head = {**data, "steps": steps}
    if findings:
        raise Refused(*findings, *findings_of(lambda: _HEAD(head)))
    return _HEAD(head)


def _language_findings(data: Mapping[str, Any]) -> list[Finding]:
    hint = f'write dsl = "{LANGUAGE_VERSION}"'
    if "dsl" not in data:
        return [Finding("definition.missing_field", "the field 'dsl' is missing", ("dsl",), hint)]
    version = data["dsl"]
    if version == LANGUAGE_VERSION:
        return []
    return [Finding("definition.version", f"{shown(str(version))} is no version of the language", ("dsl",), hint)]


def _sound_part(data: Any, broken: Collection[str | int]) -> Definition | None:
    """What is left without the broken fields; None when even the names of steps and inputs are unknown."""
    if type(data) is not dict or type(data.get("inputs", {})) is not dict:
        return None
    steps, _ = structure_steps(data.get("steps"))
    sound = {key: value for key, value in data.items() if key in _HEAD.keys and key not in broken}
    definition = _HEAD({"name": "unnamed", **sound, "steps": steps})
    if "inputs" in broken:
        inputs = {name: _sound_input(raw) for name, raw in data["inputs"].items()}
        definition = attrs.evolve(definition, inputs=inputs)
    return definition


def _sound_input(raw: Any) -> Input:
    try:
        return _input(raw if type(raw) is dict else {})
    except Refused:
        return Input()
