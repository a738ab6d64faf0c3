"""What may be written: every wrong field of a document is named, with its path and its place, in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from statemachine_flow.compiler import load_document
from statemachine_flow.compiler.document import structure
from statemachine_flow.compiler.read import read_text
from statemachine_flow.compiler.suggest import LATER
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.model import (
    MAX_STEPS,
    Budget,
    CheckpointPolicy,
    Defaults,
    Definition,
    ForEach,
    Input,
    Repeat,
    RetryPolicy,
    Route,
    Step,
)
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.approval import Approval, Deadline, Question, Rewind
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait, Waiting
from statemachine_flow.steps.workflow import Child
from tests.compiler.cases import SHAPE, Case, toml, toml_step
from tests.strategies.definitions import definitions, values


def problems_of(document: Any) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        load_document(document)
    return caught.value.problems


def only_problem(document: Any) -> Problem:
    (problem,) = problems_of(document)
    return problem


def told(problems: tuple[Problem, ...]) -> tuple[str, ...]:
    lines = [problem.position.line if problem.position else 0 for problem in problems]
    return tuple(f"{each.kind} {each.path or '-'} {line}" for each, line in zip(problems, lines, strict=True))


EVERY_FIELD = """
dsl = "1"
name = "Every field 1.0"
version = "2"
description = "All of it."
max_parallel = 3
timeout = "1h"
defaults = { retry = { max_attempts = 2 }, timeout = "10s" }
inputs.repo = { type = "path", required = true, description = "Where." }
inputs.mode = { enum = ["a", "b"], default = "a" }

[steps.fetch]
run = ["git", "fetch"]
env = { GIT_TERMINAL_PROMPT = "0" }
cwd = "${{ inputs.repo }}"
outputs = { log = "stdout" }
timeout = "PT1M"

[steps.use]
needs = ["fetch"]
call = "kit.work:use"
with = { log = "${{ steps.fetch.outputs.log }}", deep = [1, 2.5, { x = true }] }
when = "inputs.mode == 'a'"
retry = { max_attempts = 4, delay = "1s", backoff = "constant", factor = 3, max_delay = "2s", jitter = "none", \
retry_on = ["E"], abort_on = ["F"] }
optional = true
description = "Use it."

[outputs]
all = ["${{ steps.fetch.output }}"]
"""


def test_every_field_reaches_the_definition() -> None:
    definition = load_document(EVERY_FIELD).definition

    fetch = Step(
        id="fetch",
        verb=Run(run=("git", "fetch"), env={"GIT_TERMINAL_PROMPT": "0"}, cwd="${{ inputs.repo }}"),
        outputs={"log": "stdout"},
        timeout=60.0,
    )
    retry = RetryPolicy(
        max_attempts=4,
        delay=1.0,
        backoff="constant",
        factor=3.0,
        max_delay=2.0,
        jitter="none",
        retry_on=("E",),
        abort_on=("F",),
    )
    arguments = {"log": "${{ steps.fetch.outputs.log }}", "deep": [1, 2.5, {"x": True}]}
    use = Step(
        id="use",
        verb=Call(call="kit.work:use", with_=arguments),
        needs=("fetch",),
        when="inputs.mode == 'a'",
        retry=retry,
        optional=True,
        description="Use it.",
    )
    assert definition == Definition(
        name="Every field 1.0",
        version="2",
        description="All of it.",
        max_parallel=3,
        timeout=3600.0,
        defaults=Defaults(retry=RetryPolicy(max_attempts=2), timeout=10.0),
        inputs={
            "repo": Input(type="path", required=True, description="Where."),
            "mode": Input(enum=("a", "b"), default="a"),
        },
        steps=(fetch, use),
        outputs={"all": ["${{ steps.fetch.output }}"]},
    )
    assert type(definition.steps[1].retry.factor if definition.steps[1].retry else None) is float


EVERY_CONSTRUCT = """
dsl: "1"
name: states
start: plan
continue_on_error: true
compensate: true
checkpoint: {every: level, durability: process, keep: 3}
budget: {cost_usd: 3, tokens: 1000}
inputs:
  token: {secret: true}
