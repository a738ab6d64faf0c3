"""Every construct of the language, built in Python: the same workflow as the same document."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.builder import Ref, Workflow, feedback, index, item, load, matrix, previous
from statemachine_flow.errors import DefinitionError, UsageError
from statemachine_flow.model import Budget, CheckpointPolicy, ForEach, Input, Repeat, RetryPolicy, Route
from statemachine_flow.steps.approval import Deadline, Rewind
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child


def document(body: str) -> str:
    return f'dsl = "1"\nname = "w"\n{body}\n'


def work(x: Any = None) -> Any:
    return x


def built(build: Callable[[Workflow], object], **head: Any) -> Workflow:
    workflow = Workflow("w", **head)
    build(workflow)
    return workflow


def loop(each: Any) -> Workflow:
    return built(lambda w: w.agent("a", "reviewer", f"Review {item}", for_each=each))


def after(way: Any) -> Workflow:
    return built(lambda w: [w.call("a", "f", next=way), w.call("b", "g")], start="a")


LOOP = '[steps.a]\nagent = "reviewer"\nprompt = "Review ${{ item }}"\nfor_each.items = [1, 2]\n'
STATES = 'start = "a"\n[steps.a]\ncall = "f"\nnext = {}\n[steps.b]\ncall = "g"\n'
ROUTES = STATES.format("[{ when = 'result == 1', goto = 'b' }, { default = 'end' }]")
APPROVAL = """
steps.a.call = "f"
[steps.b]
needs = ["a"]
[steps.b.approval]
prompt = "Merge ${{ steps.a.output }}?"
approvers = ["lead"]
form = { comment = "string", score = { type = "integer", required = true } }
deadline = { after = "1d", then = "reject" }
on_reject = { rewind_to = "a", max_rounds = 2 }
"""


def approval(workflow: Workflow, deadline: Any, on_reject: Callable[[Ref], Any], score: Any) -> None:
    a = workflow.call("a", "f")
    form = {"comment": "string", "score": score}
    workflow.approval("b", f"Merge {a.output}?", approvers="lead", form=form, deadline=deadline, on_reject=on_reject(a))


def group(workflow: Workflow) -> None:
    first = workflow.call("first", "f")
    with workflow.group("ci", timeout=600, outputs={"log": "steps.lint.output.stdout"}) as ci:
        lint = ci.run("lint", ["lint", first.output])
        ci.run("report", ["echo", lint.output.stdout], when=ci["lint"].state)
    workflow.call("last", "g", with_={"log": ci.outputs.log})


def states_inside(workflow: Workflow) -> None:
    with workflow.group("g", start="a") as inner:
        a = inner.call("a", "f", next={"again": "a", "default": "b"})
        inner.call("b", "g", with_={"x": a.output, "y": feedback})


def handlers(workflow: Workflow) -> None:
    workflow.call("a", "f", compensate={"call": "undo", "timeout": 5, "with_": {"x": Ref("steps.a.output")}})
    told = workflow.on_failure.call("tell", "t", with_={"x": Ref("error").message, "y": workflow["a"].state})
    workflow.on_failure.call("again", "t", with_={"x": told.output})
    workflow.finally_.run("clean", "rm x")


def outside(workflow: Workflow) -> None:
    workflow.wait("a", 90)
    workflow.wait("b", until=dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    workflow.wait("c", event="done", key=workflow["a"].state, timeout="1h", then="complete")


def once(workflow: Workflow) -> None:
    workflow.call("a", "f", delivery="at_most_once", verify="v", idempotency_key=Ref("run").id, secrets="TOKEN")
    workflow.call("b", "f", transaction=True, needs="a", trigger_rule="all_done", output_schema={"type": "array"})


EACH = 'needs = ["a"]\ncall = "f"\nwith = { x = "${{ matrix.os }}", i = "${{ index }}", p = "${{ previous }}" }\n'

SAME: dict[str, tuple[Workflow, str]] = {
    "a loop over nothing but items": (loop([1, 2]), LOOP),
    "a loop as a mapping": (loop({"items": (1, 2), "max_failures": 0}), LOOP + "for_each.max_failures = 0\n"),
    "a loop as a noun": (loop(ForEach(items=(1, 2), max_failures="10%")), LOOP + 'for_each.max_failures = "10%"\n'),
    "a matrix and rounds": (
        built(
            lambda w: [
                w.call("a", "g"),
                w.call(
                    "b",
                    "f",
                    with_={"x": matrix.os, "i": index, "p": previous},
                    matrix={"os": ["x", "y"]},
                    repeat=Repeat(until="steps.a.output == result", max=3, delay=2.0),
                ),
            ]
        ),
        'steps.a.call = "g"\n[steps.b]\n' + EACH + 'matrix = { os = ["x", "y"] }\n'
        'repeat = { until = "steps.a.output == result", max = 3, delay = "2s" }\n',
    ),
    "rounds as a mapping": (
        built(lambda w: w.call("a", "f", repeat={"until": Ref("result").ok, "delay": 2})),
        '[steps.a]\ncall = "f"\nrepeat = { until = "result.ok", delay = "2s" }\n',
    ),
    "a step that follows": (after("b"), STATES.format('"b"')),
    "a reference that follows": (after(Ref("steps.b")), STATES.format('"b"')),
    "steps by value": (after({"x": Ref("steps.b"), "default": "end"}), STATES.format('{ x = "b", default = "end" }')),
    "steps by condition": (after([Route(when="result == 1", goto="b"), Route(default="end")]), ROUTES),
    "the same as mappings": (after([{"when": "result == 1", "goto": Ref("steps.b")}, {"default": "end"}]), ROUTES),
    "an approval": (
        built(
            lambda w: approval(
                w,
                {"after": dt.timedelta(days=1), "then": "reject"},
                lambda a: {"rewind_to": a, "max_rounds": 2},
                {"type": "integer", "required": True},
            )
        ),
        APPROVAL,
    ),
    "an approval of nouns": (
        built(
            lambda w: approval(
                w,
                Deadline(after=86400.0),
                lambda _: Rewind(rewind_to="a", max_rounds=2),
                Input(type="integer", required=True),
            )
        ),
        APPROVAL.replace(', then = "reject"', ""),
    ),
    "a group": (
        built(group),
        """
        steps.first.call = "f"
        [steps.ci]
        needs = ["first"]
        timeout = "10m"
        outputs.log = "steps.lint.output.stdout"
        [steps.ci.steps]
        lint.run = ["lint", "${{ steps.first.output }}"]
        report = { needs = ["lint"], when = "steps.lint.state", run = ["echo", "${{ steps.lint.output.stdout }}"] }
        [steps.last]
        needs = ["ci"]
        call = "g"
        with.log = "${{ steps.ci.outputs.log }}"
        """,
    ),
    "a group of states": (
        built(states_inside),
        """
        [steps.g]
        start = "a"
        [steps.g.steps]
        a = { call = "f", next = { again = "a", default = "b" } }
        b = { call = "g", with = { x = "${{ steps.a.output }}", y = "${{ feedback }}" } }
        """,
    ),
    "handlers": (
        built(handlers, compensate=True),
        """
        compensate = true
        [steps.a]
        call = "f"
        compensate = { call = "undo", timeout = "5s", with.x = "${{ steps.a.output }}" }
        [on_failure]
        tell = { call = "t", with = { x = "${{ error.message }}", y = "${{ steps.a.state }}" } }
        again = { needs = ["tell"], call = "t", with.x = "${{ steps.tell.output }}" }
        [finally]
        clean.run = "rm x"
        """,
    ),
    "waits": (
        built(outside),
        """
        [steps]
        a.wait.for = "1m30s"
        b.wait.until = "2030-01-01T00:00:00+00:00"
        c.needs = ["a"]
        c.wait = { event = "done", key = "${{ steps.a.state }}", timeout = "1h", then = "complete" }
        """,
    ),
    "delivery": (
        built(once),
        """
        [steps.a]
        call = "f"
        delivery = "at_most_once"
        verify = "v"
        idempotency_key = "${{ run.id }}"
        secrets = ["TOKEN"]
        [steps.b]
        needs = ["a"]
        trigger_rule = "all_done"
        call = "f"
        transaction = true
        output_schema.type = "array"
        """,
    ),
    "the head": (
        built(
            lambda w: [
                w.input("key", secret=True),
                w.run("a", "x", allow_exit=[0, 1], retry=RetryPolicy(retry_if="1")),
            ],
            continue_on_error=True,
            checkpoint=CheckpointPolicy(keep=3),
            budget=Budget(tokens=5),
        ),
        """
        continue_on_error = true
        checkpoint = { keep = 3 }
        budget.tokens = 5
        inputs.key.secret = true
        [steps.a]
        run = "x"
        allow_exit = [0, 1]
        retry.retry_if = "1"
        """,
    ),
    "children by name and path": (
        built(lambda w: [w.child("a", "scan", with_={"x": 1}), w.child("b", Path("sub", "scan.toml"))]),
        '[steps]\na = { workflow = "scan", with.x = 1 }\nb.workflow = "sub/scan.toml"\n',
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_built_is_the_workflow_of_the_document(name: str) -> None:
    workflow, body = SAME[name]
    text = "\n".join(line.strip() for line in document(body).splitlines()) + "\n"
    expected = load(text)

    assert workflow.definition.tree() == expected.definition.tree()
    assert workflow.content_hash == expected.content_hash


def test_a_workflow_built_in_python_can_be_the_child_of_another() -> None:
    inner = Workflow("inner")
    x = inner.input("x")
    first = inner.call("first", lambda x: x, with_={"x": x})
    inner.output("y", first.output)
    outer = Workflow("outer")
    child = outer.child("scan", inner, with_={"x": "1"})
    outer.output("y", child.outputs.y)
    inner.call("later", "f")  # what is added afterwards is not part of the child

    verb = outer.definition.step("scan").verb
    assert isinstance(verb, Child)
    assert not isinstance(verb.workflow, str)
    assert [step.id for step in verb.workflow.steps] == ["first"]
    assert outer.functions["scan.first"](5) == 5


@pytest.mark.parametrize("take", [lambda loaded: loaded, lambda loaded: loaded.definition])
def test_a_loaded_workflow_is_taken_in_as_it_is(take: Callable[[Workflow], Any]) -> None:
    """`c` reads `a` without needing it directly, and that stays so."""
    body = '[steps]\na.call = "f"\nb = { needs = ["a"], call = "f" }\n'
    body += 'c = { needs = ["b"], call = "f", with.x = "${{ steps.a.output }}" }\n'
    inner = load(document(body))
    outer = Workflow("outer")
    outer.child("scan", take(inner))

    verb = outer.definition.step("scan").verb
    assert isinstance(verb, Child)
    assert verb.workflow == inner.definition


def test_functions_are_named_wherever_they_are_handed_in() -> None:
    workflow = Workflow("names")
    workflow.call("a", lambda: 1, delivery="at_most_once", verify=lambda: 2, compensate=lambda: 3)
    with workflow.group("g", compensate={"call": lambda: 4}) as group_:
        group_.call("c", lambda: 5)
        with group_.group("h") as deeper:
            deeper.step("b")(lambda: 6)
    workflow.on_failure.call("tell", lambda: 7)
    workflow.finally_.call("tell", lambda: 8)

    results = {name: function() for name, function in workflow.functions.items()}
    assert results == {
        "a": 1,
        "a.verify": 2,
        "a.compensate": 3,
        "g.compensate": 4,
        "g.c": 5,
        "g.h.b": 6,
        "on_failure.tell": 7,
        "finally.tell": 8,
    }
    assert workflow.definition.steps[0].verify == "a.verify"


def test_two_places_of_one_name_keep_their_functions_apart() -> None:
    """The step `compensate` of a group, and what undoes that group."""
    workflow = Workflow("names")
    with workflow.group("g", compensate=lambda: "undone") as group_:
        group_.call("compensate", lambda: "done")
    compensation = workflow.definition.steps[0].compensate

    assert compensation is not None
    called = [compensation.verb.call, workflow.definition.steps[0].verb.steps[0].verb.call]  # type: ignore[attr-defined]
    assert [workflow.functions[name]() for name in called] == ["undone", "done"]


def test_a_function_in_the_depths_has_a_name_that_fits() -> None:
    workflow = Workflow("names")
    level: Any = workflow
    for number in range(6):
        level = level.group(f"{'g' * 60}-{number}")
    level.call("a", lambda: 1)

    (name,) = workflow.functions
    assert len(name) <= 200


def test_a_group_counts_as_a_step_where_steps_are_named() -> None:
    workflow = Workflow("groups", start="a")
    a = workflow.group("a", next="b")
    a.run("x", "true")
    workflow.run("b", "true", next={"0": a, "default": "end"})

    assert workflow.definition.steps[1].next == {"0": "a", "default": "end"}
    graph = Workflow("graph")
    b = graph.group("b")
    b.run("x", "true")
    graph.run("c", "true", needs=b)
    assert graph.definition.steps[1].needs == ("b",)
    assert str(b.output.x) == "${{ steps.b.output.x }}"


def test_what_a_group_reads_from_far_outside_is_needed_by_the_step_beside_it() -> None:
    workflow = Workflow("far")
    far = workflow.run("far", "true")
    with workflow.group("g") as g, g.group("h") as h:
        h.call("x", work, for_each={"items": far.output, "key": far.output})

    step = workflow.definition.step("g")
    assert step.needs == ("far",)
    assert isinstance(step.verb, Group)
    assert step.verb.steps[0].needs == ()


@pytest.mark.parametrize(
    "add",
    [
        lambda level: level.call("a", work),
        lambda level: level.run("b", "x", nonsense=1),
        lambda level: level["b"],
    ],
)
@pytest.mark.parametrize("where", ["group", "on_failure", "finally_"])
def test_levels_refuse_what_workflows_refuse(add: Callable[[Any], Any], where: str) -> None:
    workflow = Workflow("refused")
    level: Any = workflow.group("g") if where == "group" else getattr(workflow, where)
    level.call("a", work)

    with pytest.raises(UsageError):
        add(level)


def test_what_is_added_to_a_group_later_counts() -> None:
    workflow = Workflow("later")
    group_ = workflow.group("g")
    group_.call("a", "f")
    before = workflow.content_hash
    group_.call("b", "f")

    assert workflow.content_hash != before


def test_a_group_of_nothing_is_a_problem_of_the_document() -> None:
    workflow = Workflow("empty")
    workflow.group("g")

    with pytest.raises(DefinitionError) as caught:
        workflow.definition  # noqa: B018 - it is checked when it is read
    assert [(problem.kind, problem.path) for problem in caught.value.problems] == [
        ("definition.range", "steps.g.steps")
    ]


def test_warnings_are_told_and_refuse_nothing() -> None:
    endless = document('start = "a"\n[steps.a]\ncall = "f"\nnext = "a"')

    (warning,) = load(endless).warnings
    assert (warning.kind, warning.severity) == ("definition.never_ends", "warning")
    assert built(lambda w: w.call("a", "f")).warnings == ()


def test_warnings_stand_beside_errors_in_the_order_of_the_text() -> None:
    endless = document('start = "a"\n[steps.a]\ncall = "f"\nnext = "a"\nwhen = "x"')

    with pytest.raises(DefinitionError) as caught:
        load(endless)
    assert {problem.severity for problem in caught.value.problems} == {"error", "warning"}
    assert caught.value.kind == "expression.undefined"


def test_a_workflow_has_a_plan() -> None:
    workflow = built(lambda w: w.call("a", "f"))

    assert type(workflow.plan).__name__ == "Plan"
