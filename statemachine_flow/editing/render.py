"""Single values as TOML or YAML text: what is put into a text that is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from statemachine_flow.compiler import write_toml, write_yaml
from statemachine_flow.errors import UsageError


def toml_key(name: str) -> str:
    """A key as TOML writes it, in quotes where it needs them."""
    return write_toml.dump({name: 0}).removesuffix(" = 0\n")


def toml_inline(value: Any) -> str:
    r"""A value on one line.

    Raises:
        UsageError: the value is null, which TOML cannot say.

    Example:
        >>> print(toml_inline({"run": ["a", "b"], "text": "x\ny"}))
        {run = ["a", "b"], text = "x\ny"}
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(key)} = {toml_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_inline, value)) + "]"
    if isinstance(value, str) and "\n" in value:
        from tomlkit import string  # noqa: PLC0415 - only texts of several lines need it

        return string(value).as_string()
    return write_toml.dump({"k": value}).removeprefix("k = ").removesuffix("\n")


def toml_field(value: Any) -> str:
    """A value behind `key =` on a line of its own, where text and long lists may take several lines."""
    if isinstance(value, Mapping):
        return toml_inline(value)
    if value is None:
        raise UsageError("TOML has no null", hint="write the workflow as YAML or JSON, or use ${{ None }}")
    return write_toml.dump({"k": value}).removeprefix("k = ").removesuffix("\n")


def toml_fits(key: str, value: Any) -> bool:
    """Whether a mapping reads well on the line of its key."""
    # Under a name that means nothing to the writer, and is as long.
    return not write_toml.dump({"k" * len(key): value}).lstrip("\n").startswith("[")


def yaml_lines(key: str, value: Any) -> list[str]:
    r"""`key: value` as lines of a block mapping at column 0.

    Example:
        >>> yaml_lines("env", {"A": "x\ny\n"})
        ['env:', '  A: |', '    x', '    y']
    """
    # One level down, where no key is special to the writer.
    lines = write_yaml.dump({"k": {key: value}}).removesuffix("\n").split("\n")
    return [line[2:] for line in lines[lines.index("k:") + 1 :]]


def yaml_item(value: Any) -> list[str]:
    """`- value` as lines of a block list at column 0."""
    if isinstance(value, Mapping | list) and value:
        lines = yaml_body(value)
        return [f"- {lines[0]}", *(f"  {line}" if line else line for line in lines[1:])]
    first, *rest = yaml_lines("k", value)
    return [f"-{first.removeprefix('k:')}", *rest]


def yaml_body(value: Any) -> list[str]:
    """The lines of a filled mapping or list that stands in block style."""
    parts = [yaml_lines(*entry) for entry in value.items()] if isinstance(value, Mapping) else map(yaml_item, value)
    return [line for lines in parts for line in lines]


def yaml_key(name: str) -> str:
    """A key as YAML writes it, in quotes where it needs them."""
    return yaml_lines(name, 0)[0].removesuffix(": 0")


def yaml_flow(value: Any) -> str:
    """A value on one line, within brackets.

    Example:
        >>> print(yaml_flow({"run": ["echo", "no"], "when": None}))
        {run: [echo, "no"], when: null}
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_key(key)}: {yaml_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(yaml_flow, value)) + "]"
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=not value.replace("\n", "").isprintable())
    return yaml_lines("k", value)[0].removeprefix("k: ")
