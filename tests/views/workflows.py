"""Workflows for views to look at."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from statemachine_flow.model import Definition, ForEach, Input, Repeat, Route, Step
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.approval import Approval, Question, Rewind
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait, Waiting
from statemachine_flow.steps.workflow import Child


def call(step_id: str, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=Call(call="kit:f"), needs=needs, **options)


def run(step_id: str, *needs: str, **options: Any) -> Step:
    return Step(id=step_id, verb=Run(run=("make",)), needs=needs, **options)


def workflow(*steps: Step, **options: Any) -> Definition:
    return Definition(name="w", steps=steps, **options)


CI = Group(
    steps=(
        run("build"),
        run("e2e", "build", matrix={"os": ("linux", "mac"), "py": ("3.11", "3.12")}),
        call("report", "e2e", trigger_rule="all_done"),
    )
)
LOOP = Group(
    start="draft",
    steps=(
        Step(id="draft", verb=Agent(agent="writer", prompt="p"), next="judge"),
        Step(
            id="judge",
            verb=Agent(agent="judge", prompt="p"),
            next=(Route(when="result == 'good'", goto="end"), Route(default="draft")),
        ),
    ),
)
#: A graph with something of everything in it.
REVIEW = workflow(
    run("diff"),
    Step(id="scan", verb=Child(workflow="security-scan"), needs=("diff",)),
    Step(
        id="review",
        verb=Agent(agent="reviewer", prompt="Review ${{ file }}"),
        needs=("diff",),
        for_each=ForEach(items="${{ steps.diff.outputs.files }}", as_="file"),
    ),
    Step(id="ci", verb=CI, needs=("diff",), description='<script>alert("x")</script> & more'),
    Step(id="write", verb=LOOP, needs=("review",), repeat=Repeat(until="result.ok", max=5)),
    Step(
        id="approve",
        verb=Approval(approval=Question(prompt="?", on_reject=Rewind(rewind_to="review"))),
        needs=("scan", "ci", "write"),
        trigger_rule="none_failed",
        when="inputs.n > 2",
    ),
    Step(id="settle", verb=Wait(wait=Waiting(event="ci.done")), needs=("approve",)),
    call("merge", "settle", compensate=call("merge")),
    inputs={"n": Input(type="integer", default=3)},
    on_failure=(call("notify"),),
    finally_=(call("clean"), call("log", "clean")),
)
#: A workflow of states.
GATE = workflow(
    Step(id="plan", verb=Agent(agent="planner", prompt="p"), next="gate"),
    Step(
        id="gate",
        verb=Approval(approval=Question(prompt="?", choices=("approve", "edit", "reject"))),
        next={"approve": "build", "edit": "plan", "reject": "end"},
    ),
    Step(id="build", verb=CI, next=(Route(when="result.build.exit_code == 0", goto="end"), Route(default="build"))),
    start="plan",
)


@st.composite
def graphs(draw: st.DrawFn) -> Definition:
    """Draw a graph of up to twelve steps, in any order."""
    count = draw(st.integers(1, 12))
    needs = [draw(st.lists(st.integers(0, max(n - 1, 0)), unique=True, max_size=n)) for n in range(count)]
    steps = [call(f"s{n}", *(f"s{i}" for i in needs[n])) for n in range(count)]
    return workflow(*draw(st.permutations(steps)))
