"""Reads JSON: the text as plain data, and the place of every value. Knows no workflow field."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Final, final

from statemachine_flow.compiler.plain import (
    ESCAPED_SURROGATE,
    WIDE_INTEGER,
    Fault,
    Limits,
    problems_of,
    refuse,
)
from statemachine_flow.compiler.scan import LostError, Scanner
from statemachine_flow.compiler.source import Path, Place, Source
from statemachine_flow.errors import DefinitionError

_TOKENS: Final = re.compile(r'\s*+("(?:[^"\\]++|\\.)*+"|[^\s\[\]{}:,"]++|.|\Z)', re.DOTALL)

_HINT: Final = "JSON wants double quotes around keys and text, and has no comments and no last comma"


def load(source: Source, limits: Limits) -> Any:
    """Read a JSON text.

    Raises:
        DefinitionError: with every problem; a syntax error is reported alone.
    """
    repeated = False

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        result = dict(pairs)
        if len(result) < len(pairs):
            repeated = True
            result = dict(reversed(pairs))  # the first counts, as it does for places
        return result

    try:
        data = json.loads(source.text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        fault = Fault("definition.syntax", f"not valid JSON: {error.msg}", _HINT)
        raise DefinitionError([fault.at(source, error.pos)]) from error
    except RecursionError as error:
        place = Scanner(source.text, _TOKENS).too_deep(limits.max_depth)
        raise DefinitionError([limits.too_deep.at(source, place)]) from error
    except ValueError as error:  # the one thing left: more digits than `int` takes
        place = Scanner(source.text, _TOKENS).too_long_number()
        raise DefinitionError([WIDE_INTEGER.at(source, place)]) from error
    surrogates = ESCAPED_SURROGATE.search(source.text) is not None
    problems = problems_of(data, source, limits, surrogates=surrogates)
    if repeated:
        problems += [duplicate.problem(source) for duplicate in _scan(source.text).duplicates]
    refuse(problems)
    return data


def locate(text: str) -> Place:
    """The places of all values of a text that `load` has read."""
    return _scan(text).root


def _scan(text: str) -> _Scanner:
    scanner = _Scanner(text, _TOKENS)
    # Lost only where `load` found problems; what comes before them has its place.
    with contextlib.suppress(LostError, RecursionError):
        scanner.value(scanner.root, ())
    return scanner


@final
class _Scanner(Scanner):
    def value(self, place: Place, path: Path) -> None:
        """Walk one value, whose place is known up to what it holds."""
        if self.sign == "{":
            self._mapping(place, path)
        elif self.sign == "[":
            self._list(place, path)
        else:
            self.take()

    def _mapping(self, place: Place, path: Path) -> None:
        self.expect("{")
        while self.sign != "}":
            key_offset, name = self.offset, json.loads(self.take())
            self.expect(":")
            below = Place(key_offset, self.offset)
            self.add(place, (*path, name), below)
            self.value(below, (*path, name))
            if self.sign != "}":
                self.expect(",")
        self.take()

    def _list(self, place: Place, path: Path) -> None:
        self.expect("[")
        while self.sign != "]":
            index = len(place.children)
            below = place.children[index] = Place(self.offset, self.offset)
            self.value(below, (*path, index))
            if self.sign != "]":
                self.expect(",")
        self.take()
