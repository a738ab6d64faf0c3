"""What may be written: plain data becomes a `Definition`, or every problem with its shape is told.

Knows the fields and their types, through the classes of `model` and `steps`. Whether they make sense together
is for `check` to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.refused import Refused, under, wrong_type
from statemachine_flow.compiler.shapes import Shape, unknown_fields
from statemachine_flow.compiler.source import Source
from statemachine_flow.compiler.step_fields import Where, explain_head
from statemachine_flow.compiler.steps import Reading, structure_level
from statemachine_flow.errors import Problem
from statemachine_flow.model import LANGUAGE_VERSION, Definition, Finding, Input, Step

#: Key -> what kind of level stands there.
_LEVELS: Final[Mapping[str, Where]] = {"steps": "level", "on_failure": "handlers", "finally": "handlers"}
_HEAD: Final = Shape(Definition, given=("steps", "on_failure", "finally_"))
_HEAD_KEYS: Final = dict.fromkeys(("dsl", *_HEAD.keys, *_LEVELS)).keys()
_input: Final = Shape(Input)


def structure(data: object, source: Source | None = None) -> tuple[Definition | None, list[Problem]]:
    """Make a definition from plain data.

    Args:
        data: what a reader made of a document, or the same built in Python.
        source: the document's text, for positions.

    Returns:
        The definition and no problems; or all problems of shape with what is sound of the definition, if
        enough is for `check` to look at it; see `structure_level`.

    Example:
        >>> definition, problems = structure({"dsl": "1", "name": "hi", "steps": {"a": {"run": "true"}}})
        >>> definition.steps[0].verb.run, problems
        ('true', [])
    """
    definition, findings = _structure(data, Reading(_structure_inline))
    problems = Problems(source)
    for finding in findings:
        problems.add_finding(finding)
    return definition, problems.found


def _structure_inline(data: Any, reading: Reading) -> tuple[Definition | None, list[Finding]]:
    return _structure(data, reading, is_inline=True)


def _structure(data: Any, reading: Reading, *, is_inline: bool = False) -> tuple[Definition | None, list[Finding]]:
    """Make a definition; one that stands inside a document need not name the language."""
    if type(data) is not dict:
        return None, list(wrong_type("a mapping", data).findings)
    findings = [] if is_inline and "dsl" not in data else _language_findings(data)
    findings += map(explain_head, unknown_fields(data, _HEAD_KEYS))
    levels: dict[str, tuple[Step, ...]] = {}
    for key in [key for key in _LEVELS if key in data]:
        levels[key], found = structure_level(data[key], reading, _LEVELS[key])
        findings += under(key, found)
    if "steps" not in data:
        findings.append(Finding("definition.missing_field", "the field 'steps' is missing", ("steps",)))
        levels["steps"] = ()
    try:
        definition = _HEAD({**data, **levels})
    except Refused as refused:
        findings += refused.findings
    else:
        if not findings:
            return definition, []
    return _sound_part(data, levels, {finding.path[0] for finding in findings if finding.path}), findings


def _language_findings(data: Mapping[str, Any]) -> list[Finding]:
    hint = f'write dsl = "{LANGUAGE_VERSION}"'
    if "dsl" not in data:
        return [Finding("definition.missing_field", "the field 'dsl' is missing", ("dsl",), hint)]
    version = data["dsl"]
    if version == LANGUAGE_VERSION:
        return []
    return [Finding("definition.version", f"{shown(str(version))} is no version of the language", ("dsl",), hint)]


def _sound_part(data: Any, levels: Mapping[str, tuple[Step, ...]], broken: Collection[str | int]) -> Definition | None:
    """What is left without the broken fields; None when names of steps and inputs, or its kind, are unknown."""
    if not levels["steps"] or "start" in broken or type(data.get("inputs", {})) is not dict:
        return None
    sound = {key: value for key, value in data.items() if key in _HEAD.keys and key not in broken}
    definition = _HEAD({"name": "unnamed", **sound, **levels})
    if "inputs" in broken:
        inputs = {name: _sound_input(raw) for name, raw in data["inputs"].items()}
        definition = attrs.evolve(definition, inputs=inputs)
    return definition


def _sound_input(raw: Any) -> Input:
    try:
        return _input(raw if type(raw) is dict else {})
    except Refused:
        return Input()
