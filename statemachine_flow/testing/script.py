"""What the world does to a run, as data: how attempts end, what people decide, what is signalled.

A script speaks of steps by their paths: `fetch`, `ci/build`, `@finally/clean`; `review[a.py]` is one item of a loop and
`review` each of them; `deliver/send` is the step `send` of the child run that `deliver` starts. It is written in
Python, or as a document:

    safe = ["fetch"]

    [steps]
    fetch = [{ fail = "ConnectionError" }, { return = { x = 1 } }]
    gate = { decide = "approve", form = { note = "fine" }, takes = "2h" }
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast, final

import attrs

from statemachine_flow.builder import Workflow
from statemachine_flow.compiler import read_file
from statemachine_flow.durations import parse_duration
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.model import Step
from statemachine_flow.steps.approval import Approval
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait
from statemachine_flow.testing.outcomes import Decide, Exit, Fail, Outcome, Return, Signal
from statemachine_flow.testing.places import Places, without_items

#: Key of a document -> the outcome, and the field that the key's value fills.
_FORMS: Final[Mapping[str, tuple[type[Any], str]]] = {
    "return": (Return, "value"),
    "fail": (Fail, "name"),
    "exit": (Exit, "status"),
    "stdout": (Exit, "stdout"),
    "stderr": (Exit, "stderr"),
    "signal": (Signal, "payload"),
    "decide": (Decide, "choice"),
}
_FIELDS: Final[Mapping[str, str]] = {"is": "is_"}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "message", "stdout", "stderr", "choice", "by", "reason"), (str,)),
    **dict.fromkeys(("status", "tokens"), (int,)),
    "cost_usd": (int, float),
    "form": (Mapping,),
    "is_": (list, tuple),
}


@final
@attrs.frozen
class Script:
    """Everything that a run does not decide itself; of what it does not speak, bodies are carried out as they are.

    Example:
        >>> script = Script.of({"fetch": [Fail("ConnectionError"), Return(1)], "gate": {"decide": "approve"}})
        >>> script.outcome("fetch", 1), script.outcome("fetch", 3)
        (Fail(name='ConnectionError', message='', is_=(), takes=0.0, found=None), Return(value=1, ...))
        >>> script.outcome("other", 1) is None
        True
    """

    #: Path -> what happens the first, the second, ... time; the last one happens from then on.
    steps: Mapping[str, tuple[Outcome, ...]] = attrs.field(factory=dict)
    #: Paths of steps whose bodies may begin twice without harm.
    safe: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Script | Mapping[str, Any] | str | Path | None) -> Script:
        """A script from what a caller has: one already, outcomes by path, or the path of a document.

        Raises:
            DefinitionError: with everything that is wrong with it.
        """
        if given is None:
            return cls()
        if isinstance(given, Script):
            return given
        reader = _Reader()
        if isinstance(given, Mapping):
            script = reader.script({"steps": given})
        else:
            tree, reader.source = read_file(Path(given))
            script = reader.script(tree)
        if reader.problems:
            raise DefinitionError(reader.problems)
        return script

    def outcome(self, path: str, number: int) -> Outcome | None:
        """What happens to a step the n-th time; None where the script does not say.

        Args:
            path: of the step, or of one item.
            number: counts from 1; an attempt that was cut off does not count.
        """
        outcomes = self.steps.get(path) or self.steps.get(without_items(path))
        return outcomes[min(number, len(outcomes)) - 1] if outcomes else None

    def is_safe(self, path: str) -> bool:
        """Whether the script says that the body of a step may begin twice."""
        return path in self.safe or without_items(path) in self.safe

    def check(self, workflow: Workflow, workflows: Mapping[str, Any] | None = None) -> None:
        """Hold the script against the workflow it is for.

        Args:
            workflow: what is run.
            workflows: name -> what `workflow` steps start by that name.

        Raises:
            DefinitionError: `definition.unknown_step` for paths that lead to no step, `definition.type` for outcomes
                that its verb cannot have, `definition.range` for choices that an approval does not have.
        """
        places = Places(workflow, workflows)
        problems = list[Problem]()
        for path in (*self.steps, *self.safe):
            step = places.step(path)
            if step is None:
                message = f"the workflow has no step {path[:200]!r}"
                problems.append(Problem(kind="definition.unknown_step", message=message, path=f"steps.{path}"))
                continue
            for outcome in self.steps.get(path, ()):
                if (fault := _fault(step, outcome)) is not None:
                    problems.append(Problem(kind=fault[0], message=fault[1], path=f"steps.{path}"))
        if problems:
            raise DefinitionError(problems)


def _fault(step: Step, outcome: Outcome) -> tuple[str, str] | None:
    """Why a step cannot end like that: kind and sentence; None if it can."""
    verb, said = step.verb, type(outcome).__name__.lower()
    fits: bool
    if isinstance(outcome, Decide):
        fits = isinstance(verb, Approval)
        if isinstance(verb, Approval) and outcome.choice not in verb.choices:
            return "definition.range", f"'{outcome.choice}' is none of the choices: {', '.join(verb.choices)}"
    elif isinstance(outcome, Signal):
        fits = isinstance(verb, Wait) and verb.wait.event is not None
    else:
        fits = isinstance(verb, Run) if isinstance(outcome, Exit) else verb.is_body
    return None if fits else ("definition.type", f"a step with `{verb.key}` cannot end with `{said}`")


class _Reader:
    """Makes outcomes of plain data, and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.source: Any = None

    def script(self, tree: Mapping[str, Any]) -> Script:
        for key in tree.keys() - {"steps", "safe"}:
            self._wrong("definition.unknown_field", f"a script has no field {key!r}", (key,), "fields: steps, safe")
        steps, safe = tree.get("steps", {}), tree.get("safe", [])
        if not isinstance(steps, Mapping):
            self._wrong("definition.type", "`steps` is a mapping of outcomes by path", ("steps",))
            steps = {}
        if not isinstance(safe, list | tuple) or not all(isinstance(path, str) for path in safe):
            self._wrong("definition.type", "`safe` is a list of paths", ("safe",))
            safe = ()
        return Script({path: tuple(self._outcomes(path, given)) for path, given in steps.items()}, tuple(safe))

    def _outcomes(self, path: str, given: Any) -> Iterator[Outcome]:
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        if is_list and not given:
            self._wrong("definition.range", "a list of outcomes has at least one", ("steps", path))
        for number, one in enumerate(given if is_list else [given]):
            place = ("steps", path, number) if is_list else ("steps", path)
            outcome = one if isinstance(one, Outcome) else self._outcome(one, place)
            if outcome is not None:
                yield outcome

    def _outcome(self, given: Any, place: tuple[str | int, ...]) -> Outcome | None:
        hint = f"an outcome is a mapping with one of: {', '.join(_FORMS)}"
        if not isinstance(given, Mapping):
            self._wrong("definition.type", f"a value of the type {type(given).__name__} is no outcome", place, hint)
            return None
        kinds = {_FORMS[key][0] for key in given if key in _FORMS}
        if len(kinds) != 1:
            self._wrong("definition.verb", f"an outcome is one thing, not {len(kinds)}", place, hint)
            return None
        (kind,) = kinds
        known = {field.name for field in attrs.fields(kind)}
        values: dict[str, Any] = {}
        for key, value in given.items():
            name: str = _FORMS[key][1] if key in _FORMS else _FIELDS.get(key, key)
            if name not in known:
                self._wrong(
                    "definition.unknown_field", f"`{kind.__name__.lower()}` has no field {key!r}", (*place, key)
                )
            else:
                values[name] = self._value(name, value, (*place, key))
        return cast(Outcome, kind(**values))

    def _value(self, name: str, value: Any, place: tuple[str | int, ...]) -> Any:
        if name == "takes":
            return self._seconds(value, place)
        if name == "found" and value not in ("completed", "failed", "retry"):
            self._wrong("definition.range", "somebody finds out: completed, failed or retry", place)
        types = _TYPES.get(name)
        if types is not None and (not isinstance(value, types) or isinstance(value, bool)):
            self._wrong("definition.type", f"a value of the type {type(value).__name__} does not fit here", place)
        return tuple(value) if name == "is_" and isinstance(value, list) else value

    def _seconds(self, value: Any, place: tuple[str | int, ...]) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self._wrong("definition.range", str(error), place)
            return 0.0

    def _wrong(self, kind: str, message: str, path: tuple[str | int, ...], hint: str | None = None) -> None:
        if self.source is not None:
            self.problems.append(self.source.problem(kind, message, path, of="value", hint=hint))
        else:
            self.problems.append(Problem(kind=kind, message=message, path=".".join(map(str, path)), hint=hint))
