"""What steps of a run gave: outputs decoded from its fold, those of groups and loops put together from their parts.

The result of a group or loop is kept once, in the steps that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, final

import msgspec

from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.plan import PlannedStep
from statemachine_flow.plan.nodes import item_path
from statemachine_flow.values import decode_value

#: Bytes that the values a run keeps decoded take encoded; decoded they take several times as much.
_KEPT_BYTES: Final = 1 << 22

#: The step, the attempt that made it, and which of its values; the run's own begin with "", which is no step.
_Key = tuple[str, int, str]


class BlobSource(Protocol):
    """Where large outputs are: a store, or what stands before one."""

    def blob(self, digest: str) -> bytes:
        """See `Store.blob`."""


@final
class Decoded:
    """Values of one run, decoded: those that were read last, as many as fit."""

    def __init__(self) -> None:
        #: Key -> value and its encoded size; what was read last stands last.
        self._kept: dict[_Key, tuple[Any, int]] = {}
        self._size = 0

    def get(self, key: _Key, encoded: Callable[[], bytes | msgspec.Raw]) -> Any:
        """The value under a key, decoded from what `encoded` gives if it is not kept."""

        def make() -> tuple[Any, int]:
            data = encoded()
            return decode_value(data), memoryview(data).nbytes

        return self.made(key, make)

    def made(self, key: _Key, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value under a key, made with its size if it is not kept."""
        found = self._kept.pop(key, None)
        if found is None:
            found = make()
            if found[1] > _KEPT_BYTES:
                return found[0]
            self._size += found[1]
        self._kept[key] = found
        while self._size > _KEPT_BYTES:
            self._size -= self._kept.pop(next(iter(self._kept)))[1]
        return found[0]


@final
class Results:
    """Outputs of the steps of one run.

    Args:
        fold: the run's fold.
        store: where large outputs are.
        decoded: keeps what was read.
    """

    def __init__(self, fold: RunFold, store: BlobSource, decoded: Decoded | None = None) -> None:
        self._fold = fold
        self._store = store
        self._decoded = decoded or Decoded()

    def fold_of(self, path: str) -> StepFold:
        """What is known of a step."""
        return self._fold.steps.get(path) or StepFold(path)

    def output(self, planned: PlannedStep, step: StepFold, *, is_loop: bool) -> Any:
        """The whole output of a completed step; None for a step that did not complete.

        Args:
            planned: the step.
            step: its fold.
            is_loop: whether all its items are meant.
        """
        if step.state != "completed":
            return None
        if not is_loop and planned.level is None:
            return self._own_output(step)
        key = (step.id, step.attempt, "output")
        return self._decoded.made(key, lambda: self._assembled(planned, step, is_loop=is_loop))

    def _assembled(self, planned: PlannedStep, step: StepFold, *, is_loop: bool) -> tuple[Any, int]:
        if is_loop:
            items = [self.fold_of(path) for path in item_paths(step)]
            size = sum(map(_size, items))
            return [self.output(planned, item, is_loop=False) for item in items], size
        assert planned.level is not None  # noqa: S101 - nothing else is put together
        inner = [(inner, self.fold_of(f"{step.id}/{inner.id}")) for inner in planned.level.steps]
        completed = [(inner, fold) for inner, fold in inner if fold.state == "completed"]
        size = sum(_size(fold) for _, fold in completed)
        return {inner.id: self.output(inner, fold, is_loop=inner.is_loop) for inner, fold in completed}, size

    def _own_output(self, step: StepFold) -> Any:
        blob, output = step.blob, step.output
        key = (step.id, step.attempt, "output")
        if blob is not None:
            return self._decoded.get(key, lambda: self._store.blob(blob))
        return None if output is None else self._decoded.get(key, lambda: output)

    def outputs(self, planned: PlannedStep, step: StepFold, *, is_loop: bool) -> Any:
        """What a completed step declares; without a declaration the keys of its output, or its items."""
        if planned.step.outputs and is_loop:
            items = (self.fold_of(path) for path in item_paths(step))
            return [self.declared(item) if item.state == "completed" else None for item in items]
        if planned.step.outputs:
            return self.declared(step)
        output = self.output(planned, step, is_loop=is_loop)
        return output if isinstance(output, Mapping | list) else {}

    def declared(self, step: StepFold) -> Any:
        """The outputs that a step declares, as they were computed when it completed."""
        data = step.outputs
        return {} if data is None else self._decoded.get((step.id, step.attempt, "outputs"), lambda: data)

    def previous(self, step: StepFold) -> Any:
        """What the step gave in its generation before; None in its first."""
        blob, output = step.previous_blob, step.previous
        key = (step.id, step.generation, f"previous {step.round}")
        if blob is not None:
            return self._decoded.get(key, lambda: self._store.blob(blob))
        return None if output is None else self._decoded.get(key, lambda: output)


def item_paths(step: StepFold) -> list[str]:
    """The paths of the items of a loop, in their order; none before it has begun."""
    keys = step.waits.keys if step.waits is not None else None
    return [item_path(step.id, key) for key in keys or ()]


def _size(step: StepFold) -> int:
    """How large a step's own output is encoded; one in a blob, or put together itself, is taken to be large."""
    if step.blob is not None:
        return _KEPT_BYTES
    return 64 if step.output is None else memoryview(step.output).nbytes
