"""The function table: every example is run, and the edges that an example cannot show."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import FUNCTIONS, Expression, Function


def evaluate(text: str, **names: Any) -> Any:
    return Expression.parse(text).evaluate(names)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_the_example_gives_its_result(function: Function) -> None:
    result = evaluate(function.example)
    assert result == evaluate(function.result)
    assert f"{function.name}(" in function.example


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_the_table_is_fit_for_the_reference(function: Function) -> None:
    assert function.doc.endswith(".")
    assert "\n" not in function.doc
    assert function.signature.startswith(f"{function.name}(")


def test_the_table_is_the_language_s() -> None:
    names = """abs all any bool contains default endswith enumerate flatten float int items join json keys len lines
        lower max min range raw replace reversed round sorted split startswith str strip sum to_json unique upper values
        zip"""
    assert sorted(FUNCTIONS) == names.split()


def test_signatures_show_what_may_be_left_out() -> None:
    shown = {name: FUNCTIONS[name].signature for name in ("lower", "split", "min", "range")}
    assert shown == {
        "lower": "lower(text)",
        "split": "split(text[, separator])",
        "min": "min(values, ...)",
        "range": "range(start[, stop])",
    }


TYPED = [function for function in FUNCTIONS.values() if object not in function.parameters[0][1].types]


@pytest.mark.parametrize("function", TYPED, ids=lambda function: function.name)
def test_a_wrong_type_names_the_function_and_the_argument(function: Function) -> None:
    name, kind = function.parameters[0]
    arguments = ", ".join(["wrong"] * (len(function.parameters) - function.optional))
    with pytest.raises(ExpressionError) as caught:
        evaluate(f"{function.name}({arguments})", wrong=None)
    assert caught.value.kind == "expression.type"
    assert caught.value.message == f"{function.name}() takes {kind.word} for '{name}', not null"


@pytest.mark.parametrize("text", ["len()", "len(1, 2)", "split()", "split('a', 'b', 'c')", "min()", "default(1)"])
def test_a_wrong_number_of_arguments_is_found_without_evaluating(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert caught.value.kind == "expression.type"
    assert FUNCTIONS[text.partition("(")[0]].signature in caught.value.message


@pytest.mark.parametrize("name", ["match", "re", "search", "eval", "exec", "open", "getattr", "type", "now", "random"])
def test_case_28_and_35_there_is_no_pattern_no_clock_and_no_way_out(name: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(f"{name}('(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!')")
    assert caught.value.kind == "expression.undefined"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lines('')", []),
        ("lines('a\\r\\n\\r\\nb')", ["a", "", "b"]),
        ("lines('a\\u2028b\\x0cc\\n')", ["a\u2028b\x0cc"]),
        ("join([], ', ')", ""),
        ("sum([])", 0),
        ("sum([0.1] * 10)", 1.0),
        ("sum([1, 2])", 3),
        ("unique([1, true, 1.0, '1', null, null])", [1, True, "1", None]),
        ("sorted(['b', 'a', 'B'])", ["B", "a", "b"]),
        ("sorted([{'k': 'b', 'n': 1}, {'k': 'a'}, {'k': 'b', 'n': 2}], 'k')[2].n", 2),
        ("range(3, 1)", []),
        ("range(-2, 1)", [-2, -1, 0]),
        ("str('a')", "a"),
        ("str({'b': [1.0, true, null], 'ä': 'x'})", '{"b":[1.0,true,null],"ä":"x"}'),
        ("to_json('a')", '"a"'),
        ("json('[1, 2.5, \"\\u00e4\"]')", [1, 2.5, "ä"]),
        ("json(' true ')", True),
        ("int('-7') + int(-2.9) + int(' 5 ')", -4),
        ("int(3)", 3),
        ("float('1e3')", 1000.0),
        ("round(2.5) + round(3.5)", 6),
        ("round(1234, -2)", 1200),
        ("flatten([])", []),
        ("raw([1])", [1]),
        ("split('a,b,,c', ',')", ["a", "b", "", "c"]),
        ("contains('abc', 'bc') and not contains({'a': 1}, 'b')", True),
        ("min('b', 'a') + max(['x', 'y'])", "ay"),
    ],
)
def test_edges(text: str, value: Any) -> None:
    result = evaluate(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("bool('True')", "type"),
        ("bool(1)", "type"),
        ("bool('')", "type"),
        ("int('1.5')", "type"),
        ("int('1_000')", "type"),
        ("int('٣')", "type"),
        ("int(true)", "type"),
        ("int('9999999999999999999')", "limit"),
        ("int(1e300)", "limit"),
        ("float('nan')", "type"),
        ("float('inf')", "type"),
        ("float('1e999')", "evaluation"),
        ("abs(true)", "type"),
        ("sum([true])", "type"),
        ("sum(['a'])", "type"),
        ("sum([2 ** 62, 2 ** 62])", "limit"),
        ("sum([1e308, 1e308])", "evaluation"),
        ("round(1.5, 100)", "limit"),
        ("round(9.5, true)", "type"),
        ("range(10 ** 9)", "limit"),
        ("range(-10 ** 9, 10 ** 9)", "limit"),
        ("join(['a', 1], '')", "type"),
        ("split('a', '')", "evaluation"),
        ("replace('a', '', 'b')", "evaluation"),
        ("json('{')", "evaluation"),
        ("json('NaN')", "evaluation"),
        ("json('1e999')", "evaluation"),
        ("json('123456789012345678901')", "limit"),
        ("json('\"\\\\ud800\"')", "evaluation"),
        ("sorted([[1], [2]])", "type"),
        ("sorted([{'a': 1}], 'b')", "undefined"),
        ("sorted([1, 'a'])", "type"),
        ("min(1, 'a')", "type"),
        ("min([])", "undefined"),
        ("unique([[1]])", "type"),
        ("flatten([1])", "type"),
        ("zip([1, 2], [1])", "evaluation"),
        ("len(5)", "type"),
    ],
)
def test_values_that_a_function_refuses(text: str, kind: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text)
    assert caught.value.kind == f"expression.{kind}"


@pytest.mark.parametrize("text", ["str(x)", "to_json([x])"])
def test_a_value_without_a_json_form_is_no_text(text: str) -> None:
    for value in (object(), {1, 2}, b"x", float("nan"), {(1, 2): 3}):
        with pytest.raises(ExpressionError) as caught:
            evaluate(text, x=value)
        assert caught.value.kind == "expression.evaluation"


def test_json_that_nests_too_deep_is_refused() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate("json(x)", x="[" * 100_000)
    assert caught.value.kind == "expression.too_deep"
