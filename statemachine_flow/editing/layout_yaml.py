"""A document and its comments as YAML: the layout of `compiler.write_yaml`, with every comment beside its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing.comments import Comments
from statemachine_flow.editing.render import yaml_item, yaml_key, yaml_lines
from statemachine_flow.editing.roles import Role, role_of


def lay_out(tree: Mapping[str, Any], comments: Comments) -> str:
    """The text of a document, whose fields are in order already."""
    writer = _Writer(comments)
    lines = writer.mapping((), tree, "document")
    foot = comments.foot.get((), [])
    head = [*comments.head, ""] if comments.head else []
    tail = ["", *foot, *comments.tail] if foot or comments.tail else []
    return "\n".join([*head, *lines, *tail]).strip("\n") + "\n"


@final
class _Writer:
    def __init__(self, comments: Comments) -> None:
        self._comments = comments

    def mapping(self, path: Path, fields: Mapping[str, Any], role: Role) -> list[str]:
        """A filled mapping as lines at column 0."""
        lines: list[str] = []
        for key, value in fields.items():
            place = (*path, key)
            kind = role_of(role, key)
            is_large = role == "document" and not path and isinstance(value, Mapping)
            is_step = role == "level" and len(path) == 1
            if not (isinstance(value, Mapping | list) and value):
                self._comments.lift(place)
            above = self._comments.above.get(place, [])
            if lines and lines[-1] and (is_large or is_step or "" in above):
                lines.append("")
            lines += above
            first, *rest = self._entry(place, key, value, kind)
            lines += [first + self._end(place), *rest]
        if path:
            lines += [line for line in self._comments.foot.get(path, []) if line]
        return lines

    def _entry(self, path: Path, key: str, value: Any, role: Role) -> list[str]:
        if isinstance(value, Mapping) and value and (role != "data" or self._comments.inside(path)):
            return [f"{yaml_key(key)}:", *_indented(self.mapping(path, value, role))]
        if isinstance(value, list) and value and self._comments.inside(path):
            return [f"{yaml_key(key)}:", *_indented(self._list(path, value))]
        return yaml_lines(key, value)

    def _list(self, path: Path, items: list[Any]) -> list[str]:
        """A list with comments in it, in block style."""
        lines: list[str] = []
        for index, item in enumerate(items):
            place = (*path, index)
            body = self._item(place, item)
            if len(body) > 1 and isinstance(item, Mapping | list):
                self._raise_end(place)  # behind the first line it would belong to the first entry
            lines += [line for line in self._comments.above.get(place, []) if line]
            lines += [body[0] + self._end(place), *body[1:]]
        return [*lines, *(line for line in self._comments.foot.get(path, []) if line)]

    def _item(self, path: Path, item: Any) -> list[str]:
        if isinstance(item, Mapping) and item and self._comments.inside(path):
            first = (*path, next(iter(item)))
            self._comments.above.setdefault(path, []).extend(self._comments.above.pop(first, []))
            self._raise_end(path)
            first_line, *rest = self.mapping(path, item, "data")
            return [f"- {first_line}", *_indented(rest)]
        self._comments.lift(path)
        return yaml_item(item)

    def _raise_end(self, path: Path) -> None:
        if path in self._comments.end:
            self._comments.above.setdefault(path, []).append(self._comments.end.pop(path))

    def _end(self, path: Path) -> str:
        comment = self._comments.end.get(path)
        return f"  {comment}" if comment else ""


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]
