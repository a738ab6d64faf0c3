"""Levels: which shape they have, what their steps are called and need, and where their routes lead."""

from __future__ import annotations

import pytest

from statemachine_flow.compiler import check
from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child
from tests.compiler.meaning import hint, problems, told

WRONG = {
    # shapes
    "next in a graph": (
        "steps.a = { call = 'f', next = 'b' }\nsteps.b.call = 'f'\n",
        ["definition.shape steps.a.next"],
    ),
    "next in a graph, whose order nobody knows then": (
        "steps.a = { call = 'f', next = 'b' }\nsteps.b = { call = 'f', when = 'steps.a.output == 1' }\n",
        ["definition.shape steps.a.next"],
    ),
    "max_visits in a graph": (
        "steps.a = { call = 'f', max_visits = 3 }\n",
        ["definition.shape steps.a.max_visits"],
    ),
    "needs in a level of states": (
        "start = 'a'\nsteps.a = { call = 'f', next = 'b' }\nsteps.b = { call = 'f', needs = ['a'] }\n",
        ["definition.shape steps.b.needs"],
    ),
    "trigger_rule in a level of states": (
        "start = 'a'\nsteps.a = { call = 'f', trigger_rule = 'all_done' }\n",
        ["definition.shape steps.a.trigger_rule"],
    ),
    "next in a graph inside states": (
        "start = 'a'\nsteps.a.steps.b = { call = 'f', next = 'end' }\n",
        ["definition.shape steps.a.steps.b.next"],
    ),
    "needs in states inside a graph": (
        "[steps.a]\nstart = 'b'\nsteps.b = { call = 'f', next = 'c' }\nsteps.c = { call = 'f', needs = ['b'] }\n",
        ["definition.shape steps.a.steps.c.needs"],
    ),
    "handlers are graphs": (
        "steps.a.call = 'f'\non_failure.b = { call = 'f', next = 'end' }\nfinally.c = { call = 'f', max_visits = 2 }\n",
        ["definition.shape on_failure.b.next", "definition.shape finally.c.max_visits"],
    ),
    # ids
    "an id of the level around": (
        "[steps.ci]\nsteps.ci.call = 'f'\n",
        ["definition.name steps.ci.steps.ci"],
    ),
    "an id two levels further out": (
        "steps.lint.call = 'f'\n[steps.ci.steps.inner]\nsteps.lint.call = 'f'\n",
        ["definition.name steps.ci.steps.inner.steps.lint"],
    ),
    "an id of the top in a handler": (
        "steps.a.call = 'f'\nfinally.a.call = 'f'\n",
        ["definition.name finally.a"],
    ),
    "an id of the level around in a compensation": (
        "steps.a = { call = 'f', compensate = { steps = { a = { call = 'g' } } } }\n",
        ["definition.name steps.a.compensate.steps.a"],
    ),
    "a state called end": (
        "start = 'end'\nsteps.end.call = 'f'\n",
        ["definition.name steps.end"],
    ),
    # needs
    "an unknown need in a group": (
        "[steps.ci]\nsteps.a.call = 'f'\nsteps.b = { call = 'f', needs = ['x', 'a', 'a'] }\n",
        ["definition.unknown_step steps.ci.steps.b.needs[0]", "definition.duplicate steps.ci.steps.b.needs[1]"],
    ),
    "a need of the level around": (
        "steps.a.call = 'f'\nsteps.ci.steps.b = { call = 'f', needs = ['a'] }\n",
        ["definition.unknown_step steps.ci.steps.b.needs[0]"],
    ),
    "a circle in a group": (
        "[steps.ci]\nsteps.a = { call = 'f', needs = ['b'] }\nsteps.b = { call = 'f', needs = ['a'] }\n",
        ["definition.cycle steps.ci.steps.a.needs"],
    ),
    "a circle in a handler": (
        "steps.a.call = 'f'\n[finally]\nx = { call = 'f', needs = ['y'] }\ny = { call = 'f', needs = ['x'] }\n",
        ["definition.cycle finally.x.needs"],
    ),
    "a step of a group needs itself": (
        "steps.ci.steps.a = { call = 'f', needs = ['a'] }\n",
        ["definition.cycle steps.ci.steps.a.needs[0]"],
    ),
    "a need in an inline workflow": (
        "[steps.child.workflow]\ndsl = '1'\nname = 'inner'\nsteps.a = { call = 'f', needs = ['b'] }\n",
        ["definition.unknown_step steps.child.workflow.steps.a.needs[0]"],
    ),
    "a circle in a compensation": (
        (
            "[steps.a]\ncall = 'f'\n[steps.a.compensate.steps]\nx = { call = 'f', needs = ['y'] }\n"
            "y = { call = 'f', needs = ['x'] }\n"
        ),
        ["definition.cycle steps.a.compensate.steps.x.needs"],
    ),
    # states
    "an unknown start": (
        "start = 'plam'\nsteps.plan.call = 'f'\n",
        ["definition.unknown_step start"],
    ),
    "an unknown start of a group": (
        "[steps.a]\nstart = 'c'\nsteps.b.call = 'f'\n",
        ["definition.unknown_step steps.a.start"],
    ),
    "an unknown start of an inline workflow": (
        "[steps.a.workflow]\ndsl = '1'\nname = 'inner'\nstart = 'c'\nsteps.b.call = 'f'\n",
        ["definition.unknown_step steps.a.workflow.start"],
    ),
    "an unknown target": (
        "start = 'a'\nsteps.a = { call = 'f', next = 'b' }\n",
        ["definition.unknown_step steps.a.next"],
    ),
    "an unknown target in a map": (
        "start = 'a'\nsteps.a = { call = 'f', next = { yes = 'b', default = 'end' } }\n",
        ["definition.unknown_step steps.a.next.yes"],
    ),
    "unknown targets in a list": (
        (
            "start = 'a'\nsteps.a = { call = 'f', next = [{ when = 'inputs.x', goto = 'b' }, { default = 'c' }] }\n"
            "inputs.x = { type = 'boolean' }\n"
        ),
        ["definition.unknown_step steps.a.next[0].goto", "definition.unknown_step steps.a.next[1].default"],
    ),
    "a target of the level around": (
        (
            "start = 'a'\nsteps.a = { start = 'b', next = 'c', steps = { b = { call = 'f', next = 'c' } } }\n"
            "steps.c.call = 'f'\n"
        ),
        ["definition.unknown_step steps.a.steps.b.next"],
    ),
    "steps that are not reached": (
        "start = 'a'\nsteps.a.call = 'f'\nsteps.b = { call = 'f', next = 'c' }\nsteps.c = { call = 'f', next = 'b' }\n",
        ["definition.unreachable steps.b", "definition.unreachable steps.c"],
    ),
    "a step of inner states that is not reached": (
        "[steps.g]\nstart = 'a'\nsteps.a.call = 'f'\nsteps.b.call = 'f'\n",
        ["definition.unreachable steps.g.steps.b"],
    ),
    # routes
    "routes without their two parts": (
        (
            "start = 'a'\nsteps.a.call = 'f'\nsteps.a.next = [{ when = 'true' }, { goto = 'end' }, {}, "
            "{ when = 'true', goto = 'end', default = 'end' }]\n"
        ),
        [f"definition.route steps.a.next[{index}]" for index in range(4)],
    ),
    "a route after the default": (
        (
            "start = 'a'\ninputs.x = { type = 'boolean' }\n"
            "steps.a = { call = 'f', next = [{ default = 'end' }, { when = 'inputs.x', goto = 'end' }] }\n"
        ),
        ["definition.route steps.a.next[1]"],
    ),
    "no routes": (
        "start = 'a'\nsteps.a = { call = 'f', next = [] }\n",
        ["definition.route steps.a.next"],
    ),
    "a map without routes": (
        "start = 'a'\nsteps.a = { call = 'f', next = {} }\n",
        ["definition.route steps.a.next"],
    ),
    "a route for no choice": (
        (
            "start = 'a'\nsteps.a = { approval = { prompt = '?', choices = ['yes', 'no'] }, "
            "next = { yes = 'end', no = 'end', maybe = 'end' } }\n"
        ),
        ["definition.route steps.a.next.maybe"],
    ),
    "a choice without a route": (
        "start = 'a'\nsteps.a = { approval = { prompt = '?', choices = ['yes', 'no'] }, next = { yes = 'end' } }\n",
        ["definition.route steps.a.next"],
    ),
    "an approval without a route": (
        "start = 'a'\nsteps.a = { approval.prompt = '?', next = { aprove = 'end' } }\n",
        ["definition.route steps.a.next.aprove", "definition.route steps.a.next"],
    ),
    # where rejections go back to
    "back to no step": (
        "steps.a = { approval = { prompt = '?', on_reject = { rewind_to = 'b' } } }\n",
        ["definition.reference steps.a.approval.on_reject.rewind_to"],
    ),
    "back to itself": (
        "steps.a = { approval = { prompt = '?', on_reject = { rewind_to = 'a' } } }\n",
        ["definition.reference steps.a.approval.on_reject.rewind_to"],
    ),
    "back to a step beside it": (
        "steps.a.call = 'f'\nsteps.b = { approval = { prompt = '?', on_reject = { rewind_to = 'a' } } }\n",
        ["definition.reference steps.b.approval.on_reject.rewind_to"],
    ),
    "back to a step around it": (
        (
            "steps.a.call = 'f'\nsteps.g.needs = ['a']\n"
            "steps.g.steps.b = { approval = { prompt = '?', on_reject = { rewind_to = 'a' } } }\n"
        ),
        ["definition.reference steps.g.steps.b.approval.on_reject.rewind_to"],
    ),
    "an approval that does not fit together": (
        "[finally.a.approval]\nprompt = '?'\nchoices = ['x', 'x']\n[steps.b]\ncall = 'f'\n",
        ["definition.duplicate finally.a.approval.choices"],
    ),
}


