"""The canonical tree of a noun: plain data under document keys, with defaults left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs

from statemachine_flow.durations import format_duration
from statemachine_flow.model.kinds import document_key
from statemachine_flow.model.step import Step

#: Fields that hold steps by id.
_LEVELS: Final = frozenset({"steps", "on_failure", "finally"})


def tree_of(noun: Any) -> dict[str, Any]:
    """Fields that differ from their defaults, as plain data under their document keys."""
    tree = {document_key(name): _plain(value, name) for name, value in _set_fields(noun)}
    if isinstance(noun, Step):
        tree.pop("id")
        tree |= tree.pop("verb")
        if noun.needs:
            tree["needs"] = sorted(noun.needs)
    return tree


def _set_fields(noun: Any) -> Iterator[tuple[str, Any]]:
    for name, default in _defaults(noun.__class__):
        value = getattr(noun, name)
        if value is not default and (value != default or type(value) is not type(default)):
            yield name, value


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a noun with their defaults, to be compared with alone."""
    return tuple(
        (field.name, field.default.factory() if isinstance(field.default, attrs.Factory) else field.default)  # type: ignore[arg-type]
        for field in attrs.fields(kind)
    )


_SECONDS_FIELDS: Final = frozenset({"timeout", "delay", "max_delay", "after"})


def _plain(value: Any, field: str) -> Any:
    if type(value) is float and field in _SECONDS_FIELDS:
        return format_duration(value)
    if attrs.has(type(value)):
        # A workflow inside another one has a tree of its own.
        return value.tree() if hasattr(value, "tree") else tree_of(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, "") if _is_noun(item) else item for key, item in value.items()}
    if not isinstance(value, tuple):
        return value
    if value and isinstance(value[0], Step):
        return {step.id: tree_of(step) for step in value}
    return [tree_of(item) if attrs.has(type(item)) else item for item in value]


def _is_noun(value: Any) -> bool:
    return attrs.has(type(value)) or isinstance(value, tuple)


def with_order(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of a workflow or step in which mappings whose order means something are lists of pairs."""
    ordered = dict(tree)
    for key in _LEVELS & tree.keys():
        ordered[key] = [(step_id, with_order(step)) for step_id, step in tree[key].items()]
    for key in ("compensate", "workflow"):
        if isinstance(tree.get(key), Mapping):
            ordered[key] = with_order(tree[key])
    if "matrix" in tree:
        ordered["matrix"] = list(tree["matrix"].items())
    if "outputs" in tree and isinstance(tree.get("next"), Mapping):  # the first of them says where the token goes
        ordered["outputs"] = list(tree["outputs"].items())
    return ordered
