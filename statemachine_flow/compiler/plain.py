"""What plain data is, and how much of it a document may hold.

Mappings with text keys, lists, text, whole numbers of 64 bits, finite floats, booleans and None. The
readers of TOML and JSON hand their result to `problems_of`; that of YAML applies the same rules as it reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import attrs

from statemachine_flow.compiler.source import Path, Source
from statemachine_flow.errors import DefinitionError, Problem

#: A report names no more: a hostile document can be wrong in every node.
MOST_PROBLEMS: Final = 100


#: Text that may hold half of a surrogate pair once its escapes are read.
ESCAPED_SURROGATE: Final = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F]")


@attrs.frozen(kw_only=True)
class Limits:
    """How large a document may be."""

    #: Bytes of text.
    max_bytes: int = 1024 * 1024
    #: Mappings and lists inside each other, the root included.
    max_depth: int = 64
    #: Values: the root, the values of mappings and the items of lists.
    max_nodes: int = 50_000

    @property
    def too_deep(self) -> Fault:
        """The fault of a mapping or list below `max_depth`."""
        return Fault("definition.too_deep", f"values are nested more than {self.max_depth} levels deep")

    @property
    def too_many(self) -> Fault:
        """The fault of a document with more than `max_nodes` values."""
        return Fault("definition.too_many", f"the document holds more than {self.max_nodes:,} values")


@attrs.frozen
class Fault:
    """What is wrong with a value, before it is known where it stands."""

    kind: str
    message: str
    hint: str | None = None

    def at(self, source: Source, offset: int, path: Path = ()) -> Problem:
        """The problem it makes at `offset` of the text."""
        return source.problem_at(self.kind, self.message, offset, path, hint=self.hint)


WIDE_INTEGER: Final = Fault(
    "definition.number", "the whole number does not fit into 64 bits", "write it as text in quotes"
)
_SURROGATE: Final = Fault("definition.encoding", "the text holds half of a surrogate pair, which is no character")


def fault_of(scalar: object) -> Fault | None:
    """What keeps a scalar from being plain data; None if nothing does."""
    match scalar:
        case bool() | None:
            return None
        case int():
            return None if -(2**63) <= scalar < 2**63 else WIDE_INTEGER
        case float():
            return None if math.isfinite(scalar) else Fault("definition.range", f"{scalar} is not a finite number")
        case str():
            return None if scalar.isascii() or not any("\ud800" <= char <= "\udfff" for char in scalar) else _SURROGATE
        case _:
            return Fault(
                "definition.type",
                "dates and times are not part of the language",
                "write it as text in quotes",
            )


def problems_of(data: object, source: Source, limits: Limits, *, surrogates: bool = False) -> list[Problem]:
    """What keeps parsed data from being plain data of an allowed size.

    Args:
        data: what a parser made of `source`.
        source: where it came from.
        limits: `max_depth` and `max_nodes` apply.
        surrogates: whether the parser may have let halves of surrogate pairs into text.
    """
    faults: list[tuple[Fault, Path]] = []
    nodes = 1
    containers: list[tuple[Path, Any]] = [((), data)] if isinstance(data, dict | list) else []
    for path, container in containers:  # grows while it is walked: breadth first, without recursion
        nodes += len(container)
        if nodes > limits.max_nodes:
            # Pointing at the text as a whole: to find the very value takes longer than reading them all.
            return [limits.too_many.at(source, 0)]
        for key, value in container.items() if type(container) is dict else enumerate(container):
            kind = type(value)
            if kind is dict or kind is list:
                if len(path) + 2 > limits.max_depth:
                    faults.append((limits.too_deep, (*path, key)))
                else:
                    containers.append(((*path, key), value))
            elif (kind is not str or surrogates) and (fault := fault_of(value)):
                faults.append((fault, (*path, key)))
            if surrogates and isinstance(key, str) and (fault := fault_of(key)):
                faults.append((fault, (*path, key)))
    return [
        source.problem(fault.kind, fault.message, path, of="value", hint=fault.hint)
        for fault, path in faults[:MOST_PROBLEMS]
    ]


def root_of(data: object, source: Source) -> dict[str, Any]:
    """The data itself, which has to be a mapping that holds something.

    Raises:
        DefinitionError: `definition.empty` or `definition.type`.
    """
    if isinstance(data, dict) and data:
        return data
    if data is None or data == {}:
        raise DefinitionError([source.problem("definition.empty", "the document holds nothing")])
    found = "a list" if isinstance(data, list) else "a single value"
    message = f"the document is {found}, not a table of keys and values"
    raise DefinitionError([source.problem("definition.type", message, of="value")])


def refuse(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Raise the problems in the order of the text, `MOST_PROBLEMS` at most, if one of them is an error.

    Returns:
        The warnings, when there is nothing else.

    Raises:
        DefinitionError: with errors and warnings alike; where they are too many, with errors alone.
    """
    ordered = sorted(problems, key=_order)
    errors = [problem for problem in ordered if problem.severity == "error"]
    if errors:
        raise DefinitionError((ordered if len(ordered) <= MOST_PROBLEMS else errors)[:MOST_PROBLEMS])
    return tuple(ordered[:MOST_PROBLEMS])


def _order(problem: Problem) -> tuple[int, int]:
    return (problem.position.line, problem.position.column) if problem.position else (0, 0)
