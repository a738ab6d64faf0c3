"""Cases 24 to 35: hostile expressions and templates, through whole runs and through `smf`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import statemachine_flow as smf_library
from statemachine_flow.errors import DefinitionError
from tests.cli.conftest import Smf

#: What the step before gave.
GIVEN = {
    "list": [1, 2, 3],
    "text": "a" * 40,
    "nan": float("nan"),
    "big": 2**53 + 1,
    "secretive": "tell-nobody",
    "code": "{{ 7*7 }} ${{ 7*7 }} %s {0}",
    "words": ["false", [], None, 0, 1, "", "true"],
}


def workflow(expression: str, field: str = "with") -> dict[str, Any]:
    """A workflow whose second step computes something."""
    value: Any = expression if field == "when" else {"v": f"${{{{ {expression} }}}}"}
    step = {"needs": ["first"], "call": "take", field: value}
    return {"dsl": "1", "name": "x", "steps": {"first": {"call": "give"}, "second": step}}


@attrs.frozen
class Found:
    """What became of an expression: a value, or an error, and whether that was at compile time."""

    value: Any = None
    kind: str = ""
    message: str = ""
    at_compile: bool = False


def evaluate(expression: str, field: str = "with") -> Found:
    functions: dict[str, Any] = {"give": lambda: GIVEN, "take": lambda v=None: v}
    with smf_library.Engine("memory://", functions=functions) as engine:
        try:
            run = engine.run(smf_library.load(workflow(expression, field)))
        except DefinitionError as error:
            assert len(engine.list()) == 0
            return Found(kind=error.kind, message=str(error), at_compile=True)
        step = run.steps["second"]
        if step.error is None:
            return Found(value=step.output if step.state == "completed" else step.state)
        assert (run.state, step.state) == ("failed", "failed")
        return Found(kind=step.error.kind, message=step.error.message)


FORBIDDEN = [
    "().__class__.__mro__",
    "steps.first.output|attr('x')",
    "steps.first.output.__init__.__globals__",
    "'{0.__class__}'.format(steps.first.output)",
    "'%s' % steps.first.output.text",
    "steps.first.output['__class__'].__base__",
    "(lambda: 1)()",
    "[x for x in ().__class__]",
    "1 if (y := 1) else 2",
    "f'{1}'",
]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_case_24_a_way_out_of_the_language(text: str) -> None:
    found = evaluate(text)

    assert (found.kind, found.at_compile) == ("expression.forbidden", True)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_case_24_the_command_line_refuses_it_with_exit_3(smf: Smf, folder: Path, text: str) -> None:
    (folder / "case.json").write_text(json.dumps(workflow(text)))
    done = smf("run", "case.json", "--json")

    assert (done.code, done.json["error"]["kind"]) == (3, "expression.forbidden")


HUGE = ["9**9**9", "'a'*10**10", "'a' * 1000000000", "[1]*1000000000", "2**100000", "10**10**10"]
#: Bytes that the process may grow by.
ROOM = 8 << 20


def peak() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


@pytest.mark.parametrize("text", HUGE)
def test_case_25_a_huge_result(text: str) -> None:
    evaluate("1 + 1")
    before = peak()
    found = evaluate(text)

    assert (found.kind, found.at_compile) == ("expression.limit", False)
    assert peak() - before < ROOM


def test_case_25_shifting_is_not_offered() -> None:
    assert evaluate("1<<10**9").kind == "expression.forbidden"


def loops(levels: int) -> str:
    text = "1"
    for name in "abcdefghi"[:levels]:
        text = f"[{text} for {name} in [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]]"
    return text


@pytest.mark.parametrize(
    "text",
    [
        loops(5),
        loops(9),
        "[1 " + "".join(f"for {name} in [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] " for name in "abcde") + "]",
        "len([" + "1 " + "".join(f"for {name} in range(1000) " for name in "abc") + "])",
    ],
    ids=["100,000", "1,000,000,000", "one comprehension", "ranges"],
)
def test_case_26_loops_in_loops_are_stopped_by_their_steps(text: str) -> None:
    found = evaluate(text)

    assert found.kind == "expression.limit"
    assert "steps" in found.message or "items" in found.message


@pytest.mark.parametrize("text", ["(" * 3000 + "1" + ")" * 3000, "-" * 10_000 + "1", "not " * 900 + "true", "[" * 2000])
def test_case_27_deep_nesting(text: str) -> None:
    found = evaluate(text)

    assert (found.kind, found.at_compile) == ("expression.too_deep", True)


@pytest.mark.parametrize("function", ["match", "matches", "search", "regex", "re"])
def test_case_28_there_are_no_patterns(function: str) -> None:
    """What takes exponential time is not offered; what looks for text looks for it as it is."""
    assert evaluate(f"{function}('(a+)+$', steps.first.output.text)").kind == "expression.undefined"
    assert evaluate("replace(steps.first.output.text, '(a+)+$', '')").value == GIVEN["text"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nope", "'nope'"),
        ("steps.first.output.nope", "'nope'"),
        ("steps.first.output.list[9]", "nothing at that position"),
        ("env.SMF_NO_SUCH_VARIABLE", "'SMF_NO_SUCH_VARIABLE'"),
    ],
)
def test_case_29_what_is_not_there(text: str, name: str) -> None:
    found = evaluate(text)

    assert found.kind == "expression.undefined"
    assert name in found.message
    assert evaluate(f"'<' + string({text}) + '>'").kind == "expression.undefined"  # and not "<>"


def test_case_29_the_output_of_a_step_that_gave_none() -> None:
    document = workflow("steps.first.output")
    document["steps"]["first"] |= {"when": "false"}
    document["steps"]["second"] |= {"trigger_rule": "all_done"}
    with smf_library.Engine("memory://", functions={"give": lambda: 1, "take": lambda v: v}) as engine:
        run = engine.run(smf_library.load(document))
    assert run.steps["second"].error is not None
    assert run.steps["second"].error.kind == "expression.undefined"
    assert "step 'first' has no output: it is skipped" in run.steps["second"].error.message


def test_case_30_what_is_inserted_is_not_rendered_again() -> None:
    assert evaluate("steps.first.output.code").value == GIVEN["code"]
    document = workflow("1")
    document["steps"]["second"]["with"]["v"] = "<${{ steps.first.output.code }}>"
    with smf_library.Engine("memory://", functions={"give": lambda: GIVEN, "take": lambda v: v}) as engine:
        run = engine.run(smf_library.load(document))
    assert run.steps["second"].output == f"<{GIVEN['code']}>"


INJECTIONS = [
    "; touch owned",
    "$(touch owned)",
    "`touch owned`",
    "x\ntouch owned",
    "'; touch owned; '",
    '"; touch owned; "',
    "| touch owned",
    "& touch owned &",
    "\\'; touch owned #",
    "--help",
    "*",
    "~",
    "$HOME",
    "!!",
]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells")
@pytest.mark.parametrize("text", INJECTIONS)
def test_case_31_data_in_commands(smf: Smf, folder: Path, text: str) -> None:
    """As an argument, as a word of a shell text, and in the environment: always the same one word."""
    (folder / "case.json").write_text(
        json.dumps(
            {
                "dsl": "1",
                "name": "x",
                "inputs": {"data": {}},
                "steps": {
                    "argument": {"run": ["printf", "%s", "${{ inputs.data }}"]},
                    "word": {"run": "printf %s ${{ inputs.data }}"},
                    "variable": {"run": 'printf %s "$DATA"', "env": {"DATA": "${{ inputs.data }}"}},
                },
                "outputs": {
                    name: f"${{{{ steps.{name}.output.stdout }}}}" for name in ("argument", "word", "variable")
                },
            }
        )
    )
    done = smf("run", "case.json", "--inputs", json.dumps({"data": text}), "--json")

    assert done.json["outputs"] == dict.fromkeys(("argument", "word", "variable"), text)
    assert not (folder / "owned").exists()


@pytest.mark.parametrize(
    "run",
    ['echo "${{ inputs.d }}"', "echo '${{ inputs.d }}'", "cat <<E\n${{ inputs.d }}\nE\n", "echo `${{ inputs.d }}`"],
)
def test_case_31_data_where_no_word_can_be_quoted(smf: Smf, folder: Path, run: str) -> None:
    document = {"dsl": "1", "name": "x", "inputs": {"d": {}}, "steps": {"a": {"run": run}}}
    (folder / "case.json").write_text(json.dumps(document))
    done = smf("validate", "case.json", "--json")

    assert done.code == 3
    assert done.json["files"][0]["problems"][0]["kind"] == "expression.forbidden"


@pytest.mark.parametrize("index", range(len(GIVEN["words"])))  # type: ignore[arg-type]  # it is a list
def test_case_32_a_condition_that_is_no_boolean(index: int) -> None:
    found = evaluate(f"steps.first.output.words[{index}]", "when")

    assert found.kind == "expression.type"
    assert evaluate("steps.first.output.list == [1, 2, 3]", "when").kind == ""


@pytest.mark.parametrize(
    "text",
    [
        "1/0",
        "1 % 0",
        "1 + 'a'",
        "steps.first.output.secretive + 1",
        "int(steps.first.output.secretive)",
        "-steps.first.output.text",
    ],
)
def test_case_33_an_operation_that_fails(text: str) -> None:
    found = evaluate(text)

    assert (found.kind.partition(".")[0], found.at_compile) == ("expression", False)
    assert text in found.message
    assert "tell-nobody" not in found.message
    assert "aaaa" not in found.message


#: Exact integers, and floats as IEEE 754 has them: the language's golden file.
GOLDEN = {
    "steps.first.output.nan == steps.first.output.nan": False,
    "steps.first.output.nan != steps.first.output.nan": True,
    "steps.first.output.nan < 1.0": False,
    "steps.first.output.big == 9007199254740992.0": False,
    "steps.first.output.big > 9007199254740992.0": True,
    "steps.first.output.big == 9007199254740993": True,
    "9007199254740993 == 9007199254740992.0": False,
    "9223372036854775807 == 9223372036854775808.0": False,
    "1 == 1.0": True,
    "0.1 + 0.2 == 0.3": False,
    "7 / 2": 3.5,
    "7 // 2": 3,
    "-7 // 2": -4,
}


@pytest.mark.parametrize("text", GOLDEN)
def test_case_34_numbers_compare_exactly(text: str) -> None:
    value = evaluate(text).value

    assert (value, type(value)) == (GOLDEN[text], type(GOLDEN[text]))


@pytest.mark.parametrize(
    "text", ["now()", "time()", "today()", "random()", "uuid()", "hash('a')", "id(1)", "input()", "open('x')"]
)
def test_case_35_there_is_no_clock_and_no_chance(text: str) -> None:
    """What would differ when a run is taken up again is not offered: nothing has to be recorded for it."""
    found = evaluate(text)

    assert (found.kind, found.at_compile) == ("expression.undefined", True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"'{'a' * 4096}'", "expression.limit"),
        ("steps.first.output.text * 2000", "expression.limit"),
        ("range(100000)", "expression.limit"),
    ],
)
def test_limits_of_expressions_are_where_they_are_said_to_be(text: str, kind: str) -> None:
    """G22: the text, what it builds, and its steps."""
    assert evaluate(text).kind == kind
    assert evaluate(f"'{'a' * 4000}'").value == "a" * 4000


def test_a_hostile_expression_does_not_outlive_its_budget_in_another_process(folder: Path) -> None:
    """The whole command ends by itself, without anybody's clock."""
    (folder / "case.json").write_text(
        json.dumps({"dsl": "1", "name": "x", "steps": {"a": {"run": ["true"], "when": f"len({loops(9)}) > 0"}}})
    )
    done = subprocess.run(
        [sys.executable, "-m", "statemachine_flow", "run", "case.json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "expression.limit" in done.stderr
