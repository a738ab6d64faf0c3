"""A document and its comments as TOML: the layout of `compiler.write_toml`, with every comment beside its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing.comments import Comments
from statemachine_flow.editing.render import toml_field, toml_fits, toml_inline, toml_key
from statemachine_flow.editing.roles import Role, role_at, role_of


def lay_out(tree: Mapping[str, Any], comments: Comments) -> str:
    """The text of a document, whose fields are in order already."""
    writer = _Writer(comments)
    writer.block(comments.head)
    if comments.head:
        writer.lines.append("")
    writer.table((), tree, "document", header=False)
    if comments.tail:
        writer.lines += ["", *comments.tail]
    return "\n".join(writer.lines).strip("\n") + "\n"


def section(path: Path, value: Mapping[str, Any]) -> list[str]:
    """A table with its header, and the tables in it."""
    writer = _Writer(Comments())
    writer.table(path, value, role_at(path), header=True)
    return writer.lines


@final
class _Writer:
    def __init__(self, comments: Comments) -> None:
        self.lines: list[str] = []
        self._comments = comments

    def table(self, path: Path, fields: Mapping[str, Any], role: Role, *, header: bool) -> None:
        """Write a table: first what stands on one line, for what follows a header belongs to that table."""
        large = {key: value for key, value in fields.items() if self._is_table((*path, key), value, role)}
        if header:
            if self.lines[-1:] not in [[_header(path[:end])] for end in range(1, len(path))]:
                self._blank()
            self.block(self._comments.above.get(path, []))
            self.lines.append(_header(path) + self._end(path))
        for key, value in fields.items():
            if key not in large:
                self._pair((*path, key), value)
        if path and role != "level":
            self.lines += [line for line in self._comments.foot.get(path, []) if line]
        for key, value in large.items():
            below = (*path, key)
            kind = role_of(role, key)
            has_own = below in self._comments.above or below in self._comments.end
            self.table(below, value, kind, header=kind != "level" or has_own)
        if path and role == "level" and path in self._comments.foot:
            self.lines += [line for line in self._comments.foot[path] if line]
        if not path and () in self._comments.foot:
            self.lines += ["", *(line for line in self._comments.foot[()] if line)]

    def block(self, lines: list[str]) -> None:
        """Write lines of comment; with blank lines among them, one stands above them too."""
        if "" in lines:
            self._blank()
        self.lines += lines

    def _blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def _is_table(self, path: Path, value: Any, role: Role) -> bool:
        if not isinstance(value, Mapping) or not value:
            return False
        return role_of(role, path[-1]) != "data" or self._comments.inside(path) or not toml_fits(str(path[-1]), value)

    def _pair(self, path: Path, value: Any) -> None:
        lines = [""]
        if self._comments.inside(path):
            if isinstance(value, list) and value:
                lines = self._list(path, value)
            else:
                self._comments.lift(path)
        self.block(self._comments.above.get(path, []))
        text = "\n".join(lines) if lines[0] else toml_field(value)
        self.lines += f"{toml_key(str(path[-1]))} = {text}{self._end(path)}".split("\n")

    def _list(self, path: Path, items: list[Any]) -> list[str]:
        """A list with comments in it: a line for each item."""
        lines = ["["]
        for index, item in enumerate(items):
            place = (*path, index)
            self._comments.lift(place)
            lines += [f"    {line}" for line in self._comments.above.get(place, []) if line]
            lines.append(f"    {toml_inline(item)},{self._end(place)}")
        lines += [f"    {line}" for line in self._comments.foot.get(path, []) if line]
        return [*lines, "]"]

    def _end(self, path: Path) -> str:
        comment = self._comments.end.get(path)
        return f"  {comment}" if comment else ""


def _header(path: Path) -> str:
    return f"[{'.'.join(toml_key(str(part)) for part in path)}]"
