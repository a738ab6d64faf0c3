"""THE lifecycle table of runs and steps, and the two `transitions` machines that guard it.

`RUN_EDGES` and `STEP_EDGES` are the only place where a state change is made legal. The machines, the diagram
and table in `dsl/lifecycle.md`, the SQL checks and triggers, the tests, the allowed-action lists and the names of
journal records are derived from them. No other module may import `transitions`.

One machine per kind serves every run and step of the process: a machine has no model of its own, and firing a
trigger moves the `state` attribute of whatever cursor is handed in. Registering a model with `transitions`
costs 70-150 us and keeps a reference to it; a cursor costs nothing.

`LeanEvent` takes the library's own extension point (`event_cls`) and leaves out the callback chains that these
machines do not use; anything with a hook goes the library's full way.
`benchmarks/README.md` has the figures; the lifecycle tests run on both paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol, final

import attrs
from transitions.core import Event, EventData, Machine, MachineError

from statemachine_flow.errors import TransitionRefused


class RunState(StrEnum):
    """Where a run is. The value is what the store, the documents and the command line say."""

    PENDING = "pending"  # created, durable, nothing started
    RUNNING = "running"  # an owner works on it, or died doing so
    PAUSED = "paused"  # at rest until somebody resumes it
    CANCELLING = "cancelling"  # asked to end; attempts are being stopped
    COMPLETED = "completed"  # every step is at rest and no required step failed
    FAILED = "failed"  # at rest; may be retried
    CANCELLED = "cancelled"  # ended on request
    QUARANTINED = "quarantined"  # set aside; nothing will touch it again


class StepState(StrEnum):
    """Where a step is."""

    PENDING = "pending"  # not begun
    RUNNING = "running"  # an attempt is under way
    WAITING = "waiting"  # for a person, a timer, a signal or a child run
    BACKING_OFF = "backing_off"  # an attempt failed; the next has a time
    INTERRUPTED = "interrupted"  # the attempt's owner died or was stopped
    COMPLETED = "completed"  # its result is in the journal
    FAILED = "failed"  # no attempts left, or not retryable
    SKIPPED = "skipped"  # its condition or its join rule said so
    CANCELLED = "cancelled"  # the run ended before it could


class Cursor(Protocol):
    """Anything with a state: the one attribute a machine reads and writes."""

    state: str


Guard = Callable[[Any], bool]


@attrs.frozen
class Edge:
    """One legal change: firing `trigger` in `source` leads to `dest`, if `guard` agrees."""

    trigger: str
    source: str
    dest: str
    #: When it is used, for people.
    why: str
    #: A predicate over the cursor; None means always.
    guard: Guard | None = None


def _all_at_rest(run: Any) -> bool:
    """Every step is at rest and no required step failed."""
    return bool(run.open_steps == 0 and run.failed_steps == 0)


def _nothing_alive(run: Any) -> bool:
    """No attempt is alive."""
    return bool(run.alive_steps == 0)


def _edges(trigger: str, sources: Iterable[str], dest: str, why: str, guard: Guard | None = None) -> list[Edge]:
    return [Edge(trigger, str(source), str(dest), why, guard) for source in sources]


R, S = RunState, StepState

RUN_EDGES: Final[tuple[Edge, ...]] = (
    *_edges("start", [R.PENDING], R.RUNNING, "a worker holds the lease"),
    *_edges("complete", [R.RUNNING], R.COMPLETED, "every step is at rest and no required step failed", _all_at_rest),
    *_edges(
        "fail",
        [R.RUNNING],
        R.FAILED,
        "a required step failed or a deadline was passed; no attempt is alive",
        _nothing_alive,
    ),
    *_edges("pause", [R.RUNNING], R.PAUSED, "operator; no new attempt begins while paused"),
    *_edges("resume", [R.PAUSED], R.RUNNING, "operator"),
    *_edges("cancel", [R.PENDING, R.FAILED], R.CANCELLED, "durable request; nothing is alive"),
    *_edges("cancel", [R.RUNNING, R.PAUSED], R.CANCELLING, "durable request"),
    *_edges("settle", [R.CANCELLING], R.CANCELLED, "no attempt is alive", _nothing_alive),
    *_edges("retry", [R.FAILED], R.RUNNING, "failed steps are reset"),
    *_edges(
        "quarantine", [R.RUNNING, R.PAUSED, R.FAILED], R.QUARANTINED, "a step keeps killing its process, or an operator"
    ),
)

STEP_EDGES: Final[tuple[Edge, ...]] = (
    *_edges(
        "start", [S.PENDING, S.BACKING_OFF, S.INTERRUPTED], S.RUNNING, "a new attempt, recorded before its body begins"
    ),
    *_edges("wait", [S.RUNNING], S.WAITING, "for an approval, a timer, a signal, a child run or its own steps"),
    *_edges("complete", [S.RUNNING, S.WAITING, S.INTERRUPTED], S.COMPLETED, "a result"),
    *_edges("fail", [S.RUNNING, S.WAITING, S.INTERRUPTED], S.FAILED, "no attempts left, or not retryable"),
    *_edges("back_off", [S.RUNNING, S.WAITING], S.BACKING_OFF, "a durable timer for the next attempt"),
    *_edges("interrupt", [S.RUNNING], S.INTERRUPTED, "its owner died or stopped it"),
    *_edges("skip", [S.PENDING, S.WAITING], S.SKIPPED, "`when` is false, or the join rule or a rejection says so"),
    *_edges(
        "cancel", [S.PENDING, S.RUNNING, S.WAITING, S.BACKING_OFF, S.INTERRUPTED], S.CANCELLED, "the run ended first"
    ),
    *_edges(
        "reset",
        [S.COMPLETED, S.FAILED, S.SKIPPED, S.CANCELLED, S.INTERRUPTED],
        S.PENDING,
        "through a loop, a rewind, retry, rerun or a person's decision",
    ),
)


@final
class LeanEvent(Event):
    """An event that checks conditions and moves the state, and nothing else.

    As soon as there is a queue or a hook of any kind it goes the library's full way.
    """

    def trigger(self, model: Any, *args: Any, **kwargs: Any) -> bool:
        """Fire on `model`, a `Cursor`; True if a transition took place."""
        # `.get`, not `[]`: the library keeps a defaultdict, which a miss would grow.
        candidates = self.transitions.get(model.state)
        if not candidates or _has_machine_hooks(self.machine):
            return bool(super().trigger(model, *args, **kwargs))
        for transition in candidates:
            if _has_hooks(transition, self.machine):
                return bool(super().trigger(model, *args, **kwargs))
            if transition.conditions:
                event_data = EventData(None, self, self.machine, model, args, kwargs)
                if not all(condition.check(event_data) for condition in transition.conditions):
                    continue
            model.state = transition.dest
            return True
        return False


def _has_machine_hooks(machine: Any) -> bool:
    return bool(
        machine.has_queue
        or machine.prepare_event
        or machine.finalize_event
        or machine.on_exception
        or machine.before_state_change
        or machine.after_state_change
        or machine.on_final
    )


def _has_hooks(transition: Any, machine: Any) -> bool:
    if transition.prepare or transition.before or transition.after or transition.dest is None:
        return True
    states = machine.states
    return bool(states[transition.source].on_exit or states[transition.dest].on_enter)


@final
class LeanMachine(Machine):
    """A machine whose events are lean."""

    event_cls = LeanEvent


@final
class Lifecycle:
    """One kind's states and edges, and the machine made of them.

    Args:
        name: `"run"` or `"step"`: the first half of a record's kind.
        states: every state, in the order documents show them.
        edges: every legal change.
        machine_cls: the `transitions` machine class; tests also run the library's own.

    Example:
        >>> class Step:
        ...     state = "pending"
        >>> step = Step()
        >>> STEP.fire(step, "start"); step.state
        'running'
        >>> STEP.fire(step, "reset")
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.TransitionRefused: step in state 'running' refuses 'reset': it is allowed in ...
    """

    def __init__(
        self, name: str, states: Iterable[str], edges: tuple[Edge, ...], *, machine_cls: type[Machine] = LeanMachine
    ) -> None:
        self.name = name
        self.states: tuple[str, ...] = tuple(str(state) for state in states)
        self.edges = edges
        self.machine = machine_cls(
            model=None,
            states=list(self.states),
            initial=self.states[0],
            transitions=[_as_transition(edge) for edge in edges],
            auto_transitions=False,
            queued=False,
            send_event=False,
        )
        #: trigger -> states it may be fired in
        self.sources: Mapping[str, tuple[str, ...]] = _sources(edges)
        sources = {edge.source for edge in edges}
        #: States no edge leaves.
        self.terminal: frozenset[str] = frozenset(state for state in self.states if state not in sources)
        self._triggers = {trigger: self.machine.events[trigger].trigger for trigger in self.sources}

    def fire(self, cursor: Cursor, trigger: str) -> None:
        """Move `cursor.state` along the edge named `trigger`.

        Args:
            cursor: the object whose `state` is read and written; guards read its other attributes.
            trigger: a trigger of this lifecycle.

        Raises:
            TransitionRefused: there is no such edge from the cursor's state, or its guard said no. The cursor
                is as it was.
        """
        try:
            if self._triggers[trigger](cursor, cursor):
                return
        except (MachineError, ValueError, KeyError) as error:
            raise TransitionRefused(self.name, trigger, cursor.state, self._reason(trigger)) from error
        raise TransitionRefused(self.name, trigger, cursor.state, self._guard_reason(trigger, cursor.state))

    def allowed(self, state: str) -> tuple[str, ...]:
        """The triggers that have an edge from `state`, in the table's order; guards are not asked."""
        return tuple(trigger for trigger, sources in self.sources.items() if state in sources)

    def dest(self, state: str, trigger: str) -> str | None:
        """Where `trigger` leads from `state`; None where there is no edge."""
        for edge in self.edges:
            if edge.trigger == trigger and edge.source == state:
                return edge.dest
        return None

    def _reason(self, trigger: str) -> str:
        if trigger not in self.sources:
            return f"there is no such trigger; there are {', '.join(self.sources)}"
        return f"it is allowed in {', '.join(self.sources[trigger])}"

    def _guard_reason(self, trigger: str, state: str) -> str:
        edge = next(edge for edge in self.edges if edge.trigger == trigger and edge.source == state)
        rule = edge.why if edge.guard is None else edge.guard.__doc__ or edge.why
        return f"the guard did not hold: {rule.rstrip('.')}"