steps:
  plan:
    agent: planner
    prompt: Plan
    with: {deep: 1}
    secrets: [TOKEN]
    output_schema: {type: object}
    max_visits: 5
    next: [{when: result == 1, goto: gate}, {default: end}]
  gate:
    approval:
      prompt: Good?
      approvers: [lead]
      form: {comment: string, score: {type: integer, required: true}}
      deadline: {after: 1d, then: fail}
      on_reject: {rewind_to: plan, max_rounds: 2}
    next: {approve: work, default: plan}
  work:
    for_each: {items: [1, 2], as: file, key: "${{ file }}", max_parallel: 4, max_failures: 10%}
    repeat: {until: round == 2, max: 3, delay: 1s}
    next: scan
    steps:
      - id: wait
        wait: {event: done, key: k, timeout: 1h, then: complete}
      - id: pay
        needs: [wait]
        trigger_rule: none_failed
        call: pay
        transaction: true
        delivery: at_most_once
        verify: kit:verify
        idempotency_key: ${{ run.id }}
        compensate: {call: refund, timeout: 1m}
  scan:
    matrix: {os: [linux], py: [3.11, "3.12"]}
    workflow: {name: scan, steps: {a: {run: x, allow_exit: [0, 1]}}}
on_failure:
  tell: {workflow: chat.toml, with: {x: 1}}
finally:
  clean: {wait: {for: 5s}}
