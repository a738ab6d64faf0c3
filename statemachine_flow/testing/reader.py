"""From plain data to outcomes, with everything that is wrong with it and where that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast, final

import attrs

from statemachine_flow.compiler.problems import Problems, shown
from statemachine_flow.compiler.source import Path, Source
from statemachine_flow.compiler.suggest import field_hint
from statemachine_flow.errors import DefinitionError
from statemachine_flow.testing.outcomes import Decide, Exit, Fail, Outcome, Return, Signal

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
#: Field -> its key, where that is another.
_KEYS: Final[Mapping[str, str]] = {"is_": "is"}
_SCRIPT_FIELDS: Final = ("steps", "safe")


@attrs.frozen
class Origin:
    """Where the parts of a script were written."""

    #: The document; None for a script that was made in Python.
    source: Source | None = None
    #: Path of a step, and number of one of its outcomes from 0 -> the way to it.
    outcomes: Mapping[tuple[str, int], Path] = attrs.field(factory=dict)

    def outcome(self, path: str, number: int) -> Path:
        """The way to an outcome."""
        return self.outcomes.get((path, number), ("steps", path))


@attrs.frozen
class Read:
    """What was read."""

    steps: Mapping[str, tuple[Outcome, ...]]
    safe: tuple[str, ...]
    origin: Origin
    problems: Problems


def read_script(tree: Mapping[Any, Any], source: Source | None) -> Read:
    """Make outcomes of plain data.

    Args:
        tree: `steps` and `safe`; outcomes may be there as values already.
        source: the text that it was read from.

    Example:
        >>> found = read_script({"steps": {"a": {"return": 1}, "b": {"retrun": 1}}}, None)
        >>> found.steps["a"], [problem.path for problem in found.problems.found]
        ((Return(value=1, ...),), ['steps.b'])
    """
    return _Reader(source).script(tree)


@final
class _Reader:
    def __init__(self, source: Source | None) -> None:
        self._source = source
        self._problems = Problems(source)
        self._places: dict[tuple[str, int], Path] = {}

    def script(self, tree: Mapping[Any, Any]) -> Read:
        for key in tree:
            if key not in _SCRIPT_FIELDS:
                hint = field_hint(str(key), _SCRIPT_FIELDS)
                self._wrong("definition.unknown_field", f"a script has no field {shown(str(key))}", (str(key),), hint)
        steps, safe = tree.get("steps", {}), tree.get("safe", ())
        if not isinstance(steps, Mapping):
            self._wrong("definition.type", "`steps` is a mapping of outcomes by path", ("steps",))
            steps = {}
        if not isinstance(safe, list | tuple) or not all(isinstance(path, str) for path in safe):
            self._wrong("definition.type", "`safe` is a list of paths", ("safe",))
            safe = ()
        outcomes = {path: tuple(self._outcomes(path, given)) for path, given in steps.items() if self._is_path(path)}
        return Read(outcomes, tuple(safe), Origin(self._source, self._places), self._problems)

    def _is_path(self, path: Any) -> bool:
        if isinstance(path, str):
            return True
        message = f"the path of a step is text, not a value of the type {type(path).__name__}"
        self._wrong("definition.type", message, ("steps", str(path)))
        return False

    def _outcomes(self, path: str, given: Any) -> Iterator[Outcome]:
        is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        if is_list and not given:
            self._wrong("definition.range", "a list of outcomes has at least one", ("steps", path))
        good = 0
        for number, one in enumerate(given if is_list else [given]):
            place: Path = ("steps", path, number) if is_list else ("steps", path)
            outcome = one if isinstance(one, Outcome) else self._outcome(one, place)
            if outcome is not None:
                self._places[path, good] = place
                good += 1
                yield outcome

    def _outcome(self, given: Any, place: Path) -> Outcome | None:
        hint = f"an outcome is a mapping with one of: {', '.join(_FORMS)}"
        if not isinstance(given, Mapping):
            self._wrong("definition.type", f"a value of the type {type(given).__name__} is no outcome", place, hint)
            return None
        kinds = {_FORMS[key][0] for key in given if key in _FORMS}
        if len(kinds) != 1:
            self._wrong("definition.verb", f"an outcome is one thing, not {len(kinds)}", place, hint)
            return None
        (kind,) = kinds
        values: dict[str, Any] = {}
        before = len(self._problems.found)
        for key, value in given.items():
            self._field(kind, key, value, (*place, str(key)), values)
        if len(self._problems.found) > before:
            return None
        return cast("Outcome | None", self._checked(lambda: kind(**values), place))

    def _field(self, kind: type[Any], key: Any, value: Any, place: Path, values: dict[str, Any]) -> None:
        """Take over one field of an outcome."""
        keys = _keys_of(kind)
        if key not in keys:
            message = f"`{kind.__name__.lower()}` has no field {shown(str(key))}"
            self._wrong("definition.unknown_field", message, place, field_hint(str(key), keys), of_key=True)
            return
        name = keys[key]
        check = cast("Callable[[Any], Any] | None", attrs.fields_dict(kind)[name].converter)
        values[name] = value if check is None else self._checked(lambda: check(value), place)

    def _checked(self, make: Callable[[], Any], place: Path) -> Any:
        """What is made, or None, with what is wrong noted."""
        try:
            return make()
        except DefinitionError as error:
            for problem in error.problems:
                self._wrong(problem.kind, problem.message, place, problem.hint)
        return None

    def _wrong(self, kind: str, message: str, path: Path, hint: str | None = None, *, of_key: bool = False) -> None:
        self._problems.add(kind, message, path, about_key=of_key, hint=hint)


def _keys_of(kind: type[Any]) -> dict[str, str]:
    """Key of a document -> field, for one sort of outcome.

    Example:
        >>> _keys_of(Signal)
        {'signal': 'payload', 'takes': 'takes'}
    """
    keys = {name: key for key, (owner, name) in _FORMS.items() if owner is kind}
    return {keys.get(field.name) or _KEYS.get(field.name, field.name): field.name for field in attrs.fields(kind)}
