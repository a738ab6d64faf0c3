"""Reading TOML: data as tomllib gives it, and a place for every key and value."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.compiler.read import read_text
from statemachine_flow.compiler.scan_toml import scan
from statemachine_flow.errors import DefinitionError, Problem

Path = tuple[str | int, ...]

KEYS = st.sampled_from(
    ["a", "b-1", "C_c", "0", "a b", "a.b", "", "größe", 'q"q', "back\\slash", "t\tt", "true", "#", "[", "="]
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        st.none(),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)


class Writer:
    """Writes a tree as TOML in ways drawn at random; every leaf gets a text of its own."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.numbers = itertools.count(100)
        #: Path of a leaf -> its text.
        self.leaves: dict[Path, str] = {}

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def key(self, name: str) -> str:
        forms = ['"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"']
        if "'" not in name:
            forms.append(f"'{name}'")
        if name and all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
            forms.append(name)
        return str(self.pick(*forms))

    def name(self, names: tuple[str, ...]) -> str:
        return str(self.pick(".", " . ")).join(map(self.key, names))

    def leaf(self, path: Path) -> str:
        number = next(self.numbers)
        forms = [f"{number}", f"-{number}.5e3", f'"s{number} # = [ \\" \\\\"', f"'s{number} ]'", f"1{number}_000"]
        forms += [f'"""\ns{number} \\\n  "" x [=\n"""""', f"'''s{number}\n''a = 1\n'''"]
        self.leaves[path] = str(self.pick(*forms))
        return self.leaves[path]

    def value(self, value: Any, path: Path) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(self.pairs(value, path, inline=True)) + " }"
        if isinstance(value, list):
            gap = str(self.pick(" ", "\n", " # ] note\n\t"))
            items = [self.value(item, (*path, index)) for index, item in enumerate(value)]
            return "[" + gap + f"{gap},".join(items) + gap + (",]" if items and self.pick(True, False) else "]")
        return self.leaf(path)

    def pairs(
        self, table: dict[str, Any], path: Path, prefix: tuple[str, ...] = (), *, inline: bool = False
    ) -> Iterator[str]:
        """`name = value` for everything in a table, some of it by dotted names."""
        for name, value in table.items():
            names = (*prefix, name)
            if isinstance(value, dict) and value and self.pick(True, False):
                yield from self.pairs(value, (*path, name), names, inline=inline)
            else:
                yield f"{self.name(names)} = {self.value(value, (*path, name))}"

    def table(self, table: dict[str, Any], path: Path, names: tuple[str, ...]) -> Iterator[str]:
        """The lines of a table: pairs first, then tables with headers of their own."""
        headed: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for name, value in table.items():
            repeated = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            (headed if (isinstance(value, dict) or repeated) and self.pick(True, False) else plain)[name] = value
        for line in self.pairs(plain, path):
            yield line + str(self.pick("", "  # note = [1]"))
        for name, value in headed.items():
            inner = (*names, name)
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                header = f"[[{self.name(inner)}]]" if isinstance(value, list) else f"[ {self.name(inner)} ]"
                yield str(self.pick("", "\t", "\n# [note]\n")) + header
                yield from self.table(item, (*path, name, index) if isinstance(value, list) else (*path, name), inner)


def leaves_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves_of(item, (*path, key))
    else:
        yield path, value


@given(TREES, st.data())
def test_every_key_and_value_of_a_document_has_its_place(tree: dict[str, Any], data: st.DataObject) -> None:
    writer = Writer(data)
    text = "\n".join(writer.table(tree, (), ())) + "\n"
    expected = tomllib.loads(text)
    if not expected:
        return

    read, source = read_text(text, format="toml")

    assert read == expected
    assert {path for path, _ in leaves_of(read)} >= writer.leaves.keys()
    for path, leaf in writer.leaves.items():
        value = source.position(path, of="value")
        assert text.startswith(leaf, source.offset(value.line, value.column))
        for end in range(1, len(path) + 1):
            name = path[end - 1]
            key = source.position(path[:end])
            if isinstance(name, str):
                begin = source.offset(key.line, key.column)
                rest = text[begin:].partition("\n")[0]
                assert rest.startswith((name, f"'{name}'", '"'))
                assert rest[:1] != '"' or next(iter(tomllib.loads(f"x.{_first_quoted(rest)} = 1")["x"])) == name
    assert scan(text).duplicates == []


