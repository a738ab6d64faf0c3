"""What a script says, and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError, UsageError
from statemachine_flow.testing import Decide, Exit, Fail, Return, Script, Signal
from statemachine_flow.testing.places import Places


def workflow() -> smf.Workflow:
    inner = smf.Workflow("inner")
    inner.run("send", ["true"])
    outer = smf.Workflow("outer", compensate=True)
    outer.call("fetch", "kit:fetch", compensate={"run": ["true"]})
    outer.run("each", ["true"], for_each=smf.ForEach(items=("a/b", "c")))
    outer.child("deliver", inner)
    outer.approval("gate", "Go?", choices=["yes", "no"])
    outer.wait("ci", event="ci.done", output_schema={"type": ["array", "null"]})
    outer.agent("ask", "planner", "Well?", output_schema={"properties": {"n": {"type": "integer"}}})
    outer.call("count", "kit:count", output_schema={"type": "integer"})
    outer.run("told", ["true"], output_schema={"properties": {"stdout": {"const": "yes"}}}, allow_exit=[0, 3])
    outer.finally_.run("clean", ["true"])
    return outer


BAD: dict[str, tuple[str, str, str]] = {
    "no field of scripts": ("definition.unknown_field", "stepps = {}", "stepps"),
    "steps are a mapping": ("definition.type", "steps = 3", "steps"),
    "safe is a list": ("definition.type", "safe = 'fetch'", "safe"),
    "no mapping": ("definition.type", "steps.fetch = 3", "steps.fetch"),
    "nothing said": ("definition.verb", "steps.fetch = {}", "steps.fetch"),
    "two things said": ("definition.verb", "steps.fetch = { return = 1, fail = 'E' }", "steps.fetch"),
    "an empty list": ("definition.range", "steps.fetch = []", "steps.fetch"),
    "no field of returns": ("definition.unknown_field", "steps.fetch = { return = 1, form = {} }", "steps.fetch.form"),
    "no duration": ("definition.range", "steps.fetch = { return = 1, takes = 'long' }", "steps.fetch.takes"),
    "no negative duration": ("definition.range", "steps.fetch = [{ return = 1, takes = -1 }]", "steps.fetch[0].takes"),
    "nobody finds that out": ("definition.range", "steps.fetch = { return = 1, found = 'lost' }", "steps.fetch.found"),
    "no status": ("definition.type", "steps.each = { exit = '1' }", "steps.each.exit"),
    "a boolean is no status": ("definition.type", "steps.each = { exit = true }", "steps.each.exit"),
    "no such step": ("definition.unknown_step", "steps.ftch = { return = 1 }", "steps.ftch"),
    "no such step in a child": ("definition.unknown_step", "steps.'deliver/x' = { exit = 1 }", 'steps["deliver/x"]'),
    "no such safe step": ("definition.unknown_step", "safe = ['ftch']", "safe[0]"),
    "a call has no status": ("definition.type", "steps.fetch = { exit = 1 }", "steps.fetch"),
    "a wait does not return": ("definition.type", "steps.ci = { return = 1 }", "steps.ci"),
    "an approval takes no signal": ("definition.type", "steps.gate = { signal = 1 }", "steps.gate"),
    "a body is not decided": ("definition.type", "steps.fetch = { decide = 'yes' }", "steps.fetch"),
    "no name of an error": ("definition.name", "steps.fetch = { fail = 'Not A Name' }", "steps.fetch.fail"),
    "no names of errors": ("definition.type", "steps.fetch = { fail = 'E', is = ['OSError', 3] }", "steps.fetch.is"),
    "an error that takes more": ("definition.range", "steps.fetch = { fail = 'UnicodeDecodeError' }", "steps.fetch"),
    "no cost": ("definition.range", "steps.fetch = { return = 1, cost_usd = -1 }", "steps.fetch.cost_usd"),
    "no count": ("definition.range", "steps.fetch = { return = 1, tokens = -1 }", "steps.fetch.tokens"),
    "a name of ours is no key": (
        "definition.unknown_field",
        "steps.fetch = { return = 1, value = 2 }",
        "steps.fetch.value",
    ),
    "an answer without JSON": ("definition.range", "steps.ask = { return = 'yes' }", "steps.ask"),
    "an answer that breaks its schema": ("definition.range", "steps.ask = { return = { n = 'x' } }", "steps.ask"),
    "a result that breaks its schema": (
        "definition.range",
        "steps.count = [{ return = 1 }, { return = 'x' }]",
        "steps.count[1]",
    ),
    "an output that breaks its schema": ("definition.range", "steps.told = { stdout = 'no' }", "steps.told"),
    "a signal that breaks its schema": ("definition.range", "steps.ci = { signal = 1 }", "steps.ci"),
    "no such choice": ("definition.range", "steps.gate = { decide = 'maybe' }", "steps.gate"),
    "no TOML": ("definition.syntax", "steps = ", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_script_is_told_with_its_kind_and_place(case: str, tmp_path: Path) -> None:
    kind, text, place = BAD[case]
    path = tmp_path / "script.toml"
    path.write_text(text + "\n")

    with pytest.raises(DefinitionError) as caught:
        Script.of(path).check(workflow())

    (problem,) = caught.value.problems
    assert (problem.kind, problem.path) == (kind, place)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        Script.of({"a": {}, "b": 3, "c": [{"return": 1, "x": 1}]})

    assert [problem.path for problem in caught.value.problems] == ["steps.a", "steps.b", "steps.c[0].x"]


def test_faults_of_both_sorts_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(
        "safe = ['clean', 'fetsh']\n[steps]\ngate = { decide = 'maybe' }\nfetsh = { return = 1 }\n"
        "ci = [{ signal = [] }, { sginal = [] }, { return = 1 }]\n'@finally/clean' = { return = 1, found = 'zz' }\n"
    )

    with pytest.raises(DefinitionError) as caught:
        Script.of(path, Places(workflow()))

    told = [(str(one.position).rpartition("/")[2], one.kind, one.hint) for one in caught.value.problems]
    outcome = "an outcome is a mapping with one of: return, fail, exit, stdout, stderr, signal, decide"
    assert told == [
        ("script.toml:1:9", "definition.unknown_step", "did you mean '@finally/clean'?"),
        ("script.toml:1:18", "definition.unknown_step", "did you mean 'fetch'?"),
        ("script.toml:3:8", "definition.range", None),
        ("script.toml:4:1", "definition.unknown_step", "did you mean 'fetch'?"),
        ("script.toml:5:24", "definition.verb", outcome),
        ("script.toml:5:41", "definition.type", None),
        ("script.toml:6:42", "definition.range", None),
    ]
    assert "which `safe` names" in caught.value.problems[0].message


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param({"ask": Return('```json\n{"n": 1}\n```')}, id="JSON in text"),
        pytest.param({"ask": Return({"n": 1})}, id="a mapping"),
        pytest.param({"told": Exit(3, "yes")}, id="a status that is allowed"),
        pytest.param({"told": Exit(1, "no")}, id="a status that fails the step"),
        pytest.param({"told": Return("yes")}, id="text of a command"),
        pytest.param({"count": [Fail("SchemaError"), Return(3)]}, id="a refusal"),
        pytest.param({"ci": Signal()}, id="a signal"),
    ],
)
def test_a_result_that_the_schema_allows_is_taken(outcome: dict[str, Any]) -> None:
    Script.of(outcome).check(workflow())


@pytest.mark.parametrize(
    ("sort", "values", "kind"),
    [
        (Return, {"takes": -2}, "definition.range"),
        (Return, {"takes": float("nan")}, "definition.range"),
        (Return, {"takes": "soon"}, "definition.range"),
        (Return, {"takes": None}, "definition.type"),
        (Return, {"found": "zz"}, "definition.range"),
        (Return, {"cost_usd": "a lot"}, "definition.type"),
        (Fail, {"name": "Not A Name"}, "definition.name"),
        (Fail, {"is_": ("OSError", 3)}, "definition.type"),
        (Fail, {"is_": "OSError"}, "definition.type"),
        (Exit, {"status": "1"}, "definition.type"),
        (Exit, {"status": True}, "definition.type"),
        (Decide, {"form": []}, "definition.type"),
    ],
)
def test_values_that_make_no_sense_are_refused_in_python_too(sort: Any, values: dict[str, Any], kind: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        sort(**values)

    assert caught.value.kind == kind


def test_a_path_is_text() -> None:
    paths: Any = {1: {"return": 1}}
    with pytest.raises(DefinitionError, match="the path of a step is text"):
        Script.of(paths)


@pytest.mark.parametrize("given", [[1], 3, b"steps"])
def test_what_is_no_script_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="is no script"):
        Script.of(given)


def test_a_time_is_a_number_or_text_in_python_as_in_documents() -> None:
    assert Return(1, takes="2h") == Return(1, takes=7200)
    assert Script.of({"a": {"return": 1, "takes": "2h"}}).outcome("a", 1) == Return(1, takes="2h")


def test_a_script_means_the_same_in_toml_json_and_python(tmp_path: Path) -> None:
    toml, json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text("""
        safe = ["fetch"]
        [steps]
        fetch = [{ fail = "Throttled", is = ["OSError"], message = "later", takes = "1m" }, { return = { x = 1 } }]
        "each[a/b]" = { exit = 2, stderr = "no" }
        each = { stdout = "yes" }
        "deliver/send" = { exit = 0, found = "retry" }
        gate = { decide = "yes", form = { note = "fine" }, by = "ann", reason = "good" }
        ci = { signal = [1] }
        "@finally/clean" = { exit = 0 }
        "@compensate/fetch" = { exit = 0 }
    """)
    json.write_text("""{"safe": ["fetch"], "steps": {
        "fetch": [{"fail": "Throttled", "is": ["OSError"], "message": "later", "takes": 60}, {"return": {"x": 1}}],
        "each[a/b]": {"exit": 2, "stderr": "no"}, "each": {"stdout": "yes"},
        "deliver/send": {"exit": 0, "found": "retry"},
        "gate": {"decide": "yes", "form": {"note": "fine"}, "by": "ann", "reason": "good"},
        "ci": {"signal": [1]}, "@finally/clean": {"exit": 0}, "@compensate/fetch": {"exit": 0}}}""")
    written = Script(
        {
            "fetch": (Fail("Throttled", "later", is_=("OSError",), takes=60.0), Return({"x": 1})),
            "each[a/b]": (Exit(2, stderr="no"),),
            "each": (Exit(stdout="yes"),),
            "deliver/send": (Exit(0, found="retry"),),
            "gate": (Decide("yes", form={"note": "fine"}, by="ann", reason="good"),),
            "ci": (Signal([1]),),
            "@finally/clean": (Exit(0),),
            "@compensate/fetch": (Exit(0),),
        },
        ("fetch",),
    )

    assert Script.of(toml) == Script.of(json) == written
    written.check(workflow())


def test_an_item_has_outcomes_of_its_own_or_those_of_all() -> None:
    script = Script.of({"each": Return("all"), "each[a/b]": [Return("one"), Return("two")], "each/in": Return("deep")})

    found: list[Any] = [script.outcome(*asked) for asked in [("each[a/b]", 1), ("each[a/b]", 9), ("each[c]", 1)]]
    assert [one.value for one in found] == ["one", "two", "all"]
    assert script.outcome("each[c]/in", 1) == Return("deep")
    assert script.outcome("other", 1) is None


@pytest.mark.parametrize(
    ("fail", "names"),
    [
        (Fail("ConnectionError"), ["ConnectionError", "OSError"]),
        (Fail("Throttled"), ["Throttled", "Exception"]),
        (Fail("Slow", is_=("TimeoutError",)), ["Slow", "TimeoutError"]),
        (Fail("KeyboardInterrupt"), ["KeyboardInterrupt", "Exception"]),
    ],
)
def test_an_error_has_the_names_that_retries_match(fail: Fail, names: list[str]) -> None:
    error = fail.error()

    assert [cls.__name__ for cls in type(error).__mro__][:2] == names
    assert isinstance(error, Exception)
