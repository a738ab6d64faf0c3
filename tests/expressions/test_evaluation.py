"""What expressions mean: values, operators, reading, loops, `default`, and errors that name no value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from statemachine_flow.errors import ExpressionError, StoreError
from statemachine_flow.expressions import Expression

NAMES: dict[str, Any] = {
    "steps": {
        "diff": {"outputs": {"files": ["a.py", "b.md", "c.py"], "n": 3}, "output": None},
        "parse-changes": {"output": "done"},
        "review": {"outputs": [{"severity": "low", "score": 2}, {"severity": "high", "score": 9}]},
    },
    "inputs": {"max": 2, "items": 5, "flag": True, "tags": ("x", "y")},
    "big": 2**53 + 1,
    "nan": float("nan"),
    "infinite": float("inf"),
    "endless": 10**100,
    "secret": "hunter2",
}


def evaluate(text: str, names: Mapping[str, Any] = NAMES) -> Any:
    return Expression.parse(text).evaluate(names)


def failure(text: str, names: Mapping[str, Any] = NAMES) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text).evaluate(names)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps.diff.outputs.n", 3),
        ("  steps.diff.outputs.n\n", 3),
        ("steps['parse-changes'].output", "done"),
        ('steps["parse-changes"]["output"]', "done"),
        ("steps.diff.outputs.files[0]", "a.py"),
        ("steps.diff.outputs.files[-1]", "c.py"),
        ("steps.diff.outputs.files[:inputs.max]", ["a.py", "b.md"]),
        ("steps.diff.outputs.files[::-1][0]", "c.py"),
        ("secret[:3]", "hun"),
        ("inputs.items", 5),
        ("inputs.tags[1:]", ["y"]),
        ("true and not false", True),
        ("True or false", True),
        ("null is None and inputs.flag is not null", True),
        ("steps.diff.output is null", True),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("'a' in 'cat' and 'z' not in 'cat'", True),
        ("'a.py' in steps.diff.outputs.files", True),
        ("'diff' in steps", True),
        ("['x'] in [['x']]", True),
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("7 // 2 + 7 % 4", 6),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("'a' + 'b' * 3", "abbb"),
        ("[1] + [2] * 2", [1, 2, 2]),
        ("(1, 2) == [1, 2]", True),
        ("inputs.tags + ['z']", ["x", "y", "z"]),
        ("{'a': 1, 'b': [true, null]}", {"a": 1, "b": [True, None]}),
        ("'big' if inputs.max > 1 else 'small'", "big"),
        ("[f for f in steps.diff.outputs.files if endswith(f, '.py') if f != 'a.py']", ["c.py"]),
        ("[[i, x] for i, x in enumerate('ab' + 'c' for y in [1])]", [[0, "abc"]]),
        ("[x + y for x in [1, 2] for y in [10, 20]]", [11, 21, 12, 22]),
        ("[[x * y for y in range(2)] for x in range(3)]", [[0, 0], [0, 1], [0, 2]]),
        ("[x for x in [x for x in [1, 2]]]", [1, 2]),
        ("any(f.severity == 'high' for f in steps.review.outputs)", True),
        ("all(f.severity == 'high' for f in steps.review.outputs)", False),
        ("sum(f.score for f in steps.review.outputs)", 11),
        ("'a\\n\\u00e4' + r'\\d'", "a\nä\\d"),
        ("1_000 + 0.5e1", 1005.0),
        ("(1 +\r\n 2)\n* 3", 9),
    ],
)
def test_expression_has_its_value(text: str, value: Any) -> None:
    result = evaluate(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("default(steps.merge.output, 7)", 7),
        ("default(steps.diff.output.y, 'null has no keys')", "null has no keys"),
        ("default(steps.diff.outputs.files[9], 'short')", "short"),
        ("default(max([]), 0)", 0),
        ("default(nobody, default(nothing, 1))", 1),
        ("default(steps.diff.output, 'never')", None),
        ("default(len(steps.merge.output), steps.diff.outputs.n)", 3),
        ("default(any(f.mood == 'x' for f in steps.review.outputs), false)", False),
    ],
)
def test_default_stands_in_for_what_does_not_exist(text: str, value: Any) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(("text", "kind"), [("default(1 / 0, 2)", "evaluation"), ("default(1 and 2, 3)", "type")])
def test_default_hides_no_other_error(text: str, kind: str) -> None:
    assert failure(text).kind == f"expression.{kind}"


def test_default_does_not_compute_a_fallback_it_does_not_need() -> None:
    assert evaluate("default(1, 1 / 0)") == 1


def test_any_and_all_stop_at_the_first_answer() -> None:
    assert evaluate("any(10 / n > 1 for n in [5, 0])") is True
    assert evaluate("all(10 / n > 5 for n in [5, 0])") is False


@pytest.mark.parametrize(
    ("text", "offset", "named", "hint"),
    [
        ("step.diff", 0, "'step'", "did you mean 'steps'?"),
        ("steps.dif.outputs", 6, "'dif'", "did you mean 'diff'?"),
        ("steps.diff.outputs.file", 19, "'file'", "did you mean 'files'?"),
        ("1 + steps['nothing at all'].x", 10, "'nothing at all'", "there is diff, parse-changes, review"),
        ("steps.diff.output.y", 18, "null has no 'y'", None),
        ("steps[secret]", 6, "no such key", None),
        ("inputs.tags[inputs.items]", 12, "length 2", None),
        ("sortd([1])", 0, "'sortd'", "did you mean 'sorted'?"),
    ],
)
def test_case_29_an_undefined_name_is_named_and_never_empty_text(
    text: str, offset: int, named: str, hint: str | None
) -> None:
    error = failure(text)
    assert error.kind == "expression.undefined"
    assert error.expression == text
    assert error.offset == offset
    assert named in error.message
    assert error.hint == hint


def test_case_29_only_eight_of_many_names_are_listed() -> None:
    error = failure("qqq", {f"name{number:02}": 1 for number in range(30)})
    assert error.hint == "there is name00, name01, name02, name03, name04, name05, name06, name07, ..."


@pytest.mark.parametrize("value", ["false", "true", "", [], [1], {}, None, 0, 1, 0.0])
def test_case_32_a_condition_takes_a_boolean_and_nothing_else(value: Any) -> None:
    names = {"x": value}
    for text in ("x", "not x", "x and true", "true and x", "x or true", "1 if x else 2", "[1 for i in [1] if x]"):
        with pytest.raises(ExpressionError) as caught:
            Expression.parse(text).test(names)
        assert caught.value.kind == "expression.type", text
    for text in ("any([x])", "all([x])", "any(x for i in [1])", "all(x for i in [1])"):
        assert failure(text, names).kind == "expression.type", text


def test_case_32_a_condition_gives_its_boolean() -> None:
    assert Expression.parse("inputs.flag").test(NAMES) is True
    assert Expression.parse("not inputs.flag").test(NAMES) is False


@pytest.mark.parametrize(
    ("text", "kind", "offset"),
    [
        ("2 * (1 / 0)", "evaluation", 5),
        ("1 // 0", "evaluation", 0),
        ("1.5 % 0", "evaluation", 0),
        ("0 ** -1", "evaluation", 0),
        ("1 + secret", "evaluation", 0),
        ("secret - 1", "evaluation", 0),
        ("-secret", "evaluation", 0),
        ("true + 1", "evaluation", 0),
        ("'ä' + 'ö' + (secret < 1)", "evaluation", 13),
        ("true < 2", "evaluation", 0),
        ("[1] < [2]", "evaluation", 0),
        ("1 in secret", "evaluation", 0),
        ("1 in 2", "evaluation", 0),
        ("[secret] in {}", "evaluation", 0),
        ("secret.upper", "evaluation", 7),
        ("secret['x']", "evaluation", 7),
        ("secret[1.0]", "evaluation", 7),
        ("secret[true]", "evaluation", 7),
        ("inputs[[1]]", "evaluation", 7),
        ("secret[::0]", "evaluation", 7),
        ("secret['a':]", "evaluation", 7),
        ("inputs[1:]", "evaluation", 7),
        ("secret % 1", "forbidden", 0),
        ("{secret: 1, 2: 3}", "type", 12),
        ("[x for x in secret]", "type", 12),
        ("[x for x in inputs]", "type", 12),
        ("[x for x, y in [[secret]]]", "evaluation", 15),
        ("(-8) ** 0.5", "evaluation", 1),
        ("1e308 * 10", "evaluation", 0),
        ("infinite - infinite", "evaluation", 0),
        ("0 * infinite", "evaluation", 0),
        ("10.0 ** 400", "evaluation", 0),
        ("endless + 1", "limit", 0),
        ("upper(1)", "type", 0),
        ("len(1)", "type", 0),
        ("json(secret)", "evaluation", 0),
        ("int(secret)", "type", 0),
        ("zip([1], [])", "evaluation", 0),
        ("sorted([1, secret])", "type", 0),
        ("steps.diff.outputs.files[5]", "undefined", 25),
    ],
)
def test_case_33_an_error_has_the_expression_and_the_place_and_no_value(text: str, kind: str, offset: int) -> None:
    error = failure(text)
    assert (error.kind, error.offset, error.expression) == (f"expression.{kind}", offset, text)
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nan == nan", False),
        ("nan != nan", True),
        ("nan < 1", False),
        ("big == 9007199254740992.0", False),
        ("big > 9007199254740992.0", True),
        ("big == 9007199254740993", True),
        ("9007199254740993 == 9007199254740992.0 + 1", False),
        ("0.1 + 0.2 == 0.3", False),
        ("1 == 1.0", True),
        ("infinite > 10 ** 18", True),
        ("-0.0 == 0", True),
        ("1 == '1'", False),
    ],
)
def test_case_34_numbers_compare_exactly(text: str, value: bool) -> None:
    assert evaluate(text) is value


@pytest.mark.parametrize("text", ["sorted([1, nan])", "min(nan, 1)", "max([nan])"])
def test_case_34_what_is_not_a_number_has_no_order(text: str) -> None:
    assert failure(text).kind == "expression.evaluation"


class Lazy(Mapping[str, Any]):
    """Fetches when it is read, as the results of steps do."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.read: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.read.append(key)
        if key == "ready":
            return {"output": 1}
        raise self._error

    def __iter__(self) -> Iterator[str]:
        return iter(["ready", "skipped"])

    def __len__(self) -> int:
        return 2