def _first_quoted(text: str) -> str:
    end = 1
    while text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    return text[: end + 1]


@given(TREES, st.data())
def test_text_spoilt_anywhere_gives_problems_or_what_tomllib_gives(tree: dict[str, Any], data: st.DataObject) -> None:
    text = "\n".join(Writer(data).table(tree, (), ())) + "\n"
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    text = (
        text[:at]
        + data.draw(st.sampled_from(["", '"', "'''", "[", "}", "=", ".", "\n", "a = 1\n", "\\", ","]))
        + text[at + cut :]
    )

    try:
        read, source = read_text(text, format="toml")
    except DefinitionError as error:
        assert_placed(error)
    else:
        assert read == tomllib.loads(text)
        for path, _ in leaves_of(read):
            assert source.position(path).line <= text.count("\n") + 1


def assert_placed(error: DefinitionError) -> None:
    assert all(problem.position and problem.source_line is not None for problem in error.problems)


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        read_text(text, format="toml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "path", "first", "second"),
    [
        ("a = 1\n\na = 2", "a", 1, 3),
        ("a.b = 1\na.b = 2", "a.b", 1, 2),
        ("a.b = 1\na = 2", "a", 1, 2),
        ("a = 1\na.b = 2", "a", 1, 2),
        ("a = 1\n[a]", "a", 1, 2),
        ("a = 1\n[a.b]", "a", 1, 2),
        ("a = []\n[[a]]", "a", 1, 2),
        ("a = {}\n[a.b]", "a", 1, 2),
        ("a = { b = 1 }\na.c = 2", "a", 1, 2),
        ("[a]\nb = 1\n[a]\nb = 2", "a", 1, 3),
        ("[a.b]\n[a]\nb = 1", "a.b", 1, 3),
        ("[a.b]\n[a]\nb.c = 1", "a.b", 1, 3),
        ("[a]\nb.c = 1\n[a.b]", "a.b", 2, 3),
        ("[[a]]\n[a]", "a", 1, 2),
        ("[a]\n[[a]]", "a", 1, 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 1\nb = 2", "a[1].b", 4, 5),
        ("[[a]]\n[a.b]\n[[a]]\n[a.b]\n[a.b]", "a[1].b", 4, 5),
        ("a = { b = 1,\tb = 2 }", "a.b", 1, 1),
        ("a = [{ b = 1 }, { b.c = 1, b.c = 2 }]", "a[1].b.c", 1, 1),
        ("a = 1\n'a' = 2", "a", 1, 2),
        ('a = 1\n"\\u0061" = 2', "a", 1, 2),
        ("['x y']\n[\"x y\"]", '["x y"]', 1, 2),
    ],
)
def test_case_09_duplicate_key_names_both_lines(text: str, path: str, first: int, second: int) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.duplicate_key"
    assert problem.path == path
    assert problem.message.endswith(f"stands in line {first} and again in line {second}")
    assert problem.position is not None
    assert problem.position.line == second


def test_case_09_all_duplicates_are_reported_and_what_follows_from_them_is_not() -> None:
    found = problems_of("a = 1\na = 2\n[t]\nx = 1\n[t]\nx = 2\n[u]\ny = 1\ny = 2\nbad = = 1\na = 3")

    assert [(problem.path, problem.position.line) for problem in found if problem.position] == [
        ("a", 2),
        ("t", 5),
        ("u.y", 9),
    ]


STATEMENTS = [
    *("a=1", "a={}", "a=[]", "a=[{}]", "a.b=1", "a.b={}", "a.b.c=1", "b=1", "[a]", "[b]", "[a.b]", "[a.b.c]"),
    *("[[a]]", "[[b]]", "[[a.b]]", "[[a.b.c]]", "a={b={}}", "c={a.b=1,a=2}", "c={a={},a.b=2}", "c={a.b=1,a.c=2}"),
]


@pytest.mark.parametrize("first", STATEMENTS)
def test_case_09_keys_are_duplicate_here_exactly_where_tomllib_refuses_them(first: str) -> None:
    for others in itertools.product(["", *STATEMENTS], repeat=2):
        text = "\n".join((first, *others))
        duplicates = scan(text).duplicates
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            assert duplicates, text
        else:
            assert not duplicates, text


@pytest.mark.parametrize(
    ("text", "line", "column", "hint"),
    [
        ("a = 1\nb = yes", 2, 5, "text needs quotes"),
        ("a = 1\nb: 2", 2, 2, "key = value"),
        ('a = "x\nb = 1', 1, 7, "closing quote"),
        ('a = """x\nb = 1', 2, 6, "closing quote"),
        ("a = 'x' y", 1, 9, "quotes around all of it"),
        (r'a = "C:\dir"', 1, 10, "twice"),
        ("a = [1, 2", 1, 10, None),
        ("a = 1\n[b", 2, 3, None),
    ],
)
def test_a_syntax_error_says_where_and_what_to_do(text: str, line: int, column: int, hint: str | None) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.syntax"
    assert problem.position is not None
    assert (problem.position.line, problem.position.column) == (line, column)
    assert problem.source_line == text.split("\n")[line - 1]
    assert (problem.hint is None) == (hint is None)
    assert hint is None or hint in str(problem.hint)


def test_dates_and_times_are_to_be_written_as_text() -> None:
    found = problems_of("a = 1979-05-27\nb = [07:32:00, {c = 1979-05-27 07:32:00Z}]\n")

    assert [problem.kind for problem in found] == ["definition.type"] * 3
    assert [problem.path for problem in found] == ["a", "b[0]", "b[1].c"]
    assert all("quotes" in str(problem.hint) for problem in found)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 25_000,
        "a = " + "[" * 200_000 + "]" * 200_000,
        "a = " + "{a = " * 25_000,
        "a = " + "[{a = " * 30_000,
        "a = " + "[" * 64 + "]" * 64,
        ".".join("a" * 5_000) + " = 1",
        ".".join("a" * 400_000) + " = 1",
        "[" + " . ".join("a" * 5_000) + "]",
        "[[" + ".".join(["'a'"] * 5_000) + "]]",
        "a = [{ " + ".".join("a" * 5_000) + " = 1 }]",
        ".".join("a" * 65) + " = 1",
        ".".join("a" * 40) + " = { " + ".".join("b" * 40) + " = 1 }",
        "[" + ".".join("a" * 40) + "]\n" + ".".join("b" * 40) + " = 1",
    ],
)
def test_case_06_deep_arrays_tables_and_dotted_keys_are_too_deep(text: str) -> None:
    (problem,) = problems_of(text)

    assert problem.kind == "definition.too_deep"
    assert problem.position is not None


