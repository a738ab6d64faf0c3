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
    search = _Search(registered)
    search.visit(workflow, workflow, (), _folder_of(workflow))
    if search.problems:
        raise DefinitionError(search.problems)
    return search.pins, search.found


@final
class _Search:
    def __init__(self, registered: Mapping[str, Any] | None) -> None:
        self.pins: dict[str, str] = {}
        self.found: dict[str, Workflow] = {}
        self.problems: list[Problem] = []
        self._registered = registered
        #: Content hash of a workflow, and the folder that its files are looked for in.
        self._visited: set[tuple[str, Path | None]] = set()

    def visit(self, workflow: Workflow, document: Workflow, place: _Place, root: Path | None) -> None:
        """Find the children of one workflow, then theirs.

        Args:
            workflow: where to look.
            document: the document that it stands in; itself, unless it is written inside another.
            place: where in that document.
            root: the folder that no file lies out of; None if there are no files.
        """
        content_hash, folder = workflow.content_hash, _folder_of(document)
        if (content_hash, folder) in self._visited:
            return
        self._visited.add((content_hash, folder))
        for below, step in _child_steps(workflow.definition):
            assert isinstance(step.verb, Child)  # noqa: S101 - such steps are looked for
            here, reference = (*place, *below, "workflow"), step.verb.workflow
            try:
                child = self._find(document, reference, root)
                if child is not None:
                    self._pin(pin(content_hash, reference), child)
            except DefinitionError as error:
                self.problems += error.problems
            except _Fault as fault:
                self.problems.append(document.problem(fault.kind, fault.message, here, fault.hint))
            else:
                if child is not None and isinstance(reference, Definition):
                    self.visit(child, document, here, root)
                elif child is not None:
                    self.visit(child, child, (), root if _is_file(reference) else _folder_of(child))

    def _pin(self, name: str, child: Workflow) -> None:
        """Keep what a step starts. What is the same in two folders has one definition, and so one child of a name."""
        if self.pins.setdefault(name, child.content_hash) != child.content_hash:
            message = "documents that are the same, in two folders, mean different files by one name"
            raise _Fault("definition.include", message, "give one of them another `version`")
        self.found[child.content_hash] = child

    def _find(self, document: Workflow, reference: str | Definition, root: Path | None) -> Workflow | None:
        if isinstance(reference, Definition):
            return Workflow.of(reference)
        if _is_file(reference):
            return as_workflow(_file(document, reference, root))
        return self._by_name(reference)

    def _by_name(self, name: str) -> Workflow | None:
        if self._registered is None:
            return None
        if name not in self._registered:
            known = ", ".join(self._registered) or "none"
            hint = f"registered: {known}; a file ends in .toml, .yaml or .json"
            raise _Fault("definition.workflow", f"the engine has no workflow {name!r}", hint)
        return as_workflow(self._registered[name])


class _Fault(Exception):  # noqa: N818 - it becomes a problem with a place
    def __init__(self, kind: str, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.kind, self.message, self.hint = kind, message, hint


_HINT: Final = "a child workflow lies in the folder of the document or below, and is named from there"
_NO_FILE: Final = "the workflow comes from no file; give the engine the child by name, or write it inside"


def _is_file(reference: str | Definition) -> bool:
    return isinstance(reference, str) and reference.lower().endswith(_SUFFIXES)


def _file(document: Workflow, reference: str, root: Path | None) -> Path:
    """The file of a child, which lies in the folder of the first document or below."""
    folder = _folder_of(document)
    if folder is None or root is None:
        raise _Fault("definition.include", f"{reference[:200]!r} lies beside no document", _NO_FILE)
    if "://" in reference or Path(reference).is_absolute() or "\0" in reference:
        raise _Fault("definition.include", f"{reference[:200]!r} is no path beside the document", _HINT)
    path = folder / reference
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise _Fault("definition.include", f"{reference[:200]!r} leads out of the document's folder", _HINT)
    if not os.path.isfile(real):  # noqa: PTH113 - Path.is_file() raises for a name that is too long
        raise _Fault("definition.include", f"there is no file {reference[:200]!r} beside the document", None)
    return path


def _folder_of(workflow: Workflow) -> Path | None:
    """Where the paths of a document begin; None if it comes from no file."""
    return None if workflow.origin is None else Path(workflow.origin).parent


def _child_steps(definition: Definition) -> Iterator[tuple[_Place, Step]]:
    levels = (("steps", definition.steps), ("on_failure", definition.on_failure), ("finally", definition.finally_))
    for key, steps in levels:
        yield from _in_level(steps, (key,))


def _in_level(steps: tuple[Step, ...], place: _Place) -> Iterator[tuple[_Place, Step]]:
    for step in steps:
        yield from _in_step(step, (*place, step.id))


def _in_step(step: Step, here: _Place) -> Iterator[tuple[_Place, Step]]:
    if isinstance(step.verb, Child):
        yield here, step
    elif isinstance(step.verb, Group):
        yield from _in_level(step.verb.steps, (*here, "steps"))
    if step.compensate is not None:
        yield from _in_step(step.compensate, (*here, "compensate"))