"""


def test_every_construct_reaches_the_definition() -> None:
    definition, problems = structure(*read_text(EVERY_CONSTRUCT))

    plan = Step(
        id="plan",
        verb=Agent(agent="planner", prompt="Plan", with_={"deep": 1}),
        secrets=("TOKEN",),
        output_schema={"type": "object"},
        max_visits=5,
        next=(Route(when="result == 1", goto="gate"), Route(default="end")),
    )
    question = Question(
        prompt="Good?",
        approvers=("lead",),
        form={"comment": "string", "score": Input(type="integer", required=True)},
        deadline=Deadline(after=86400.0, then="fail"),
        on_reject=Rewind(rewind_to="plan", max_rounds=2),
    )
    gate = Step(id="gate", verb=Approval(approval=question), next={"approve": "work", "default": "plan"})
    pay = Step(
        id="pay",
        verb=Call(call="pay", transaction=True),
        needs=("wait",),
        trigger_rule="none_failed",
        delivery="at_most_once",
        verify="kit:verify",
        idempotency_key="${{ run.id }}",
        compensate=Step(id="compensate", verb=Call(call="refund"), timeout=60.0),
    )
    waiting = Waiting(event="done", key="k", timeout=3600.0, then="complete")
    work = Step(
        id="work",
        verb=Group(steps=(Step(id="wait", verb=Wait(wait=waiting)), pay)),
        for_each=ForEach(items=(1, 2), as_="file", key="${{ file }}", max_parallel=4, max_failures="10%"),
        repeat=Repeat(until="round == 2", max=3, delay=1.0),
        next="scan",
    )
    inline = Definition(name="scan", steps=(Step(id="a", verb=Run(run="x", allow_exit=(0, 1))),))
    scan = Step(id="scan", verb=Child(workflow=inline), matrix={"os": ("linux",), "py": (3.11, "3.12")})
    expected = Definition(
        name="states",
        start="plan",
        continue_on_error=True,
        compensate=True,
        checkpoint=CheckpointPolicy(every="level", durability="process", keep=3),
        budget=Budget(cost_usd=3.0, tokens=1000),
        inputs={"token": Input(secret=True)},
        steps=(plan, gate, work, scan),
        on_failure=(Step(id="tell", verb=Child(workflow="chat.toml", with_={"x": 1})),),
        finally_=(Step(id="clean", verb=Wait(wait=Waiting(for_="5s"))),),
    )
    assert (definition, problems) == (expected, [])


@pytest.mark.parametrize("case", SHAPE.values(), ids=SHAPE)
def test_every_problem_of_shape_is_told_with_its_place(case: Case) -> None:
    assert told(problems_of(case.text)) == case.problems


def test_there_are_enough_cases_in_both_formats() -> None:
    formats = [case.format for case in SHAPE.values()]

    assert len(formats) > 60
    assert min(formats.count("toml"), formats.count("yaml")) > 20


def test_a_list_of_steps_is_the_same_as_a_mapping() -> None:
    listed = toml('[[steps]]\nid = "b"\ncall = "f"\n[[steps]]\nid = "a"\nneeds = ["b"]\nrun = "x"\n')
    mapped = toml('[steps]\nb = { call = "f" }\na = { needs = ["b"], run = "x" }\n')

    assert load_document(listed).definition == load_document(mapped).definition


def test_plain_data_is_taken_like_text() -> None:
    data, _ = read_text(EVERY_FIELD)

    loaded = load_document(data)
    assert (loaded.definition, loaded.source) == (load_document(EVERY_FIELD).definition, None)


def test_a_path_a_text_and_bytes_give_the_same_definition(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(EVERY_FIELD, encoding="utf-8")

    expected = load_document(EVERY_FIELD).definition
    for document in (path, str(path), EVERY_FIELD.encode()):
        loaded = load_document(document)
        assert loaded.definition == expected
        assert loaded.source is not None
        assert loaded.source.text == EVERY_FIELD


def test_problems_are_told_in_the_order_of_the_text() -> None:
    problems = problems_of(toml('[steps]\na = { run = 1 }\n[outputs]\n"a b" = 1\n[inputs]\nx = 1\n'))

    assert [problem.position.line for problem in problems if problem.position] == [4, 6, 8]


# Plain data built in Python: what text cannot hold is refused before anything looks at it.


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (("a", "b"), "definition.type"),
        ({"a"}, "definition.type"),
        (b"x", "definition.type"),
        (object(), "definition.type"),
        (type("Text", (str,), {})("x"), "definition.type"),
        (float("nan"), "definition.range"),
        (float("inf"), "definition.range"),
        (2**63, "definition.number"),
        ("\ud800", "definition.encoding"),
        ({1: "x"}, "definition.type"),
        ({"\udfff": 1}, "definition.encoding"),
    ],
)
def test_data_that_is_not_plain_is_refused_with_its_path(value: Any, kind: str) -> None:
    step = {"call": "f", "with": {"x": [value]}}

    problem = only_problem({"dsl": "1", "name": "w", "steps": {"a": step}})
    assert (problem.kind, problem.path) == (kind, "steps.a.with.x[0]")
    assert problem.position is None


def test_data_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop += [loop, loop]

    kinds = {problem.kind for problem in problems_of({"dsl": "1", "name": "w", "steps": loop})}
    assert kinds <= {"definition.too_deep", "definition.too_many"}


# Advice.


@pytest.mark.parametrize("word", sorted(LATER))
def test_a_word_of_a_later_version_is_named_as_such(word: str) -> None:
    problem = only_problem(toml_step(f'call = "f", {word} = "x"'))

    assert problem.kind == "definition.unknown_field"
    assert problem.hint == f"this version of the library does not have '{word}' yet"


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ('call = "f", timout = "5s"', "did you mean 'timeout'?"),
        ('call = "f", depends_on = []', "did you mean 'needs'?"),
        ('call = "f", args = {}', "did you mean 'with'?"),
        ('call = "f", env = {}', "'env' belongs to steps with 'run'"),
        ('run = "x", with = {}', "'with' belongs to steps with 'call', 'agent' or 'workflow'"),
        ('call = "f", foreach = {}', "did you mean 'for_each'?"),
        ('call = "f", depends = []', "did you mean 'needs'?"),
        ('call = "f", rollback = "x"', "did you mean 'compensate'?"),
        ('call = "f", max_attempts = 3', "'max_attempts' stands inside `retry`"),
        ('call = "f", budget = {}', "'budget' stands at the top of a document"),
        (
            'wait = { for = "5s" }, retry = {}',
            "'retry' belongs to steps with 'call', 'run', 'agent', 'workflow' or 'steps'",
        ),
        ('call = "f", compensate = { call = "g", when = "x" }', "'when' has no meaning in a compensation"),
        ('call = "f", for_each = { items = [], max_failures = "10" }', "write 10, without quotes, for a number"),
        ('call = "f", timeout = 90', 'write "1m30s"'),
        ('call = "f", needs = "b"', 'write ["b"]'),
        ('call = "f", retry = { jitter = "ful" }', "did you mean 'full'?"),
    ],
)
def test_a_slip_gets_advice(fields: str, hint: str) -> None:
    assert only_problem(toml_step(fields)).hint == hint


# The numbered cases.


def test_case_15_unknown_field_is_refused_with_the_field_that_was_meant() -> None:
    problem = only_problem(toml('timout = "5s"\nsteps.a.call = "f"\n'))

    assert str(problem) == "definition.unknown_field: unknown field 'timout' (<text>:3:1); did you mean 'timeout'?"


def test_case_17_ids_that_differ_only_by_case_or_form_are_both_shown() -> None:
    by_case = problems_of(toml('[steps]\nbuild = { call = "f" }\nBuild = { call = "f" }\n'))
    by_form = problems_of(toml('[steps]\n"\\u00e9" = { call = "f" }\n"e\\u0301" = { call = "f" }\n'))

    assert by_case[-1].message == "the step ids 'build' and 'Build' differ only by case or spelling"
    assert by_form[-1].message == "the step ids '\\xe9' and 'e\\u0301' differ only by case or spelling"
    assert {problem.kind for problem in by_case + by_form} == {"definition.name"}


@pytest.mark.parametrize(
    "step_id", ["../x", "a/b", "", ".", "__class__", "a" * 300, "a\u202eb", "a\x1b[2J", "a\n", "é", "A", "0", "-a"]
)
def test_case_18_a_dangerous_id_is_refused_and_shown_escaped(step_id: str) -> None:
    problem = only_problem({"dsl": "1", "name": "w", "steps": {step_id: {"call": "f"}}})

    assert problem.kind == "definition.name"
    assert str(problem).isprintable()
    assert len(str(problem)) < 500


@pytest.mark.parametrize("step_id", ["to_completed", "state", "a", "a-b_c9", "a" * 64])
def test_case_18_ids_that_no_machine_is_made_of_are_free(step_id: str) -> None:
    """Machines are shared and never take a step's id as the name of a method, so such ids do no harm."""
    definition = load_document({"dsl": "1", "name": "w", "steps": {step_id: {"call": "f"}}}).definition

    assert definition.steps[0].id == step_id


