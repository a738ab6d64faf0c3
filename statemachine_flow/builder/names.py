"""Which name a document gives each function that a builder was handed: one name, one function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from statemachine_flow.errors import UsageError
from statemachine_flow.functions import Function, name_of
from statemachine_flow.steps.call import name_fault


def called_names(steps: Mapping[str, Mapping[str, Any]], called: Mapping[str, Function]) -> dict[str, str]:
    """The names of functions, by the steps that brought them.

    It is `module:function` where importing that gives the function. Otherwise it is the function's own name, as long
    as nothing else in the workflow goes by it, and else the id of the step.

    Args:
        steps: every step of the document.
        called: the functions that were handed in, by step.

    Raises:
        UsageError: a step names in text what is also the name of another step's function.

    Example:
        >>> def check(): ...
        >>> called_names({"a": {}, "b": {}, "c": {}}, {"a": check, "b": check, "c": lambda: None})
        {'a': 'check', 'b': 'check', 'c': 'c'}
    """
    written = {str(step.get("call")): step_id for step_id, step in steps.items() if step_id not in called}
    own = {step_id: _own_name(function) or step_id for step_id, function in called.items()}
    # A step's id counts as taken by its function, whatever that is called, for it is what the function falls back to.
    users: dict[str, set[int]] = defaultdict(set)
    for step_id in steps:
        function = called.get(step_id)
        users[step_id].add(id(function))
        users[own.get(step_id, step_id)].add(id(function))
    names: dict[str, str] = {}
    for step_id, function in called.items():
        is_free = len(users[own[step_id]]) == 1 and own[step_id] not in written
        name = own[step_id] if is_free else step_id
        importable = _importable_name(function)
        if importable is None and name in written:
            message = f"step {written[name]!r} calls {name!r}, which is also the name of the function of step {name!r}"
            raise UsageError(message, hint="hand the function itself to both, or give the step another id")
        names[step_id] = importable or name
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
