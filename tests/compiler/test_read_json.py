"""Reading JSON: data as the standard library gives it, and a place for every key and value."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.compiler.read import read_text
from statemachine_flow.errors import DefinitionError, Problem

Path = tuple[str | int, ...]

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['"', "\\", "{", "a: b", "\\u"])
TREES = st.dictionaries(
    TEXT,
    st.recursive(
        SCALARS | TEXT,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
        max_leaves=12,
    ),
    min_size=1,
    max_size=4,
)
LAYOUTS = st.sampled_from([{"indent": 1}, {"indent": "\t"}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def assert_placed(error: DefinitionError) -> None:
    assert all(problem.position and problem.source_line is not None for problem in error.problems)


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        read_text(text, format="json")
    return caught.value.problems


def values_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from values_of(item, (*path, key))


@given(TREES, LAYOUTS)
def test_every_key_and_value_of_a_document_has_its_place(tree: dict[str, Any], layout: dict[str, Any]) -> None:
    numbers = itertools.count(1000)

    def numbered(value: Any) -> Any:
        """The same shape with leaves that are all different, so that a wrong place cannot pass."""
        if isinstance(value, dict):
            return {key: numbered(item) for key, item in value.items()}
        return list(map(numbered, value)) if isinstance(value, list) else f"{next(numbers)} {value}"

    tree = numbered(tree)
    text = json.dumps(tree, **layout)

    data, source = read_text(text, format="json")

    assert data == tree
    decoder = json.JSONDecoder()
    for path, value in values_of(tree):
        begin = source.position(path, of="value")
        assert decoder.raw_decode(text, source.offset(begin.line, begin.column))[0] == value
        if path and isinstance(path[-1], str):
            begin = source.position(path)
            assert decoder.raw_decode(text, source.offset(begin.line, begin.column))[0] == path[-1]


@given(TREES, LAYOUTS)
def test_data_is_what_was_written(tree: dict[str, Any], layout: dict[str, Any]) -> None:
    assert read_text(json.dumps(tree, **layout), format="json")[0] == tree


@given(TREES, st.data())
def test_text_spoilt_anywhere_gives_problems_or_what_the_standard_library_gives(
    tree: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(tree)
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.sampled_from(['"', "[", "}", ":", ",", "\\", "1", "NaN"])) + text[at + 1 :]

    try:
        read, _ = read_text(text, format="json")
    except DefinitionError as error:
        assert_placed(error)
    else:
        assert read == json.loads(text)


def test_case_09_duplicate_keys_name_both_lines_at_every_level() -> None:
    found = problems_of('{"a": 1,\n"b": [{"c": 1, "d": 2,\n"c": 3}],\n"\\u0061": NaN, "e": NaN}')

    assert [(problem.kind, problem.path) for problem in found] == [
        ("definition.duplicate_key", "b[0].c"),
        ("definition.duplicate_key", "a"),
        ("definition.range", "e"),
    ]
    assert found[0].message.endswith("stands in line 2 and again in line 3")
    assert found[1].message.endswith("stands in line 1 and again in line 4")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("{'a': 1}", 1, 2), ('{"a": 1,\n}', 2, 1), ('{"a": 1} x', 1, 10), ('{"a":\n tru}', 2, 2), ('{"a": "x\n"}', 1, 9)],
)
def test_a_syntax_error_says_where(text: str, line: int, column: int) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.syntax"
    assert problem.position is not None
    assert problem.hint is not None
    # The parsers of different releases differ in where they see a comma that is one too many.
    assert (problem.position.line, problem.position.column) == (line, column) or "comma" in problem.message


@pytest.mark.parametrize("text", ['{"a": ' + "[" * 25_000, '{"a":' * 100_000, '{"a": ' + "[" * 64 + "]" * 64 + "}"])
def test_case_05_deep_nesting_is_too_deep(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.too_deep"
    assert problem.position is not None
    assert problem.position.column > 64


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"a": ["x\\uDFFF"]}', '{"\\ud800": 1}', '{"\\udc00": {"b": 1}}'])
def test_case_13_escaped_half_of_a_surrogate_pair_is_refused_and_can_be_printed(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.encoding"
    str(problem).encode()
    problem.path.encode()


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert read_text('{"a": "\\ud83d\\ude00"}')[0] == {"a": "\U0001f600"}