def test_case_19_too_many_steps_are_refused_before_they_are_looked_at() -> None:
    steps = dict.fromkeys((f"s{number}" for number in range(MAX_STEPS + 1)), None)

    assert only_problem({"dsl": "1", "name": "w", "steps": steps}).kind == "definition.too_many"


def test_case_19_steps_count_wherever_they_stand() -> None:
    def level(count: int) -> dict[str, Any]:
        return {f"s{number}": {"call": "f"} for number in range(count)}

    half = MAX_STEPS // 2
    steps = {"a": {"steps": level(half)}, "b": {"workflow": {"name": "w", "steps": level(half - 4)}}}
    undone = {"c": {"call": "f", "compensate": {"call": "g"}}}
    _, fits = structure({"dsl": "1", "name": "w", "steps": {**steps, **undone}})
    _, problems = structure({"dsl": "1", "name": "w", "steps": {**steps, **undone}, "finally": level(1)})

    assert fits == []
    assert [(problem.kind, problem.path) for problem in problems] == [("definition.too_many", "finally")]


def test_what_is_wrong_everywhere_and_deep_takes_no_longer_for_being_deep() -> None:
    """Each level is looked at once, whatever is wrong below it; looking twice would take 2 to the 30th."""
    step: dict[str, Any] = {"run": 5}
    for _ in range(30):
        step = {"optional": 1, "steps": {"a": step}}

    _, problems = structure({"dsl": "1", "name": "w", "steps": {"a": step}})
    assert len(problems) == 31


