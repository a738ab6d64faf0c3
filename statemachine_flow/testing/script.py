"""What the world does to a run, as data: how attempts end, what people decide, what is signalled.

A script speaks of steps by their paths: `fetch`, `ci/build`, `@finally/clean`; `review[a.py]` is one item of a loop and
`review` each of them; `deliver/send` is the step `send` of the child run that `deliver` starts. It is written in
Python, or as a document:

    safe = ["fetch"]

    [steps]
    fetch = [{ fail = "ConnectionError" }, { return = { x = 1 } }]
    gate = { decide = "approve", form = { note = "fine" }, takes = "2h" }

`dsl/rehearsal.md` has all of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import attrs

from statemachine_flow.builder import Workflow
from statemachine_flow.compiler import read_file
from statemachine_flow.compiler.problems import Problems
from statemachine_flow.errors import DefinitionError, Problem, UsageError
from statemachine_flow.testing.fits import hold_against
from statemachine_flow.testing.outcomes import Outcome
from statemachine_flow.testing.places import Places, without_items
from statemachine_flow.testing.reader import Origin, Read, read_script


@final
@attrs.frozen
class Script:
    """Everything that a run does not decide itself; of what it does not speak, bodies are carried out as they are.

    Example:
        >>> script = Script.of({"fetch": [{"fail": "ConnectionError"}, {"return": 1}], "gate": {"decide": "approve"}})
        >>> script.outcome("fetch", 1), script.outcome("fetch", 3)
        (Fail(name='ConnectionError', message='', is_=(), takes=0.0, found=None), Return(value=1, ...))
        >>> script.outcome("other", 1) is None
        True
    """

    #: Path -> what happens the first, the second, ... time; the last one happens from then on.
    steps: Mapping[str, tuple[Outcome, ...]] = attrs.field(factory=dict)
    #: Paths of steps whose bodies may begin twice without harm.
    safe: tuple[str, ...] = ()
    _origin: Origin = attrs.field(factory=Origin, kw_only=True, repr=False, eq=False)

    @classmethod
    def of(cls, given: Given, places: Places | None = None) -> Script:
        """A script from what a caller has: one already, outcomes by path, or the path of a document.

        Args:
            given: what the caller has.
            places: hold it against this workflow at the same time, see `check`.

        Raises:
            DefinitionError: with everything that is wrong with it, in the order of the document.
            UsageError: it is nothing that a script could be made of.
        """
        read = _read(given)
        if places is not None:
            hold_against(read, places)
        _refuse(read.problems)
        return given if isinstance(given, Script) else cls(read.steps, read.safe, origin=read.origin)

    @property
    def name(self) -> str:
        """As messages name it: its file, if it has one."""
        source = self._origin.source
        return "the script" if source is None else f"the script {source.name}"

    def outcome(self, path: str, number: int) -> Outcome | None:
        """What happens to a step the n-th time; None where the script does not say.

        Args:
            path: of the step, or of one item.
            number: counts from 1; an attempt that was cut off does not count.
        """
        outcomes = self.steps.get(path) or self.steps.get(without_items(path))
        return outcomes[min(number, len(outcomes)) - 1] if outcomes else None

    def is_safe(self, path: str) -> bool:
        """Whether the script says that the body of a step may begin twice."""
        return path in self.safe or without_items(path) in self.safe

    def check(self, workflow: Workflow, workflows: Mapping[str, Any] | None = None) -> None:
        """Hold the script against the workflow it is for.

        Args:
            workflow: what is run.
            workflows: name -> what `workflow` steps start by that name.

        Raises:
            DefinitionError: `definition.unknown_step` for paths that lead to no step, `definition.type` for outcomes
                that its verb cannot have, `definition.range` for choices that an approval does not have and results
                that break the step's `output_schema`.
        """
        self.of(self, Places(workflow, workflows))

    def as_read(self) -> Read:
        """Its parts as if they were just read."""
        return Read(self.steps, self.safe, self._origin, Problems(self._origin.source))


#: What a caller may have for a script.
Given = Script | Mapping[str, Any] | str | os.PathLike[str] | None


def _read(given: object) -> Read:
    if isinstance(given, Script):
        return given.as_read()
    if given is None or isinstance(given, Mapping):
        return read_script({"steps": given or {}}, None)
    if not isinstance(given, str | os.PathLike):
        message = f"a value of the type {type(given).__name__} is no script"
        raise UsageError(message, hint="give outcomes by path, a `Script`, or the path of a document")
    tree, source = read_file(Path(given))
    return read_script(tree, source)


def _refuse(problems: Problems) -> None:
    """Raise what was found, in the order of the document."""
    if problems.found:
        raise DefinitionError(sorted(problems.found, key=_place))


def _place(problem: Problem) -> tuple[int, int]:
    position = problem.position
    return (0, 0) if position is None else (position.line, position.column)
