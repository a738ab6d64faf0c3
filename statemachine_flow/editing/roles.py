"""What a mapping of a document is - a workflow, a level of steps, a step - and how its parts follow from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from statemachine_flow.compiler.source import Path
from statemachine_flow.compiler.write import in_reading_order

#: `fields`: a mapping that stands in a table of its own in TOML, however short it is; `data`: anything else.
Role = Literal["document", "level", "step", "fields", "data"]

_DOCUMENT: Final[Mapping[str, Role]] = {
    "inputs": "fields",
    "outputs": "fields",
    "steps": "level",
    "on_failure": "level",
    "finally": "level",
}
_STEP: Final[Mapping[str, Role]] = {"steps": "level", "workflow": "document", "compensate": "step"}


def role_of(role: Role, key: str | int) -> Role:
    """What stands under `key` of something with that role."""
    if role == "level":
        return "step"
    if isinstance(key, str):
        if role == "document":
            return _DOCUMENT.get(key, "data")
        if role == "step":
            return _STEP.get(key, "data")
    return "data"


def role_at(path: Path) -> Role:
    """What stands at a path of a document.

    Example:
        >>> role_at(("steps", "ci", "steps")), role_at(("steps", "ci", "with", "steps"))
        ('level', 'data')
    """
    role: Role = "document"
    for part in path:
        role = role_of(role, part)
    return role


def levels(tree: Any, role: Role = "document", path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every level of steps in a document, the outer ones first, however it is written."""
    if role == "level":
        yield path, tree
    if role == "data" or not isinstance(tree, Mapping | list):
        return
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from levels(value, role_of(role, key), (*path, key))


def in_order(tree: Any, role: Role = "document") -> Any:
    """A document with its fields in the order for reading, and with steps by id where it lists them.

    Example:
        >>> in_order({"steps": [{"run": "true", "needs": [], "id": "a"}], "dsl": "1"})
        {'dsl': '1', 'steps': {'a': {'needs': [], 'run': 'true'}}}
    """
    if role == "level" and isinstance(tree, list):
        tree = {step["id"]: {key: value for key, value in step.items() if key != "id"} for step in tree}
    if role in ("data", "fields") or not isinstance(tree, Mapping):
        return tree
    fields = {key: in_order(value, role_of(role, key)) for key, value in tree.items()}
    # What is no field of the language comes last.
    return {**in_reading_order(fields, role), **fields} if role in ("document", "step") else fields


def by_id(path: Path, tree: Any) -> Path:
    """A path with ids in the place of indexes where a document lists its steps."""
    role: Role = "document"
    named: Path = ()
    is_listed = False
    for part in path:
        if is_listed and part == "id":
            return named  # it is the step's key now
        below = tree[part]
        is_listed = role == "level" and isinstance(part, int)
        named = (*named, below["id"] if is_listed else part)
        role, tree = role_of(role, part), below
    return named


def listed_steps_have_ids(tree: Any) -> bool:
    """Whether each listed step has an id of its own, so that they can be told apart by it."""
    for _, level in levels(tree):
        if isinstance(level, list):
            ids = [step.get("id") if isinstance(step, Mapping) else None for step in level]
            if not all(isinstance(one, str) for one in ids) or len(set(ids)) < len(ids):
                return False
    return True
