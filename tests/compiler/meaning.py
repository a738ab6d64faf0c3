"""Helpers to ask what a document of sound shape means."""

from __future__ import annotations

from statemachine_flow.compiler import check, read_text, structure
from statemachine_flow.errors import Problem
from tests.compiler.cases import toml


def problems(body: str) -> list[Problem]:
    """Every problem of meaning and every warning of a TOML document, whose shape has to be sound."""
    data, source = read_text(toml(body))
    definition, of_shape = structure(data, source)
    assert definition is not None
    assert of_shape == []
    found = check(definition, source)
    assert all(problem.position is not None for problem in found)
    assert [each.kind for each in check(definition)] == [each.kind for each in found]
    return found


def told(body: str) -> list[str]:
    """Kind and path of each problem; a warning begins with `~`."""
    return [f"{'~' if each.severity == 'warning' else ''}{each.kind} {each.path}" for each in problems(body)]


def hint(body: str) -> str:
    """The advice of the only problem."""
    (problem,) = problems(body)
    return problem.hint or ""