def test_a_mapping_is_only_asked_for_what_is_read() -> None:
    lazy = Lazy(KeyError("x"))
    assert evaluate("steps.ready.output + 1", {"steps": lazy}) == 2
    assert evaluate("steps.ready.output", {"steps": lazy}) == 1
    assert lazy.read == ["ready", "ready"]


@pytest.mark.parametrize("text", ["steps.skipped.output", "1 + steps.skipped.output"])
def test_an_expression_error_of_a_mapping_comes_through_with_the_place(text: str) -> None:
    own = ExpressionError("'skipped' has no output", kind="expression.undefined", hint="use default()")
    error = failure(text, {"steps": Lazy(own)})
    assert error.message == "'skipped' has no output"
    assert (error.expression, text[error.offset :]) == (text, "skipped.output")
    assert evaluate(f"default({text}, 5)", {"steps": Lazy(own)}) == 5


def test_another_error_of_a_mapping_comes_through_as_it_is() -> None:
    with pytest.raises(StoreError):
        evaluate("default(steps.skipped.output, 1)", {"steps": Lazy(StoreError("the disk is gone"))})


def test_a_value_that_is_only_read_is_handed_on_as_it_is() -> None:
    assert evaluate("steps.diff.outputs.files") is NAMES["steps"]["diff"]["outputs"]["files"]
    assert evaluate("steps['diff'].outputs.files") is NAMES["steps"]["diff"]["outputs"]["files"]


