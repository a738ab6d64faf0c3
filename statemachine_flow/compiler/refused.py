"""The refusal of a value while plain data becomes a noun, and how refusals of parts add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Final

import attrs

from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.model import Finding

#: Type of plain data -> what messages call it.
TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    NoneType: "nothing",
}


class Refused(Exception):  # noqa: N818 - what happened to the value; never leaves the compiler
    """A value does not fit.

    Args:
        findings: everything wrong with it, at least one.
    """

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


def wrong_type(expected: str, value: object, hint: str | None = None) -> Refused:
    """The refusal of a value of another type."""
    return Refused(Finding("definition.type", f"expected {expected}, found {TYPE_NAMES[type(value)]}", (), hint))


def under(key: str | int, findings: Iterable[Finding]) -> list[Finding]:
    """The findings of a part, seen from the value that holds it under `key`."""
    return [attrs.evolve(finding, path=(key, *finding.path)) for finding in findings]


def collect(parts: Iterable[tuple[str | int, Callable[[], object]]]) -> list[Finding]:
    """Try every part and return what is wrong with all of them, each under its key or index.

    No more is found than a report names.
    """
    findings: list[Finding] = []
    for key, structure in parts:
        findings += under(key, findings_of(structure))
        if len(findings) >= MOST_PROBLEMS:
            break
    return findings


def findings_of(structure: Callable[[], object]) -> tuple[Finding, ...]:
    """What `structure` refuses; nothing when it does not."""
    try:
        structure()
    except Refused as refused:
        return refused.findings
    return ()
