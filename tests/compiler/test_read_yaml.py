"""Reading YAML: the part of 1.2 that has one meaning, by either parser that PyYAML may bring."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from statemachine_flow.compiler import read_yaml
from statemachine_flow.compiler.read import read_text
from statemachine_flow.compiler.yaml_scalars import resolve
from statemachine_flow.errors import DefinitionError, Problem

Path = tuple[str | int, ...]

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])

KEYS = st.text("ab1 é:-#{[\"'", max_size=6)
LEAVES = st.sampled_from(
    ["x", "a b", "a: b", "- x", "", "no", "1", "#c", "{", "l1\nl2\n", " lead", "é\U0001f600", "'", '"']
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3), max_leaves=12
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(read_yaml, "_Loader", request.param)
    return request.param


def read(text: str) -> dict[str, Any]:
    return read_text(text, format="yaml")[0]


def assert_placed(error: DefinitionError) -> None:
    assert all(problem.position and problem.source_line is not None for problem in error.problems)


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        read(text)
    return caught.value.problems


def kinds_of(text: str) -> list[str]:
    return [problem.kind for problem in problems_of(text)]


def values_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from values_of(item, (*path, key))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.sampled_from([True, False, None]), st.booleans(), st.sampled_from([None, '"', "'", "|"]))
def test_every_key_and_value_of_a_document_has_its_place(
    tree: dict[str, Any], flow: bool | None, unicode: bool, style: str | None
) -> None:
    text = yaml.dump(tree, default_flow_style=flow, allow_unicode=unicode, default_style=style, width=40).replace(
        "!!str ", ""
    )
    nodes = dict(_nodes(yaml.compose(text, Loader=yaml.SafeLoader), ()))

    data, source = read_text(text, format="yaml")

    assert [path for path, _ in values_of(data)] == list(nodes)
    for path, (key, value) in nodes.items():
        assert source.position(path) == source.position_at(key)
        assert source.position(path, of="value") == source.position_at(value)


def _nodes(node: Any, path: Path, key: int | None = None) -> Iterator[tuple[Path, tuple[int, int]]]:
    value = node.start_mark.index
    yield path, (value if key is None else key, value)
    if isinstance(node, yaml.MappingNode):
        for below, item in node.value:
            yield from _nodes(item, (*path, below.value), below.start_mark.index)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _nodes(item, (*path, index))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.sampled_from([True, False]), st.booleans())
def test_text_is_read_as_it_was_written(tree: dict[str, Any], flow: bool, unicode: bool) -> None:
    text = yaml.dump(tree, default_flow_style=flow, allow_unicode=unicode, default_style='"')

    assert read(text) == tree


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        KEYS,
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([1.5, -2e10, 1e-7]) | LEAVES,
            lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
        ),
        min_size=1,
    ),
    st.sampled_from([None, 1]),
)
def test_a_json_document_means_the_same_in_yaml(tree: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=False)

    assert read(text) == read_text(text, format="json")[0] == tree


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.data())
def test_text_spoilt_anywhere_gives_data_or_problems(tree: dict[str, Any], data: st.DataObject) -> None:
    text = yaml.dump(tree, default_flow_style=data.draw(st.sampled_from([True, False, None])))
    at = data.draw(st.integers(0, len(text)))
    inserts = [
        "&a ",
        "*a",
        "!t ",
        "<<: ",
        "\n---\n",
        "? ",
        "[",
        "}",
        ": ",
        "|",
        "\t",
        '"',
        "%",
        "\x07",
        "\u2028",
        "- ",
        "\n",
    ]
    text = text[:at] + data.draw(st.sampled_from(inserts)) + text[at:]

    try:
        read(text)
    except DefinitionError as error:
        assert_placed(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("nuLL", "nuLL"),
        ("true", True), ("False", False), ("tRUE", "tRUE"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("0", 0), ("-0", 0), ("010", 10), ("-08", -8), ("+12", 12),
        ("0o17", 15), ("0o8", "0o8"), ("0x1F", 31), ("-0x1", "-0x1"),
        ("0b1", "0b1"), ("1_000", "1_000"), ("1:30", "1:30"), ("1:59:59", "1:59:59"), ("0" * 5000 + "7", 7),
        ("1.10", 1.1), ("1.", 1.0), (".5", 0.5), ("-1.5E+3", -1500.0),
        ("1e3", 1000.0), (".", "."), ("1.2.3", "1.2.3"), ("+", "+"),
        ("e3", "e3"), ("1e", "1e"), ("-", "-"), (".e3", ".e3"), (".info", ".info"), ("--1", "--1"), ("1 2", "1 2"),
        ("2024-01-01", "2024-01-01"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("30s", "30s"),
        ("<<", "<<"), ("=", "="), ("٣", "٣"),
    ],
)  # fmt: skip
def test_case_10_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.Inf", "+.INF", ".nan", ".NaN", "1e400", "-1e999", "1e" + "9" * 1000])
def test_case_08_a_float_that_is_not_finite_is_refused(text: str) -> None:
    (problem,) = problems_of(f"timeout: {text}")

    assert (problem.kind, problem.path) == ("definition.range", "timeout")


def test_case_10_words_of_yaml_1_1_stay_text_and_keys_are_always_text() -> None:
    data = read("on: yes\nno: {version: 1.10, mode: 010, at: 1:30}\n1: x\ntrue: y\nnull: z\n~: q\n1.50: r\n'<<': s\n")

    assert data == {
        "on": "yes",
        "no": {"version": 1.1, "mode": 10, "at": "1:30"},
        "1": "x",
        "true": "y",
        "null": "z",
        "~": "q",
        "1.50": "r",
        "<<": "s",
    }


def test_quotes_and_blocks_always_mean_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: |\n  1\nd: >-\n  null\n") == {"a": "1", "b": "true", "c": "1\n", "d": "null"}


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + below] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_case_03_an_alias_bomb_is_refused_with_every_anchor_and_alias() -> None:
    found = problems_of(BOMB)

    assert {problem.kind for problem in found} == {"definition.alias"}
    assert len(found) == 9 + 8 * 9


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "&a a: *a", "a: &a {b: *a}", "a: *unknown", "a: &unused 1", "*x : 1", "&r\na: 1"]
)
def test_case_04_anchors_and_aliases_are_refused(text: str) -> None:
    found = problems_of(text)

    assert {problem.kind for problem in found} == {"definition.alias"}
    assert len(found) == text.count("&") + text.count("*")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 25_000,
        "[" * 200_000,
        "a: " + "{a: " * 100_000,
        "- " * 200_000,
        "a: " + "[" * 64 + "]" * 64,
        "\n".join(" " * level + "a:" for level in range(1_000)),
        "a:\n" + "\n".join(" " * level + "-" for level in range(1_000)),
    ],
)
def test_case_05_deep_nesting_is_too_deep_and_the_process_lives(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.too_deep"


@pytest.mark.parametrize("text", ["? " * 200_000, "{" * 200_000, "{[" * 100_000])
def test_case_05_deep_nesting_in_keys_ends_reading(text: str) -> None:
    assert kinds_of(text)[0] == "definition.type"


@pytest.mark.parametrize("style", ["|", ">", "|-"])
def test_brackets_in_text_are_no_nesting(style: str) -> None:
    script = "".join(f"  {'[{(' * 30} line {number}\n" for number in range(200))

    data = read(f"run: {style}\n{script}quoted: '{'[' * 200}' # {'{' * 200}\nplain: a{'[' * 200}\n")

    assert data["run"].count("[") == 6000
    assert data["quoted"] == "[" * 200


def test_case_07_a_sexagesimal_number_of_twenty_thousand_parts_is_text() -> None:
    text = "1" + ":59" * 20_000

    assert read(f"a: {text}") == {"a": text}


def test_case_09_duplicate_keys_name_both_lines_at_every_level() -> None:
    found = problems_of("a: 1\nb:\n  - c: 1\n    'c': 2\na: 2\n1: x\n'1': y\nd: {e: 1, e: 2}\n")

    assert {problem.kind for problem in found} == {"definition.duplicate_key"}
    assert [(problem.path, problem.message.partition("stands in ")[2]) for problem in found] == [
        ("b[0].c", "line 3 and again in line 4"),
        ("a", "line 1 and again in line 5"),
        ("1", "line 6 and again in line 7"),
        ("d.e", "line 8 and again in line 8"),
    ]


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/module:antigravity", "!!binary", "!!str", "!custom", "!", "!<tag:x>"],
)
def test_case_11_tags_are_refused_and_nothing_is_imported(tag: str) -> None:
    for value in (f"{tag} x", f"{tag} [x]", f"{tag} {{x: y}}"):
        (problem,) = problems_of(f"a: {value}")

        assert (problem.kind, problem.path) == ("definition.tag", "a")
    assert kinds_of(f"{tag} x: 1") == ["definition.tag"]
    assert "antigravity" not in sys.modules


def test_case_12_a_second_document_is_refused_where_it_begins() -> None:
    (problem,) = problems_of("a: 1\n--- # more\nb: [\n")

    assert problem.kind == "definition.multiple"
    assert problem.position is not None
    assert problem.position.line == 2
    assert read("%YAML 1.2\n---\na: 1\n...\n") == {"a": 1}


@pytest.mark.parametrize("text", ["<<: {a: 1}", "b: {<<: {a: 1}}", "<<: [x]"])
def test_case_12_merge_keys_are_refused(text: str) -> None:
    assert kinds_of(text) == ["definition.merge"]


@pytest.mark.parametrize("char", ["\x1b", "\x07", "\x7f", "\x85", "\u2028", "\u2029", "\ufffe"])
def test_case_13_characters_that_yaml_does_not_allow_are_refused_where_they_stand(char: str) -> None:
    (problem,) = problems_of(f"a: 1\nb: x{char}y")

    assert problem.kind == "definition.encoding"
    assert f"U+{ord(char):04X}" in problem.message
    assert problem.position is not None
    assert (problem.position.line, problem.position.column) == (2, 5)


@pytest.mark.parametrize("text", ['a: "\\ud800"', '"\\uDFFF": 1', 'a: ["x\\U0000d800"]'])
def test_case_13_escaped_half_of_a_surrogate_pair_is_refused(text: str) -> None:
    assert kinds_of(text) == ["definition.encoding"]


def test_an_unquoted_placeholder_is_explained_each_time() -> None:
    found = problems_of("a: {{ inputs.x }}\nb: [{{ y }}]\nc: {? [1, 2] : 3}\n")

    assert [(problem.kind, problem.path) for problem in found] == [
        ("definition.type", "a"),
        ("definition.type", "b[0]"),
        ("definition.type", "c"),
    ]
    assert all("quotes" in str(problem.hint) for problem in found)


def test_what_follows_a_key_that_is_none_is_read_on() -> None:
    found = problems_of("a: {[1]: {b: c}, [2]: x, d: .nan}\ne: .inf\n")

    assert [(problem.kind, problem.path) for problem in found] == [
        ("definition.type", "a"),
        ("definition.type", "a"),
        ("definition.range", "a.d"),
        ("definition.range", "e"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: 1\nb: c: d", 2, "put quotes"),
        ("a:\n\tb: 1", 2, "spaces, not tabs"),
        ("a: 1\nb: @x", 2, "put quotes"),
        ("a: 1\n b: 2", 2, "indentation"),
        ("a: 1\nb", 2, "key: value"),
        ("a: [1, 2\n", 2, None),
        ("a: 'x\n", 2, None),
    ],
)
def test_a_syntax_error_says_where_and_what_to_do(text: str, line: int, hint: str | None) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.syntax"
    assert problem.position is not None
    assert problem.position.line == line
    assert hint is None or hint in str(problem.hint)


def test_what_is_wrong_before_a_syntax_error_is_reported_with_it() -> None:
    assert kinds_of("a: &x 1\na: 2\nb: !t 3\nc: .nan\nd: [") == [
        "definition.alias",
        "definition.duplicate_key",
        "definition.tag",
        "definition.range",
        "definition.syntax",
    ]
