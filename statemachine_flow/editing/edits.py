"""Changes of a text by path, whatever its format: each is tried on a copy, and read back before it counts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import attrs
import msgspec

from statemachine_flow.compiler import read_text
from statemachine_flow.compiler.source import Format, Path, dotted
from statemachine_flow.editing import splice_toml, splice_yaml
from statemachine_flow.editing.references import Rewording
from statemachine_flow.editing.render import toml_key, yaml_key
from statemachine_flow.editing.spans import Scan, scan
from statemachine_flow.errors import DefinitionError, UsageError


def data_of(text: str, syntax: Format) -> Any:
    """The plain data of a text."""
    return read_text(text, format=syntax)[0]


def put(text: str, syntax: Format, path: Path, value: Any, after: str | int | None = None) -> str:
    """Set the value at `path`, or add it.

    Args:
        text: the document.
        syntax: its format.
        path: the way to the value; all of it but the last part is there.
        value: plain data.
        after: the entry a new one comes behind; by default the last one.

    Returns:
        The new text; lines that the value does not stand on are as they were.

    Raises:
        UsageError: the text cannot be changed so.
    """
    data = data_of(text, syntax)
    wanted = _with(data, path, value, after)
    if syntax == "json":
        return _json(wanted, text)
    return _proven(_put(text, syntax, path, value, after), syntax, wanted, path)


def drop(text: str, syntax: Format, path: Path) -> str:
    """Take the value at `path` out, with its key and its comments; the arguments are those of `put`."""
    wanted = data_of(text, syntax)
    del _at(wanted, path[:-1])[path[-1]]
    if syntax == "json":
        return _json(wanted, text)
    splice = splice_toml if syntax == "toml" else splice_yaml
    made: str = splice.drop(scan(text, syntax), path)
    return _proven(made, syntax, wanted, path, may_be_gone=syntax == "toml")


def rename(text: str, syntax: Format, path: Path, new: str) -> str:
    """Give the last key of `path` another name, in its place."""
    data = data_of(text, syntax)
    wanted = _renamed(data, path, new)
    if syntax == "json":
        return _json(wanted, text)
    found = scan(text, syntax)
    key = toml_key(new) if syntax == "toml" else yaml_key(new)
    node = found.root.at(path)
    spans = splice_toml.key_spans(found, path) if syntax == "toml" else [node.key] if node.key else []
    made = text
    for start, end in sorted(spans, reverse=True):
        made = made[:start] + key + made[end:]
    return _proven(made, syntax, wanted, path)


def reword(text: str, syntax: Format, changes: Mapping[Path, Rewording]) -> str:
    """Replace words in several texts of a document at once, each in the quotes and the lines it has.

    Raises:
        UsageError: one of the texts cannot be changed so.
    """
    wanted = data_of(text, syntax)
    found = None if syntax == "json" else scan(text, syntax)
    if found is not None:  # quotes that need no escape in those around the text
        starts = {path: text[found.root.at(path).start] for path in changes}
        changes = {
            path: attrs.evolve(change, quote="'" if starts[path] == '"' else '"') for path, change in changes.items()
        }
    for path, change in changes.items():
        _at(wanted, path[:-1])[path[-1]] = change.new
    if found is None:
        return _json(wanted, text)
    made = text
    for path in sorted(changes, key=lambda path: found.root.at(path).start, reverse=True):
        node = found.root.at(path)
        raw = changes[path].in_raw(text[node.start : node.end])
        if raw is None:
            break
        made = made[: node.start] + raw + made[node.end :]
    else:
        with contextlib.suppress(UsageError):
            return _proven(made, syntax, wanted, ())
    for path, change in changes.items():  # some text spells its characters in another way
        text = _put(text, syntax, path, change.new, None)
    return _proven(text, syntax, wanted, ())


def _put(text: str, syntax: Format, path: Path, value: Any, after: str | int | None) -> str:
    found = scan(text, syntax)
    splice = splice_toml if syntax == "toml" else splice_yaml
    parent = found.root.at(path[:-1])
    if path[-1] not in parent.children or (parent.kind == "list" and after is not None):
        return _insert(found, syntax, path, value, after)
    old = _at(data_of(text, syntax), path)
    if _same(old, value):
        return text
    node = parent.children[path[-1]]
    if (
        syntax == "toml"
        and node.kind == "list"
        and node.style == "table"
        and not (isinstance(value, list) and all(map(_is_mapping, value)))
    ):
        return _replace_table(found, path, value)
    changes = _changes(old, value)
    if changes is not None:
        for kind, key, item in changes:
            below = (*path, key)
            text = drop(text, syntax, below) if kind == "drop" else _put(text, syntax, below, item, None)
        return text
    if syntax == "toml" and splice_toml.is_table(found, path):
        return _replace_table(found, path, value)
    made: str = splice.replace(found, path, value)
    return made


def _replace_table(found: Scan, path: Path, value: Any) -> str:
    """Take a TOML table out and put something else in its place."""
    parent = found.root.at(path[:-1])
    if parent.kind == "list":
        items = _at(data_of(found.text, "toml"), path[:-1])
        items[path[-1]] = value
        return _replace_table(found, path[:-1], items)
    siblings = list(parent.children)
    place = siblings.index(path[-1])
    text = splice_toml.drop(found, path)
    after = siblings[place - 1] if place else None
    found = scan(text, "toml")
    # A table that no header and no key names any more is gone with its last entry.
    while path[:-1] and not _is_there(found, path[:-1]):
        value, path, after = {path[-1]: value}, path[:-1], None
    return _insert(found, "toml", path, value, after)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_there(found: Scan, path: Path) -> bool:
    try:
        found.root.at(path)
    except KeyError:
        return False
    return True


def _insert(found: Scan, syntax: Format, path: Path, value: Any, after: str | int | None) -> str:
    parent = found.root.at(path[:-1])
    if not parent.children and parent.style in ("flow", "block") and path[:-1]:
        # `{}` and `[]` are written anew, in the way that suits what they hold now.
        content: Any = {path[-1]: value} if parent.kind == "mapping" else [value]
        if syntax == "yaml" and found.root.at(path[:-2]).style == "block":
            return splice_yaml.replace(found, path[:-1], content)
    splice = splice_toml if syntax == "toml" else splice_yaml
    made: str = splice.insert(found, path, value, after)
    return made


def _changes(old: Any, new: Any) -> list[tuple[str, Any, Any]] | None:
    """How to get from one value to another entry by entry; None if it is better written anew."""
    if not old or not new:
        return None
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        kept = [key for key in old if key in new]
        if not kept or [*kept, *(key for key in new if key not in old)] != list(new):
            return None
        drops = [("drop", key, None) for key in old if key not in new]
        return [*drops, *(("put", key, item) for key, item in new.items() if not _same(old.get(key, ...), item))]
    if isinstance(old, list) and isinstance(new, list):
        return _list_changes(old, new)
    return None


def _list_changes(old: list[Any], new: list[Any]) -> list[tuple[str, Any, Any]] | None:
    """The same for lists: items are added at the end, left out, or changed in their places."""
    if _same(old, new[: len(old)]):
        return [("put", index, new[index]) for index in range(len(old), len(new))]
    if len(new) == len(old):
        return [("put", index, item) for index, item in enumerate(new) if not _same(old[index], item)]
    drops = []
    wanted = list(new)
    for index, item in enumerate(old):
        if wanted and _same(item, wanted[0]):
            wanted.pop(0)
        else:
            drops.append(("drop", index, None))
    return None if wanted else drops[::-1]


def _with(data: Any, path: Path, value: Any, after: str | int | None) -> Any:
    wanted = deepcopy(data)
    parent = _at(wanted, path[:-1])
    key = path[-1]
    if isinstance(parent, list) and (after is not None or key == len(parent)):
        parent.insert(int(key), value)
    elif isinstance(parent, dict) and key not in parent and after is not None:
        entries = list(parent.items())
        entries.insert(list(parent).index(after) + 1, (key, value))
        parent.clear()
        parent.update(entries)
    else:
        parent[key] = value
    return wanted


def _renamed(data: Any, path: Path, new: str) -> Any:
    wanted = deepcopy(data)
    parent = _at(wanted, path[:-1])
    entries = [(new if key == path[-1] else key, item) for key, item in parent.items()]
    parent.clear()
    parent.update(entries)
    return wanted


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _proven(text: str, syntax: Format, wanted: Any, path: Path, *, may_be_gone: bool = False) -> str:
    """The text, if it says what it should."""
    try:
        made = data_of(text, syntax)
    except DefinitionError as error:
        raise _cannot(path) from error
    if not _same(made, wanted, may_be_gone=may_be_gone):
        raise _cannot(path)
    return text


def _cannot(path: Path) -> UsageError:
    message = f"the text cannot be changed at {dotted(path)} without touching what stands around it"
    return UsageError(message, hint="change it by hand")


def _same(one: Any, other: Any, *, may_be_gone: bool = False) -> bool:
    """Whether two values are equal, types included.

    Args:
        one: plain data.
        other: plain data.
        may_be_gone: whether a mapping without entries may be missing, as in TOML where nothing names it any more.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        missing: Any = {} if may_be_gone else ...
        keys = {**one, **other}
        return all(_same(one.get(key, missing), other.get(key, missing), may_be_gone=may_be_gone) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(*pair, may_be_gone=may_be_gone) for pair in pairs)
    return type(one) is type(other) and bool(one == other)


def _json(data: Any, text: str) -> str:
    """JSON holds no comments, so it is written anew, as it was indented."""
    lines = text.split("\n")
    if len(lines) < 3:  # noqa: PLR2004 - on one line, which may have an end
        made = msgspec.json.format(msgspec.json.encode(data), indent=0).decode()
    else:
        second = next(line for line in lines[1:] if line.strip())
        made = msgspec.json.format(msgspec.json.encode(data), indent=len(second) - len(second.lstrip()) or 2).decode()
    return made + "\n" if text.endswith("\n") else made
