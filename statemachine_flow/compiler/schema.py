"""The JSON Schema of documents, made from the model, for editors and for other people's tools.

It says what `document` checks, as far as a schema can, and nothing of what `check` finds. Only keywords that mean
the same in Draft 4, 6 and 7 are used. `python -m statemachine_flow.compiler.schema` prints it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, get_args

import attrs
import msgspec

from statemachine_flow.durations import format_duration
from statemachine_flow.model import (
    DURATION_PATTERN,
    LANGUAGE_VERSION,
    MAX_STEPS,
    Defaults,
    Definition,
    Input,
    RetryPolicy,
    Step,
    StepId,
    document_key,
)
from statemachine_flow.steps import VERBS

_Schema = dict[str, Any]

_REF: Final = "#/definitions/"
_COMMENTED_FIELD: Final = re.compile(r"((?:^ +#: .*\n)+) +(\w+):", re.MULTILINE)


def json_schema() -> _Schema:
    """The schema of a document, as plain data.

    Example:
        >>> schema = json_schema()
        >>> schema["required"], sorted(schema["definitions"])
        (['dsl', 'name', 'steps'], ['Defaults', 'Duration', 'Input', 'ListedStep', 'RetryPolicy', 'Step'])
    """
    classes = [Definition, *VERBS.values()]
    _, raw = msgspec.json.schema_components(
        classes, schema_hook=lambda _: {"type": "object"}, ref_template=_REF + "{name}"
    )
    document = _noun(Definition, raw)
    language = {"description": "The version of the language.", "enum": [LANGUAGE_VERSION]}
    steps = {**_steps_schema(), "description": "The steps by id, or a list of steps with ids."}
    document["properties"] = {"dsl": language, **document["properties"], "steps": steps}
    document["required"] = ["dsl", *document["required"]]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A workflow of statemachine_flow",
        **document,
        "definitions": {
            "Step": _step_schema(raw, listed=False),
            "ListedStep": _step_schema(raw, listed=True),
            **{cls.__name__: _noun(cls, raw) for cls in (Input, Defaults, RetryPolicy)},
            "Duration": {
                "type": "string",
                "pattern": DURATION_PATTERN,
                "description": "A time such as 500ms, 30s, 1h30m or PT1H30M.",
            },
        },
    }


def _steps_schema() -> _Schema:
    (name,) = get_args(StepId)[1:]
    by_id = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_STEPS,
        "patternProperties": {name.pattern: {"$ref": _REF + "Step"}},
        "additionalProperties": False,
    }
    items = {"$ref": _REF + "ListedStep"}
    return {"anyOf": [by_id, {"type": "array", "minItems": 1, "maxItems": MAX_STEPS, "items": items}]}


def _step_schema(raw: _Schema, *, listed: bool) -> _Schema:
    """A step with the fields of every verb, of which only those of one verb go together."""
    step = _noun(Step, raw)
    fields = {key: _noun(verb, raw)["properties"] for key, verb in VERBS.items()}
    del step["properties"]["verb"]
    step["required"] = ["id"]
    if not listed:
        del step["properties"]["id"], step["required"]
    for key, own in fields.items():
        about = f"{_first_line(VERBS[key])} {own[key].get('description', '')}".strip()
        step["properties"] |= {**own, key: {**own[key], "description": about}}
    step["oneOf"] = [
        {"required": [key], "not": {"anyOf": _each_required(set().union(*fields.values()) - set(own))}}
        for key, own in fields.items()
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
        if "$ref" in schema and len(schema) > 1:
            # What stands beside a $ref is ignored by these drafts.
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
        result["default"] = default
    return result


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n")