@pytest.mark.parametrize(
    "text",
    [
        "a = '" + "One. " * 500 + "'",
        'a = """\n' + "x.y." * 500 + '\n"""',
        "a = 1  # " + "." * 500,
        "a = [" + "1.5, " * 500 + "]",
        ".".join("a" * 64) + " = 1",
    ],
)
def test_dots_that_are_no_deep_key_are_read(text: str) -> None:
    assert read_text(text)[0] == tomllib.loads(text)


def test_case_06_a_document_is_read_although_the_caller_is_deep_in_the_stack() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return nested(levels - 1) if levels else read_text("a = [[1]]")[0]

    assert nested(300) == {"a": [[1]]}


def test_case_07_a_sexagesimal_number_of_twenty_thousand_parts_is_a_syntax_error() -> None:
    assert [problem.kind for problem in problems_of("a = 1" + ":59" * 20_000)] == ["definition.syntax"]


@pytest.mark.parametrize("text", ['a = "\\ud800"', 'a = "\\U0000DFFF"', '"\\ud800" = 1'])
def test_case_13_escaped_half_of_a_surrogate_pair_is_refused(text: str) -> None:
    assert [problem.kind for problem in problems_of(text)] == ["definition.encoding"]


def test_the_place_of_a_table_is_its_own_header() -> None:
    _, source = read_text("[a.b]\nx = 1\n[a]\ny = 1\n[[c]]\n[c.d]\n[[c]]\n z = 1\n")

    places = {
        path: (str(source.position(path)), str(source.position(path, of="value")))
        for path in [("a",), ("a", "b"), ("c",), ("c", 0), ("c", 0, "d"), ("c", 1), ("c", 1, "z")]
    }

    assert {path: tuple(place.removeprefix("<text>:") for place in pair) for path, pair in places.items()} == {
        ("a",): ("3:2", "3:1"),
        ("a", "b"): ("1:4", "1:1"),
        ("c",): ("5:3", "5:1"),
        ("c", 0): ("5:1", "5:1"),
        ("c", 0, "d"): ("6:4", "6:1"),
        ("c", 1): ("7:1", "7:1"),
        ("c", 1, "z"): ("8:2", "8:6"),
    }