def test_a_step_in_a_group_with_something_wrong_is_still_looked_at() -> None:
    """What is sound of a level is there for the checks of meaning."""
    inner = {"b": {"call": "f", "optional": 1}, "c": {"call": "f", "needs": ["b"]}}
    definition, problems = structure({"dsl": "1", "name": "w", "steps": {"a": {"steps": inner, "timeout": 5}}})

    assert len(problems) == 2
    assert definition is not None
    (group,) = definition.steps
    assert isinstance(group.verb, Group)
    assert [(step.id, step.verb, step.needs) for step in group.verb.steps] == [
        ("b", Call(call="f"), ()),
        ("c", Call(call="f"), ("b",)),
    ]


@pytest.mark.parametrize("value", ["-1", "0", "0.0", "-0.5", "true", '"0s"', '"5 minutes-ish"', '"-5s"', '"1e9999s"'])
@pytest.mark.parametrize("field", ["timeout = {}", "retry = {{ delay = {} }}", "retry = {{ max_delay = {} }}"])
def test_case_20_what_is_no_duration_is_out_of_range(field: str, value: str) -> None:
    assert only_problem(toml_step('call = "f", ' + field.format(value))).kind == "definition.range"


def test_case_20_an_absurd_number_of_attempts_is_out_of_range() -> None:
    problem = only_problem(toml_step('call = "f", retry = { max_attempts = 1_000_000_000_000 }'))

    assert problem.kind == "definition.range"


@pytest.mark.parametrize("word", ["include", "extends", "import"])
@pytest.mark.parametrize("target", ["../../etc/passwd", "https://localhost:1/x", "w.toml"])
def test_case_21_nothing_is_included(word: str, target: str) -> None:
    """Another document is only ever a step of its own, so none is opened."""
    problem = only_problem(toml(f'{word} = "{target}"\nsteps.a.call = "f"\n'))

    assert problem.kind == "definition.unknown_field"
    assert target not in str(problem)


# Whatever comes in, what comes out is a definition or problems.


@given(st.dictionaries(st.text(max_size=3), values(null=True), max_size=3) | values(null=True))
def test_arbitrary_data_gives_problems_and_no_other_error(data: Any) -> None:
    _, problems = structure(data)

    assert problems


KEYS = sorted(
    {"dsl", "name", "steps", "inputs", "outputs", "a", "call", "run", "needs", "retry", "with", "env", "id"}
    | {"for_each", "matrix", "repeat", "next", "workflow", "approval", "wait", "compensate", "on_failure", "start"}
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["1", "a", "b", "5s", "${{ x"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), TREES, max_size=5))
def test_fields_in_wrong_places_give_problems_and_no_other_error(fields: dict[str, Any]) -> None:
    data = {"dsl": "1", "name": "w", "steps": {"a": {"call": "f"}}, **fields}

    try:
        definition = load_document(data).definition
    except DefinitionError:
        return
    else:
        assert load_document(definition.tree()).definition.content_hash == definition.content_hash


@settings(max_examples=50, deadline=None)
@given(definitions())
def test_the_canonical_tree_loads_to_the_definition_it_came_from(definition: Definition) -> None:
    assert load_document(definition.tree()).definition == definition
