"""Problems as workflow commands of GitHub Actions, which shows them beside the lines they are about."""

from __future__ import annotations

from typing import Final

from statemachine_flow.cli.output import join_parts
from statemachine_flow.errors import Problem

#: What would end a message, and besides that a property.
_IN_MESSAGES: Final = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_IN_PROPERTIES: Final = (*_IN_MESSAGES, (":", "%3A"), (",", "%2C"))


def annotation(problem: Problem) -> str:
    """A problem in one line.

    Example:
        >>> from statemachine_flow.errors import Position
        >>> print(annotation(Problem(kind="definition.type", message="100%", position=Position("a,b.toml", 2, 8))))
        ::error file=a%2Cb.toml,line=2,col=8,title=definition.type::100%25
    """
    properties: dict[str, object] = {}
    if problem.position is not None:
        properties = {"file": problem.position.file, "line": problem.position.line, "col": problem.position.column}
    properties["title"] = problem.kind
    where = f"at {problem.path}" if problem.position is None and problem.path else None
    listed = ",".join(
        f"{name}={_escaped(join_parts(str(value)), _IN_PROPERTIES)}" for name, value in properties.items()
    )
    return f"::{problem.severity} {listed}::{_escaped(join_parts(problem.message, where, problem.hint), _IN_MESSAGES)}"


def _escaped(text: str, replaced: tuple[tuple[str, str], ...]) -> str:
    for character, instead in replaced:
        text = text.replace(character, instead)
    return text
