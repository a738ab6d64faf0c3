"""The names that expressions of a run may read: lazy mappings over its fold. Nothing is decoded before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, final

from statemachine_flow.engine.results import BlobSource, Decoded, Results
from statemachine_flow.errors import ExpressionError, StepError
from statemachine_flow.journal import RunFold, StepFold
from statemachine_flow.plan import Level, Node, Plan, PlannedStep, Scope
from statemachine_flow.secrets import Redactor, SecretSource
from statemachine_flow.values import decode_value, encode_value

_INPUTS: Final = ("", 0, "inputs")
_Makers = dict[str, Callable[[], Any]]


@final
class RunNames:
    """Gives the names that expressions of one run may read; stays valid while the fold changes.

    Args:
        plan: the run's plan.
        fold: the run's fold.
        store: where large outputs are.
        env: the variables that expressions may read.
        secrets: where values come from that are never stored.
    """

    def __init__(
        self, plan: Plan, fold: RunFold, store: BlobSource, env: Mapping[str, str], secrets: SecretSource | None = None
    ) -> None:
        self._plan = plan
        self._fold = fold
        self._env = env
        self._secrets = secrets or SecretSource()
        self._decoded = Decoded()
        self.results = Results(fold, store, self._decoded)
        self._secret_inputs = [name for name, declared in plan.definition.inputs.items() if declared.secret]
        self._redactors: dict[tuple[str, ...], Redactor] = {}

    def __call__(
        self, node: Node | None = None, extra: Mapping[str, Any] | None = None, own: StepFold | None = None
    ) -> Mapping[str, Any]:
        """What an expression sees.

        Args:
            node: the step it belongs to; None for the run's outputs.
            extra: further names, such as `result`.
            own: what the step itself is to look like, before that is recorded.

        Returns:
            A mapping whose values are made when they are read. What is read stays decoded as long as the result is
            held, and beyond that for others if it is not too large: nobody may change it.
        """
        return _Names(lambda: self._makers(node, own), extra)

    def _makers(self, node: Node | None, own: StepFold | None) -> _Makers:
        makers: _Makers = {"inputs": self._inputs, "run": self._run, "env": lambda: self._env}
        if node is None:
            makers["steps"] = lambda: _Steps([(self._plan.level, "")], self.results, None, None)
        else:
            self._add_names_of(node.reader or node, makers, own)
            if node.step.step.secrets:
                makers["secrets"] = lambda: self.secrets_of(node)
        if self._fold.unwinding is not None:
            makers["error"] = self._error
        return makers

    def _add_names_of(self, node: Node, makers: _Makers, own: StepFold | None) -> None:
        chain: list[tuple[Level, str]] = []
        around: list[Node] = [node]
        current: Node | None = node
        while current is not None:
            current = current.reader or current  # what undoes a step reads what that step may read
            scope = current.scope
            if scope.kind == "items":
                _bind_item(current, scope, makers)
            layer: Scope | None = scope
            while layer is not None:  # handlers see the steps of the workflow as well
                if layer.level is not None:
                    chain.append((layer.level, layer.prefix))
                layer = layer.outer if layer.node is None else None
            current = scope.node
            if current is not None:
                around.append(current)
        makers["steps"] = lambda: _Steps(chain, self.results, node.path if own is not None else None, own)
        makers["previous"] = lambda: self._previous(_repeated(around))
        makers["round"] = lambda: self._round(_repeated(around))
        makers["feedback"] = lambda: self._feedback(around)

    def _inputs(self) -> Any:
        stored = self._decoded.get(_INPUTS, lambda: self._fold.created.inputs)
        if not self._secret_inputs:
            return stored
        values = {name: value for name, value in stored.items() if name not in self._secret_inputs}
        for name in self._secret_inputs:
            if stored.get(name) is None:
                values[name] = None
        makers: _Makers = {name: lambda name=name: values[name] for name in values}  # type: ignore[misc]  # a default
        for name in self._secret_inputs:
            if name not in values:
                makers[name] = lambda name=name: self._secrets.value(self._fold.id, name)  # type: ignore[misc]  # as above
        return _Names(lambda: makers)

    def secrets_of(self, node: Node) -> dict[str, str]:
        """The secrets that a step declares.

        Raises:
            StepError: `step.secret`: one of them cannot be had.
        """
        return {name: self._secrets.value(self._fold.id, name) for name in node.step.step.secrets}

    def has_secrets(self, node: Node) -> bool:
        """Whether an attempt of the step could get hold of a secret."""
        return bool(self._secret_inputs or node.step.step.secrets)

    def known_secrets(self, node: Node) -> list[str]:
        """Every secret value that an attempt of the step could get hold of."""
        names = (*self._given_secrets(), *node.step.step.secrets)
        return [self._secrets.value(self._fold.id, name) for name in names]

    def _given_secrets(self) -> list[str]:
        """The secret inputs that the run was given."""
        given = decode_value(self._fold.created.inputs) if self._secret_inputs else {}
        return [name for name in self._secret_inputs if given.get(name) is not None]

    def redactor(self, secrets: tuple[str, ...]) -> Redactor:
        """What keeps these secrets out; making one takes a while."""
        if secrets not in self._redactors:
            self._redactors[secrets] = Redactor(secrets)
        return self._redactors[secrets]

    def hide(self, value: Any) -> Any:
        """What is recorded of a value that no attempt gave: the run's secrets are left out, as far as known here.

        Raises:
            StepError: `step.secret`: what stands for a secret input in the environment cannot be a secret.
        """
        if not self._secret_inputs and not self._plan.secrets:
            return value
        found = [self._secrets.find(self._fold.id, name) for name in self._given_secrets()]
        found += [self._usable(name) for name in self._plan.secrets]
        secrets = tuple(dict.fromkeys(secret for secret in found if secret is not None))
        return self.redactor(secrets).value(value) if secrets else value

    def hide_encoded(self, data: bytes) -> bytes:
        """`hide`, for a value that is encoded already."""
        has_secrets = self._secret_inputs or self._plan.secrets
        return encode_value(self.hide(decode_value(data))) if has_secrets and data else data

    def _usable(self, name: str) -> str | None:
        """The value of a step's secret; None if there is none, or one that no step could be given."""
        try:
            return self._secrets.find(self._fold.id, name)
        except StepError:
            return None

    def _run(self) -> Mapping[str, str]:
        definition = self._plan.definition
        return {"id": self._fold.id, "workflow": definition.name, "version": definition.version}

    def _error(self) -> Any:
        unwinding = self._fold.unwinding
        error = unwinding.error if unwinding is not None else None
        if error is None:
            return None
        return {"kind": error.kind, "name": error.name, "message": error.message, "step": error.step}

    def _previous(self, node: Node) -> Any:
        step = self._fold.steps.get(node.path)
        if step is None or (node.step.step.repeat is not None and step.round == 1):
            return None
        return self.results.previous(step)

    def _round(self, node: Node) -> int:
        step = self._fold.steps.get(node.path)
        if step is None:
            return 1
        if node.step.step.repeat is not None:
            return step.round
        return step.generation if node.scope.kind == "states" else 1

    def _feedback(self, around: list[Node]) -> Any:
        for node in around:
            step = self._fold.steps.get(node.path)
            if step is not None and step.feedback is not None:
                return decode_value(step.feedback)
        return None


