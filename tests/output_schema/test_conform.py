"""Results against their `output_schema`: what is told and what never, that nothing is fetched, how much work it is."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from statemachine_flow import output_schema
from statemachine_flow.errors import StepError
from statemachine_flow.output_schema import conform

DRAFTS = "http://json-schema.org/draft-0{}/schema#"


def error_of(schema: Any, value: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        conform(schema, value)
    return caught.value


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "object"}, [], "breaks `type` of its output_schema at $: it is no object"),
        ({"type": ["object", "null"]}, 1, "breaks `type` of its output_schema at $: it is no object or null"),
        ({"required": ["a", "b"]}, {"a": 1}, "breaks `required` of its output_schema at $: 'b' is not there"),
        (
            {"properties": {"items": {"items": {"properties": {"severity": {"enum": ["low"]}}}}}},
            {"items": [{"severity": "low"}, {"severity": "canary"}]},
            "breaks `enum` of its output_schema at $.items[1].severity",
        ),
        (
            {"properties": {"a": False}},
            {"a": "canary"},
            "breaks its output_schema: something is there that must not be",
        ),
        ({"additionalProperties": False}, {"canary": 1}, "breaks `additionalProperties` of its output_schema at $"),
        (
            {"uniqueItems": True},
            [{"a": [1, True]}, {"a": [1.0, True]}],
            "breaks `uniqueItems` of its output_schema at $",
        ),
        ({"pattern": "^x"}, "canary", "breaks `pattern` of its output_schema at $"),
    ],
)
def test_a_breach_names_the_place_and_the_keyword_and_never_the_value(schema: Any, value: Any, message: str) -> None:
    error = error_of(schema, value)
    assert (error.kind, error.name, error.message) == ("step.schema", "SchemaError", f"the result {message}")
    assert "canary" not in error.message
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "integer"}}, (1, 2)),
        ({"type": "array", "uniqueItems": True}, {1, 2}),
        ({"type": "number", "minimum": 1}, Decimal("1.5")),
        ({"uniqueItems": True}, [1, True, "1", None, [1], [True], {"a": 1}, {"a": True}]),
        ({"format": "email"}, "no address"),
        ({}, dt.date(2026, 1, 2)),
        ({"$schema": DRAFTS.format(4), "type": "number", "minimum": 1, "exclusiveMinimum": False}, 1),
        ({"$schema": DRAFTS.format(7), "items": [{"type": "integer"}]}, [1, "x"]),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, [1]),
        ({"$id": "http://own.example/a", "$defs": {"n": {"$id": "n", "type": "integer"}}, "$ref": "n"}, 1),
    ],
)
def test_what_conforms_passes(schema: Any, value: Any) -> None:
    conform(schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, dt.date(2026, 1, 2)),
        ({"type": "string"}, b"x"),
        ({"type": "integer"}, True),
        ({"type": "object"}, {1: "a key that is no text"}),
        ({"$schema": DRAFTS.format(4), "minimum": 1, "exclusiveMinimum": True}, 1),
    ],
)
def test_what_does_not_conform_is_told(schema: Any, value: Any) -> None:
    assert error_of(schema, value).kind == "step.schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strnig"},
        {"$schema": "https://example.com/mine", "type": "object"},
        {"$schema": 7},
        {"$ref": "#/$defs/nowhere"},
        {"enum": {1, 2}, "x": object()},
    ],
)
def test_a_schema_that_is_none_is_the_documents_fault(schema: Any) -> None:
    error = error_of(schema, {"a": 1})
    assert (error.kind, error.name) == ("definition.schema", "SchemaError")


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/a.json", "file:///etc/hostname", "a.json"])
@pytest.mark.parametrize("draft", [None, DRAFTS.format(7), DRAFTS.format(4)])
def test_nothing_is_fetched_whatever_a_schema_says(address: str, draft: str | None) -> None:
    """A real server listens: nobody may knock, and `ResourceWarning`s or waiting would fail the test as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reference = address.format(port=server.getsockname()[1])
        schema = {"properties": {"a": {"$ref": reference}}} | ({} if draft is None else {"$schema": draft})
        error = error_of(schema, {"a": 1})
        with pytest.raises(BlockingIOError):
            server.accept()
    assert error.kind == "definition.schema"


