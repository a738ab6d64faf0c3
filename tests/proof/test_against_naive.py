"""What the prover leaves out and puts together changes nothing, and the structure never claims too much."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from statemachine_flow.model import Definition, Step
from statemachine_flow.proof import Rules, prove
from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.levels import Task, examine
from statemachine_flow.proof.parts import Lanes
from statemachine_flow.steps.approval import Approval, Question, Rewind
from statemachine_flow.steps.call import Call
from tests.proof.naive import Walk

TRIGGER_RULES: Any = ["all_success", "none_failed", "all_done", "any_success", "any_failed"]


@st.composite
def graphs(draw: st.DrawFn, most: int = 5) -> Definition:
    """Steps that stand in any order in the document."""
    count = draw(st.integers(1, most))
    order = draw(st.permutations(range(count)))
    steps = []
    for place in range(count):
        needs = draw(st.lists(st.sampled_from(order[: order.index(place)]), unique=True)) if order.index(place) else []
        steps.append(
            Step(
                id=f"s{place}",
                verb=Call(call="f"),
                needs=tuple(f"s{need}" for need in needs),
                trigger_rule=draw(st.sampled_from(TRIGGER_RULES)),
                optional=draw(st.booleans()),
                when=draw(st.sampled_from([None, None, None, "inputs.x", "1 > 2"])),
            )
        )
    return Definition(name="w", steps=tuple(steps), continue_on_error=draw(st.booleans()))


def found(definition: Definition, limit: int = 100_000) -> Findings:
    def child(_definition: Definition, _prefix: str) -> Findings:
        raise AssertionError

    task = Task(definition=definition, rules=Rules(), lanes=Lanes(definition), limit=limit, child=child)
    return examine(definition.steps, definition.start, "", task, can_be_cut=False)


def ids(definition: Definition, places: Any) -> set[str]:
    return {definition.steps[place].id for place in places}


@given(graphs())
@settings(max_examples=300, deadline=None)
def test_a_level_is_found_to_do_what_the_plain_walk_does(definition: Definition) -> None:
    seen, findings = Walk(definition).walk(), found(definition)

    assert findings.method == "exhaustive"
    assert ids(definition, findings.begins) == seen.begins
    assert ids(definition, findings.skips) == seen.skips
    assert set(findings.ends) - {"cut"} == seen.ends
    assert ids(definition, findings.always) == seen.always
    assert findings.broken == {}


@given(graphs(7))
@settings(max_examples=150, deadline=None)
def test_the_structure_claims_nothing_that_the_configurations_refute(definition: Definition) -> None:
    every, structure = prove(definition), prove(definition, limit=0)

    assert (every.method, structure.method) == ("exhaustive", "structure")
    assert set(structure.never_run) <= set(every.never_run)
    assert set(structure.always_run) <= set(every.always_run)
    assert set(structure.never_skipped) <= set(every.never_skipped) | set(every.never_run)
    for shown in structure.properties:
        assert shown.holds in (None, every[shown.name].holds)
    assert set(found(definition).ends) <= set(found(definition, limit=0).ends)


@given(graphs(4), st.data())
@settings(max_examples=60, deadline=None)
def test_a_rewind_leaves_a_way_to_rest(definition: Definition, data: st.DataObject) -> None:
    """An approval behind any step, and a step behind it that may be tolerant."""
    before = data.draw(st.sampled_from([step.id for step in definition.steps]))
    question = Question(prompt="well?", on_reject=Rewind(rewind_to=before))
    ask = Step(
        id="ask",
        verb=Approval(approval=question),
        needs=(before,),
        trigger_rule=data.draw(st.sampled_from(TRIGGER_RULES)),
    )
    last = Step(
        id="last", verb=Call(call="f"), needs=("ask", before), trigger_rule=data.draw(st.sampled_from(TRIGGER_RULES))
    )
    steps = (*definition.steps, ask, last)
    every = prove(Definition(name="w", steps=steps, continue_on_error=definition.continue_on_error))
    structure = prove(Definition(name="w", steps=steps, continue_on_error=definition.continue_on_error), limit=0)

    assert [each.name for each in every.properties if each.holds is False and each.name != "completes"] == []
    assert set(structure.never_run) <= set(every.never_run)
