"""The JSON Schema of documents, made from the model, for editors and for other people's tools.

It says what `document` checks, as far as a schema can, and nothing of what `check` finds. Only keywords that mean
the same in Draft 4, 6 and 7 are used. `python -m statemachine_flow.compiler.schema` prints it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, get_args, get_type_hints

import attrs
import msgspec

from statemachine_flow.compiler.step_fields import ALL_KNOWN, KNOWN, Where
from statemachine_flow.durations import format_duration
from statemachine_flow.model import (
    DURATION_PATTERN,
    LANGUAGE_VERSION,
    MAX_STEPS,
    Definition,
    Step,
    StepId,
    document_key,
)
from statemachine_flow.steps import VERBS

_Schema = dict[str, Any]

_REF: Final = "#/definitions/"
_COMMENTED_FIELD: Final = re.compile(r"((?:^ +#: .*\n)+) +(\w+):", re.MULTILINE)
#: What the schema calls a step, and a level of them, by where it stands.
_STEPS: Final[dict[Where, str]] = {"level": "Step", "handlers": "HandlerStep", "compensation": "Compensation"}
_LEVELS: Final[dict[Where, str]] = {"level": "Steps", "handlers": "HandlerSteps", "compensation": "HandlerSteps"}
#: Nouns that are described here and not by their class.
_OWN: Final = frozenset((Definition, Step, *VERBS.values()))


def json_schema() -> _Schema:
    """The schema of a document, as plain data.

    Example:
        >>> schema = json_schema()
        >>> schema["required"], sorted(schema["definitions"])[:3]
        (['dsl', 'name', 'steps'], ['Budget', 'CheckpointPolicy', 'Compensation'])
    """
    classes = [Definition, *VERBS.values()]
    _, raw = msgspec.json.schema_components(
        classes, schema_hook=lambda _: {"type": "object"}, ref_template=_REF + "{name}"
    )
    nouns = {cls.__name__: cls for cls in _nouns(classes)}
    document = _document(raw)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A workflow of statemachine_flow",
        **document,
        "required": ["dsl", *document["required"]],
        "definitions": {
            "Workflow": {**document, "description": "A workflow inside a step."},
            "Steps": _level_schema("level"),
            "HandlerSteps": _level_schema("handlers"),
            "Step": _step_schema(raw, "level"),
            "ListedStep": _step_schema(raw, "level", listed=True),
            "HandlerStep": _step_schema(raw, "handlers"),
            "ListedHandlerStep": _step_schema(raw, "handlers", listed=True),
            "Compensation": _step_schema(raw, "compensation"),
            **{name: _noun(nouns[name], raw) for name in sorted(nouns)},
            "Duration": {
                "type": "string",
                "pattern": DURATION_PATTERN,
                "description": "A time such as 500ms, 30s, 1h30m or PT1H30M.",
            },
        },
    }


def _nouns(classes: Iterable[object]) -> set[type]:
    """The attrs classes that the fields of others are made of."""
    found: set[type] = set()
    rest: list[Any] = list(classes)
    while rest:
        kind = rest.pop()
        if attrs.has(kind):
            if kind in found:
                continue
            found.add(kind)
            rest += get_type_hints(kind).values()
        else:
            rest += get_args(kind)
    return found - _OWN


def _document(raw: _Schema) -> _Schema:
    document = _noun(Definition, raw)
    language = {"description": "The version of the language.", "enum": [LANGUAGE_VERSION]}
    properties = {"dsl": language, **document["properties"]}
    levels: dict[str, Where] = {"steps": "level", "on_failure": "handlers", "finally": "handlers"}
    for key, where in levels.items():
        about = properties[key].get("description", "The steps by id, or a list of steps with ids.")
        properties[key] = _described(_LEVELS[where], about)
    return {**document, "properties": properties}


def _described(name: str, about: str) -> _Schema:
    return _about({"$ref": _REF + name}, about)


def _about(schema: _Schema, about: str) -> _Schema:
    # What stands beside a $ref is ignored by these drafts.
    return {**({"allOf": [schema]} if "$ref" in schema else schema), "description": about}


def _level_schema(where: Where) -> _Schema:
    (name,) = get_args(StepId)[1:]
    by_id = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_STEPS,
        "patternProperties": {name.pattern: {"$ref": _REF + _STEPS[where]}},
        "additionalProperties": False,
    }
    items = {"$ref": _REF + "Listed" + _STEPS[where]}
    return {"anyOf": [by_id, {"type": "array", "minItems": 1, "maxItems": MAX_STEPS, "items": items}]}


def _step_schema(raw: _Schema, where: Where, *, listed: bool = False) -> _Schema:
    """A step with the fields of every verb, of which only those of one verb go together."""
    step = _noun(Step, raw)
    properties = step["properties"]
    verbs = {key: _noun(verb, raw) for key, verb in VERBS.items()}
    for key, verb in VERBS.items():
        own = verbs[key]["properties"]
        about = f"{_first_line(verb)} {own[key].get('description', '')}".strip()
        properties |= {**own, key: _about(own[key], about)}
    # The steps in a compensation or a handler are not compensated either.
    properties["steps"] = _described(_LEVELS[where], properties["steps"]["description"])
    workflow = {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": _REF + "Workflow"}]}
    properties["workflow"] = _about(workflow, properties["workflow"]["description"])
    properties["compensate"] = _described("Compensation", properties["compensate"]["description"])
    known = ALL_KNOWN[where]
    step["properties"] = {key: value for key, value in properties.items() if key in known or (listed and key == "id")}
    del step["required"]
    if listed:
        step["required"] = ["id"]
    step["oneOf"] = [
        {"required": verbs[key]["required"], "not": {"anyOf": _each_required(known - own)}}
        for key, own in KNOWN[where].items()
    ]
    return step


def _each_required(keys: Iterable[str]) -> list[_Schema]:
    return [{"required": [key]} for key in sorted(keys)]


def _noun(cls: type, raw: _Schema) -> _Schema:
    """The schema of one attrs class: its document keys, and no others."""
    found = raw[cls.__name__]
    comments = dict(map(_comment, _COMMENTED_FIELD.finditer(inspect.getsource(cls))))
    properties = {}
    for field in attrs.fields(cls):
        schema = _tidy(found["properties"][field.name])
        if field.name in comments:
            schema["description"] = comments[field.name]
        if "$ref" in schema and len(schema) > 1:  # see `_about`
            schema["allOf"] = [{"$ref": schema.pop("$ref")}]
        properties[document_key(field.name)] = schema
    noun = {
        "description": _first_line(cls),
        "type": "object",
        "properties": properties,
        "required": [document_key(name) for name in found["required"]],
        "additionalProperties": False,
    }
    # Draft 4 does not allow an empty list here.
    return {key: value for key, value in noun.items() if value != []}


def _comment(match: re.Match[str]) -> tuple[str, str]:
    lines = [line.strip().removeprefix("#:").strip() for line in match[1].splitlines()]
    return match[2], " ".join(lines)


def _first_line(cls: type) -> str:
    return inspect.getdoc(cls).partition("\n")[0]  # type: ignore[union-attr]  # every noun has a docstring


def _tidy(schema: _Schema) -> _Schema:
    """A schema as msgspec writes it, in the words of a document: durations are text and null is no value."""
    result = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "propertyNames")}
    default = schema.get("default")
    choices = [_tidy(choice) for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        result |= choices[0]
    elif choices:
        result["anyOf"] = choices
    for key in ("items", "additionalProperties"):
        if key in result:
            result[key] = _tidy(result[key])
    if "propertyNames" in schema:
        result["patternProperties"] = {schema["propertyNames"]["pattern"]: result.pop("additionalProperties", {})}
        result["additionalProperties"] = False
    if result.get("pattern") == DURATION_PATTERN:
        result = {"$ref": _REF + "Duration"}
        default = default and format_duration(default)
    if default and not isinstance(default, dict):
        result["default"] = list(default) if isinstance(default, tuple) else default
    return result


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n")
