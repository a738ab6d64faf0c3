"""Properties over generated texts, expressions and data: errors of the language only, Python's values, no code run."""

from __future__ import annotations

import ast
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import FUNCTIONS, Expression, Template

SCALARS = (
    st.sampled_from([10**400, -(10**400), 2**63])
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abk") | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = st.fixed_dictionaries({"n": st.integers(-99, 99), "list": st.lists(st.integers(-9, 9), max_size=5)})
NAMES = st.fixed_dictionaries({"a": PLAIN, "b": PLAIN, "c": KNOWN, "xs": st.lists(PLAIN, max_size=5)})

FRAGMENTS = [
    *"()[]{}.,:+-*/%<>='\"\\ \n\r\t|&~^@!#$?`;0aäº\u2028\0\ud800\ufeff",
    *(
        "**",
        "//",
        "==",
        "!=",
        "<=",
        "<<",
        ":=",
        "''",
        "1",
        "0x1",
        "1e9",
        "9" * 20,
        "1_",
        "0if",
        "'x'",
        "r'",
        "f'",
        "b'",
    ),
    *(" and ", " or ", "not ", " in ", " is ", " if ", " else ", " for x in ", "lambda ", "await ", "yield ", "async "),
    *("None", "true", "null", "__class__", ".import", "a", "xs", "a.k", "xs[0]", "[x for x in xs]", "len(", "default("),
    *("\\n", "\\x4", "\\N{DASH}", "\\777", "'\\ud800'"),
]


ARITHMETIC = ["+", "-", "*", "/", "//", "%", "**"]


def any_expression() -> st.SearchStrategy[str]:
    """Texts that mostly parse, of every kind of node and every function, with operands of any type."""
    leaves = st.sampled_from(
        ["a", "b", "xs", "a.k", "b['k']", "xs[0]", "x", "true", "null", "0", "-1", "1.5", "'k'", "''"]
    )
    operators = st.sampled_from([*ARITHMETIC, "==", "!=", "<", "<=", ">", "in", "not in", "and", "or", "is null =="])
    functions = st.sampled_from(sorted(FUNCTIONS))

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds("({} {} {})".format, inner, operators, inner),
            st.builds("({} < {} <= {})".format, inner, inner, inner),
            st.builds("(not {})".format, inner),
            st.builds("(-{})".format, inner),
            st.builds("({} if {} else {})".format, inner, inner, inner),
            st.builds("{{'k': {}, {}: 1}}".format, inner, inner),
            st.builds("[{}, {}][{}]".format, inner, inner, inner),
            st.builds("{}[{}:{}]".format, inner, inner, inner),
            st.builds("({}).k".format, inner),
            st.builds("[{} for x in {} if {}]".format, inner, inner, inner),
            st.builds("[{} for x, y in {} for z in {}]".format, inner, inner, inner),
            st.builds("{}({})".format, functions, inner),
            st.builds("{}({}, {})".format, functions, inner, inner),
            st.builds("replace({}, {}, {})".format, inner, inner, inner),
        )

    return st.recursive(leaves, grow, max_leaves=10)


def typed_expression() -> st.SearchStrategy[str]:
    """Texts whose operands have the right types, so that most have a value."""
    number: st.SearchStrategy[str] = st.deferred(lambda: numbers)
    boolean: st.SearchStrategy[str] = st.deferred(lambda: booleans)
    text: st.SearchStrategy[str] = st.deferred(lambda: texts)
    items: st.SearchStrategy[str] = st.deferred(lambda: lists)
    numbers = st.one_of(
        st.sampled_from(["0", "2", "-1", "1.5", "c.n", "len(xs)", "default(a.k, 1) if false else 3"]),
        st.builds("({} {} {})".format, number, st.sampled_from(["+", "-", "*", "//", "%"]), number),
        st.builds("({} if {} else {})".format, number, boolean, number),
        st.builds("{}({})".format, st.sampled_from(["sum", "max", "len"]), items),
        st.builds("default({}[{}], {})".format, items, number, number),
        st.builds("{}({})".format, st.sampled_from(["abs", "round", "int", "float", "-"]), number),
    )
    booleans = st.one_of(
        st.sampled_from(["true", "false", "a is null"]),
        st.builds("({} {} {})".format, number, st.sampled_from(["<", "==", "!=", ">="]), number),
        st.builds("({} {} {})".format, boolean, st.sampled_from(["and", "or"]), boolean),
        st.builds("({} in {})".format, number, items),
        st.builds("{}({} > x for x in {})".format, st.sampled_from(["any", "all"]), number, items),
        st.builds("{}({}, {})".format, st.sampled_from(["startswith", "contains"]), text, text),
    )
    texts = st.one_of(
        st.sampled_from(["''", "'k'", "'a b\\n'"]),
        st.builds("{}({})".format, st.sampled_from(["str", "to_json"]), number | items | boolean),
        st.builds("({} + {})".format, text, text),
        st.builds("{}({})".format, st.sampled_from(["upper", "strip", "lower"]), text),
        st.builds("join(split({}), {})".format, text, text),
        st.builds("{}[{}:]".format, text, st.integers(-3, 3)),
    )
    lists = st.one_of(
        st.sampled_from(["[]", "[1, 2]", "c.list"]),
        st.builds("[{} for x in {} if {}]".format, number, items, boolean),
        st.builds("({} + {})".format, items, items),
        st.builds("range({})".format, st.integers(-2, 9)),
        st.builds("{}({})".format, st.sampled_from(["sorted", "unique", "reversed"]), items),
        st.builds("json(to_json({}))".format, items),
    )
    return numbers | booleans | texts | lists


