"""Reads YAML: the text as plain data, and the place of every value. Knows no workflow field.

What is read is the part of YAML 1.2 that has one meaning: its core schema, so `on`, `no` and `1:30` are text,
and no anchors, aliases, tags, merge keys or second document. The text is taken from the parser event by event
and never composed as a whole: nothing recurses (the C composer overflows its stack at some 25,000 levels), an
alias is an event and expands to nothing, and reading stops at the first value over a limit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import yaml

from statemachine_flow.compiler.plain import ESCAPED_SURROGATE, MOST_PROBLEMS, Fault, Limits, fault_of, refuse
from statemachine_flow.compiler.scan import Duplicate
from statemachine_flow.compiler.source import Path, Place, Source
from statemachine_flow.compiler.yaml_scalars import resolve

#: libyaml's parser where PyYAML was built with it, which is ten times as fast.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Outside YAML's set, or a line end to YAML 1.1 and none to 1.2: lines would not be those that editors show.
_UNPRINTABLE: Final = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ANCHOR: Final = Fault("definition.alias", "anchors and aliases are not part of the language", "write the value out")
_TAG: Final = Fault("definition.tag", "tags are not part of the language", "remove the tag")
_MERGE: Final = Fault("definition.merge", "merge keys are not part of the language", "write the values out")
_MULTIPLE: Final = Fault("definition.multiple", "a second document begins", "keep one document per file")
_KEY: Final = Fault(
    "definition.type",
    "a list or mapping stands where a key belongs",
    'put quotes around text that begins with { or [, such as "{{ name }}"',
)
_HINTS: Final = {
    "mapping values are not allowed": "put quotes around text that holds `: `, or check the indentation",
    "did not find expected key": "check indentation and quotes of this line and the one before",
    "expected <block end>": "check indentation and quotes of this line and the one before",
    "could not find expected ':'": "check that each line is `key: value`, and the indentation",
}


def load(source: Source, limits: Limits) -> Any:
    """Read a YAML text.

    Raises:
        DefinitionError: with every problem up to the first syntax error.
    """
    builder = _Builder(source.text, limits)
    builder.read()
    problems = [fault.at(source, offset, path) for fault, offset, path in builder.faults]
    problems += [duplicate.problem(source) for duplicate in builder.duplicates]
    refuse(problems)
    return builder.data


def locate(text: str) -> Place:
    """The places of all values of a text that `load` has read."""
    builder = _Builder(text, Limits(max_depth=sys.maxsize, max_nodes=sys.maxsize))
    builder.read()
    return builder.place


#: The stubs let every event be without marks; those of a parser have them.
_Event = Any


@attrs.define(eq=False)
class _Level:
    """A mapping or list that is being filled."""

    data: Any
    place: Place
    #: Where the next value goes: None in a mapping whose next key has not come yet.
    key: str | int | None
    key_offset: int = 0
    #: Whether it stands where a key belongs; such a level is read and thrown away.
    is_key: bool = False


class _StopError(Exception):
    """Nothing after this event is worth reading."""


@final
class _Builder:
    """Makes data and places of one text; collects what is wrong on the way."""

    def __init__(self, text: str, limits: Limits) -> None:
        self.faults: list[tuple[Fault, int, Path]] = []
        self.duplicates: list[Duplicate] = []
        self._text = text
        self._limits = limits
        self._nodes = 0
        self._surrogates = ESCAPED_SURROGATE.search(text) is not None
        # A list around the root, so that the root needs no case of its own.
        self._levels = [_Level([], Place(0, 0), 0)]

    @property
    def data(self) -> Any:
        """The root; None if the text holds none."""
        return next(iter(self._levels[0].data), None)

    @property
    def place(self) -> Place:
        """The place of the root."""
        return self._levels[0].place.children.get(0, self._levels[0].place)

    def read(self) -> None:
        """Read the text to its end, or to where nothing more can be said."""
        unprintable = _UNPRINTABLE.search(self._text)
        if unprintable:
            self.faults.append((_unprintable(unprintable[0]), unprintable.start(), ()))
            return
        try:
            for event in yaml.parse(self._text, Loader=_Loader):
                take = _HANDLERS.get(type(event))
                if take:
                    take(self, event)
        except _StopError:
            pass
        except yaml.MarkedYAMLError as error:
            self.faults.append((*_syntax_fault(error, self._text), ()))

    def document(self, event: _Event) -> None:
        if self._levels[0].data:
            self._fault(_MULTIPLE, event.start_mark.index)
            raise _StopError

    def scalar(self, event: _Event) -> None:
        offset = event.start_mark.index
        self._check_properties(event, offset)
        text, plain = event.value, event.implicit[0]
        if self._levels[-1].key is None:
            self._key(text, offset)
            if plain and text == "<<":
                self._fault(_MERGE, offset)
        else:
            value = resolve(text) if plain else text
            self._check(value, offset)
            self._put(value, offset)
            self._advance()

    def alias(self, event: _Event) -> None:
        offset = event.start_mark.index
        if self._levels[-1].key is None:
            self._key(f"*{event.anchor}", offset)
            self._fault(_ANCHOR, offset)
        else:
            self._fault(_ANCHOR, offset)
            self._put(None, offset)
            self._advance()

    def open(self, event: _Event) -> None:
        """Begin a mapping or list, as a value or, wrongly, as a key."""
        offset = event.start_mark.index
        self._check_properties(event, offset)
        data: Any
        data, key = ({}, None) if isinstance(event, yaml.MappingStartEvent) else ([], 0)
        if len(self._levels) > self._limits.max_depth:
            self._fault(self._limits.too_deep, offset)
            raise _StopError
        if self._levels[-1].key is None:
            self._fault(_KEY, offset)
            self._levels.append(_Level(data, Place(offset, offset), key, is_key=True))
        else:
            self._levels.append(_Level(data, self._put(data, offset), key))

    def close(self, _event: _Event) -> None:
        closed = self._levels.pop()
        if closed.is_key:
            # Any text will do that is not taken yet: there is a fault, so nobody will see this data.
            self._key(f"?{closed.place.key}", closed.place.key)
        else:
            self._advance()

    def _key(self, key: str, offset: int) -> None:
        """Take the key of the next value."""
        level = self._levels[-1]
        level.key, level.key_offset = key, offset
        self._check(key, offset)
        if key in level.data:
            self.duplicates.append(Duplicate(self._path(), level.place.children[key].key, offset))
            self._stop_at_most()

    def _put(self, value: Any, offset: int) -> Place:
        """Store a value under the pending key."""
        self._nodes += 1
        if self._nodes > self._limits.max_nodes:
            self._fault(self._limits.too_many, offset)
            raise _StopError
        level = self._levels[-1]
        key = level.key
        if isinstance(level.data, list):
            place = Place(offset, offset)
            level.data.append(value)
        else:
            place = Place(level.key_offset, offset)
            level.data[key] = value
        level.place.children[key] = place  # type: ignore[index]  # never None here: a value follows a key
        return place

    def _advance(self) -> None:
        """Await what follows a value: the next key, or the next item."""
        level = self._levels[-1]
        level.key = level.key + 1 if isinstance(level.key, int) else None

    def _check(self, value: Any, offset: int) -> None:
        if (type(value) is not str or self._surrogates) and (fault := fault_of(value)):
            self._fault(fault, offset)

    def _check_properties(self, event: _Event, offset: int) -> None:
        if event.anchor is not None:
            self._fault(_ANCHOR, offset)
        if event.tag is not None:
            self._fault(_TAG, offset)

    def _fault(self, fault: Fault, offset: int) -> None:
        self.faults.append((fault, offset, self._path()))
        self._stop_at_most()

    def _stop_at_most(self) -> None:
        if len(self.faults) + len(self.duplicates) >= MOST_PROBLEMS:
            raise _StopError

    def _path(self) -> Path:
        return tuple(level.key for level in self._levels[1:] if level.key is not None)


_HANDLERS: Final[dict[type, Callable[[_Builder, Any], None]]] = {
    yaml.ScalarEvent: _Builder.scalar,
    yaml.MappingStartEvent: _Builder.open,
    yaml.SequenceStartEvent: _Builder.open,
    yaml.MappingEndEvent: _Builder.close,
    yaml.SequenceEndEvent: _Builder.close,
    yaml.AliasEvent: _Builder.alias,
    yaml.DocumentStartEvent: _Builder.document,
}


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> tuple[Fault, int]:
    """What the parser's error says, and where."""
    mark = error.problem_mark or error.context_mark
    offset = mark.index if mark else 0
    message = f"not valid YAML: {error.problem}"
    if error.context:
        message += f", {error.context}"
    if error.context_mark and mark and error.context_mark.line != mark.line:
        message += f" that began in line {error.context_mark.line + 1}"
    hint = next((hint for part, hint in _HINTS.items() if part in message), None)
    if "cannot start any token" in message:
        hint = "indent with spaces, not tabs" if text[offset : offset + 1] == "\t" else "put quotes around the text"
    kind = "definition.encoding" if "Unicode character" in message else "definition.syntax"
    return Fault(kind, message, hint), offset


def _unprintable(char: str) -> Fault:
    message = f"the text holds the character U+{ord(char):04X}, which YAML does not allow or takes for a line end"
    return Fault("definition.encoding", message, f'write it as "\\u{ord(char):04x}" in double quotes')
