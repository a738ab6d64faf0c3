"""Every error this library raises on purpose: one tree, stable kinds, data as attributes.

The text of an error is built at the end, by `__str__` and by the command line, from its attributes. `KINDS`
is the closed list: an error with another kind cannot be made, and the reference documents each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Literal

import attrs

#: kind -> what it means. The part before the first dot decides the class and the exit code.
KINDS: Final[Mapping[str, str]] = {
    "usage": "the command line or the call is wrong",
    "usage.ambiguous": "a run was named by a prefix that several runs share",
    "usage.closed": "the engine or store was already closed",
    "usage.forked": "the handle was made before a fork and belongs to the parent process",
    "usage.edit": "something cannot be set in the copy of a run",
    "usage.extra": "an optional package is needed and not installed",
    "usage.output": "what a command prints cannot be written",
    "definition.agent": "an agent that the engine was not given",
    "definition.alias": "YAML anchors and aliases are not part of the language",
    "definition.callable": "a function name is malformed, private, not registered or not allowed",
    "definition.cycle": "steps need each other in a circle",
    "definition.duplicate": "a list names the same thing twice",
    "definition.duplicate_key": "a key stands twice in one mapping",
    "definition.empty": "the document holds nothing",
    "definition.encoding": "the text is not clean UTF-8",
    "definition.exclusive_join": "branches of which only one runs meet in a step that needs them all",
    "definition.format": "the name of a file does not say the format of the document",
    "definition.include": "the file of a child workflow is not there or lies outside the document's folder",
    "definition.merge": "YAML merge keys are not part of the language",
    "definition.missing_field": "a required field is absent",
    "definition.multiple": "one file holds more than one YAML document",
    "definition.name": "a name breaks the naming rule",
    "definition.never_ends": "the token of a level of states can never come to its end",
    "definition.never_runs": "a step that no run of the workflow can begin",
    "definition.not_a_file": "the path names no readable regular file",
    "definition.number": "a number is longer than any reader accepts",
    "definition.range": "a value lies outside its allowed range",
    "definition.reference": "an expression reads something that will not be there",
    "definition.route": "a route that can never match, or a value that has none",
    "definition.schema": "an output_schema is no valid JSON Schema",
    "definition.secret": "a secret stands where others could read it",
    "definition.shape": "steps of a graph and steps of states on one level",
    "definition.syntax": "the text is not valid TOML, YAML or JSON",
    "definition.tag": "YAML tags are not part of the language",
    "definition.too_deep": "values are nested deeper than the limit",
    "definition.too_large": "the document is larger than the limit",
    "definition.too_many": "the document has more steps or nodes than the limit",
    "definition.type": "a value has the wrong type",
    "definition.unknown_field": "a field that this language version does not have",
    "definition.unknown_step": "a needed step does not exist",
    "definition.unreachable": "a step that no route leads to",
    "definition.verb": "a step has no verb, or more than one",
    "definition.version": "the language version is not known here",
    "definition.workflow": "a child workflow that the engine was not given",
    "expression.evaluation": "an expression failed on its values",
    "expression.forbidden": "an expression uses something outside the language",
    "expression.limit": "an expression went over its budget",
    "expression.syntax": "an expression cannot be parsed",
    "expression.too_deep": "an expression is nested deeper than the limit",
    "expression.type": "an expression gave a value of the wrong type",
    "expression.undefined": "an expression names something that does not exist",
    "input.missing": "a required input was not given",
    "input.type": "an input has the wrong type",
    "input.unknown": "an input the workflow does not declare",
    "input.value": "an input is outside its allowed values",
    "run.not_found": "no run has that id",
    "run.owned": "another live process owns the run",
    "run.fenced": "the run was taken over by another owner",
    "run.state": "the run's state does not allow the action",
    "run.refused": "a decision that the approval does not allow, or that came too late",
    "run.uncertain": "whether a step took effect is not known, and somebody has to say",
    "run.limit": "the run's journal has as many records as are allowed",
    "run.conflict": "the run id is taken by a run with another definition or other inputs",
    "transition.refused": "the lifecycle table has no such edge, or its guard said no",
    "store.busy": "another process holds the store's write lock",
    "store.corrupt": "a stored record fails its checksum or its chain",
    "store.exists": "a file that a backup is to be written to is there already",
    "store.filesystem": "the store lies on a file system that machines share",
    "store.full": "the disk is full",
    "store.io": "the operating system reported an input/output error",
    "store.lost_tail": "what was committed last is no longer in the store",
    "store.moved": "the store's file was moved, removed or replaced while it was in use",
    "store.needs_migration": "the store was written by an older version and has to be brought up to date first",
    "store.newer": "the store was written by a newer version of this library",
    "store.not_ours": "the file is not a store of this library",
    "store.old_sqlite": "this version of SQLite can damage a store's log",
    "store.schema_mismatch": "the store's schema is not the one this version writes",
    "store.unsafe_path": "the path is a link, a special file or otherwise unsafe",
    "step.abandoned": "too many functions that were given up still run in threads",
    "step.agent": "the step's agent gave no usable answer",
    "step.budget": "the run's budget for agents is used up",
    "step.child": "the step's child run did not complete",
    "step.died": "the process of an isolated function ended before the function returned",
    "step.failed": "the step's function raised an error",
    "step.exit": "the step's command ended with a status other than 0",
    "step.group": "a required step of the group failed",
    "step.items": "too many items of the step failed, or its items are not as they must be",
    "step.limit": "a loop or a nesting went over its bound",
    "step.poison": "the step was under way each time when several processes of its run died",
    "step.rejected": "the approval was rejected",
    "step.route": "no route leads on from the step's result",
    "step.schema": "the step's result breaks its output_schema",
    "step.secret": "a secret of the step is not there",
    "step.spawn": "the step's command could not be started",
    "step.timeout": "the step took longer than its timeout",
    "step.outputs": "a declared output could not be computed",
    "step.uncertain": "an attempt was cut off, and it was found or decided that it failed",
    "step.unserializable": "the step returned a value that cannot be kept exactly",
    "run.failed": "a required step failed",
    "run.timeout": "the run took longer than its timeout",
    "run.outputs": "a declared output of the run could not be computed",
    "internal": "a bug in this library",
}


@attrs.frozen
class Position:
    """A place in a document: lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong with a document.

    Example:
        >>> print(Problem(kind="definition.unknown_field", message="unknown field 'timout'", path="steps.a.timout"))
        definition.unknown_field: unknown field 'timout' (at steps.a.timout)
    """

    #: A key of `KINDS`.
    kind: str = attrs.field()
    #: One sentence, no position and no advice in it.
    message: str
    #: Where in the document's tree, dotted; "" for the document as a whole.
    path: str = ""
    #: Where in the text; None when the workflow was built in Python.
    position: Position | None = None
    #: The text of that line, without its line end.
    source_line: str | None = None
    #: What to do, such as "did you mean 'timeout'?".
    hint: str | None = None
    #: A warning keeps no workflow from being run.
    severity: Literal["error", "warning"] = "error"

    @kind.validator
    def _kind_is_known(self, _attribute: object, value: str) -> None:
        _require_kind(value)

    def __str__(self) -> str:
        where = self.position or (f"at {self.path}" if self.path else None)
        text = f"{self.kind}: {self.message}"
        if where is not None:
            text += f" ({where})"
        if self.hint:
            text += f"; {self.hint}"
        return text


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown error kind {kind!r}: add it to KINDS with its meaning")


class SmfError(Exception):
    """Base of every error raised on purpose by this library.

    Args:
        message: one sentence that says what happened.
        kind: a key of `KINDS`; the class has a default.
        run, step, seq: what it concerns, where it concerns a run.
        hint: what the reader can do about it.

    Example:
        >>> try:
        ...     raise NotFoundError("no run 'x'", run="x", hint="`smf list --all` shows every run")
        ... except SmfError as error:
        ...     print(error.kind, error.exit_code)
        run.not_found 4
    """

    default_kind: ClassVar[str] = "internal"
    #: The exit code of `smf` when this error ends a command.
    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        run: str | None = None,
        step: str | None = None,
        seq: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        _require_kind(self.kind)
        self.run = run
        self.step = step
        self.seq = seq
        self.hint = hint

    @property
    def where(self) -> str:
        """`run R, step S, seq N`, as far as known; "" otherwise."""
        parts = [("run", self.run), ("step", self.step), ("seq", self.seq)]
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)

    def __str__(self) -> str:
        return "; ".join(part for part in (self.message, self.where, self.hint) if part)


class UsageError(SmfError):
    """The call or the command line is wrong; nothing was done."""

    default_kind = "usage"
    exit_code = 2


class ProblemsError(SmfError):
    """One or more `Problem`s, all found in one go; nothing was started.

    Args:
        problems: at least one.
    """

    exit_code = 3

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = next((problem for problem in self.problems if problem.severity == "error"), self.problems[0])
        super().__init__(str(first), kind=first.kind)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class DefinitionError(ProblemsError):
    """A document or a builder's workflow is not valid."""