def is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_plain, value.values()))
    return value is None or type(value) in (bool, int, float, str)


def outcome(text: str, names: dict[str, Any]) -> Any:
    """The value, or the error of the language; any other exception fails the test."""
    try:
        return Expression.parse(text).evaluate(names)
    except ExpressionError as error:
        return error


def check_error(error: ExpressionError) -> None:
    assert error.kind.startswith("expression.")
    assert error.message
    assert 0 <= error.offset <= len(error.expression)


@given(st.text(max_size=40) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
@settings(max_examples=1000, deadline=None)
def test_any_text_is_an_expression_or_an_error_of_the_language(text: str) -> None:
    try:
        expression = Expression.parse(text)
    except ExpressionError as error:
        check_error(error)
    else:
        assert expression.guarded <= expression.references
        assert expression.text == text


@given(any_expression() | typed_expression(), NAMES)
@settings(max_examples=400, deadline=None)
def test_evaluation_gives_plain_data_or_an_error_of_the_language(text: str, names: dict[str, Any]) -> None:
    result = outcome(text, names)
    if isinstance(result, ExpressionError):
        check_error(result)
    else:
        assert is_plain(result)


@given(any_expression() | typed_expression(), NAMES)
@settings(max_examples=200, deadline=None)
def test_evaluation_changes_nothing_and_repeats_itself(text: str, names: dict[str, Any]) -> None:
    before = repr(names)
    assert repr(outcome(text, names)) == repr(outcome(text, names))
    assert repr(names) == before


@given(any_expression() | typed_expression(), NAMES)
@settings(max_examples=200, deadline=None)
def test_references_are_all_that_is_read(text: str, names: dict[str, Any]) -> None:
    with contextlib.suppress(ExpressionError):
        roots = {reference[0] for reference in Expression.parse(text).references}
        only_those = {name: value for name, value in names.items() if name in roots}
        assert repr(outcome(text, names)) == repr(outcome(text, only_those))


NUMBERS = st.one_of(st.integers(-50, 50), st.sampled_from([0.5, 1.5, -2.25, 3.0, 1e10])).map(repr)


def arithmetic() -> st.SearchStrategy[str]:
    operators = st.sampled_from(ARITHMETIC)
    return st.recursive(
        NUMBERS,
        lambda inner: st.builds("({} {} {})".format, inner, operators, inner) | st.builds("(-{})".format, inner),
        max_leaves=6,
    )


def comparisons() -> st.SearchStrategy[str]:
    compare = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    single = st.builds("({} {} {})".format, arithmetic(), compare, arithmetic())
    chained = st.builds("({} {} {} {} {})".format, NUMBERS, compare, NUMBERS, compare, NUMBERS)
    joined = st.recursive(
        single | chained,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("(not {})".format, inner)
        ),
        max_leaves=4,
    )
    return joined | st.builds("({} if {} else {})".format, arithmetic(), joined, arithmetic())


@given(arithmetic() | comparisons())
@settings(max_examples=500, deadline=None)
def test_numbers_are_those_of_python(text: str) -> None:
    # Powers of powers: here it is the limit's business to refuse them, not Python's to compute them.
    assume(text.count("**") <= 1)
    try:
        # The text was made above, out of numbers.
        expected = eval(text, {"__builtins__": {}})
    except (ZeroDivisionError, OverflowError, TypeError):  # a complex number has no order
        assert isinstance(outcome(text, {}), ExpressionError)
        return
    result = outcome(text, {})
    if isinstance(result, ExpressionError):
        assert _leaves_the_range(text)
    else:
        assert result == expected
        assert type(result) is type(expected)


