"""Which name a document gives each function that a builder was handed: one name, one function."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from statemachine_flow.errors import UsageError
from statemachine_flow.functions import Function, name_of
from statemachine_flow.steps.call import name_fault

#: A longer name does not fit into a document.
_LONGEST: Final = 200


def name_functions(document: Mapping[str, Any]) -> dict[str, Function]:
    """Put names where a document holds functions, at every depth, and return the functions by name.

    Args:
        document: it is changed.

    Raises:
        UsageError: see `called_names`.

    Example:
        >>> document = {"steps": {"a": {"steps": {"b": {"call": lambda: None}}}}}
        >>> sorted(name_functions(document)), document["steps"]["a"]["steps"]["b"]["call"]
        (['a.b'], 'a.b')
    """
    places: dict[str, tuple[dict[str, Any], str]] = {}
    for path, step, key in _places(document):
        place = _short(path)
        while place in places:  # the step `verify` of a group, and the `verify` of that group
            place += "_"
        places[place] = (step, key)
    names = called_names({place: step.get(key) for place, (step, key) in places.items()})
    functions: dict[str, Function] = {}
    for place, name in names.items():
        step, key = places[place]
        functions[name], step[key] = step[key], name
    return functions


def _places(document: Mapping[str, Any], lead: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    for level, prefix in (("steps", ""), ("on_failure", "on_failure."), ("finally", "finally.")):
        if isinstance(document.get(level), Mapping):
            for step_id, step in document[level].items():
                yield from _places_of(step, f"{lead}{prefix}{step_id}")


def _places_of(step: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield path, step, "call"
    if "verify" in step:
        yield f"{path}.verify", step, "verify"
    if isinstance(step.get("compensate"), Mapping):
        yield from _places_of(step["compensate"], f"{path}.compensate")
    if isinstance(step.get("steps"), Mapping):
        for step_id, inner in step["steps"].items():
            yield from _places_of(inner, f"{path}.{step_id}")
    if isinstance(step.get("workflow"), Mapping):
        yield from _places(step["workflow"], f"{path}.")


def _short(path: str) -> str:
    if len(path) <= _LONGEST - len("_"):
        return path
    return f"{path[: _LONGEST // 2]}-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def called_names(given: Mapping[str, Function | str | None]) -> dict[str, str]:
    """The names of functions, by the places that brought them.

    It is `module:function` where importing that gives the function. Otherwise it is the function's own name, as long
    as nothing else in the workflow goes by it, and else the name of the place, which for a step is its id.

    Args:
        given: what stands at every place that may hold a function: a function, the name of one, or nothing.

    Raises:
        UsageError: a step names in text what is also the name of another step's function.

    Example:
        >>> def check(): ...
        >>> called_names({"a": check, "b": check, "c": lambda: None})
        {'a': 'check', 'b': 'check', 'c': 'c'}
    """
    written = {value: place for place, value in given.items() if isinstance(value, str)}
    called = {place: value for place, value in given.items() if callable(value)}
    own = {place: _own_name(function) or place for place, function in called.items()}
    # The name of a place counts as taken by its function, whatever that is called, for that is what it falls back to.
    users: dict[str, set[int]] = defaultdict(set)
    for place in given:
        function = called.get(place)
        users[place].add(id(function))
        users[own.get(place, place)].add(id(function))
    names: dict[str, str] = {}
    for place, function in called.items():
        is_free = len(users[own[place]]) == 1 and own[place] not in written
        name = own[place] if is_free else place
        importable = _importable_name(function)
        if importable is None and name in written:
            message = f"step {written[name]!r} calls {name!r}, which is also the name of the function of step {place!r}"
            raise UsageError(message, hint="hand the function itself to both, or give the step another id")
        names[place] = importable or name
    return names


def _importable_name(function: Function) -> str | None:
    name = name_of(function)
    return name if name is not None and name_fault(name) is None else None


def _own_name(function: Function) -> str | None:
    """The name a function has by itself, if it is a public one that a document can hold."""
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return None
    return name if name_fault(name) is None else None
