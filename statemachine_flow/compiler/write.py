"""Writes a definition as TOML, YAML or JSON: pleasant to read, and read back as the same definition."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from statemachine_flow.compiler import write_toml, write_yaml
from statemachine_flow.model import Definition, Input

#: The order in which people expect the fields.
_HEAD: Final = (
    "dsl",
    "name",
    "version",
    "description",
    "start",
    "timeout",
    "max_parallel",
    "continue_on_error",
    "compensate",
    "checkpoint",
    "budget",
    "defaults",
    "inputs",
    "steps",
    "on_failure",
    "finally",
    "outputs",
)
#: The same for a step; the verb's own come where `...` stands, but for the steps of a group.
_STEP: Final = (
    "description",
    "needs",
    "trigger_rule",
    "when",
    "for_each",
    "matrix",
    "repeat",
    ...,
    "secrets",
    "output_schema",
    "outputs",
    "next",
    "max_visits",
    "timeout",
    "retry",
    "optional",
    "delivery",
    "verify",
    "idempotency_key",
    "compensate",
    "start",
    "steps",
)
#: Fields of a document that hold steps by id.
_LEVELS: Final = ("steps", "on_failure", "finally")


def to_toml(definition: Definition) -> str:
    """The definition as TOML.

    Raises:
        UsageError: a value is null, which TOML cannot say.

    Example:
        >>> from statemachine_flow.model import Step
        >>> from statemachine_flow.steps import Call
        >>> call = Call(call="kit:check", with_={"deep": True})
        >>> print(to_toml(Definition(name="hi", steps=(Step(id="a", verb=call),))), end="")
        dsl = "1"
        name = "hi"
        <BLANKLINE>
        [steps.a]
        call = "kit:check"
        with = {deep = true}
    """
    return write_toml.dump(document(definition))


def to_yaml(definition: Definition) -> str:
    """The definition as YAML that readers of 1.1 and of 1.2 understand alike."""
    return write_yaml.dump(document(definition))


def to_json(definition: Definition) -> str:
    """The definition as JSON."""
    return msgspec.json.format(msgspec.json.encode(document(definition)), indent=2).decode() + "\n"


def document(definition: Definition) -> dict[str, Any]:
    """The canonical document with its fields in the order for reading."""
    return _document(definition.tree())


def in_reading_order(fields: dict[str, Any], of: Literal["document", "step"]) -> dict[str, Any]:
    """The fields of one document or of one step in the order for reading; what they hold stays as it is."""
    return _ordered(fields, _HEAD if of == "document" else _STEP)


def _document(tree: dict[str, Any]) -> dict[str, Any]:
    if "inputs" in tree:
        # The type is written even where it is the default: it is what a reader looks for.
        tree["inputs"] = {name: {"type": Input().type, **field} for name, field in tree["inputs"].items()}
    for key in _LEVELS:
        if key in tree:
            tree[key] = {step_id: _step(step) for step_id, step in tree[key].items()}
    return _ordered(tree, _HEAD)


def _step(tree: dict[str, Any]) -> dict[str, Any]:
    if "steps" in tree:
        tree["steps"] = {step_id: _step(step) for step_id, step in tree["steps"].items()}
    if "compensate" in tree:
        tree["compensate"] = _step(tree["compensate"])
    if isinstance(tree.get("workflow"), dict):
        tree["workflow"] = _document(tree["workflow"])
    return _ordered(tree, _STEP)


def _ordered(fields: dict[str, Any], order: tuple[Any, ...]) -> dict[str, Any]:
    others = [key for key in fields if key not in order]
    places = [place for part in order for place in (others if part is ... else [part])]
    return {key: fields[key] for key in places if key in fields}