class InputError(ProblemsError):
    """The inputs given to a run do not fit what the workflow declares."""


class ExpressionError(SmfError):
    """An expression is not valid, or failed on its values.

    Args:
        message: what is wrong.
        kind: one of the `expression.*` kinds.
        expression: the expression's text.
        offset: where in that text, in characters from 0.
    """

    default_kind = "expression.evaluation"
    exit_code = 3

    def __init__(
        self, message: str, *, kind: str | None = None, expression: str = "", offset: int = 0, hint: str | None = None
    ) -> None:
        super().__init__(message, kind=kind, hint=hint)
        self.expression = expression
        self.offset = offset


class NotFoundError(SmfError):
    """No run has that id."""

    default_kind = "run.not_found"
    exit_code = 4


class ConflictError(SmfError):
    """Somebody else owns the run, or its state does not allow the action."""

    default_kind = "run.state"
    exit_code = 5


class TransitionRefused(ConflictError):  # noqa: N818 - the lifecycle's own word, as in the reference
    """The lifecycle does not allow a change.

    Args:
        machine: `"run"` or `"step"`.
        trigger: the trigger that was fired.
        state: the state it was fired in.
        reason: why it was refused.
    """

    default_kind = "transition.refused"

    def __init__(self, machine: str, trigger: str, state: str, reason: str) -> None:
        super().__init__(f"{machine} in state '{state}' refuses '{trigger}': {reason}")
        self.machine = machine
        self.trigger = trigger
        self.state = state
        self.reason = reason


class StoreError(SmfError):
    """The store cannot be opened, read or written; what it held is unchanged."""

    default_kind = "store.io"
    exit_code = 6


class StepError(SmfError):
    """An attempt of a step went wrong; raised by verbs, kept in the journal as the step's error.

    Args:
        message: what happened.
        kind: one of the `step.*` or `expression.*` kinds.
        name: the error name that `retry_on` and `abort_on` match, such as `TimeoutError`.
    """

    default_kind = "step.failed"
    exit_code = 1

    def __init__(
        self, message: str, *, kind: str | None = None, name: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, kind=kind, hint=hint)
        self.name = name or type(self).__name__
