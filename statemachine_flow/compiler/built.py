"""Takes a document built in Python instead of read from text: makes sure that it is plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from statemachine_flow.compiler.plain import Fault, Limits, fault_of, refuse
from statemachine_flow.compiler.source import Path, dotted
from statemachine_flow.errors import Problem

#: Ends the walk through a value that holds itself many times over.
_MOST_NODES: Final = 1_000_000
_LIMITS: Final = Limits(max_nodes=_MOST_NODES)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def take_built(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as a dict, once everything in it is known to be plain data.

    Raises:
        DefinitionError: with every value that is not; subclasses of the plain types are not.

    Example:
        >>> take_built({"dsl": "1", "name": ("a", "b")})
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.DefinitionError: definition.type: a tuple is no plain data (at name)
    """
    data = dict(document)
    faults: list[tuple[Path, Fault]] = []
    nodes = 1
    containers: list[tuple[Path, Any]] = [((), data)]
    for path, container in containers:  # grows while it is walked: breadth first, without recursion
        nodes += len(container)
        if nodes > _MOST_NODES:
            faults.append((path, _LIMITS.too_many))
            break
        for key, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) in (dict, list):
                if len(path) + 2 > _LIMITS.max_depth:
                    faults.append(((*path, key), _LIMITS.too_deep))
                else:
                    containers.append(((*path, key), value))
            elif fault := _fault(value):
                faults.append(((*path, key), fault))
            if type(container) is dict and (fault := _key_fault(key)):
                faults.append((path, fault))
    refuse(
        Problem(kind=fault.kind, message=fault.message, path=dotted(path), hint=fault.hint) for path, fault in faults
    )
    return data


def _fault(value: object) -> Fault | None:
    if type(value) in _PLAIN:
        return fault_of(value)
    return Fault("definition.type", f"a {type(value).__name__} is no plain data")


def _key_fault(key: object) -> Fault | None:
    if type(key) is str:
        return fault_of(key)
    return Fault("definition.type", f"a key is text, not a {type(key).__name__}")
