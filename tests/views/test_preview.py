"""What a run would do: what is certain, what is not, and that finding out does nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given

from statemachine_flow import Engine, Workflow, preview
from statemachine_flow.errors import InputError
from statemachine_flow.model import END, Defaults, Definition, ForEach, Input, RetryPolicy, Route, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.views.preview import Preview
from statemachine_flow.views.prospects import Prospect
from tests.views.workflows import CI, GATE, REVIEW, call, graphs, run, workflow

INPUTS = {
    "n": Input(type="integer", default=3),
    "files": Input(type="array", default=["a", "b"]),
    "key": Input(secret=True),
}


def seen(*steps: Step, inputs: dict[str, Any] | None = None, **options: Any) -> dict[str, Prospect]:
    found = preview(workflow(*steps, inputs=INPUTS, **options), {"key": "s3cret", **(inputs or {})})
    return {step.path: step for step in found.steps}


@pytest.mark.parametrize(
    ("when", "verdict", "depends"),
    [
        ("inputs.n > 2", "begins", ()),
        ("inputs.n > 5", "skipped", ()),
        ("steps.a.output > 5", "undecided", ("steps.a.output",)),
        ("inputs.n > 5 and steps.a.output", "skipped", ()),
        ("inputs.n < 5 or steps.a.output", "begins", ()),
        ("default(steps.a.output, 1) == 1", "undecided", ("steps.a.output",)),
        ("run.workflow == 'w'", "begins", ()),
        ("run.id == 'w'", "undecided", ("run.id",)),
        ("env.HOME == '/'", "undecided", ("env.HOME",)),
        ("inputs.key == 's3cret'", "undecided", ("inputs.key",)),
        ("inputs.n", "fails", ()),
        ("1 / 0 == 1", "fails", ()),
    ],
)
def test_a_condition_is_decided_as_far_as_inputs_tell(when: str, verdict: str, depends: tuple[str, ...]) -> None:
    step = seen(call("a"), call("b", "a", when=when))["b"]

    assert (step.verdict, step.depends) == (verdict, depends)


@pytest.mark.parametrize(
    ("rule", "verdicts"),
    [
        # The step that is needed: skipped for sure, undecided, will run.
        ("all_success", ["skipped", "undecided", "begins"]),
        ("none_failed", ["begins", "begins", "begins"]),
        ("all_done", ["begins", "begins", "begins"]),
        ("any_success", ["skipped", "undecided", "begins"]),
        ("any_failed", ["skipped", "undecided", "undecided"]),
    ],
)
def test_joins_follow_from_what_is_known_of_the_needs(rule: Any, verdicts: list[str]) -> None:
    needs = [call("no", when="false"), call("maybe", when="env.X == '1'"), call("yes")]
    joins = [call(f"join{index}", need.id, trigger_rule=rule) for index, need in enumerate(needs)]
    steps = seen(*needs, *joins)

    assert [steps[join.id].verdict for join in joins] == verdicts


def test_a_skipped_step_can_be_asked_for_its_state() -> None:
    steps = seen(
        call("a", when="false"),
        call("b", "a", trigger_rule="all_done", when="steps.a.state == 'skipped'"),
        call("c", "a", trigger_rule="all_done", when="default(steps.a.output, 7) == 7"),
    )

    assert [step.verdict for step in steps.values()] == ["skipped", "begins", "begins"]


@given(graphs())
def test_waves_put_every_step_behind_all_that_it_needs(definition: Definition) -> None:
    waves = {step.path: number for number, wave in enumerate(preview(definition).waves) for step in wave}

    assert set(waves) == {step.id for step in definition.steps}
    for step in definition.steps:
        assert waves[step.id] == max((waves[need] + 1 for need in step.needs), default=0)


def test_what_is_inside_groups_is_told_with_its_path() -> None:
    (group,) = preview(workflow(Step(id="g", verb=CI))).steps

    assert [(step.path, step.wave, step.items) for step in group.inside] == [
        ("g/build", 1, None),
        ("g/e2e", 2, 4),
        ("g/report", 3, None),
    ]
    assert group.inside[1].keys == ("linux,3.11", "linux,3.12", "mac,3.11", "mac,3.12")


@pytest.mark.parametrize(
    ("items", "count", "verdict"),
    [
        ("${{ inputs.files }}", 2, "begins"),
        (("x", "${{ inputs.n }}", "z"), 3, "begins"),
        ("${{ steps.a.output }}", -1, "begins"),
        ("${{ inputs.n }}", -1, "fails"),
    ],
)
def test_items_are_counted_where_they_are_known(items: Any, count: int, verdict: str) -> None:
    step = seen(call("a"), call("b", "a", for_each=ForEach(items=items)))["b"]

    assert (step.items, step.verdict) == (count, verdict)


def test_policies_are_those_that_will_hold() -> None:
    defaults = Defaults(retry=RetryPolicy(max_attempts=5), timeout=9.0)
    steps = seen(
        call("plain"),
        call("own", retry=RetryPolicy(max_attempts=2), timeout=1.0),
        call("once", delivery="at_most_once"),
        Step(id="tx", verb=Call(call="f", transaction=True)),
        Step(id="g", verb=Group(steps=(call("in"),))),
        defaults=defaults,
    )

    assert {path: (step.max_attempts, step.timeout) for path, step in steps.items()} == {
        "plain": (5, 9.0),
        "own": (2, 1.0),
        "once": (1, 9.0),
        "tx": (1, 9.0),
        "g": (1, None),
    }
    assert (steps["g"].inside[0].max_attempts, steps["g"].inside[0].timeout) == (5, 9.0)


def states(*steps: Step) -> dict[str, str]:
    found = preview(workflow(*steps, inputs=INPUTS, start=steps[0].id), {"key": "s3cret"})
    return {step.path: step.verdict for step in found.steps}


def test_a_token_is_followed_as_far_as_routes_are_known() -> None:
    assert states(
        call("a", next=(Route(when="inputs.n > 5", goto="b"), Route(default="c"))),
        call("b", next=END),
        call("c", when="false", next={"x": "b", "default": "d"}),
        call("d", next={"x": "e", "default": END}),
        call("e"),
        call("f", next="a"),
    ) == {"a": "begins", "b": "skipped", "c": "skipped", "d": "begins", "e": "undecided", "f": "skipped"}


def test_a_circle_is_followed_once() -> None:
    assert states(call("a", next="b"), call("b", next="a")) == {"a": "begins", "b": "begins"}


def test_what_a_workflow_takes_from_outside_is_listed_once() -> None:
    step = Step(id="x", verb=Run(run="make"), secrets=("TOKEN",))
    needed = preview(
        workflow(*REVIEW.steps, step, inputs={**REVIEW.inputs, "key": Input(secret=True)}), {"key": "s3cret"}
    ).needed

    assert needed.functions == ("kit:f",)
    assert needed.agents == ("reviewer", "writer", "judge")
    assert needed.commands == ("make", "sh")
    assert needed.workflows == ("security-scan",)
    assert needed.secrets == ("inputs.key", "TOKEN")
    assert needed.signals == ("ci.done",)
    assert needed.approvers == ("anybody",)


def test_a_secret_is_not_shown() -> None:
    found = preview(workflow(call("a"), inputs=INPUTS), {"key": "s3cret"})

    assert found.inputs["key"] == "***"
    assert "s3cret" not in repr(found)


def test_inputs_are_checked() -> None:
    with pytest.raises(InputError) as caught:
        preview(workflow(call("a"), inputs={"n": Input(type="integer")}), {"m": 1})

    assert [problem.kind for problem in caught.value.problems] == ["input.unknown", "input.missing"]


@pytest.mark.parametrize("n", [1, 3])
def test_what_was_foreseen_is_what_happens(n: int) -> None:
    steps = (
        run("a"),
        Step(id="b", verb=Run(run="true"), needs=("a",), when="inputs.n > 2"),
        Step(id="c", verb=Run(run="true"), needs=("b",)),
        Step(id="d", verb=Run(run="true"), needs=("c",), trigger_rule="none_failed"),
    )
    definition = workflow(*(Step(id="a", verb=Run(run="true")), *steps[1:]), inputs={"n": Input(type="integer")})
    foreseen: Preview = preview(definition, {"n": n})
    with Engine("memory://") as engine:
        done = engine.run(Workflow.of(definition), {"n": n})

    assert {step.path: step.verdict == "skipped" for step in foreseen.steps} == {
        path: step.state == "skipped" for path, step in done.steps.items()
    }


def test_nothing_is_imported_executed_or_written(tmp_path: Any) -> None:
    """In a process of its own, for an audit hook stays for good."""
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    program = """
        import sys, statemachine_flow as smf
        text = '''
        dsl = "1"
        name = "w"
        inputs.xs = { type = "array", default = [1, 2] }
        steps.a = { call = "trap:f" }
        steps.b = { run = ["touch", "made"], when = "len(inputs.xs) == 2" }
        steps.c = { needs = ["a"], run = "touch ${{ steps.a.output }}", for_each = { items = "${{ inputs.xs }}" } }
        '''
        smf.preview(text)  # whatever the library itself loads on first use
        seen = []
        banned = ("subprocess", "os.", "socket", "sqlite3", "shutil", "ctypes")
        def hook(event, arguments):
            is_writing = event == "open" and arguments[1] not in (None, "r", "rb")
            if event.startswith(banned) or is_writing or (event == "import" and "trap" in arguments[0]):
                seen.append((event, str(arguments)[:80]))
        sys.addaudithook(hook)
        smf.preview(text)
        print(seen)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert [path.name for path in tmp_path.iterdir()] == ["trap.py"]


def test_states_that_only_a_person_decides_are_undecided() -> None:
    verdicts = {step.path: step.verdict for step in preview(GATE).steps}

    assert verdicts == {"plan": "begins", "gate": "begins", "build": "undecided"}