def _repeated(around: list[Node]) -> Node:
    """The innermost step around that is carried out again and again, by rounds or by a token; else the step itself."""
    for node in around:
        if (node.step.step.repeat is not None and not node.is_loop) or node.scope.kind == "states":
            return node
    return around[0]


def _bind_item(node: Node, scope: Scope, makers: _Makers) -> None:
    each = node.step.step.for_each
    name = each.as_ if each is not None else "matrix"
    makers.setdefault(name, lambda: scope.items[node.place])
    makers.setdefault("index", lambda: node.place)


@final
class _Names(Mapping[str, Any]):
    """Names whose values are made when they are read, once; most steps read none.

    Args:
        makers: gives, for each name, what makes its value.
        extra: names whose values are there already; they win.
    """

    __slots__ = ("_found", "_made", "_make")

    def __init__(self, makers: Callable[[], _Makers], extra: Mapping[str, Any] | None = None) -> None:
        self._make = makers
        self._found: _Makers | None = None
        self._made: dict[str, Any] = dict(extra) if extra else {}

    @property
    def _makers(self) -> _Makers:
        if self._found is None:
            self._found = self._make()
        return self._found

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._makers, *self._made]))

    def __len__(self) -> int:
        return len(self._makers.keys() | self._made.keys())


@final
class _Steps(Mapping[str, "_Step"]):
    """`steps`: every step of the reader's level, then of those around it."""

    def __init__(
        self, chain: list[tuple[Level, str]], results: Results, own_path: str | None, own: StepFold | None
    ) -> None:
        self._chain = chain
        self._results = results
        self._own_path = own_path
        self._own = own
        self._known: dict[str, _Step] = {}

    def __getitem__(self, step_id: str) -> _Step:
        step = self._known.get(step_id)
        if step is None:
            step = self._known[step_id] = self._find(step_id)
        return step

    def _find(self, step_id: str) -> _Step:
        for level, prefix in self._chain:
            planned = level.get(step_id)
            if planned is not None:
                path = prefix + step_id
                fold = self._own if self._own is not None and path == self._own_path else self._results.fold_of(path)
                return _Step(planned, fold, self._results)
        raise KeyError(step_id)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(step_id for level, _ in self._chain for step_id in level.index))

    def __len__(self) -> int:
        return len(list(iter(self)))


_FIELDS: Final = ("output", "outputs", "state", "error")


@final
class _Step(Mapping[str, Any]):
    """`steps.<id>`: its output only once it completed, its state always."""

    def __init__(self, planned: PlannedStep, fold: StepFold, results: Results) -> None:
        self._planned = planned
        self._fold = fold
        self._results = results
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
                f"step '{self._planned.id}' has no {name}: it is {self._fold.state}",
                kind="expression.undefined",
                hint="use default(..., value), or ask for its state",
            )
        if name not in self._read:
            results, planned = self._results, self._planned
            read = results.outputs if name == "outputs" else results.output
            self._read[name] = read(planned, self._fold, is_loop=planned.is_loop)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)