def _leaves_the_range(text: str) -> bool:
    """Whether some part of an arithmetic text has no finite real value of 64 bits."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.BinOp):
            value = eval(ast.unparse(node), {"__builtins__": {}})
            if isinstance(value, complex) or abs(value) > 2**63 - 1:
                return True
    return False


@given(PLAIN.filter(lambda value: "${{" not in repr(value)))
@settings(deadline=None)
def test_a_template_without_placeholders_renders_to_itself(value: Any) -> None:
    template, problems = Template.parse(value)
    assert (problems, template.is_constant, template.references) == ([], True, frozenset())
    assert repr(template.render({})) == repr(value)


@given(st.text(max_size=20), st.text(max_size=20), st.text(alphabet="${}x 'k", max_size=12))
@settings(deadline=None)
def test_inserted_text_stays_literal(before: str, after: str, inserted: str) -> None:
    assume("${{" not in before + "$" + after and not before.endswith("$"))
    names = {"x": inserted, "k": 1}
    template, problems = Template.parse([f"{before}${{{{ x }}}}{after}", "${{ x }}"])
    assert problems == []
    assert template.render(names) == [f"{before}{inserted}{after}" if before + after else inserted, inserted]


@given(
    st.lists(
        st.sampled_from(["${{", "}}", "$${{", "$", "{", "}", "'", '"', " ", "x", "\\", "\n", "${{ x }}"]), max_size=12
    )
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_template_or_a_problem_inside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    template, problems = Template.parse(text)
    for path, error in problems:
        assert path == ()
        assert 0 <= error.offset <= len(text)
    if not problems:
        assert isinstance(template.render({"x": "v"}), str)


SHELL_PIECES = [
    *(
        "'",
        '"',
        "\\",
        "$(",
        "(",
        ")",
        "{ ",
        "; }",
        "#",
        "\n",
        " ",
        ";",
        "`",
        "$'",
        '$"',
        "$((",
        "((",
        "))",
        "$[",
        "]",
        "[[ ",
        " ]]",
    ),
    *(
        "<<E\n",
        "\nE\n",
        "<<<",
        "\\\n",
        "<\\\n<",
        ">#",
        "\r#",
        "${a:-",
        "}",
        "${a}",
        "|",
        "&",
        "$",
        "'b'",
        '"b"',
        '"$(echo "',
        '")"',
    ),
    *("echo ", "x=", "case a in a) ", " ;; esac ", "esac)", "if a; then ", " fi\n", " -lt 1 ", "a"),
]
SHELL_VALUES = [
    "$(: >c)",
    "`: >c`",
    "'; : >c; '",
    '"; : >c; "',
    "\n: >c\n",
    "a[$(: >c)]",
    "\\\n: >c\n",
    "E\n: >c\n",
    "); : >c; (",
]


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@given(
    st.lists(st.sampled_from(SHELL_PIECES), max_size=6).map("".join),
    st.lists(st.sampled_from(SHELL_PIECES), max_size=4).map("".join),
    st.sampled_from(SHELL_VALUES),
)
@settings(max_examples=150, deadline=None)
def test_case_31_no_inserted_value_is_ever_run_as_a_command(before: str, after: str, value: str) -> None:
    template, problems = Template.parse(f"echo {before}${{{{ v }}}}{after}")
    assume(not problems)
    try:
        command = template.render({"v": value}, quote=True)
    except ExpressionError:
        return
    with tempfile.TemporaryDirectory() as folder:
        stdin = subprocess.DEVNULL
        subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, stdin=stdin, timeout=60, check=False)
        assert not (Path(folder) / "c").exists()


HOSTILE = [
    "().__class__.__mro__[1].__subclasses__()",
    "x.__init__.__globals__",
    "__import__('os').system('true')",
    "open('/etc/passwd')",
    "eval('1')",
    "exec('1')",
    "'{0.__class__}'.format(x)",
    'json(\'{"__class__": "os.system"}\')',
    "'\\N{DIGIT ONE}'",
    "ª",
    "9**9**9",
    "[x for x in range(9999)]",
    "default(x.missing.deep, x['__class__'])",
    "sorted(keys(x), '__class__')",
    "str(x) + to_json(x)",
    "(" * 3000,
    "lambda: 1",
]


def test_g21_parsing_and_evaluating_run_import_and_open_nothing() -> None:
    names = {"x": {"a": 1, "__class__": "y"}}
    for text in (*HOSTILE, "nobody", "x.b", "upper(x.a)"):
        outcome(text, names)  # once before: the first use of the package loads its own modules
    events: list[tuple[str, Any]] = []
    watching = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching:
            events.append((event, arguments))

    sys.addaudithook(watch)
    watching = True
    for text in HOSTILE:
        outcome(text, names)
    Template.parse([f"${{{{ {text} }}}}" for text in HOSTILE])
    watching = False
    # `ast.parse` announces itself as `compile`, with the text and without a file; compiled to code it would run `exec`.
    seen = {event for event, _ in events}
    assert seen <= {"compile"}
    assert seen, "the hook saw nothing"
