"""The names that expressions of a run may read: lazy mappings over its fold. Nothing is decoded before it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.plan import Plan
from statemachine_flow.stores.base import Store
from statemachine_flow.values import decode_value


def run_names(plan: Plan, fold: RunFold, store: Store, env: Mapping[str, str]) -> dict[str, Any]:
    """`inputs`, `steps`, `run` and `env`, as `when`, placeholders and the run's outputs see them."""
    definition = plan.definition
    return {
        "inputs": decode_value(fold.created.inputs),
        "steps": _Steps(plan, fold, store),
        "run": {"id": fold.id, "workflow": definition.name, "version": definition.version},
        "env": env,
    }


def step_output(step: StepFold, store: Store) -> Any:
    """A completed step's output, wherever it is kept."""
    if step.blob is not None:
        return decode_value(store.blob(step.blob))
    return None if step.output is None else decode_value(step.output)


@final
class _Steps(Mapping[str, "_Step"]):
    """`steps`: every step of the plan."""

    def __init__(self, plan: Plan, fold: RunFold, store: Store) -> None:
        self._plan = plan
        self._fold = fold
        self._store = store
        self._known: dict[str, _Step] = {}

    def __getitem__(self, step_id: str) -> _Step:
        if step_id not in self._plan.index:
            raise KeyError(step_id)
        step = self._known.get(step_id)
        if step is None:
            fold = self._fold.steps.get(step_id) or StepFold(step_id)
            step = self._known[step_id] = _Step(fold, self._plan[step_id].step.outputs, self._store)
        return step

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.index)

    def __len__(self) -> int:
        return len(self._plan.index)


_FIELDS: Final = ("output", "outputs", "state", "error")


@final
class _Step(Mapping[str, Any]):
    """`steps.<id>`: its output only once it completed, its state always."""

    def __init__(self, fold: StepFold, declared: Mapping[str, str], store: Store) -> None:
        self._fold = fold
        self._declared = declared
        self._store = store
        self._decoded: dict[str, Any] = {}

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
        if name not in self._decoded:
            self._decoded[name] = self._outputs() if name == "outputs" else step_output(self._fold, self._store)
        return self._decoded[name]

    def _outputs(self) -> Any:
        """What the step declares; without a declaration the keys of its output, or its items if it is a list."""
        if self._declared:
            return decode_value(self._fold.outputs) if self._fold.outputs is not None else {}
        output = self["output"]
        return output if isinstance(output, Mapping | list) else {}

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)
