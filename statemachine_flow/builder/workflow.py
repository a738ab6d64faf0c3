"""`Workflow`: a document that is written by calls, or loaded from a text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast, final

from statemachine_flow.builder.forms import Duration, duration, noun, plain, retry_policy, step_name, without_none
from statemachine_flow.builder.level import Handlers, Level
from statemachine_flow.builder.names import name_functions
from statemachine_flow.builder.reads import with_needs
from statemachine_flow.builder.refs import Ref
from statemachine_flow.compiler import load_document
from statemachine_flow.compiler.source import Source
from statemachine_flow.errors import Problem, UsageError
from statemachine_flow.functions import Function
from statemachine_flow.model import LANGUAGE_VERSION, Budget, CheckpointPolicy, Definition, InputType, RetryPolicy

if TYPE_CHECKING:
    from statemachine_flow.plan import Plan

#: Sections of a document that things are added to.
_SECTIONS = ("inputs", "steps", "on_failure", "finally", "outputs")


@final
class Workflow(Level):
    """A workflow, built by calls or loaded from a document.

    Args:
        name: for people, and for lists of runs.
        version, description: for people.
        start: the step that a workflow of states begins with.
        max_parallel: how many steps may run at once; None leaves it to the executors' own limits.
        timeout: for the whole run.
        retry, step_timeout: what steps get that do not say otherwise.
        continue_on_error: whether steps that do not depend on a failed one go on.
        compensate: whether completed steps are undone when the run fails or is cancelled.
        checkpoint: how runs are kept.
        budget: what the agents of a run may use up together.

    Example:
        >>> workflow = Workflow("greeting")
        >>> who = workflow.input("who", default="you")
        >>> hello = workflow.run("hello", ["echo", "Hello", who], outputs={"text": "strip(stdout)"})
        >>> _ = workflow.run("shout", ["echo", hello.outputs.text])
        >>> workflow.output("text", hello.outputs.text)
        >>> print(workflow.to_toml())
        dsl = "1"
        name = "greeting"
        ...
        >>> workflow.definition.step("shout").needs
        ('hello',)
    """

    def __init__(  # noqa: PLR0913 - the fields of a document
        self,
        name: str,
        *,
        version: str | None = None,
        description: str | None = None,
        start: str | None = None,
        max_parallel: int | None = None,
        timeout: Duration | None = None,
        retry: RetryPolicy | Mapping[str, Any] | None = None,
        step_timeout: Duration | None = None,
        continue_on_error: bool | None = None,
        compensate: bool | None = None,
        checkpoint: CheckpointPolicy | Mapping[str, Any] | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
    ) -> None:
        defaults = without_none(retry=retry_policy(retry), timeout=duration(step_timeout))
        self._written: dict[str, Any] | None = {
            "dsl": LANGUAGE_VERSION,
            "name": name,
            **without_none(
                version=version,
                description=description,
                start=step_name(start),
                max_parallel=max_parallel,
                timeout=duration(timeout),
                continue_on_error=continue_on_error,
                compensate=compensate,
                checkpoint=noun(checkpoint),
                budget=noun(budget),
                defaults=defaults or None,
            ),
            **{section: {} for section in _SECTIONS},
        }
        self._definition: Definition | None = None
        self._source: Source | None = None
        self._warnings: tuple[Problem, ...] = ()
        self._functions: dict[str, Function] = {}

    @classmethod
    def of(cls, definition: Definition, source: Source | None = None, warnings: Sequence[Problem] = ()) -> Self:
        """A workflow around a definition that was checked already."""
        workflow = cls(definition.name)
        workflow._definition, workflow._source, workflow._written = definition, source, None
        workflow._warnings = tuple(warnings)
        return workflow

    # --- building

    def input(
        self,
        name: str,
        type: InputType = "string",  # noqa: A002 - the document's own word
        *,
        default: Any = None,
        enum: Sequence[Any] | None = None,
        required: bool | None = None,
        secret: bool | None = None,
        description: str | None = None,
    ) -> Ref:
        """Declare an input; returns the reference to its value. The words mean what they mean in a document."""
        declared = without_none(
            default=plain(default), enum=plain(enum), required=required, secret=secret, description=description
        )
        self._add("inputs", name, {"type": type, **declared})
        return Ref("inputs")[name]

    def output(self, name: str, value: Any) -> None:
        """Declare an output of the run."""
        self._add("outputs", name, plain(value))

    @property
    def on_failure(self) -> Handlers:
        """The steps that are carried out when the run is going to fail; more can be added to it.

        Example:
            >>> workflow = Workflow("careful")
            >>> _ = workflow.run("work", ["make"])
            >>> _ = workflow.on_failure.run("notify", ["echo", Ref("error").message])
            >>> workflow.definition.on_failure[0].id
            'notify'
        """
        return Handlers(self._document["on_failure"], self._changed)

    @property
    def finally_(self) -> Handlers:
        """The steps that are carried out last, however the run ends; more can be added to it."""
        return Handlers(self._document["finally"], self._changed)

    # --- using

    @property
    def definition(self) -> Definition:
        """The checked workflow.

        Raises:
            DefinitionError: with everything that is wrong.
        """
        if self._definition is None:
            document = self._inline()
            functions = name_functions(document)
            loaded = load_document(document)
            self._definition, self._source, self._warnings = loaded.definition, loaded.source, loaded.warnings
            self._functions = functions
        return self._definition

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is worth a look although the workflow can be run, in the order of the text.

        Raises:
            DefinitionError: with everything that is wrong with the document.

        Example:
            >>> workflow = Workflow("fine")
            >>> _ = workflow.run("work", ["true"])
            >>> workflow.warnings
            ()
        """
        self.definition  # noqa: B018 - they are found when it is made
        return self._warnings

    @property
    def plan(self) -> Plan:
        """The workflow compiled for execution.

        Raises:
            DefinitionError: with everything that is wrong with the document.
        """
        # Who only builds or checks workflows has no use for it.
        return cast("Plan", import_module("statemachine_flow.plan").Plan(self.definition))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical form: the same for the same workflow in TOML, YAML, JSON and Python."""
        return self.definition.content_hash

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions handed in, under the names the document gives them.

        Raises:
            DefinitionError: with everything that is wrong with the document.
        """
        self.definition  # noqa: B018 - the names belong to the document as it was when it was made
        return self._functions

    @property
    def origin(self) -> str | None:
        """The absolute path of the document's file; None if it has none."""
        if self._source is None or self._source.directory is None:
            return None
        return str(Path(self._source.directory, Path(self._source.name).name))

    def problem(self, kind: str, message: str, path: tuple[str | int, ...], hint: str | None = None) -> Problem:
        """A problem at a path of the document, with its place in the text where there is one."""
        if self._source is not None:
            return self._source.problem(kind, message, path, of="value", hint=hint)
        return Problem(kind=kind, message=message, path=".".join(map(str, path)), hint=hint)

    def to_toml(self) -> str:
        """The workflow as a TOML document."""
        return self._write("to_toml")

    def to_yaml(self) -> str:
        """The workflow as a YAML document."""
        return self._write("to_yaml")

    def to_json(self) -> str:
        """The workflow as a JSON document."""
        return self._write("to_json")

    def __repr__(self) -> str:
        if self._definition is not None:
            return f"<Workflow {self._definition.name} with {len(self._definition.steps)} steps>"
        return f"<Workflow {self._document['name']} with {len(self._document['steps'])} steps>"

    # --- inside

    def _write(self, writer: str) -> str:
        # The writers bring tomlkit and PyYAML, which nobody who only runs workflows has to load.
        module = import_module("statemachine_flow.compiler.write")
        return str(getattr(module, writer)(self.definition))

    @property
    def _document(self) -> dict[str, Any]:
        """The document as plain data; that of a loaded workflow is made when somebody adds to it."""
        if self._written is None:
            self._written = {**{section: {} for section in _SECTIONS}, **self.definition.tree()}
        return self._written

    @property
    def _steps(self) -> dict[str, Any]:
        return cast(dict[str, Any], self._document["steps"])

    def _changed(self) -> None:
        # What was loaded from a text is from here on written in Python.
        self._definition = self._source = None
        self._warnings = ()

    def _add(self, section: str, name: str, value: Any) -> None:
        part = self._document[section]
        if name in part:
            raise UsageError(f"the workflow already has {name!r} among its {section}")
        part[name] = value
        self._changed()

    def _inline(self) -> dict[str, Any]:
        """A copy of the document with needs filled in; functions still stand where their names will."""
        if self._written is None:
            return self.definition.tree()
        document = dict(self._document)
        for level in ("steps", "on_failure", "finally"):
            document[level], _ = with_needs(document[level], is_states=level == "steps" and "start" in document)
        return {key: value for key, value in document.items() if value != {}}


def load(source: str | bytes | os.PathLike[str] | Mapping[str, Any]) -> Workflow:
    """Read and check a document.

    Args:
        source: a path; or the text of a TOML, YAML or JSON document, which has a line break in it or is given as bytes;
            or the document as plain data.

    Raises:
        DefinitionError: with every problem of the document.
        UsageError: the source is neither.

    Example:
        >>> load('''
        ... dsl = "1"
        ... name = "one"
        ... [steps]
        ... hello = { run = ["echo", "hello"] }
        ... ''')
        <Workflow one with 1 steps>
    """
    if not isinstance(cast(object, source), str | bytes | os.PathLike | Mapping):
        accepted = "a Workflow, a Definition, the path of a document, or its text"
        raise UsageError(f"a workflow is {accepted}, not a {type(source).__name__}")
    loaded = load_document(source)
    return Workflow.of(loaded.definition, loaded.source, loaded.warnings)


def as_workflow(given: Workflow | Definition | str | os.PathLike[str]) -> Workflow:
    """Whatever an engine was given, as a checked workflow."""
    if isinstance(given, Workflow):
        return given
    return Workflow.of(given) if isinstance(given, Definition) else load(given)