@pytest.mark.parametrize(("body", "expected"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_together_is_told_with_its_path(body: str, expected: list[str]) -> None:
    assert told(body) == expected


RIGHT = {
    "groups side by side": "[steps]\na.steps.x.call = 'f'\nb.steps.x.call = 'f'\n",
    "handlers side by side": "steps.a.call = 'f'\non_failure.x.call = 'f'\nfinally.x.call = 'f'\n",
    "end in a graph": "steps.end.call = 'f'\n",
    "a graph of states": """
        [steps.a]
        start = 'x'
        steps.x = { call = 'f', next = { again = 'x', default = 'y' }, max_visits = 3 }
        steps.y.call = 'f'
        [steps.b]
        needs = ['a']
        call = 'f'
        """,
    "states of graphs": """
        start = 'a'
        [steps.a]
        next = 'end'
        steps.x.call = 'f'
        steps.y = { call = 'f', needs = ['x'] }
        """,
    "a circle of states with a way out": """
        start = 'a'
        steps.a = { call = 'f', next = 'b' }
        steps.b = { call = 'f', next = [{ when = 'result.ok', goto = 'end' }, { default = 'a' }] }
        """,
    "a step that only a rejection leads to": """
        start = 'a'
        steps.a = { approval = { prompt = '?', on_reject = { rewind_to = 'b' } } }
        steps.b = { call = 'f', next = 'a' }
        """,
    "a rejection that goes back": """
        [steps]
        a.call = 'f'
        b = { call = 'f', needs = ['a'] }
        c = { needs = ['b'], approval = { prompt = '?', on_reject = { rewind_to = 'a' } } }
        """,
    "routes for all choices": """
        start = 'a'
        steps.a = { approval = { prompt = '?', choices = ['yes', 'no'] }, next = { yes = 'end', no = 'a' } }
        """,
    "a default for choices": """
        start = 'a'
        steps.a = { approval = { prompt = '?', choices = ['yes', 'no'] }, next = { yes = 'a', default = 'end' } }
        """,
    "an approval without choices": "start = 'a'\nsteps.a = { approval.prompt = '?', next = { approve = 'end' } }\n",
    "a map over declared outputs": """
        start = 'a'
        [steps.a]
        approval = { prompt = '?' }
        outputs = { who = 'result.by' }
        next = { alice = 'end' }
        """,
    "an inline workflow has names of its own": """
        steps.a.call = 'f'
        [steps.b.workflow]
        dsl = '1'
        name = 'inner'
        start = 'a'
        steps.a.call = 'f'
        """,
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_what_fits_together_is_no_problem(body: str) -> None:
    assert told(body) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("start = 'plam'\nsteps.plan.call = 'f'\n", "did you mean 'plan'?"),
        ("start = 'a'\nsteps.a = { call = 'f', next = 'ennd' }\n", "did you mean 'end'?"),
        ("steps.a.call = 'f'\nsteps.ci.steps.b = { call = 'f', needs = ['a'] }\n", "let 'ci' need it"),
        ("steps.a = { call = 'f', next = 'end' }\n", "name the first step in `start`, or use `needs`"),
        ("steps.a.call = 'f'\nfinally.b = { call = 'f', next = 'end' }\n", "order the steps with `needs`"),
    ],
)
def test_advice_names_what_was_meant(body: str, expected: str) -> None:
    assert hint(body) == expected


def test_where_steps_are_listed_paths_count_them_on_every_level() -> None:
    (problem,) = problems(
        """
        [[steps]]
        id = "z"
        call = "f"
        [[steps]]
        id = "ci"
        [[steps.steps]]
        id = "a"
        call = "f"
        [[steps.steps]]
        id = "b"
        call = "f"
        needs = ["a", "x"]
        """
    )

    assert problem.path == "steps[1].steps[1].needs[1]"
    assert problem.position is not None
    assert problem.position.line == 15


def nested(depth: int, inner: Step) -> Step:
    for number in range(depth):
        inner = Step(id=f"g{number}", verb=Group(steps=(inner,)))
    return inner


def test_a_problem_thirty_levels_deep_is_found() -> None:
    (problem,) = check(Definition(name="w", steps=(nested(30, Step(id="a", verb=Call(call="f"), needs=("b",))),)))

    assert problem.path == "".join(f"steps.g{number}." for number in reversed(range(30))) + "steps.a.needs[0]"


def test_workflows_inside_workflows_are_checked_each_by_itself() -> None:
    inner = Definition(name="inner", steps=(Step(id="a", verb=Call(call="f"), when="inputs.x"),))
    outer = Definition(name="outer", steps=(Step(id="a", verb=Child(workflow=inner)),))

    (problem,) = check(Definition(name="w", steps=(Step(id="a", verb=Child(workflow=outer)),)))
    assert problem.path == "steps.a.workflow.steps.a.workflow.steps.a.when"
