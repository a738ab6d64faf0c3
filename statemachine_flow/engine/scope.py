"""The names that expressions of a run may read: lazy mappings over its fold. Nothing is decoded before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.errors import ExpressionError
from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.plan import Plan
from statemachine_flow.stores.base import Store
from statemachine_flow.values import decode_value

#: Bytes that the values a run keeps decoded take encoded; decoded they take several times as much.
_KEPT_BYTES: Final = 1 << 22

#: The step, the attempt that made it, and which of its values; the run's own begin with "", which is no step.
_Key = tuple[str, int, str]
_INPUTS: Final[_Key] = ("", 0, "inputs")


@final
class RunNames:
    """Gives the names that expressions of one run may read; stays valid while the fold changes.

    Args:
        plan: the run's plan.
        fold: the run's fold.
        store: where large outputs are.
        env: the variables that expressions may read.
    """

    def __init__(self, plan: Plan, fold: RunFold, store: Store, env: Mapping[str, str]) -> None:
        self._plan = plan
        self._fold = fold
        self._store = store
        self._env = env
        self._decoded = _Decoded()

    def __call__(self) -> Mapping[str, Any]:
        """`inputs`, `steps`, `run` and `env`, as `when`, placeholders and the run's outputs see them.

        What is read stays decoded as long as the result is held, and beyond that for others if it is not too large:
        nobody may change it.
        """
        return _Names(
            {
                "inputs": self._inputs,
                "steps": lambda: _Steps(self._plan, self._fold, self._store, self._decoded),
                "run": self._run,
                "env": lambda: self._env,
            }
        )

    def _inputs(self) -> Any:
        return self._decoded.get(_INPUTS, lambda: self._fold.created.inputs)

    def _run(self) -> Mapping[str, str]:
        definition = self._plan.definition
        return {"id": self._fold.id, "workflow": definition.name, "version": definition.version}


@final
class _Decoded:
    """Values of one run, decoded: those that were read last, as many as fit."""

    def __init__(self) -> None:
        #: Key -> value and its encoded size; what was read last stands last.
        self._kept: dict[_Key, tuple[Any, int]] = {}
        self._size = 0

    def get(self, key: _Key, encoded: Callable[[], bytes | msgspec.Raw]) -> Any:
        """The value under a key, decoded from what `encoded` gives if it is not kept."""
        found = self._kept.pop(key, None)
        if found is None:
            data = encoded()
            found = decode_value(data), memoryview(data).nbytes
            if found[1] > _KEPT_BYTES:
                return found[0]
            self._size += found[1]
        self._kept[key] = found
        while self._size > _KEPT_BYTES:
            self._size -= self._kept.pop(next(iter(self._kept)))[1]
        return found[0]


@final
class _Names(Mapping[str, Any]):
    """Names whose values are made when they are read, once."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = makers
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def step_output(step: StepFold, store: Store) -> Any:
    """A completed step's output, wherever it is kept."""
    encoded = _encoded_output(step, store)
    return None if encoded is None else decode_value(encoded())


def _encoded_output(step: StepFold, store: Store) -> Callable[[], bytes | msgspec.Raw] | None:
    """How to get a completed step's output; None if it has none."""
    blob, output = step.blob, step.output
    if blob is not None:
        return lambda: store.blob(blob)
    return None if output is None else lambda: output


@final
class _Steps(Mapping[str, "_Step"]):
    """`steps`: every step of the plan."""

    def __init__(self, plan: Plan, fold: RunFold, store: Store, decoded: _Decoded) -> None:
        self._plan = plan
        self._fold = fold
        self._store = store
        self._decoded = decoded
        self._known: dict[str, _Step] = {}

    def __getitem__(self, step_id: str) -> _Step:
        if step_id not in self._plan.index:
            raise KeyError(step_id)
        step = self._known.get(step_id)
        if step is None:
            fold = self._fold.steps.get(step_id) or StepFold(step_id)
            step = self._known[step_id] = _Step(fold, self._plan[step_id].step.outputs, self._store, self._decoded)
        return step

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.index)

    def __len__(self) -> int:
        return len(self._plan.index)


_FIELDS: Final = ("output", "outputs", "state", "error")


@final
class _Step(Mapping[str, Any]):
    """`steps.<id>`: its output only once it completed, its state always."""

    def __init__(self, fold: StepFold, declared: Mapping[str, str], store: Store, decoded: _Decoded) -> None:
        self._fold = fold
        self._declared = declared
        self._store = store
        self._decoded = decoded
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name == "state":
            return self._fold.state
        if name == "error":
            error = self._fold.error
            return None if error is None else {"kind": error.kind, "name": error.name, "message": error.message}
        if name not in _FIELDS:
            raise KeyError(name)
        if self._fold.state != "completed":
            raise ExpressionError(
                f"step '{self._fold.id}' has no {name}: it is {self._fold.state}",
                kind="expression.undefined",
                hint="use default(..., value), or ask for its state",
            )
        if name not in self._read:
            self._read[name] = self._outputs() if name == "outputs" else self._output()
        return self._read[name]

    def _output(self) -> Any:
        data = _encoded_output(self._fold, self._store)
        return None if data is None else self._decoded.get((self._fold.id, self._fold.attempt, "output"), data)

    def _outputs(self) -> Any:
        """What the step declares; without a declaration the keys of its output, or its items if it is a list."""
        if self._declared:
            data = self._fold.outputs
            key = (self._fold.id, self._fold.attempt, "outputs")
            return {} if data is None else self._decoded.get(key, lambda: data)
        output = self["output"]
        return output if isinstance(output, Mapping | list) else {}

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)
