"""A whole workflow, and the policies that hold for all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import attrs
import msgspec

from statemachine_flow.model.inputs import Input
from statemachine_flow.model.kinds import LANGUAGE_VERSION, MAX_STEPS, Name, Seconds, WorkflowName
from statemachine_flow.model.step import RetryPolicy, Step
from statemachine_flow.model.tree import tree_of, with_order


@attrs.frozen(kw_only=True)
class Defaults:
    """What steps get that do not say otherwise."""

    retry: RetryPolicy | None = None
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class CheckpointPolicy:
    """How a run is kept."""

    #: When a snapshot of the run may be stored beside its journal.
    every: Literal["step", "level", "never"] = "step"
    #: `power` syncs every commit; `process` survives the death of the process, not that of the machine.
    durability: Literal["power", "process"] = "power"
    #: How many snapshots are kept.
    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50


@attrs.frozen(kw_only=True)
class Budget:
    """What the agents of a run may use up together; no agent is asked once it is reached."""

    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    tokens: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


@attrs.frozen(kw_only=True)
class Definition:
    """A workflow as it is run: checked, frozen, named by the hash of its content."""

    #: For people and for finding runs.
    name: WorkflowName
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    #: The step that a workflow of states begins with; a graph has none.
    start: str | None = None
    #: The author's own; runs are told apart by the content hash.
    version: str = "1.0.0"
    #: For people.
    description: str = ""
    inputs: Mapping[Name, Input] = attrs.field(factory=dict)
    defaults: Defaults = Defaults()
    #: How many steps may run at once; by default the executors' own limits count.
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    #: For the whole run, from its start, pauses included.
    timeout: Seconds | None = None
    #: Whether steps that do not depend on a failed one go on.
    continue_on_error: bool = False
    #: Whether `compensate` of completed steps is carried out when the run fails or is cancelled.
    compensate: bool = False
    checkpoint: CheckpointPolicy | None = None
    budget: Budget | None = None
    #: Steps that are carried out when the run is going to fail.
    on_failure: tuple[Step, ...] = ()
    #: Steps that are carried out last, however the run ends.
    finally_: tuple[Step, ...] = ()
    #: Name -> value or placeholder; computed when the run completes.
    outputs: Mapping[Name, Any] = attrs.field(factory=dict)

    def tree(self) -> dict[str, Any]:
        """The canonical document: plain data, defaults left out, `needs` sorted, durations as text."""
        return {"dsl": LANGUAGE_VERSION, **tree_of(self)}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical document, in hex: the same for TOML, YAML, JSON and Python.

        The order of steps counts, for it decides which of several ready steps begins first, and so does that of a
        matrix; the order inside every other mapping does not.
        """
        ordered = msgspec.json.encode(with_order(self.tree()), order="sorted")
        return hashlib.sha256(ordered).hexdigest()

    def step(self, step_id: str) -> Step:
        """The step with that id; KeyError if there is none."""
        return self._by_id[step_id]

    @cached_property
    def _by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}
