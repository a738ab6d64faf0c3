"""Writes a definition as TOML, YAML or JSON: pleasant to read, and read back as the same definition."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from statemachine_flow.compiler import write_toml, write_yaml
from statemachine_flow.model import Definition

#: The order in which people expect the fields; the verb's own come where `...` stands.
_HEAD: Final = (
    "dsl",
    "name",
    "version",
    "description",
    "timeout",
    "max_parallel",
    "defaults",
    "inputs",
    "steps",
    "outputs",
)
_STEP: Final = ("description", "needs", "when", ..., "outputs", "timeout", "retry", "optional")


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
    tree = definition.tree()
    if definition.inputs:
        # The type is written even where it is the default: it is what a reader looks for.
        tree["inputs"] = {
            name: {"type": definition.inputs[name].type, **field} for name, field in tree["inputs"].items()
        }
    tree["steps"] = {step_id: _ordered(step, _STEP) for step_id, step in tree["steps"].items()}
    return _ordered(tree, _HEAD)


def _ordered(fields: dict[str, Any], order: tuple[Any, ...]) -> dict[str, Any]:
    others = [key for key in fields if key not in order]
    places = [place for part in order for place in (others if part is ... else [part])]
    return {key: fields[key] for key in places if key in fields}
