"""The workflows that a workflow's steps start: found when a run begins, so that the run has them whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, final

from statemachine_flow.builder.workflow import Workflow, as_workflow
from statemachine_flow.errors import DefinitionError, Problem
from statemachine_flow.model import Definition, Step
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.workflow import Child

_SUFFIXES: Final = (".toml", ".yaml", ".yml", ".json")
_Place = tuple[str | int, ...]


def pin(content_hash: str, reference: str | Definition) -> str:
    """How a run remembers which workflow a `workflow` step of one of its definitions means."""
    if isinstance(reference, Definition):
        return f"{content_hash} {reference.content_hash}"
    return f"{content_hash} {reference}"


def children_of(
    workflow: Workflow, registered: Mapping[str, Any] | None = None
) -> tuple[dict[str, str], dict[str, Workflow]]:
    r"""Find every workflow that runs of a workflow may start, at any depth.

    Args:
        workflow: where to begin.
        registered: name -> workflow, or whatever makes one; None leaves names for later.

    Returns:
        For each `workflow` step, by `pin`, the content hash of what it starts; and those workflows by content hash.

    Raises:
        DefinitionError: `definition.include` for a file that is not there or lies outside the document's folder,
            `definition.workflow` for a name that is not registered, and all problems of documents that are found.

    Example:
        >>> from statemachine_flow.builder.workflow import load
        >>> outer = load('''{"dsl": "1", "name": "outer",
        ... "steps": {"a": {"workflow": {"dsl": "1", "name": "inner", "steps": {"b": {"call": "f"}}}}}}''' + "\n")
        >>> pins, found = children_of(outer)
        >>> [child.definition.name for child in found.values()]
        ['inner']
    """
    search = _Search(workflow, registered)
    search.visit(workflow, workflow, ())
    if search.problems:
        raise DefinitionError(search.problems)
    return search.pins, search.found


@final
class _Search:
    def __init__(self, top: Workflow, registered: Mapping[str, Any] | None) -> None:
        self.pins: dict[str, str] = {}
        self.found: dict[str, Workflow] = {}
        self.problems: list[Problem] = []
        self._registered = registered
        self._root = _folder_of(top)
        self._visited: set[str] = set()

    def visit(self, workflow: Workflow, document: Workflow, place: _Place) -> None:
        """Find the children of one workflow, then theirs.

        Args:
            workflow: where to look.
            document: the document that it stands in; itself, unless it is written inside another.
            place: where in that document.
        """
        content_hash = workflow.content_hash
        if content_hash in self._visited:
            return
        self._visited.add(content_hash)
        for below, step in _child_steps(workflow.definition):
            assert isinstance(step.verb, Child)  # noqa: S101 - such steps are looked for
            here = (*place, *below, "workflow")
            child = self._find(document, here, step.verb.workflow)
            if child is not None:
                self.pins[pin(content_hash, step.verb.workflow)] = child.content_hash
                self.found[child.content_hash] = child
                is_inline = isinstance(step.verb.workflow, Definition)
                self.visit(child, document if is_inline else child, here if is_inline else ())

    def _find(self, document: Workflow, place: _Place, reference: str | Definition) -> Workflow | None:
        try:
            if isinstance(reference, Definition):
                return Workflow.of(reference)
            if reference.lower().endswith(_SUFFIXES):
                return as_workflow(self._file(document, reference))
            return self._by_name(reference)
        except DefinitionError as error:
            self.problems += error.problems
        except _Fault as fault:
            self.problems.append(document.problem(fault.kind, fault.message, place, fault.hint))
        return None

    def _by_name(self, name: str) -> Workflow | None:
        if self._registered is None:
            return None
        if name not in self._registered:
            known = ", ".join(self._registered) or "none"
            hint = f"registered: {known}; a file ends in .toml, .yaml or .json"
            raise _Fault("definition.workflow", f"the engine has no workflow {name!r}", hint)
        return as_workflow(self._registered[name])

    def _file(self, workflow: Workflow, reference: str) -> Path:
        """The file of a child, which lies in the folder of the first document or below."""
        if "://" in reference or Path(reference).is_absolute() or "\0" in reference:
            raise _Fault("definition.include", f"{reference[:200]!r} is no path beside the document", _HINT)
        path = _folder_of(workflow, self._root) / reference
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(self._root)):
            raise _Fault("definition.include", f"{reference[:200]!r} leads out of the document's folder", _HINT)
        if not real.is_file():
            raise _Fault("definition.include", f"there is no file {reference[:200]!r} beside the document", None)
        return path


class _Fault(Exception):  # noqa: N818 - it becomes a problem with a place
    def __init__(self, kind: str, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.kind, self.message, self.hint = kind, message, hint


_HINT: Final = "a child workflow lies in the folder of the document or below, and is named from there"


def _folder_of(workflow: Workflow, default: Path | None = None) -> Path:
    """Where the paths of a workflow begin."""
    if workflow.origin is not None:
        return Path(workflow.origin).parent
    return default if default is not None else Path.cwd()


def _child_steps(definition: Definition) -> Iterator[tuple[_Place, Step]]:
    levels = (("steps", definition.steps), ("on_failure", definition.on_failure), ("finally", definition.finally_))
    for key, steps in levels:
        yield from _in_level(steps, (key,))


def _in_level(steps: tuple[Step, ...], place: _Place) -> Iterator[tuple[_Place, Step]]:
    for step in steps:
        here = (*place, step.id)
        if isinstance(step.verb, Child):
            yield here, step
        elif isinstance(step.verb, Group):
            yield from _in_level(step.verb.steps, (*here, "steps"))
        if step.compensate is not None and isinstance(step.compensate.verb, Child):
            yield (*here, "compensate"), step.compensate