def _sources(edges: Iterable[Edge]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.trigger, []).append(edge.source)
    return {trigger: tuple(sources) for trigger, sources in found.items()}


def _as_transition(edge: Edge) -> dict[str, object]:
    return {"trigger": edge.trigger, "source": edge.source, "dest": edge.dest, "conditions": edge.guard}


RUN: Final = Lifecycle("run", RunState, RUN_EDGES)
STEP: Final = Lifecycle("step", StepState, STEP_EDGES)

#: Words that earlier systems had for the state of a run -> the state that stands for them. A run that waits for a
#: person is running here, with a step that is waiting.
ALIASES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("idle", "parsing", "validating", "building_graph", "scheduling"), R.PENDING.value),
    **dict.fromkeys(("executing", "awaiting_completion", "creating_checkpoint"), R.RUNNING.value),
    **dict.fromkeys(("restoring_checkpoint", "aggregating_results", "in_progress"), R.RUNNING.value),
    **dict.fromkeys(("planning", "plan_awaiting_approval", "plan_approved", "implementing"), R.RUNNING.value),
    **dict.fromkeys(("implementation_awaiting_approval", "implementation_approved"), R.RUNNING.value),
    **dict.fromkeys(("reviewing", "verifying"), R.RUNNING.value),
    **dict.fromkeys(("success", "succeeded"), R.COMPLETED.value),
    **dict.fromkeys(("canceled", "plan_rejected", "implementation_rejected"), R.CANCELLED.value),
}

#: Step states in which no work is owed: nothing is left to do unless the step is reset.
STEP_AT_REST: Final = frozenset(
    state for state in STEP.states if {edge.trigger for edge in STEP_EDGES if edge.source == state} == {"reset"}
)
#: Run states in which nothing happens by itself.
RUN_AT_REST: Final = RUN.terminal | {str(RunState.FAILED)}
