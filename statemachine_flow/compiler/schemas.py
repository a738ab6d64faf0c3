"""Whether an `output_schema` is a JSON Schema that stands by itself; values are checked elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.source import Path
from statemachine_flow.model import Finding
from statemachine_flow.schema_patterns import unsupported

_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
#: What stands under these is data, whatever it looks like.
_DATA: Final = frozenset({"const", "enum", "default", "examples"})
#: Names under these are the author's own.
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def schema_findings(schema: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with a schema, seen from the schema.

    Example:
        >>> [finding.path for finding in schema_findings({"type": "strnig"})]
        [('type',)]
        >>> [finding.message for finding in schema_findings({"$ref": "https://example.com/a.json"})]
        ["'https://example.com/a.json' lies outside the schema"]
    """
    try:
        text = msgspec.json.encode(schema)
        message = unsupported(text)
        fault = _fault(text) if message is None else Finding("definition.schema", message)
    except RecursionError:
        fault = Finding("definition.schema", "the schema is nested too deep")
    if fault is not None:
        yield fault
        return
    for path, reference in _references(schema, ()):
        if not reference.startswith("#"):
            hint = "keep it under `$defs` and write #/$defs/name"
            yield Finding("definition.schema", f"{shown(reference)} lies outside the schema", path, hint)
        elif not _leads_somewhere(schema, reference):
            yield Finding("definition.schema", f"{shown(reference)} leads to nothing in the schema", path)


@lru_cache(maxsize=1024)
def _fault(text: bytes) -> Finding | None:
    """What the draft of a schema says about it, once for steps that have the same one."""
    # Loading the library takes longer than checking most documents, and few have a schema.
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from jsonschema.exceptions import best_match  # noqa: PLC0415
    from jsonschema.validators import validator_for  # noqa: PLC0415

    schema = msgspec.json.decode(text)
    error = best_match(_judge(validator_for(schema, default=Draft202012Validator)).iter_errors(schema))
    if error is None:
        return None
    path = tuple(error.absolute_path)
    place = f"'{path[-1]}'" if path else "the schema"
    hint = f"a {error.validator} of {shown(str(error.validator_value))} is expected" if error.validator else None
    return Finding("definition.schema", f"the value of {place} is not what JSON Schema allows there", path, hint)


@lru_cache(maxsize=16)
def _judge(draft: Any) -> Any:
    """What validates schemas of a draft; the library's own `check_schema` makes it anew each time."""
    return draft(draft.META_SCHEMA, format_checker=draft.FORMAT_CHECKER)


def _references(value: Any, path: Path, *, is_names: bool = False) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not is_names and key in _REFERENCES and isinstance(item, str):
                yield (*path, key), item
            elif is_names or key not in _DATA:
                yield from _references(item, (*path, key), is_names=not is_names and key in _BY_NAME)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _references(item, (*path, index))


def _leads_somewhere(schema: Any, reference: str) -> bool:
    """Whether a pointer has an end; other fragments name an anchor, which only the library finds."""
    pointer = unquote(reference[1:])
    if not pointer.startswith("/") or "$id" in schema:
        return True
    value = schema
    for part in pointer[1:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False
    return True
