"""`Workflow`: a document that is written by calls, or loaded from a text."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar, cast, final

from statemachine_flow.builder.forms import (
    OPTION_FORMS,
    OPTIONS,
    Duration,
    duration,
    plain,
    retry_policy,
    steps_read,
    without_none,
)
from statemachine_flow.builder.names import called_names
from statemachine_flow.builder.refs import Ref
from statemachine_flow.compiler import load_definition
from statemachine_flow.compiler.source import Source
from statemachine_flow.errors import Problem, UsageError
from statemachine_flow.functions import Function
from statemachine_flow.model import LANGUAGE_VERSION, Definition, InputType, RetryPolicy

_F = TypeVar("_F", bound=Callable[..., Any])


@final
class Workflow:
    """A workflow, built by calls or loaded from a document.

    Args:
        name: for people, and for lists of runs.
        version, description: for people.
        max_parallel: how many steps may run at once; None leaves it to the executors' own limits.
        timeout: for the whole run.
        retry, step_timeout: what steps get that do not say otherwise.

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

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        description: str | None = None,
        max_parallel: int | None = None,
        timeout: Duration | None = None,
        retry: RetryPolicy | Mapping[str, Any] | None = None,
        step_timeout: Duration | None = None,
    ) -> None:
        defaults = without_none(retry=retry_policy(retry), timeout=duration(step_timeout))
        self._written: dict[str, Any] | None = {
            "dsl": LANGUAGE_VERSION,
            "name": name,
            **without_none(
                version=version,
                description=description,
                max_parallel=max_parallel,
                timeout=duration(timeout),
                defaults=defaults or None,
            ),
            "inputs": {},
            "steps": {},
            "outputs": {},
        }
        self._definition: Definition | None = None
        self._source: Source | None = None
        self._called: dict[str, Function] = {}
        self._functions: dict[str, Function] = {}

    @classmethod
    def of(cls, definition: Definition, source: Source | None = None) -> Self:
        """A workflow around a definition that was checked already."""
        workflow = cls(definition.name)
        workflow._definition, workflow._source, workflow._written = definition, source, None
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
        description: str | None = None,
    ) -> Ref:
        """Declare an input; returns the reference to its value. The words mean what they mean in a document."""
        declared = without_none(default=plain(default), enum=plain(enum), required=required, description=description)
        self._add("inputs", name, {"type": type, **declared})
        return Ref("inputs")[name]

    def call(
        self,
        step_id: str,
        function: Function | str,
        *,
        with_: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Ref:
        """Add a step that calls a Python function.

        Args:
            step_id: unique in the workflow.
            function: the function, or its name as a document would write it.
            with_: its keyword arguments; references keep the type of their value.
            **options: `needs`, `when`, `timeout`, `retry`, `optional`, `outputs`, `description`, as in a document.
                Steps that are referred to need not be listed in `needs`.

        Returns:
            The reference to the step: `.output`, `.outputs`, `.state`, `.error`.

        Raises:
            UsageError: the id is taken, or an option does not exist.
        """
        verb: dict[str, Any] = {"call": function, **without_none(**{"with": plain(with_)})}
        return self._step(step_id, verb, options)

    def step(self, step_id: str | None = None, **options: Any) -> Callable[[_F], _F]:
        """Decorate a function to add a step that calls it; the function stays what it is.

        Args:
            step_id: by default the function's name.
            **options: as for `call`, `with_` included.

        Example:
            >>> workflow = Workflow("double")
            >>> @workflow.step(with_={"x": 21})
            ... def double(x: int) -> int:
            ...     return 2 * x
            >>> double(4), workflow["double"].output
            (8, <Ref steps.double.output>)
        """

        def decorate(function: _F) -> _F:
            self.call(step_id or function.__name__, function, **options)
            return function

        return decorate

    def run(
        self,
        step_id: str,
        command: str | Sequence[Any],
        *,
        env: Mapping[str, Any] | None = None,
        cwd: Any = None,
        **options: Any,
    ) -> Ref:
        """Add a step that runs a command.

        Args:
            step_id: unique in the workflow.
            command: a list is an argument vector without a shell; text goes to the shell.
            env: added to the few variables that a command inherits.
            cwd: relative to the directory the run is started in.
            **options: as for `call`.

        Returns:
            The reference to the step.
        """
        verb = {"run": plain(command), **without_none(env=plain(env), cwd=plain(cwd))}
        return self._step(step_id, verb, options)

    def output(self, name: str, value: Any) -> None:
        """Declare an output of the run."""
        self._add("outputs", name, plain(value))

    def __getitem__(self, step_id: str) -> Ref:
        """The reference to a step that was added.

        Raises:
            UsageError: there is no such step.
        """
        if step_id not in self._document["steps"]:
            raise UsageError(f"the workflow has no step {step_id!r}")
        return Ref("steps")[step_id]

    # --- using

    @property
    def definition(self) -> Definition:
        """The checked workflow.

        Raises:
            DefinitionError: with everything that is wrong.
        """
        if self._definition is None:
            names = called_names(self._document["steps"], self._called)
            self._definition, self._source = load_definition(self._finished(names))
            self._functions = {name: self._called[step_id] for step_id, name in names.items()}
        return self._definition

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
            self._written = {"inputs": {}, "steps": {}, "outputs": {}, **self.definition.tree()}
        return self._written

    def _add(self, section: str, name: str, value: Any) -> None:
        part = self._document[section]
        if name in part:
            raise UsageError(f"the workflow already has {name!r} among its {section}")
        part[name] = value
        # What was loaded from a text is from here on written in Python.
        self._definition = self._source = None

    def _step(self, step_id: str, verb: dict[str, Any], options: Mapping[str, Any]) -> Ref:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise UsageError(f"a step has no option {unknown[0]!r}", hint=f"options: {', '.join(sorted(OPTIONS))}")
        written = {name: OPTION_FORMS.get(name, plain)(value) for name, value in options.items() if value is not None}
        self._add("steps", step_id, {**written, **verb})
        if callable(verb.get("call")):
            self._called[step_id] = verb["call"]
        return Ref("steps")[step_id]

    def _finished(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The document with functions named and needs filled in."""
        steps = {step_id: _finished_step(step, names.get(step_id)) for step_id, step in self._document["steps"].items()}
        return {key: value for key, value in {**self._document, "steps": steps}.items() if value != {}}


def _finished_step(step: Mapping[str, Any], called: str | None) -> dict[str, Any]:
    finished = dict(step)
    if called is not None:
        finished["call"] = called
    needs = dict.fromkeys([*finished.get("needs", ()), *steps_read(finished)])
    if needs:
        finished["needs"] = list(needs)
    return finished


def load(source: str | os.PathLike[str]) -> Workflow:
    """Read and check a document.

    Args:
        source: a path, or the text of a TOML, YAML or JSON document (text has a line break in it).

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
    definition, origin = load_definition(source)
    return Workflow.of(definition, origin)


def as_workflow(given: Workflow | Definition | str | os.PathLike[str]) -> Workflow:
    """Whatever an engine was given, as a checked workflow."""
    if isinstance(given, Workflow):
        return given
    return Workflow.of(given) if isinstance(given, Definition) else load(given)
