"""The two lifecycles: every state with every trigger, on the lean machine and on the library's own."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from transitions import Machine  # noqa: TID251 - the stock machine, for comparison
from transitions.core import Condition  # noqa: TID251 - as above

from statemachine_flow.errors import TransitionRefused
from statemachine_flow.journal import KINDS, RunFold
from statemachine_flow.lifecycle import (
    ALIASES,
    RUN,
    RUN_AT_REST,
    RUN_EDGES,
    STEP,
    STEP_AT_REST,
    STEP_EDGES,
    LeanMachine,
    Lifecycle,
    RunState,
    StepState,
)
from statemachine_flow.lifecycle_doc import document

# Written by hand from the design, not derived from the code: state -> trigger -> state.
RUN_TABLE: Mapping[str, Mapping[str, str]] = {
    "pending": {"start": "running", "cancel": "cancelled"},
    "running": {
        "complete": "completed",
        "fail": "failed",
        "pause": "paused",
        "cancel": "cancelling",
        "quarantine": "quarantined",
    },
    "paused": {"resume": "running", "cancel": "cancelling", "quarantine": "quarantined"},
    "cancelling": {"settle": "cancelled"},
    "completed": {},
    "failed": {"retry": "running", "cancel": "cancelled", "quarantine": "quarantined"},
    "cancelled": {},
    "quarantined": {},
}
STEP_TABLE: Mapping[str, Mapping[str, str]] = {
    "pending": {"start": "running", "skip": "skipped", "cancel": "cancelled"},
    "running": {
        "wait": "waiting",
        "complete": "completed",
        "fail": "failed",
        "back_off": "backing_off",
        "interrupt": "interrupted",
        "cancel": "cancelled",
    },
    "waiting": {
        "complete": "completed",
        "fail": "failed",
        "back_off": "backing_off",
        "skip": "skipped",
        "cancel": "cancelled",
    },
    "backing_off": {"start": "running", "cancel": "cancelled"},
    "interrupted": {
        "start": "running",
        "complete": "completed",
        "fail": "failed",
        "cancel": "cancelled",
        "reset": "pending",
    },
    "completed": {"reset": "pending"},
    "failed": {"reset": "pending"},
    "skipped": {"reset": "pending"},
    "cancelled": {"reset": "pending"},
}
RUN_TRIGGERS = ("start", "complete", "fail", "pause", "resume", "cancel", "settle", "retry", "quarantine")
STEP_TRIGGERS = ("start", "wait", "complete", "fail", "back_off", "interrupt", "skip", "cancel", "reset")

MACHINES = (LeanMachine, Machine)
TABLES = {"run": (RUN_TABLE, RUN_TRIGGERS), "step": (STEP_TABLE, STEP_TRIGGERS)}


def lifecycle(name: str, machine: type[Machine] = LeanMachine) -> Lifecycle:
    states, edges = {"run": (RunState, RUN_EDGES), "step": (StepState, STEP_EDGES)}[name]
    return Lifecycle(name, states, edges, machine_cls=machine)


class Cursor:
    """A run or step at a place; by default every guard holds."""

    __slots__ = ("alive_steps", "failed_steps", "open_steps", "state")

    def __init__(self, state: str, *, open_steps: int = 0, failed_steps: int = 0, alive_steps: int = 0) -> None:
        self.state = state
        self.open_steps = open_steps
        self.failed_steps = failed_steps
        self.alive_steps = alive_steps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # it changes


PAIRS = [
    (name, state, trigger)
    for name, (table, triggers) in TABLES.items()
    for state, trigger in itertools.product(table, triggers)
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "state", "trigger"), PAIRS)
def test_each_trigger_in_each_state_does_what_the_design_says(
    name: str, state: str, trigger: str, machine: type[Machine]
) -> None:
    guarded, cursor = lifecycle(name, machine), Cursor(state)
    expected = TABLES[name][0][state].get(trigger)

    if expected is not None:
        guarded.fire(cursor, trigger)
        assert cursor == Cursor(expected)
    else:
        with pytest.raises(TransitionRefused):
            guarded.fire(cursor, trigger)
        assert cursor == Cursor(state)
    assert guarded.dest(state, trigger) == expected


@pytest.mark.parametrize("name", TABLES)
def test_states_triggers_and_allowed_lists_are_those_of_the_design(name: str) -> None:
    table, triggers = TABLES[name]
    guarded = lifecycle(name)

    assert guarded.states == tuple(table)
    assert tuple(guarded.sources) == triggers
    assert {state: set(guarded.allowed(state)) for state in table} == {state: set(row) for state, row in table.items()}
    assert guarded.allowed("nonsense") == ()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("state", "trigger", "counters", "holds"),
    [
        ("running", "complete", {}, True),
        ("running", "complete", {"open_steps": 1}, False),
        ("running", "complete", {"failed_steps": 1}, False),
        ("running", "complete", {"open_steps": 1, "failed_steps": 1}, False),
        ("running", "fail", {"failed_steps": 1, "open_steps": 2}, True),
        ("running", "fail", {"failed_steps": 1, "alive_steps": 1}, False),
        ("cancelling", "settle", {"open_steps": 0}, True),
        ("cancelling", "settle", {"alive_steps": 1}, False),
        ("running", "pause", {"alive_steps": 3, "open_steps": 3}, True),
        ("running", "cancel", {"alive_steps": 3, "open_steps": 3}, True),
    ],
)
def test_a_guard_lets_a_run_end_only_when_its_steps_have(
    state: str, trigger: str, counters: dict[str, int], holds: bool, machine: type[Machine]
) -> None:
    guarded, cursor = lifecycle("run", machine), Cursor(state, **counters)
    if holds:
        guarded.fire(cursor, trigger)
        assert cursor == Cursor(RUN_TABLE[state][trigger], **counters)
        return

    with pytest.raises(TransitionRefused, match="guard did not hold") as caught:
        guarded.fire(cursor, trigger)
    assert cursor == Cursor(state, **counters)
    assert (caught.value.machine, caught.value.trigger, caught.value.state) == ("run", trigger, state)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_refusal_says_machine_trigger_state_and_reason(machine: type[Machine]) -> None:
    with pytest.raises(TransitionRefused) as caught:
        lifecycle("step", machine).fire(Cursor("completed"), "start")

    refused = caught.value
    assert (refused.machine, refused.trigger, refused.state) == ("step", "start", "completed")
    assert refused.reason == "it is allowed in pending, backing_off, interrupted"
    assert str(refused) == f"step in state 'completed' refuses 'start': {refused.reason}"
    assert (refused.kind, refused.exit_code) == ("transition.refused", 5)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("trigger", ["to_completed", "to_running", "finish", "", "__class__", "trigger", "START"])
def test_a_trigger_that_is_not_in_the_table_is_refused(trigger: str, machine: type[Machine]) -> None:
    cursor = Cursor("running")

    with pytest.raises(TransitionRefused, match="there is no such trigger"):
        lifecycle("run", machine).fire(cursor, trigger)
    assert cursor == Cursor("running")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("state", ["nonsense", "", "Running", "running ", "to_completed", None, 7])
@pytest.mark.parametrize(("name", "trigger"), [("run", "cancel"), ("run", "complete"), ("step", "start")])
def test_a_state_that_is_not_in_the_table_allows_nothing(
    name: str, trigger: str, state: Any, machine: type[Machine]
) -> None:
    """`transitions` by itself accepts `model.state = "nonsense"`."""
    cursor = Cursor(state)

    with pytest.raises(TransitionRefused):
        lifecycle(name, machine).fire(cursor, trigger)
    assert cursor == Cursor(state)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", TABLES)
def test_the_machine_has_the_events_of_the_table_and_no_automatic_ones(name: str, machine: type[Machine]) -> None:
    guarded, cursor = lifecycle(name, machine), Cursor("pending")
    guarded.fire(cursor, "start")

    assert set(guarded.machine.events) == set(TABLES[name][1])
    assert guarded.machine.models == []
    assert not [attribute for attribute in dir(cursor) if attribute.startswith(("to_", "is_", "may_"))]


@pytest.mark.parametrize("name", TABLES)
def test_a_refusal_does_not_grow_the_machine(name: str) -> None:
    """The library keeps its transitions in defaultdicts: a careless look-up would add a state."""
    guarded = lifecycle(name)
    before = {trigger: dict(event.transitions) for trigger, event in guarded.machine.events.items()}
    for trigger in guarded.sources:
        with pytest.raises(TransitionRefused):
            guarded.fire(Cursor("nonsense"), trigger)

    assert {trigger: dict(event.transitions) for trigger, event in guarded.machine.events.items()} == before


HOOKS: Mapping[str, Callable[[Machine, Callable[..., Any]], object]] = {
    "prepare_event": lambda machine, hook: machine.prepare_event.append(hook),
    "before_state_change": lambda machine, hook: machine.before_state_change.append(hook),
    "after_state_change": lambda machine, hook: machine.after_state_change.append(hook),
    "finalize_event": lambda machine, hook: machine.finalize_event.append(hook),
    "prepare": lambda machine, hook: _pause(machine).prepare.append(hook),
    "before": lambda machine, hook: _pause(machine).before.append(hook),
    "after": lambda machine, hook: _pause(machine).after.append(hook),
    "condition": lambda machine, hook: _pause(machine).conditions.append(Condition(hook)),
    "on_exit": lambda machine, hook: machine.states["running"].on_exit.append(hook),
    "on_enter": lambda machine, hook: machine.states["paused"].on_enter.append(hook),
    "nothing": lambda machine, hook: None,
}


def _pause(machine: Machine) -> Any:
    return machine.events["pause"].transitions["running"][0]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_lean_machine_calls_every_hook_as_the_stock_one_does(hook: str) -> None:
    """Nobody has hooks today; whoever adds one must not find it silently left out."""
    seen = []
    for machine in MACHINES:
        calls: list[object] = []
        guarded, cursor = lifecycle("run", machine), Cursor("running")
        HOOKS[hook](guarded.machine, lambda *args, calls=calls, cursor=cursor: calls.append(cursor.state) or True)
        guarded.fire(cursor, "pause")
        assert cursor.state == "paused"
        with contextlib.suppress(TransitionRefused):
            guarded.fire(cursor, "pause")
        seen.append(calls)

    assert seen[0] == seen[1]
    assert bool(seen[0]) == (hook != "nothing")


def reachable(table: Mapping[str, Mapping[str, str]], start: str) -> set[str]:
    found, queue = {start}, [start]
    while queue:
        for state in table[queue.pop()].values():
            if state not in found:
                found.add(state)
                queue.append(state)
    return found


@pytest.mark.parametrize(
    ("guarded", "final"), [(RUN, RUN.terminal), (STEP, STEP_AT_REST)], ids=lambda value: getattr(value, "name", "")
)
def test_every_state_is_reachable_and_leads_to_a_final_one(guarded: Lifecycle, final: frozenset[str]) -> None:
    graph = {state: {t: d for t in guarded.sources if (d := guarded.dest(state, t))} for state in guarded.states}

    assert reachable(graph, guarded.states[0]) == set(guarded.states)
    assert [state for state in guarded.states if not reachable(graph, state) & final] == []


def test_terminal_states_have_no_edge_out_and_are_the_ones_of_the_design() -> None:
    assert RUN.terminal == {"completed", "cancelled", "quarantined"}
    assert {"completed", "cancelled", "quarantined", "failed"} == RUN_AT_REST
    assert STEP.terminal == frozenset()
    assert {"completed", "failed", "skipped", "cancelled"} == STEP_AT_REST
    assert [edge for edge in RUN_EDGES if edge.source in RUN.terminal] == []
    assert [edge for edge in STEP_EDGES if edge.source in STEP_AT_REST and edge.trigger != "reset"] == []


def test_the_shared_machines_are_lean() -> None:
    assert (type(RUN.machine), type(STEP.machine)) == (LeanMachine, LeanMachine)


def test_each_trigger_is_a_kind_of_record_and_each_kind_a_trigger() -> None:
    triggers = {f"run.{trigger}" for trigger in RUN_TRIGGERS} | {f"step.{trigger}" for trigger in STEP_TRIGGERS}

    assert set(KINDS) == triggers | {"run.create", "run.note", "run.signal", "run.unwind"}


def test_a_fold_is_a_cursor_with_every_counter_that_guards_read() -> None:
    fold = RunFold("r")
    RUN.fire(fold, "start")
    fold.open_steps = 1

    with pytest.raises(TransitionRefused):
        RUN.fire(fold, "complete")
    assert fold.state == "running"


def test_aliases_lead_to_states_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(RUN.states)
    assert set(ALIASES).isdisjoint(RUN.states)
    assert (ALIASES["succeeded"], ALIASES["canceled"], ALIASES["executing"]) == ("completed", "cancelled", "running")


def test_the_committed_page_is_what_the_module_prints() -> None:
    page = Path(__file__).resolve().parents[2] / "dsl" / "lifecycle.md"

    assert document() == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_the_diagram_has_exactly_the_edges_of_the_design(name: str) -> None:
    diagram = document().split("```mermaid\nstateDiagram-v2\n")[1 + list(TABLES).index(name)].split("```")[0]
    drawn = {line.strip() for line in diagram.splitlines()}
    table = TABLES[name][0]
    edges = {f"{state} --> {dest}: {trigger}" for state, row in table.items() for trigger, dest in row.items()}
    ends = {f"{state} --> [*]" for state, row in table.items() if not row}

    assert drawn == {"[*] --> pending"} | edges | ends
