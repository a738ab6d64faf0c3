"""The published JSON Schema: made from the model, in step with what `document` refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from statemachine_flow.compiler.read import read_file, read_text
from statemachine_flow.compiler.schema import json_schema
from statemachine_flow.errors import DefinitionError
from statemachine_flow.model import Definition
from tests.compiler.cases import MEANING, SHAPE, Case
from tests.compiler.test_document import EVERY_FIELD
from tests.strategies.definitions import definitions

PUBLISHED = Path(__file__).resolve().parents[2] / "dsl" / "schema" / "v1.json"
SCHEMA = json_schema()
DRAFTS = [jsonschema.Draft4Validator, jsonschema.Draft6Validator, jsonschema.Draft7Validator]

#: What a schema cannot say: the range of a duration, that ids differ, and, from Draft 6 on, that 2.0 is no integer.
BEYOND_A_SCHEMA = {
    "timeout of the workflow is zero",
    "timeout is too long",
    "listed step twice",
    "max_parallel is a float",
    "max_attempts is a float",
}


def data_of(case: Case) -> Any:
    return read_text(case.text)[0]


def is_readable(case: Case) -> bool:
    try:
        read_text(case.text)
    except DefinitionError:
        return False
    return True


def test_the_published_schema_is_the_generated_one() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == SCHEMA


def test_the_module_prints_the_published_file() -> None:
    command = [sys.executable, "-m", "statemachine_flow.compiler.schema"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout == PUBLISHED.read_text(encoding="utf-8")


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_schema_is_valid_in_every_draft_and_accepts_every_field(draft: Any) -> None:
    draft.check_schema(SCHEMA)

    draft(SCHEMA).validate(read_text(EVERY_FIELD)[0])


@pytest.mark.parametrize("name", [name for name in SHAPE if is_readable(SHAPE[name]) and name not in BEYOND_A_SCHEMA])
@pytest.mark.parametrize("draft", DRAFTS)
def test_the_schema_refuses_what_is_wrong_in_shape(draft: Any, name: str) -> None:
    assert not draft(SCHEMA).is_valid(data_of(SHAPE[name]))


@pytest.mark.parametrize("name", sorted(BEYOND_A_SCHEMA))
def test_the_list_of_what_a_schema_cannot_say_is_no_longer_than_it_must_be(name: str) -> None:
    assert jsonschema.Draft7Validator(SCHEMA).is_valid(data_of(SHAPE[name]))


@pytest.mark.parametrize("name", [name for name in MEANING if name != "shape and meaning at once"])
def test_the_schema_accepts_what_is_wrong_only_in_meaning(name: str) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(data_of(MEANING[name]))


@settings(max_examples=50, deadline=None)
@given(definitions())
def test_the_schema_accepts_every_definition(definition: Definition) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(definition.tree())


VALID = Path(__file__).resolve().parents[2] / "dsl" / "conformance" / "v1" / "valid"


@pytest.mark.parametrize(
    "path", sorted(VALID.rglob("*.toml")), ids=lambda path: path.relative_to(VALID).with_suffix("").as_posix()
)
def test_the_schema_accepts_every_valid_case_of_the_language(path: Path) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(read_file(path)[0])


def test_every_field_is_described_for_editors() -> None:
    """Except where the name says it all."""
    fields = {**SCHEMA["properties"], **SCHEMA["definitions"]["Step"]["properties"]}

    bare = {name for name, field in fields.items() if "description" not in field}
    assert bare <= {"inputs", "defaults", "retry", "for_each", "repeat", "checkpoint", "budget"}
