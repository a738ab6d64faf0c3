"""Reads TOML: the text as plain data, and the place of every value. Knows no workflow field."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from statemachine_flow.compiler.plain import WIDE_INTEGER, Limits, problems_of, refuse
from statemachine_flow.compiler.scan_toml import TomlScanner, scan
from statemachine_flow.compiler.source import Place, Source
from statemachine_flow.errors import DefinitionError, Problem

_AT: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
#: How tomllib words the second definition of something.
_TWICE: Final = (
    "Cannot overwrite",
    "Cannot declare",
    "Cannot mutate",
    "Cannot redefine",
    "Duplicate inline table key",
)
_HINTS: Final = {
    "Expected '=' after a key": "TOML writes `key = value`; a key that is no plain word needs quotes",
    "Expected newline or end of document": "a text value needs quotes around all of it",
    "Invalid value": "text needs quotes, and true and false are written small",
    "Illegal character '\\n'": 'the closing quote is missing; text of several lines stands in """',
    "Unterminated string": "the closing quote is missing",
    "Unescaped '\\'": "write it twice, or put the text in single quotes",
}


def load(source: Source, limits: Limits) -> dict[str, Any]:
    """Read a TOML text.

    Raises:
        DefinitionError: with every problem; a syntax error is reported alone.
    """
    _refuse_long_keys(source, limits)
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(_explain(source, str(error))) from error
    except RecursionError as error:
        place = TomlScanner(source.text).too_deep(limits.max_depth - 1)  # the root has no bracket
        raise DefinitionError([limits.too_deep.at(source, place)]) from error
    except ValueError as error:  # the one thing left: more digits than `int` takes
        place = TomlScanner(source.text).too_long_number()
        raise DefinitionError([WIDE_INTEGER.at(source, place)]) from error
    refuse(problems_of(data, source, limits))
    return data


def _refuse_long_keys(source: Source, limits: Limits) -> None:
    """Refuse dotted keys of more parts than levels are allowed.

    The parser's time grows with the square of their length. A key stands on one line, so hardly any text
    has to be looked at closely.
    """
    if max(line.count(".") for line in source.text.split("\n")) < limits.max_depth:
        return
    scanner, parts = TomlScanner(source.text), 0
    while taken := scanner.take():
        if scanner.sign == ".":
            parts += 1
        elif taken != ".":
            parts = 0
        if parts >= limits.max_depth:
            raise DefinitionError([limits.too_deep.at(source, scanner.offset)])


def _explain(source: Source, text: str) -> list[Problem]:
    """What a message of the parser says, as problems with positions."""
    match = _AT.fullmatch(text)
    message, line, column = match.groups() if match else (text, None, None)
    if message.startswith(_TWICE) and (duplicates := scan(source.text).duplicates):
        return [duplicate.problem(source) for duplicate in duplicates]
    offset = source.offset(int(line), int(column)) if line and column else len(source.text.rstrip())
    kind = "definition.duplicate_key" if message.startswith(_TWICE) else "definition.syntax"
    if "Unicode scalar" in message:
        kind = "definition.encoding"
    hint = next((hint for start, hint in _HINTS.items() if message.startswith(start)), None)
    return [source.problem_at(kind, f"not valid TOML: {message}", offset, hint=hint)]


def locate(text: str) -> Place:
    """The places of all values of a text that `load` has read."""
    return scan(text).root
