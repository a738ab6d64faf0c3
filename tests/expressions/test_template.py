"""Templates: what is inserted how, what stays literal, and where a placeholder may stand in a shell command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Template

NAMES: dict[str, Any] = {
    "n": 3,
    "t": "a b",
    "files": ["x", "y"],
    "none": None,
    "flag": True,
    "half": 0.5,
    "m": {"k": 1},
}


def parse(value: Any) -> Template:
    template, problems = Template.parse(value)
    assert not problems
    return template


def render(value: Any, names: dict[str, Any] = NAMES, *, quote: bool = False) -> Any:
    return parse(value).render(names, quote=quote)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("${{ n }}", 3),
        ("${{n}}", 3),
        ("${{\n n\n}}", 3),
        ("${{ files }}", ["x", "y"]),
        ("${{ none }}", None),
        ("${{ n == 3 }}", True),
        (" ${{ n }}", " 3"),
        ("${{ n }}${{ n }}", "33"),
        ("${{ t }}/${{ n }}", "a b/3"),
        ("${{ none }} ${{ flag }} ${{ half }} ${{ files }} ${{ m }}", 'null true 0.5 ["x","y"] {"k":1}'),
        ("${{ {'a': {'b': 1}}.a.b }}", 1),
        ("${{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("${{ '}}' + \"}}\" + 'it\\'s' }}", "}}}}it's"),
        ("x ${{ '{' }} }}", "x { }}"),
        ("$${{ n }}", "${{ n }}"),
        ("a $${{ b }} ${{ n }} $${{", "a ${{ b }} 3 ${{"),
        ("$$${{ n }}", "$${{ n }}"),
        ({"a": ["${{ n }}", {"b": "n=${{ n }}"}], "${{ n }}": 1}, {"a": [3, {"b": "n=3"}], "${{ n }}": 1}),
        (("${{ n }}",), [3]),
    ],
)
def test_placeholders_are_filled_in(value: Any, rendered: Any) -> None:
    result = render(value)
    assert result == rendered
    assert type(result) is type(rendered)


@pytest.mark.parametrize(
    "text",
    ["{{ n }}", "${n}", "$(n)", "$n", "{n}", "{% if n %}", "$ {{ n }}", "}}", "${", "{{", "", "100 %", "%s", "\\${n}"],
)
def test_every_other_syntax_is_plain_text(text: str) -> None:
    template = parse(text)
    assert template.is_constant
    assert template.render({}) == text
    assert template.render({}, quote=True) == text


def test_a_constant_is_rendered_as_a_new_value_each_time() -> None:
    template = parse({"a": [1, {"b": None}]})
    first = template.render({})
    first["a"].append("changed by a step")
    assert template.render({}) == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("hostile", ["${{ n }}", "{{ 7*7 }}", "$${{ n }}", "}}", "${{", "'}}"])
def test_case_30_what_is_inserted_is_never_rendered_again(hostile: str) -> None:
    names = {"out": hostile, "n": 1}
    assert render("${{ out }}", names) == hostile
    assert render("<${{ out }}${{ out }}>", names) == f"<{hostile}{hostile}>"
    assert render(["${{ [out] }}"], names) == [[hostile]]


def test_references_are_those_of_all_expressions() -> None:
    template = parse(
        {"a": "${{ default(x.a, y) }}", "b": ["${{ default(x.a, 1) }} ${{ default(x.b, 1) }}", "${{ x.b }}"]}
    )
    assert template.references == {("x", "a"), ("x", "b"), ("y",)}
    assert template.guarded == {("x", "a")}
    assert not template.is_constant


def test_every_problem_is_reported_with_its_path_and_its_place_in_the_text() -> None:
    value = {"ok": "${{ n }}", "a": ["x ${{ 1 + }} ${{ lenn(1) }}", {"b": "ä ${{ n"}], "c": "${{ }}", "d": "${{ 'a }}"}
    _, problems = Template.parse(value)
    assert [(path, error.kind, error.offset) for path, error in problems] == [
        (("a", 0), "expression.syntax", 9),
        (("a", 0), "expression.undefined", 17),
        (("a", 1, "b"), "expression.syntax", 2),
        (("c",), "expression.syntax", 3),
        (("d",), "expression.syntax", 4),
    ]
    texts = [error.expression for _, error in problems]
    assert texts[:3] == ["x ${{ 1 + }} ${{ lenn(1) }}"] * 2 + ["ä ${{ n"]


@pytest.mark.parametrize(
    ("text", "offset"), [("${{", 0), ("a ${{ n }", 8), ("${{ {'a': 1 }}", 13), ("${{ n } }}", 6), ('${{ "}} }}', 4)]
)
def test_a_placeholder_that_never_ends_is_a_syntax_error(text: str, offset: int) -> None:
    _, [(path, error)] = Template.parse(text)
    assert (path, error.kind, error.offset) == ((), "expression.syntax", offset)


def test_a_value_that_holds_itself_is_a_problem_and_no_endless_loop() -> None:
    value: list[Any] = []
    value += [value, value]
    _, problems = Template.parse(value)
    assert {error.kind for _, error in problems} == {"expression.too_deep", "expression.limit"}


def test_an_error_while_rendering_has_the_expression_and_the_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        render("a ${{ t + 1 }}")
    assert (caught.value.expression, caught.value.offset) == ("t + 1", 0)
    with pytest.raises(ExpressionError) as caught:
        render("a ${{ thing }}", {"thing": object()})
    assert (caught.value.kind, caught.value.expression) == ("expression.evaluation", "thing")


def test_a_rendered_text_is_bounded() -> None:
    with pytest.raises(ExpressionError) as caught:
        render("${{ x }} " * 5, {"x": "a" * 2**20})
    assert caught.value.kind == "expression.limit"
    assert len(render("${{ x }} " * 3, {"x": "a" * 2**20})) == 3 * 2**20 + 3


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("echo ${{ t }}", "echo 'a b'"),
        ("${{ t }}", "'a b'"),
        ("${{ n }}", "3"),
        ("echo ${{ raw(t) }}", "echo a b"),
        ("echo ${{ raw(t) + 'c' }}", "echo 'a bc'"),
        ("x --f=${{ t }} ${{ files }} ${{ none }}", """x --f='a b' '["x","y"]' null"""),
        ('echo "it\'s" \'x " y\' \\" ${{ t }}', "echo \"it's\" 'x \" y' \\\" 'a b'"),
        ('echo "$(date)" "${HOME}/x" $(ls ${{ t }}) # it\'s\nls ${{ t }}', None),
        ("a \\\n  --flag ${{ t }} <<< ${{ t }}", "a \\\n  --flag 'a b' <<< 'a b'"),
        ("echo \"${{ raw('$HOME') }}\"", 'echo "$HOME"'),
        ("if [ ${{ t }} = x ]; then (cd ${{ t }}); fi", "if [ 'a b' = x ]; then (cd 'a b'); fi"),
        ("[[ -f x ]] && cat ${{ t }}", "[[ -f x ]] && cat 'a b'"),
        ("echo ${#a} a#b ${{ t }}", "echo ${#a} a#b 'a b'"),
    ],
)
def test_in_a_shell_command_each_value_is_one_word(text: str, rendered: str | None) -> None:
    result = render(text, quote=True)
    assert result == (rendered if rendered is not None else text.replace("${{ t }}", "'a b'"))
    assert parse(text).shell_problems() == []


@pytest.mark.parametrize(
    "text",
    [
        'echo "${{ t }}"',
        "echo '${{ t }}'",
        "sh -c 'ls ${{ t }}'",
        'echo "$(ls "${{ t }}")"',
        'echo "$(ls "a" "${{ t }}")"',
        "echo `ls ${{ t }}`",
        "cat <<EOF\n${{ t }}\nEOF",
        "echo $((1 + ${{ t }}))",
        "((x = ${{ t }}))",
        "echo $'\\' ${{ t }}'",
        "echo \\${{ t }}",
        "ls # ${{ t }}",
        "[[ ${{ t }} -lt 3 ]]",
        'echo "${x:-"${{ t }}"}"',
        "a<\\\n<E ${{ t }}",
        ">#'\n' ${{ t }} '",
    ],
)
def test_case_31_a_placeholder_where_a_word_cannot_be_quoted_is_refused(text: str) -> None:
    [(path, error)] = parse(text).shell_problems()
    assert (path, error.kind) == ((), "expression.forbidden")
    assert text[error.offset :].startswith("t }}")
    with pytest.raises(ExpressionError) as caught:
        render(text, quote=True)
    assert caught.value.kind == "expression.forbidden"
    assert render(text) == text.replace("${{ t }}", "a b")


_HOSTILE = [
    "; touch canary",
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '"; touch canary; "',
    "\n touch canary\n",
    "a\\\n'$(touch canary)",
    "a[$(touch canary)]",
    "-n",
    "~",
    "*",
    "",
    "\\",
    "#x",
]


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@pytest.mark.parametrize("value", _HOSTILE)
def test_case_31_a_value_reaches_the_command_as_it_is_and_runs_nothing(value: str, tmp_path: Path) -> None:
    template = parse("x=${{ v }}; printf '[%s]' ${{ v }} p${{ v }} \"$x\" $(printf %s ${{ v }} | wc -c)  # it's")
    command = template.render({"v": value}, quote=True)
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"[{value}][p{value}][{value}][{len(value)}]"
    assert list(tmp_path.iterdir()) == []
