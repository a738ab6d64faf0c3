"""The reference against cases whose result is plain from the rules: one or two for each of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reference.interpreter import Interpreter, Result
from tests.reference.loops import escaped, microseconds
from tests.reference.script import Outcome, Script

BAD = Outcome(error="Flaky")
ECHO = Outcome(echo=True)
CALL: dict[str, Any] = {"call": "f"}
LETTERS = {"completed": "+", "failed": "F", "skipped": "s", "cancelled": "x", "pending": "p", "waiting": "w"}


def play(
    steps: dict[str, Any],
    outcomes: dict[str, list[Outcome]] | None = None,
    decisions: dict[str, list[str]] | None = None,
    *,
    sent: dict[str, list[bool]] | None = None,
    early: tuple[str, ...] = (),
    **fields: Any,
) -> Result:
    tree = {"dsl": "1", "name": "w", "steps": steps, **{key.removesuffix("_"): value for key, value in fields.items()}}
    return Interpreter(tree, {}, Script(outcomes or {}, decisions or {}, sent or {}, early)).run()


def states(result: Result, *paths: str) -> str:
    """A letter for each path; `-` where there is no such path."""
    return "".join(LETTERS[result.paths[path].state] if path in result.paths else "-" for path in paths)


def returns(*values: Any) -> list[Outcome]:
    return [Outcome(value=value) for value in values]


def given(result: Result, path: str) -> Any:
    """What the last attempt of a step that echoes was given."""
    return result.paths[path].output["given"]


# --- graph levels ---------------------------------------------------------------------------------------------

JOINS = [
    # rule, needs, whether it runs; `forgiven` is optional and failed, `off` was skipped
    ("all_success", ["done", "forgiven"], True),
    ("all_success", ["done", "off"], False),
    ("none_failed", ["done", "off", "forgiven"], True),
    ("all_done", ["off", "forgiven"], True),
    ("any_success", ["done", "off"], True),
    ("any_success", ["forgiven", "off"], False),
    ("any_success", [], True),
    ("any_failed", ["done", "forgiven"], True),
    ("any_failed", ["done", "off"], False),
    ("any_failed", [], False),
]


@pytest.mark.parametrize(("rule", "needs", "runs"), JOINS)
def test_a_join_asks_its_rule(rule: str, needs: list[str], runs: bool) -> None:
    steps = {
        "done": CALL,
        "forgiven": {**CALL, "optional": True},
        "off": {**CALL, "when": "1 == 2"},
        "x": {**CALL, "needs": needs, "trigger_rule": rule},
    }
    result = play(steps, {"forgiven": [BAD]})
    assert (result.state, result.paths["x"].state) == ("completed", "completed" if runs else "skipped")


def test_a_required_failure_stops_all_but_tolerant_steps() -> None:
    steps = {
        "a": CALL,
        "b": CALL,
        "after": {**CALL, "needs": ["a"]},
        "clean": {**CALL, "needs": ["a", "b"], "trigger_rule": "all_done"},
        "alarm": {**CALL, "needs": ["a"], "trigger_rule": "any_failed"},
        "quiet": {**CALL, "needs": ["b"], "trigger_rule": "any_failed"},
    }
    result = play(steps, {"a": [BAD]})
    assert states(result, "a", "b", "after", "clean", "alarm", "quiet") == "Fxs++s"
    assert (result.state, result.error, result.error_step) == ("failed", "run.failed", "a")


def test_continue_on_error_leaves_it_to_the_joins() -> None:
    steps = {"a": CALL, "b": CALL, "c": {**CALL, "needs": ["b"]}, "d": {**CALL, "needs": ["a"]}}
    assert states(play(steps, {"a": [BAD]}), *"abcd") == "Fxxs"
    result = play(steps, {"a": [BAD]}, continue_on_error=True)
    assert (result.state, states(result, *"abcd")) == ("failed", "F++s")


def test_a_condition_that_fails_fails_the_step_after_an_attempt_that_does_nothing() -> None:
    result = play({"a": {**CALL, "when": "steps.b.output", "retry": {"max_attempts": 3}}, "b": CALL})
    assert (result.paths["a"].error, result.paths["a"].triggers) == ("expression.undefined", ("start", "fail"))


# --- retries, outputs -----------------------------------------------------------------------------------------


def test_a_retry_backs_off_longer_each_time_and_attempts_count_on() -> None:
    retry = {"max_attempts": 3, "delay": "2s", "jitter": "none"}
    result = play({"a": {**CALL, "retry": retry}}, {"a": [BAD, BAD, *returns(7)]})
    assert [act.microseconds for act in result.acts] == [2_000_000, 4_000_000]
    assert (result.paths["a"].attempts, result.paths["a"].output) == (3, 7)


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        ({"retry_on": ["LookupError"]}, 2),
        ({"retry_on": ["ValueError"]}, 1),
        ({"abort_on": ["KeyError"]}, 1),
        ({"retry_if": "error.name == 'KeyError' and attempt < 1"}, 1),
    ],
)
def test_a_retry_policy_chooses_by_the_names_of_the_error(policy: dict[str, Any], attempts: int) -> None:
    step = {**CALL, "retry": {"max_attempts": 2, **policy}}
    assert play({"a": step}, {"a": [Outcome(error="KeyError")] * 2}).paths["a"].attempts == attempts


def test_declared_outputs_and_a_schema_are_part_of_the_attempt() -> None:
    steps = {
        "a": {**CALL, "outputs": {"n": "result.n + 1"}},
        "b": {**CALL, "needs": ["a"], "with": {"n": "${{ steps.a.outputs.n }}"}},
        "c": {**CALL, "optional": True, "outputs": {"m": "result.m"}},
        "d": {**CALL, "optional": True, "output_schema": {"type": "string"}},
    }
    result = play(steps, {"a": returns({"n": 1}), "b": [ECHO]})
    assert given(result, "b") == {"n": 2}
    assert [result.paths[path].error for path in "cd"] == ["step.outputs", "step.schema"]


# --- groups ---------------------------------------------------------------------------------------------------


def test_a_group_gives_the_outputs_of_what_completed_in_it() -> None:
    inner = {"x": CALL, "y": {**CALL, "when": "1 == 2"}, "z": {**CALL, "needs": ["x"]}}
    result = play({"g": {"steps": inner}}, {"g/x": returns(1), "g/z": returns(2)})
    assert result.paths["g"].output == {"x": 1, "z": 2}
    assert result.paths["g"].triggers == ("start", "wait", "complete")


def test_a_failed_group_is_carried_out_again_as_a_whole() -> None:
    group = {"steps": {"x": CALL, "y": {**CALL, "needs": ["x"]}}, "retry": {"max_attempts": 2, "jitter": "none"}}
    result = play({"g": group}, {"g/y": [BAD]})
    assert [(result.paths[path].attempts, result.paths[path].generation) for path in ("g", "g/x", "g/y")] == [
        (2, 1),
        (2, 2),
        (2, 2),
    ]
    failed = play({"g": group, "h": CALL}, {"g/y": [BAD, BAD]})
    assert (failed.paths["g"].error, states(failed, "g", "g/y", "h")) == ("step.group", "FF+")


def test_what_is_inside_a_container_stops_with_its_level_unless_the_container_is_tolerant() -> None:
    group = {"steps": {"x": {"wait": {"for": "1h"}}, "y": {**CALL, "needs": ["x"], "trigger_rule": "all_done"}}}
    result = play({"a": CALL, "g": group}, {"a": [BAD]})
    assert states(result, "g", "g/x", "g/y") == "xxx"
    result = play({"a": CALL, "g": {**group, "needs": ["a"], "trigger_rule": "all_done"}}, {"a": [BAD]})
    assert states(result, "g", "g/x", "g/y") == "+++"


def test_a_group_that_takes_too_long_fails_and_what_is_inside_is_cancelled() -> None:
    result = play({"g": {"timeout": "5s", "steps": {"x": {"wait": {"for": "7s"}}, "y": CALL}}})
    assert (states(result, "g", "g/x", "g/y"), result.paths["g"].error) == ("Fx+", "step.timeout")


def test_a_step_reads_its_own_level_first_and_then_those_around_it() -> None:
    inner = {
        "x": CALL,
        "y": {**CALL, "needs": ["x"], "with": {"x": "${{ steps.x.output }}", "a": "${{ steps.a.output }}"}},
    }
    result = play(
        {"a": CALL, "g": {"needs": ["a"], "steps": inner}}, {"a": returns(1), "g/x": returns(2), "g/y": [ECHO]}
    )
    assert given(result, "g/y") == {"x": 2, "a": 1}


# --- loops ----------------------------------------------------------------------------------------------------


def test_items_have_paths_of_their_keys_and_their_own_names() -> None:
    loop = {"items": ["a", "b%"], "as": "file", "key": "${{ file }}"}
    result = play(
        {"l": {**CALL, "for_each": loop, "with": {"f": "${{ file }}", "i": "${{ index }}"}}}, {"l[]": [ECHO] * 2}
    )
    assert given(result, "l[a]") == {"f": "a", "i": 0}
    assert given(result, "l[b%25]") == {"f": "b%", "i": 1}
    assert [item["given"]["f"] for item in result.paths["l"].output] == ["a", "b%"]


@pytest.mark.parametrize(
    ("loop", "kind"),
    [({"items": "${{ 3 }}"}, "expression.type"), ({"items": [1, 2], "key": "same"}, "step.items")],
)
def test_items_must_be_a_list_and_keys_must_differ(loop: dict[str, Any], kind: str) -> None:
    result = play({"l": {**CALL, "for_each": loop}})
    assert (result.paths["l"].error, result.paths["l"].triggers) == (kind, ("start", "fail"))


def test_no_items_are_an_empty_list() -> None:
    assert play({"l": {**CALL, "for_each": {"items": []}}}).paths["l"].output == []


@pytest.mark.parametrize(
    ("allowed", "expected"), [(0, "FFxx"), (1, "++F+"), ("25%", "++F+"), ("24.9%", "F+Fx"), (4, "++F+")]
)
def test_a_loop_fails_once_more_items_failed_than_are_allowed(allowed: int | str, expected: str) -> None:
    items = {"l[1]" if allowed != 0 else "l[0]": [BAD]}
    loop = {"items": [1, 2, 3, 4], "max_failures": allowed}
    result = play({"l": {**CALL, "for_each": loop}}, items)
    assert states(result, "l", "l[0]", "l[1]", "l[2]") == expected
    if expected.startswith("+"):
        assert [item is None for item in result.paths["l"].output] == [False, True, False, False]
    else:
        assert result.paths["l"].error == "step.items"


def test_declared_outputs_of_a_loop_are_a_list_with_null_for_the_failed() -> None:
    steps = {
        "l": {**CALL, "for_each": {"items": [1, 2], "max_failures": 1}, "outputs": {"n": "result.n + item"}},
        "x": {**CALL, "needs": ["l"], "with": {"all": "${{ steps.l.outputs }}"}},
    }
    result = play(steps, {"l[0]": returns({"n": 5}), "l[1]": [BAD], "x": [ECHO]})
    assert given(result, "x") == {"all": [{"n": 6}, None]}


def test_only_so_many_items_wait_at_once() -> None:
    loop = {"for_each": {"items": [1, 2, 3], "max_parallel": 2}, "wait": {"for": "${{ item * 10 }}"}}
    assert [act.microseconds // 1_000_000 for act in play({"l": loop}).acts] == [10, 10, 20]


def test_a_matrix_varies_its_last_name_fastest() -> None:
    result = play(
        {"m": {**CALL, "matrix": {"a": [1, 2], "b": ["x", True]}, "with": {"m": "${{ matrix }}"}}},
        {"m[1,true]": [ECHO]},
    )
    assert [path for path in result.paths if "[" in path] == ["m[1,x]", "m[1,true]", "m[2,x]", "m[2,true]"]
    assert given(result, "m[1,true]") == {"m": {"a": 1, "b": True}}


# --- rounds ---------------------------------------------------------------------------------------------------


def test_a_step_is_repeated_until_its_result_is_enough() -> None:
    step = {
        **CALL,
        "with": {"round": "${{ round }}", "before": "${{ previous }}"},
        "repeat": {"until": "round == 2 and previous.n == 1", "delay": "3s"},
    }
    result = play({"a": step}, {"a": [*returns({"n": 1}), ECHO]})
    assert given(result, "a") == {"round": 2, "before": {"n": 1}}
    assert (result.paths["a"].attempts, result.paths["a"].generation, len(result.acts)) == (2, 2, 1)


@pytest.mark.parametrize(("until", "kind"), [("1 == 2", "step.limit"), ("result", "expression.type")])
def test_a_loop_that_never_ends_well_fails(until: str, kind: str) -> None:
    assert play({"a": {**CALL, "repeat": {"until": until, "max": 2}}}).paths["a"].error == kind


def test_failures_count_for_each_round_and_a_group_is_repeated_whole() -> None:
    retry = {"max_attempts": 2, "jitter": "none"}
    group = {"steps": {"x": {**CALL, "retry": retry}}, "repeat": {"until": "result.x == 2"}}
    result = play({"g": group}, {"g/x": [BAD, *returns(1), BAD, *returns(2)]})
    assert (states(result, "g", "g/x"), result.paths["g/x"].attempts, result.paths["g"].generation) == ("++", 4, 2)


# --- levels of states -----------------------------------------------------------------------------------------


def test_the_token_goes_by_name_by_value_and_by_condition() -> None:
    steps = {
        "a": {**CALL, "next": "b"},
        "b": {**CALL, "next": {"yes": "c", "default": "end"}},
        "c": {**CALL, "next": [{"when": "result == 1", "goto": "b"}, {"default": "end"}]},
        "d": {**CALL, "next": "a"},
    }
    result = play(steps, {"b": returns({"k": "yes"}, "no"), "c": returns(1)}, start="a")
    assert (result.state, states(result, *"abcd"), result.paths["b"].generation) == ("completed", "+++s", 2)


def test_a_value_without_a_route_fails_the_step() -> None:
    result = play({"a": {**CALL, "next": {"x": "b"}}, "b": CALL}, {"a": returns("y")}, start="a")
    assert (result.paths["a"].error, states(result, *"ab")) == ("step.route", "Fx")


def test_skipped_and_forgiven_steps_take_the_default() -> None:
    steps = {
        "a": {**CALL, "when": "1 == 2", "next": {"x": "end", "default": "b"}},
        "b": {**CALL, "optional": True, "next": [{"when": "steps.b.state == 'failed'", "goto": "c"}]},
        "c": {**CALL, "when": "1 == 2", "next": {"x": "a"}},
    }
    result = play(steps, {"b": [BAD]}, start="a")
    assert (result.state, states(result, *"abc")) == ("completed", "sFs")


def test_a_step_is_visited_no_more_often_than_it_allows() -> None:
    steps = {"a": {**CALL, "next": "b"}, "b": {**CALL, "max_visits": 2, "next": "a"}}
    result = play(steps, start="a")
    assert (result.paths["a"].error, result.paths["b"].attempts, states(result, *"ab")) == ("step.limit", 2, "F+")


# --- child runs, waits ----------------------------------------------------------------------------------------


def test_a_child_gives_its_outputs_or_fails_the_step() -> None:
    child = {"dsl": "1", "name": "kid", "inputs": {"n": {}}, "steps": {"x": CALL}, "outputs": {"n": "${{ inputs.n }}"}}
    steps = {"a": {"workflow": child, "with": {"n": "${{ 1 + 1 }}"}}}
    assert play(steps).paths["a"].output == {"n": 2}
    assert play(steps, {"kid!x": [BAD]}).paths["a"].error == "step.child"


def test_timers_fall_due_in_the_order_of_their_times() -> None:
    result = play({"a": {"wait": {"for": "3s"}}, "b": {"wait": {"for": "1s500ms"}}, "c": {**CALL, "needs": ["a", "b"]}})
    assert [act.microseconds for act in result.acts] == [1_500_000, 1_500_000]


@pytest.mark.parametrize(("then", "state"), [("fail", "failed"), ("complete", "completed")])
def test_a_signal_that_does_not_come_in_time(then: str, state: str) -> None:
    result = play({"a": {"wait": {"event": "e", "timeout": "1s", "then": then}}}, sent={"a": [False]})
    assert (result.paths["a"].state, result.paths["a"].output) == (state, None)


def test_a_signal_goes_to_the_first_that_waits_or_is_kept() -> None:
    wait = {"wait": {"event": "e"}}
    result = play(
        {"a": {"wait": {"for": "1s"}}, "b": {**wait, "needs": ["a"]}, "c": {**wait, "needs": ["b"]}}, early=("e",)
    )
    assert [act.kind for act in result.acts] == ["signal", "advance", "signal"]
    assert result.paths["b"].output != result.paths["c"].output


# --- approvals ------------------------------------------------------------------------------------------------


def ask(**fields: Any) -> dict[str, Any]:
    return {"approval": {"prompt": "Go on?", **fields}}


@pytest.mark.parametrize(
    ("question", "decision", "state", "kind"),
    [
        ({}, "approve", "completed", None),
        ({}, "reject", "failed", "step.rejected"),
        ({"on_reject": "skip"}, "reject", "skipped", None),
        ({"choices": ["yes", "no"]}, "no", "completed", None),
        ({"deadline": {"after": "1s"}}, "silent", "failed", "step.rejected"),
        ({"deadline": {"after": "1s", "then": "approve"}}, "silent", "completed", None),
        ({"deadline": {"after": "1s", "then": "fail"}}, "silent", "failed", "step.timeout"),
    ],
)
def test_a_decision_ends_an_approval(question: dict[str, Any], decision: str, state: str, kind: str | None) -> None:
    path = play({"a": ask(**question)}, decisions={"a": [decision]}).paths["a"]
    assert (path.state, path.error) == (state, kind)


def test_a_rejection_goes_back_and_says_why() -> None:
    steps = {
        "plan": {**CALL, "with": {"said": "${{ default(feedback.decision, '') }}"}},
        "side": CALL,
        "gate": {
            "needs": ["plan"],
            **ask(prompt="${{ steps.plan.output }}", on_reject={"rewind_to": "plan", "max_rounds": 2}),
        },
        "done": {**CALL, "needs": ["gate"]},
    }
    result = play(steps, {"plan": [ECHO, ECHO]}, {"gate": ["reject", "approve"]})
    assert given(result, "plan") == {"said": "reject"}
    assert [result.paths[path].generation for path in steps] == [2, 1, 2, 1]
    failed = play(steps, {}, {"gate": ["reject", "reject"]})
    assert (failed.paths["gate"].error, states(failed, *steps)) == ("step.rejected", "++Fs")


@pytest.mark.parametrize(("second", "asked"), [({"n": 1}, 1), ({"n": 2}, 2)])
def test_an_approval_still_holds_if_it_shows_the_same_after_a_rewind(second: Any, asked: int) -> None:
    steps = {
        "plan": CALL,
        "first": {"needs": ["plan"], **ask(prompt="${{ steps.plan.output.n }}")},
        "last": {"needs": ["first"], **ask(prompt="Sure?", on_reject={"rewind_to": "plan"})},
    }
    result = play(steps, {"plan": returns({"n": 1}, second)}, {"last": ["reject"]})
    assert [act.target for act in result.acts].count("first") == asked


# --- the end of a run -----------------------------------------------------------------------------------------


def test_completed_steps_are_undone_in_reverse_before_the_handlers() -> None:
    undo = {"call": "undo", "with": {"n": "${{ steps.a.output }}", "why": "${{ error.kind }}"}}
    steps = {
        "a": {**CALL, "compensate": undo},
        "b": {**CALL, "needs": ["a"], "compensate": {"call": "undo"}},
        "c": {**CALL, "needs": ["b"], "compensate": {"call": "undo"}},
    }
    handlers: dict[str, Any] = {
        "on_failure": {"h": {**CALL, "with": {"step": "${{ error.step }}"}}},
        "finally_": {"z": CALL},
    }
    outcomes = {"a": returns(1), "c": [BAD], "@compensate/a": [ECHO], "@compensate/b": [BAD], "@on_failure/h": [ECHO]}
    result = play(steps, outcomes, compensate=True, **handlers)
    assert [path for path in result.paths if path.startswith("@")] == [
        "@compensate/b",
        "@compensate/a",
        "@on_failure/h",
        "@finally/z",
    ]
    assert given(result, "@compensate/a") == {"n": 1, "why": "run.failed"}
    assert given(result, "@on_failure/h") == {"step": "c"}
    assert states(play(steps, {"c": [BAD]}), "@compensate/a") == "-"


def test_a_failing_finally_fails_a_run_that_was_completing() -> None:
    handlers: dict[str, Any] = {"on_failure": {"h": CALL}, "finally_": {"z": CALL}}
    result = play({"a": CALL}, {"@finally/z": [BAD]}, **handlers)
    assert (result.state, result.error_step, states(result, "@on_failure/h")) == ("failed", "@finally/z", "-")


def test_outputs_that_cannot_be_computed_fail_the_run() -> None:
    steps = {"a": {**CALL, "when": "1 == 2"}}
    result = play(steps, outputs={"n": "${{ steps.a.output }}"}, on_failure={"h": CALL})
    assert (result.state, result.error, states(result, "@on_failure/h")) == ("failed", "run.outputs", "+")


def test_the_small_parts() -> None:
    assert microseconds("1h30m") == 5_400_000_000
    assert microseconds("1500ms") == microseconds(1.5) == 1_500_000
    assert escaped("a[0]/é%\n") == "a%5B0%5D/é%25%0A"
