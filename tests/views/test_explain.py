"""Kinds of errors, explained; and why a step of a run is as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from statemachine_flow import Engine, errors, explain, explain_step, load
from statemachine_flow.errors import KINDS, UsageError
from statemachine_flow.expressions import Expression
from statemachine_flow.views.advice import ADVICE, EXAMPLES
from statemachine_flow.views.facts import awaited
from statemachine_flow.views.places import find
from statemachine_flow.views.rules import RULES
from statemachine_flow.views.story import Story

REFERENCE = (Path(__file__).resolve().parents[2] / "dsl" / "reference.md").read_text(encoding="utf-8")


# --- kinds


def test_every_kind_has_advice_and_nothing_else_has() -> None:
    assert list(ADVICE) == list(KINDS)
    assert set(EXAMPLES) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_advice_is_one_to_three_sentences(kind: str) -> None:
    sentences = re.findall(r"[.?!](?= [A-Z`]|$)", ADVICE[kind].replace("`definition", "`"))

    assert 1 <= len(sentences) <= 3
    assert ADVICE[kind].endswith((".", "?"))


@pytest.mark.parametrize("kind", KINDS)
def test_rules_are_those_that_speak_of_the_kind(kind: str) -> None:
    for rule in explain(kind).rules:
        text = REFERENCE.partition(f"**{rule}.**")[2]
        assert f"`{kind}`" in re.split(r"\n\*\*[A-Z]+-\d+\.\*\*|\n## ", text)[0]


def test_kinds_of_documents_that_rules_speak_of_name_them() -> None:
    assert {kind for kind in KINDS if kind.startswith("definition.") and f"`{kind}`" in REFERENCE} >= {
        kind for kind in RULES if kind.startswith("definition.")
    }
    assert len(RULES) > 50


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("m"),
        errors.NotFoundError("m"),
        errors.ConflictError("m", kind="run.owned"),
        errors.StoreError("m"),
        errors.StepError("m"),
        errors.ExpressionError("m"),
        errors.TransitionRefused("run", "start", "failed", "m"),
        errors.SmfError("m"),
        errors.DefinitionError([errors.Problem(kind="definition.type", message="m")]),
        errors.InputError([errors.Problem(kind="input.type", message="m")]),
    ],
)
def test_the_exit_code_is_that_of_the_error(error: errors.SmfError) -> None:
    assert explain(error.kind).exit_code == error.exit_code


@pytest.mark.parametrize(
    ("given", "kind"),
    [("definition.cycle", "definition.cycle"), ("cycle", "definition.cycle"), ("internal", "internal")],
)
def test_a_kind_may_be_shortened(given: str, kind: str) -> None:
    assert explain(given).kind == kind


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("definiton.cycle", "'definition.cycle'"),
        ("cycel", "'definition.cycle'"),
        ("timeout", "'step.timeout'"),
        ("", "lists"),
    ],
)
def test_an_unknown_kind_gets_a_hint(given: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain(given)

    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("kind", [kind for kind, text in EXAMPLES.items() if "when = " in text])
def test_conditions_in_examples_can_be_read(kind: str) -> None:
    for text in re.findall(r"when = \"([^\"]*)\"", EXAMPLES[kind]):
        if ".upper()" not in text:
            Expression.parse(text)


# --- places


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("g", "g"),
        ("g/one", "one"),
        ("loop", "loop"),
        ("loop[a/b]", "loop"),
        ("@finally/clean", "clean"),
        ("@compensate/undo", "compensate"),
        ("@compensate/g", None),
        ("nope", None),
        ("g/nope", None),
        ("g/one/two", None),
        ("@finally/nope", None),
        ("", None),
    ],
)
def test_a_path_leads_to_its_step(path: str, found: str | None) -> None:
    place = find(WORKFLOW.definition, path)

    assert (None if place is None else place.step.id) == found


# --- steps

DOCUMENT = """
dsl = "1"
name = "w"
inputs.n = { type = "integer", default = 3 }
[steps]
a = { run = "true" }
flaky = { needs = ["a"], run = "exit 1", optional = true, retry = { max_attempts = 2, delay = "1ms" } }
no = { needs = ["flaky"], run = "true", when = "inputs.n > 5" }
after = { needs = ["no"], run = "true" }
any = { needs = ["no"], run = "true", trigger_rule = "none_failed" }
undo = { needs = ["a"], run = "true", compensate = { run = "true" } }
loop = { needs = ["a"], for_each = { items = ["x", "y"], key = "${{ item }}" }, run = "true" }
[steps.g]
needs = ["a"]
steps.one = { run = "true" }
[finally]
clean = { run = "true" }
"""
WORKFLOW = load(DOCUMENT)


@pytest.fixture(scope="module")
def done() -> Iterator[dict[str, Story]]:
    with Engine("memory://") as engine:
        run = engine.run(WORKFLOW)
        events = engine.events(run.id)
        yield {path: explain_step(run, path, events, WORKFLOW.definition) for path in run.steps}


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("a", "attempt 1 gave its result"),
        ("flaky", "step.exit: CommandFailed: the shell command ended with status 1"),
        ("no", "its condition is false: inputs.n > 5"),
        ("after", "its rule all_success does not hold: no skipped"),
        ("any", "attempt 1 gave its result"),
    ],
)
def test_the_verdict_says_why(done: dict[str, Story], path: str, verdict: str) -> None:
    assert done[path].verdict == verdict


def test_rules_tell_how_joins_and_conditions_came_out(done: dict[str, Story]) -> None:
    assert done["no"].rules == (
        "needs flaky: failed, but optional",
        "trigger_rule all_success: holds",
        "when inputs.n > 5: false",
    )
    assert done["after"].rules == ("needs no: skipped", "trigger_rule all_success: does not hold")
    assert done["any"].rules == ("needs no: skipped", "trigger_rule none_failed: holds")
    assert done["@finally/clean"].rules[0].startswith("finally: the run was on its way to completed")


def test_facts_tell_attempts_with_their_ends(done: dict[str, Story]) -> None:
    texts = [fact.text for fact in done["flaky"].facts]

    assert texts[0] == "attempt 1 began"
    assert texts[1].startswith("the attempt failed: CommandFailed: ")
    assert "the next one may begin at 20" in texts[1]
    assert texts[2] == "attempt 2 began"
    assert texts[3].endswith("; it is optional, so the run may complete")
    assert done["flaky"].now == ()


def test_items_and_inner_steps_have_stories(done: dict[str, Story]) -> None:
    assert [fact.text for fact in done["loop"].facts] == [
        "attempt 1 began",
        "began to wait for its 2 items",
        "completed",
    ]
    assert done["loop[x]"].verdict == done["g/one"].verdict == "attempt 1 gave its result"


def test_an_unknown_step_is_refused_with_those_there_are() -> None:
    with Engine("memory://") as engine:
        run = engine.run(WORKFLOW)
        with pytest.raises(UsageError, match=r"no step 'nope'.*its steps: a, flaky"):
            explain_step(run, "nope", engine.events(run.id), WORKFLOW.definition)


WAITING = load("""
dsl = "1"
name = "w"
compensate = true
[steps]
a = { run = "true" }
ask = { needs = ["a"], approval = { prompt = "ok?", on_reject = { rewind_to = "a", max_rounds = 3 } } }
sig = { wait = { event = "go", key = "k" } }
late = { needs = ["ask", "sig"], run = "true", compensate = { run = "true" } }
""")


def test_what_a_waiting_run_waits_for_and_what_ended_the_waiting() -> None:
    with Engine("memory://") as engine:
        run = engine.run(WAITING)

        def story(path: str) -> Story:
            return explain_step(engine.get(run.id), path, engine.events(run.id), WAITING.definition)

        assert story("ask").verdict == "it waits for somebody to decide"
        assert "somebody to decide" in story("ask").now
        assert "signal 'go' with key 'k'" in story("sig").now
        assert {"ask, which is waiting", "sig, which is waiting"} <= set(story("late").now)
        assert "trigger_rule all_success: not decided yet" in story("late").rules
        assert "the run to come to its end" in story("@compensate/late").now

        engine.signal(run.id, "go", {"x": 1}, key="k", by="bob")
        engine.reject(run.id, "ask", by="ann", reason="too soon")
        engine.resume(run.id)
        assert "completed with signal 'go', sent by bob as record" in " ".join(f.text for f in story("sig").facts)
        assert any(f.text == "was reset to generation 2: rejected by ann: too soon" for f in story("a").facts)

        engine.approve(run.id, "ask", by="ann", reason="fine")
        done = engine.resume(run.id)
        assert done.state == "completed"
        assert any("with the decision 'approve' by ann: fine" in fact.text for fact in story("ask").facts)
        assert story("late").now == ()


def test_a_pause_is_told_where_it_holds_a_step_back() -> None:
    with Engine("memory://") as engine:
        run = engine.run(WAITING)
        engine.pause(run.id, reason="lunch", by="ann")
        told = explain_step(engine.get(run.id), "sig", engine.events(run.id), WAITING.definition)

    assert told.facts[-1].text == "the run was paused: lunch (by ann)"
    assert told.now[0] == "the run is paused: lunch"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"on": "steps"}, "the steps inside it"),
        ({"on": "items", "keys": ["a", "b"]}, "its 2 items"),
        ({"on": "items"}, "its items"),
        ({"on": "approval"}, "somebody to decide"),
        ({"on": "run", "run": "r1.child"}, "child run r1.child"),
        ({"on": "event", "event": "e"}, "signal 'e'"),
        ({"on": "later"}, "later"),
    ],
)
def test_what_is_waited_for_is_told_in_words(data: dict[str, object], text: str) -> None:
    assert awaited(data) == text
