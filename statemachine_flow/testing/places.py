"""Which step a path means, those of child runs included: `deliver/send` is in the workflow that `deliver` starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

from statemachine_flow.builder import Workflow
from statemachine_flow.builder.children import children_of, pin
from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child
from statemachine_flow.views.places import find, split

_ITEM: Final = re.compile(r"\[[^]]*\]")


@final
class Places:
    """The steps of a workflow by path.

    Args:
        workflow: where paths begin.
        workflows: name -> what `workflow` steps start by that name.

    Raises:
        DefinitionError: a child workflow cannot be found.

    Example:
        >>> inner, outer = Workflow("inner"), Workflow("outer")
        >>> _ = inner.run("send", ["true"])
        >>> _ = outer.child("deliver", inner)
        >>> Places(outer).step("deliver/send").verb.key
        'run'
    """

    def __init__(self, workflow: Workflow, workflows: Mapping[str, Any] | None = None) -> None:
        self.definition = workflow.definition
        pins, children = children_of(workflow, workflows or {})
        self._pins = pins
        self._children = {content_hash: child.definition for content_hash, child in children.items()}

    def child(self, definition: Definition, step: Step) -> Definition | None:
        """What a step of a definition starts; None if it starts nothing."""
        if not isinstance(step.verb, Child):
            return None
        return self._children.get(self._pins.get(pin(definition.content_hash, step.verb.workflow), ""))

    def step(self, path: str) -> Step | None:
        """The step under a path; None if there is none."""
        definition, parts = self.definition, split(path)
        start = 0
        for end in range(1, len(parts) + 1):
            found = find(definition, "/".join(parts[start:end]))
            if found is None:
                continue
            if end == len(parts):
                return found.step
            child = self.child(definition, found.step)
            if child is not None:
                definition, start = child, end
        return None

    def all(self) -> Iterator[tuple[str, Step]]:
        """Every step with its path, those of handlers, groups, compensations and child runs included."""
        yield from self._of(self.definition, "", ())

    def _of(self, definition: Definition, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, Step]]:
        if definition.content_hash in above:
            return  # a workflow that starts itself has no end of places
        above = (*above, definition.content_hash)
        for path, step in own_steps(definition):
            yield prefix + path, step
            if (child := self.child(definition, step)) is not None:
                yield from self._of(child, f"{prefix}{path}/", above)


def without_items(path: str) -> str:
    """A path with the keys of items left out.

    Example:
        >>> without_items("review[src/a.py]/lint")
        'review/lint'
    """
    return _ITEM.sub("", path)


def own_steps(definition: Definition) -> Iterator[tuple[str, Step]]:
    """Every step of a definition with its path, those of handlers, groups and compensations included."""
    yield from _within(definition.steps, "")
    yield from _within(definition.on_failure, "@on_failure/")
    yield from _within(definition.finally_, "@finally/")


def _within(steps: tuple[Step, ...], prefix: str) -> Iterator[tuple[str, Step]]:
    for step in steps:
        path = prefix + step.id
        yield path, step
        if step.compensate is not None:
            yield f"@compensate/{path}", step.compensate
        if isinstance(step.verb, Group):
            yield from _within(step.verb.steps, f"{path}/")
