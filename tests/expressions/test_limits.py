"""Case 24 to 28 and G22: what is outside the language, too long, too deep or too much, and what is still allowed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Expression
from statemachine_flow.expressions.budget import MAX_BUILT, MAX_STEPS, MAX_TEXT

MIB = 2**20


def failure(text: str, **names: Any) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text).evaluate(names)
    return caught.value


@pytest.mark.parametrize(
    ("text", "offset", "what"),
    [
        ("().__class__.__mro__", 13, "__mro__"),
        ("x.__init__.__globals__", 11, "__globals__"),
        ("[].__class__", 3, "__class__"),
        ("x._private", 2, "_private"),
        ("__import__('os')", 0, "calling"),
        ("_x", 0, "'_x'"),
        ("x|attr('y')", 1, "|"),
        ("|attr", 0, "|"),
        ("'{0.__class__}'.format(x)", 0, "method"),
        ("x.items()", 0, "method"),
        ("f()()", 0, "calling"),
        ("[len][0](x)", 0, "calling"),
        ("'%s' % x", 0, "%"),
        ("'%09999999999d' % 1", 0, "%"),
        ("f'{x}'", 0, "'f'"),
        ("rf'{x}'", 0, "'rf'"),
        ("b'x'", 0, "'b'"),
        ("lambda: 1", 0, "lambda"),
        ("(x := 1)", 3, ":="),
        ("yield x", 0, "yield"),
        ("[i async for i in x]", 13, "async"),
        ("{1, 2}", 0, "set"),
        ("{i for i in x}", 0, "set"),
        ("{i: i for i in x}", 0, "mapping"),
        ("(i for i in x)", 0, "loop"),
        ("[*x]", 1, "*"),
        ("len(*x)", 4, "*"),
        ("{**x}", 3, "**"),
        ("x @ y", 2, "@"),
        ("~x", 0, "~"),
        ("+x", 0, "+"),
        ("x & y", 2, "&"),
        ("x is y", 5, "is"),
        ("...", 0, "literal"),
        ("1 if x[...] else 2", 7, "literal"),
        ("[1 for x.y in z]", 7, "variable"),
        ("[1 for _ in z]", 7, "variable"),
        ("[1 for null in z]", 7, "variable"),
        ("x[1:2, 3]", 2, "part"),
    ],
)
def test_case_24_what_is_outside_the_language_is_forbidden_by_its_name(text: str, offset: int, what: str) -> None:
    error = failure(text, x=1)
    assert error.kind == "expression.forbidden"
    assert what in error.message
    assert error.offset == offset


def test_case_24_a_dot_reads_a_key_and_never_an_attribute() -> None:
    assert Expression.parse("x.items").evaluate({"x": {"items": 5}}) == 5
    assert failure("x.items", x={}).kind == "expression.undefined"
    assert failure("x.real", x=1).kind == "expression.evaluation"
    assert failure("x.cls['mro']", x={"cls": int}).kind == "expression.evaluation"


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        ("  ", 0),
        ("1 +", 3),
        ("a b", 0),
        ("a = 1", 2),
        ("x = 1; y", 2),
        ("import os", 0),
        ("(1", 0),
        ("1)", 1),
        ("(1]", 2),
        ("1)+(2", 1),
        ("'it", 0),
        ("a + 'it", 4),
        ("'a\nb'", 0),
        ("'''a'''", 0),
        ("'\\d'", 1),
        ("'\\N{DIGIT ONE}'", 1),
        ("'\\777'", 1),
        ("'\\ud800'", 0),
        ("'\ud800'", 1),
        ("'\0'", 0),
        ("\0", 0),
        ("größe", 2),
        ("__class__ºx", 9),
        ("0if 1 else 2", 0),
        ("1else", 0),
        ("007", 0),
        ("1 # comment", 2),
        ("steps.import.output", 6),
        ("$x", 0),
        ("a ? b : c", 2),
        ("!a", 0),
        ("len(x=1)", 5),
        ("\ufeffa", 0),
    ],
)
def test_what_is_no_expression_is_a_syntax_error_with_its_place(text: str, offset: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert caught.value.kind == "expression.syntax"
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a = 1", "did you mean '=='?"),
        ("a && b", "did you mean 'and'?"),
        ("x.lower()", "write lower(text)"),
        ("steps.import.output", 'write ["import"] instead of .import'),
        ("lenn(x)", "did you mean 'len'?"),
        ("x is 1", "use == or !="),
    ],
)
def test_common_slips_get_a_hint(text: str, hint: str) -> None:
    assert failure(text).hint == hint


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "2**64",
        "2**63",
        "10**9 * 10**10",
        "9223372036854775808",
        "1e400",
        "'a' * 10**10",
        "10**10 * 'a'",
        "[0] * 10**10",
        "[[0] * 1000] * 1000 + [[0] * 60000] + [0] * 60000",
        "'a' * 65536 + 'b'",
        "join(['a' * 60000, 'b' * 5000], '')",
        "replace('a' * 60000, 'a', 'b' * 10**4)",
        "join([''] * 60000, '--')",
        "range(65537)",
        "range(10**18)",
        "flatten([[0] * 10000] * 10)",
        "(2**62 + 2**62)",
        "-(2**62) - 2**62 - 1",
    ],
)
def test_case_25_a_large_result_is_refused_before_it_is_made(text: str) -> None:
    tracemalloc.start()
    try:
        assert failure(text).kind == "expression.limit"
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_case_25_a_shift_is_not_part_of_the_language() -> None:
    assert failure("1<<10**9").kind == "expression.forbidden"


@pytest.mark.parametrize(
    "text",
    [
        "[1 for a in r for b in r for c in r for d in r for e in r]",
        "[[[[[1 for a in r] for b in r] for c in r] for d in r] for e in r]",
        "sum(1 for a in r for b in r for c in r for d in r for e in r for f in r for g in r for h in r for i in r)",
        "any(false for a in r for b in r for c in r for d in r for e in r)",
        "all(len(str(x)) > 0 for x in range(60000))",
        "[sorted(many) for a in r]",
        "[x for x in range(9000) if contains(y, x)]",
        "[1 for x in range(9000) if big == other]",
        "[1 for x in range(9000) if 'q' in big]",
        "[1 for x in range(9000) if big[1:] == '']",
        "any(a == 'x' for b in [[[[[[big] * 99] * 99] * 99] * 99] * 99] for a in [to_json(b)])",
        "[[[[[r] * 99] * 99] * 99] * 99] == [[[[[r] * 99] * 99] * 99] * 99]",
        "[[[[[r] * 99] * 99] * 99] * 99] in [1]",
        "max([big, big] * 9000) == ''",
        "unique([big] * 30000)",
    ],
)
def test_case_26_too_many_steps_are_stopped_by_their_count(text: str) -> None:
    size = MIB
    names = {
        "r": list(range(10)),
        "many": list(range(60000)),
        "y": list(range(5000)),
        "big": "a" * size,
        "other": "a" * (size - 1) + "b",
    }
    error = failure(text, **names)
    assert error.kind == "expression.limit"
    assert f"{MAX_STEPS:,} steps" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "1" + ")" * 3000,
        "(" * 3000,
        "[" * 65 + "]" * 65,
        "[" * 100_000,
        "-" * 10_000 + "1",
        "- " * 2000 + "1",
        "not " * 1000 + "true",
        "not " * 100_000 + "true",
        "1" + " + 1" * 1000,
        "1" + "**1" * 1000,
        "1 if true else " * 200 + "1",
        "len(" * 65 + "x" + ")" * 65,
        "{'a':" * 65 + "1" + "}" * 65,
    ],
)
def test_case_27_deep_nesting_is_refused(text: str) -> None:
    assert failure(text, x=1).kind == "expression.too_deep"


def test_case_27_some_nesting_and_long_chains_are_fine() -> None:
    assert Expression.parse("(" * 40 + "1" + ")" * 40).evaluate({}) == 1
    assert Expression.parse(" or ".join(["false"] * 400)).evaluate({}) is False
    value: Any = 1
    for _ in range(1000):
        value = {"a": value}
    assert Expression.parse("x" + ".a" * 1000).evaluate({"x": value}) == 1
    assert Expression.parse("x" + "['a']" * 700 + "['a'] == 2").evaluate({"x": {"a": None}} | {"x": value}) is False


def test_a_long_expression_is_refused() -> None:
    assert Expression.parse(f"'{'a' * (MAX_TEXT - 2)}'").evaluate({}) == "a" * (MAX_TEXT - 2)
    for text in (
        f"'{'a' * (MAX_TEXT - 1)}'",
        "a" * (MAX_TEXT + 1),
        "1" * MIB + "x",
        "'" + "a" * MIB,
        " " * MIB,
        "'' " * MIB,
    ):
        error = failure(text)
        assert error.kind == "expression.limit"
        assert len(error.expression) == MAX_TEXT


def test_values_that_are_there_already_may_be_large() -> None:
    names = {"out": "line of text\n" * (MIB // 13), "rows": [{"n": n} for n in range(9000)]}
    assert Expression.parse("out").evaluate(names) is names["out"]
    assert Expression.parse("len(out)").evaluate(names) == len(names["out"])
    assert len(Expression.parse("lines(out)").evaluate(names)) == MIB // 13
    assert len(Expression.parse("sorted(unique(lines(out)))").evaluate(names)) == 1
    assert Expression.parse("'text' in out and endswith(out, '\\n')").evaluate(names) is True
    assert Expression.parse("len(json(text))").evaluate({"text": "[" + "1," * (MIB // 2 - 1) + "1]"}) == MIB // 2
    assert len(Expression.parse("[r.n for r in rows if r.n % 2 == 0]").evaluate(names)) == 4500
    assert Expression.parse("[out, out][0]").evaluate(names) is names["out"]


def test_a_computed_result_is_bounded_but_a_read_one_is_not() -> None:
    names = {"x": "a" * (3 * MIB), "choose": True}
    assert failure("upper(x)", **names).kind == "expression.limit"
    assert failure("[x]", **names).kind == "expression.limit"
    assert failure("x[1:]", **names).kind == "expression.limit"
    assert failure("[[[[1] * 99] * 99] * 99] * 99").kind == "expression.limit"
    for text in ("x", "x if choose else 1", "default(x, 1)", "raw(x)"):
        assert Expression.parse(text).evaluate(names) is names["x"]


def test_what_an_evaluation_builds_is_counted_together() -> None:
    half = MAX_BUILT // 2
    assert Expression.parse(f"len('a' * {half}) + len('b' * {half})").evaluate({}) == MAX_BUILT
    assert failure(f"len('a' * {half}) + len('b' * {half + 1})").kind == "expression.limit"


@pytest.mark.parametrize("credit", ["range(2**62, 0)", "range(-1, -(2**62))", "join([], 'a' * 9)", "'a' * -(2**62)"])
def test_what_builds_nothing_gives_no_room_for_more(credit: str) -> None:
    assert Expression.parse(f"len({credit})").evaluate({}) == 0
    assert failure(f"len({credit}) + len('a' * {MAX_BUILT - 9}) + len('b' * 10)").kind == "expression.limit"


def test_integers_of_any_length_may_be_read_and_compared_but_not_computed_with() -> None:
    names = {"x": 10**5000, "y": -(10**5000)}
    for text in ("x > y", "max([x, y]) == x", "sorted([x, 1.5]) == [1.5, x]", "unique([x, x]) == [x]", "'' * x == ''"):
        assert Expression.parse(text).evaluate(names) is True, text
    for text in (
        "x + 1",
        "-x",
        "abs(x)",
        "x * 1.5",
        "2 ** x",
        "round(x)",
        "float(x)",
        "sum([x])",
        "'a' * x",
        "range(x)",
    ):
        assert failure(text, **names).kind == "expression.limit", text
    for text in ("'ab'[x]", "[1][y]"):
        assert failure(text, **names).kind == "expression.undefined", text
    assert Expression.parse("'ab'[:x] + 'a' * y").evaluate(names) == "ab"
    assert failure("str(x)", **names).kind == "expression.evaluation"


def test_deep_values_give_an_error_of_the_language() -> None:
    def nested() -> list[Any]:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    names = {"x": nested(), "y": nested()}
    assert Expression.parse("x").evaluate(names) is names["x"]
    for text in ("x == y", "to_json(x)", "x in [y]", "str([x])"):
        assert failure(text, **names).kind in ("expression.too_deep", "expression.limit")
    # Freed level by level: some versions of CPython use their stack up on a value this deep.
    for value in names.values():
        inner = value
        while inner:
            inner = inner.pop()
