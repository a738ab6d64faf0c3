"""`draw`: a workflow, or a run of it, in any of the forms that this package knows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Final, Literal

from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.engine.view import Run
from statemachine_flow.errors import UsageError
from statemachine_flow.model import Definition
from statemachine_flow.views.data import graph_data
from statemachine_flow.views.dot import dot
from statemachine_flow.views.mermaid import mermaid
from statemachine_flow.views.picture import Picture, picture_of
from statemachine_flow.views.svg import svg
from statemachine_flow.views.tree import tree

Form = Literal["tree", "mermaid", "dot", "svg", "json"]

#: Form -> how a picture is brought into it.
FORMS: Final[Mapping[str, Callable[[Picture], str]]] = {
    "tree": tree,
    "mermaid": mermaid,
    "dot": dot,
    "svg": svg,
    "json": lambda picture: json.dumps(graph_data(picture), indent=2),
}


def draw(
    workflow: Workflow | Definition | str | os.PathLike[str],
    format: Form = "tree",  # noqa: A002 - the command's own word
    *,
    run: Run | None = None,
) -> str:
    """Draw a workflow.

    Args:
        workflow: what to draw, as an engine takes it.
        format: `tree` for terminals, `mermaid`, `dot` for Graphviz, `svg`, or `json` for programs.
        run: a run of it, whose states are shown.

    Raises:
        DefinitionError: the workflow is not valid.
        UsageError: there is no such form.

    Example:
        >>> workflow = Workflow("two")
        >>> first = workflow.run("first", ["echo", "hello"])
        >>> _ = workflow.run("second", ["echo", first.output.stdout])
        >>> print(draw(workflow))
        first (run)
        ↳ second (run)
    """
    form = FORMS.get(format)
    if form is None:
        raise UsageError(f"a workflow is not drawn as {format!r}", hint=f"formats: {', '.join(FORMS)}")
    states = None if run is None else {path: str(step.state) for path, step in run.steps.items()}
    return form(picture_of(as_workflow(workflow).definition, states))
