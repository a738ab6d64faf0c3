"""Plain data -> YAML that readers of 1.1 and of 1.2 understand alike: no tags, anchors or folded lines."""

from __future__ import annotations

import re
import textwrap
from typing import Any, Final

import yaml

#: Text that means the same to every reader without quotes: words that begin with a letter, `_`, `.` or `/`, in
#: which nothing can end the text.
_PLAIN: Final = re.compile(r"[A-Za-z_./](?:[A-Za-z0-9_./+()-]|:(?=[A-Za-z_])|(?<=\S) (?=[A-Za-z0-9_./(]))*")
#: What some reader takes for a boolean, null or a number all the same.
_WORDS: Final = re.compile(
    r"y|yes|n|no|on|off|true|false|null|[-+.]*(?:inf|nan)|[.]+|(?=.*[0-9])[-+._0-9e]+", re.IGNORECASE
)
#: What some reader takes for the end of a line, and ends and beginnings that a block needs an indicator for.
_UNSAFE_IN_BLOCKS: Final = re.compile("[^\\S \\n]|[\\x85\\u2028\\u2029]|\\A[ \\n]|\\n\\n\\Z")
_WIDTH: Final = 90
_ENDLESS: Final = 2**31


class _Dumper(yaml.SafeDumper):
    """Writes a value that stands in two places twice, and indents lists inside mappings."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - as above
        super().increase_indent(flow, indentless=False)


def dump(document: dict[str, Any]) -> str:
    """A document as YAML, with a blank line before every mapping at its top and before every step.

    Example:
        >>> print(dump({"name": "hi", "steps": {"a": {"run": ["echo", "no"]}}}), end="")
        name: hi
        <BLANKLINE>
        steps:
          a:
            run: [echo, "no"]
    """
    parts = [""]
    for key, value in document.items():
        if key in ("steps", "on_failure", "finally"):
            steps = [textwrap.indent(_dump({step_id: step}), "  ") for step_id, step in value.items()]
            parts.append(f"{key}:\n" + "\n".join(steps))
        elif isinstance(value, dict):
            parts.append(_dump({key: value}))
        else:
            parts[-1] += _dump({key: value})
    return "\n".join(parts)


def _dump(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=_ENDLESS, sort_keys=False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None = '"'
    if "\n" in text and not _UNSAFE_IN_BLOCKS.search(text):
        style = "|"
    elif _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        style = None
    elif '"' in text and "'" not in text and text.isprintable():
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    """A list on one line if it is short and holds nothing but scalars."""
    is_flat = not any(isinstance(item, dict | list) for item in items)
    fits = is_flat and sum(len(str(item)) + 4 for item in items) <= _WIDTH
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=fits)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