@pytest.mark.parametrize(
    ("text", "references", "guarded"),
    [
        ("steps.diff.outputs.files", {("steps", "diff", "outputs", "files")}, set()),
        ('steps["parse-changes"].output', {("steps", "parse-changes", "output")}, set()),
        ("steps.a.output[0].name", {("steps", "a", "output")}, set()),
        ("steps[item].output", {("steps",), ("item",)}, set()),
        ("steps.a.output[:n]", {("steps", "a", "output"), ("n",)}, set()),
        ("any(f.x == y for f in xs)", {("xs",), ("y",)}, set()),
        ("[a for a in a.b]", {("a", "b")}, set()),
        ("[b for a in x for b in a.y if b > c.d]", {("x",), ("c", "d")}, set()),
        ("[x for x in a] + x.b", {("a",), ("x", "b")}, set()),
        ("default(a.b, c)", {("a", "b"), ("c",)}, {("a", "b")}),
        ("default(a.b, c) + a.b", {("a", "b"), ("c",)}, set()),
        ("a.b + default(a.b, 1) + default(len(a.c), 1)", {("a", "b"), ("a", "c")}, {("a", "c")}),
        ("default(default(a, b), c)", {("a",), ("b",), ("c",)}, {("a",), ("b",)}),
        ("len(true) + len", {("len",)}, set()),
        ("null", set(), set()),
        ("lines('x')[0]", set(), set()),
        ("{'a': b}.a", {("b",)}, set()),
    ],
)
def test_references_are_the_constant_paths_from_free_names(text: str, references: set[Any], guarded: set[Any]) -> None:
    expression = Expression.parse(text)
    assert expression.references == references
    assert expression.guarded == guarded


def test_expressions_are_equal_when_their_text_is() -> None:
    assert Expression.parse("a + 1") == Expression.parse("a + 1") != Expression.parse("a+1")
    assert len({Expression.parse("a"), Expression.parse("a")}) == 1
    assert repr(Expression.parse("a.b")) == "Expression.parse('a.b')"


def test_threads_share_an_expression() -> None:
    expression = Expression.parse("[[x, y, sum([z * n for z in range(x)])] for x in range(n) for y in range(2)]")

    def expected(n: int) -> list[list[int]]:
        return [[x, y, sum(z * n for z in range(x))] for x in range(n) for y in range(2)]

    with ThreadPoolExecutor(8) as pool:
        sizes = [size % 20 for size in range(400)]
        assert list(pool.map(lambda n: expression.evaluate({"n": n}), sizes)) == [expected(n) for n in sizes]