@pytest.mark.parametrize("named", [{}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}])
def test_work_is_bounded(named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a schema that names its draft refers to itself."""
    doubling: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {**named, "$defs": {**doubling, "d40": {}}, "if": {"type": "integer"}, "then": {"$ref": "#/$defs/d0"}}
    schema |= {"else": {"items": {"$ref": "#"}}}
    monkeypatch.setattr(output_schema, "MAX_CHECKS", 1000)
    assert "takes too much work" in error_of(schema, [1]).message


@pytest.mark.parametrize("named", [{}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}])
def test_a_schema_that_refers_to_itself_for_ever_ends(named: dict[str, str]) -> None:
    assert "for ever" in error_of({**named, "$ref": "#"}, 1).message


def test_a_value_that_holds_itself_ends() -> None:
    value: list[Any] = []
    value.append(value)
    assert error_of({}, value).kind == "step.schema"


def test_unique_items_take_no_comparison_of_all_pairs() -> None:
    conform({"uniqueItems": True}, [{"n": [n]} for n in range(20_000)])


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, -1.5]), st.sampled_from("ab")
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner)
)


@given(st.lists(VALUES, max_size=4))
def test_items_are_unique_exactly_when_the_library_says_so(items: list[Any]) -> None:
    import jsonschema  # noqa: PLC0415 - the reference

    expected = jsonschema.Draft202012Validator({"uniqueItems": True}).is_valid(items)
    try:
        conform({"uniqueItems": True}, items)
    except StepError:
        assert not expected
    else:
        assert expected


def test_a_schema_is_compiled_once() -> None:
    output_schema._compiled.cache_clear()
    for _ in range(3):
        conform({"type": "object", "properties": {"a": {}}}, {})
    assert output_schema._compiled.cache_info().misses == 1


def test_the_library_is_loaded_when_a_result_is_checked_and_not_before() -> None:
    script = "import sys, statemachine_flow.output_schema, statemachine_flow.steps; print('jsonschema' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- patterns


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 60 + "!"),
        ({"pattern": r"^(\w+\s?)*\d$"}, "word " * 10_000),
        ({"patternProperties": {r"^(.*a){12}b$": {"type": "string"}}}, {"a" * 200 + "b": 1}),
        ({"additionalProperties": False, "patternProperties": {r"^(.*a){12}$": True}}, {"a" * 200 + "b": 1}),
        ({"propertyNames": {"pattern": r"^(.*a){12}$"}}, {"a" * 200 + "b": 1}),
    ],
)
def test_no_pattern_keeps_the_check_busy(schema: Any, value: Any) -> None:
    """Python's own search would take years for some of them; here each ends with a breach, told or out of time."""
    assert error_of(schema, value).kind == "step.schema"


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": 1, "x": "text"}, True),
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": "one"}, False),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"a": "x", "b": 2}, True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, {"a": "x", "b": "y"}, False),
        ({"patternProperties": {"^n": {}}, "additionalProperties": False}, {"n1": 1}, True),
        ({"patternProperties": {"^n": {}}, "additionalProperties": False}, {"n1": 1, "x": 2}, False),
        ({"pattern": "(?=b)b"}, "abc", True),
        ({"pattern": "^x"}, 7, True),
        ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"a": 1, "b": 2}, False),
    ],
)
def test_patterns_mean_what_they_do_in_json_schema(schema: Any, value: Any, fits: bool) -> None:
    if fits:
        conform(schema, value)
    else:
        assert error_of(schema, value).kind == "step.schema"


@pytest.mark.parametrize(
    "schema", [{"pattern": "("}, {"unevaluatedProperties": False, "patternProperties": {"^n": {}}}]
)
def test_patterns_that_cannot_be_searched_for_are_the_documents_fault(schema: Any) -> None:
    assert error_of(schema, "text").kind == "definition.schema"
