"""What a script says, and what is said about bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError
from statemachine_flow.testing import Decide, Exit, Fail, Return, Script, Signal


def workflow() -> smf.Workflow:
    inner = smf.Workflow("inner")
    inner.run("send", ["true"])
    outer = smf.Workflow("outer", compensate=True)
    outer.call("fetch", "kit:fetch", compensate={"run": ["true"]})
    outer.run("each", ["true"], for_each=smf.ForEach(items=("a/b", "c")))
    outer.child("deliver", inner)
    outer.approval("gate", "Go?", choices=["yes", "no"])
    outer.wait("ci", event="ci.done")
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
    "no such step in a child": ("definition.unknown_step", "steps.'deliver/x' = { exit = 1 }", "steps.deliver/x"),
    "no such safe step": ("definition.unknown_step", "safe = ['ftch']", "steps.ftch"),
    "a call has no status": ("definition.type", "steps.fetch = { exit = 1 }", "steps.fetch"),
    "a wait does not return": ("definition.type", "steps.ci = { return = 1 }", "steps.ci"),
    "an approval takes no signal": ("definition.type", "steps.gate = { signal = 1 }", "steps.gate"),
    "a body is not decided": ("definition.type", "steps.fetch = { decide = 'yes' }", "steps.fetch"),
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

    assert [problem.path for problem in caught.value.problems] == ["steps.a", "steps.b", "steps.c.0.x"]


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
