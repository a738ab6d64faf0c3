"""Building workflows in Python: the same document as in TOML or YAML, written by calls.

A `Workflow` collects a document as plain data and has it checked by the compiler like any other text, so a workflow
built here and the same one in a file have the same content hash. References such as `diff.outputs.files` stand for
placeholders; the steps a step refers to are the steps it needs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar, final

import attrs

from statemachine_flow.compiler import Source, load_definition
from statemachine_flow.compiler.write import to_json, to_toml, to_yaml
from statemachine_flow.durations import check_seconds, format_duration
from statemachine_flow.errors import ExpressionError, Problem, UsageError
from statemachine_flow.expressions import Expression, Template
from statemachine_flow.functions import Function, name_of
from statemachine_flow.model import LANGUAGE_VERSION, Definition, InputType, RetryPolicy

#: Text such as `"30s"`, seconds, or a timedelta.
Duration = str | float | dt.timedelta

_F = TypeVar("_F", bound=Callable[..., Any])


@final
class Ref:
    """A value that will be there when the workflow runs: an input, or something of a step.

    Attributes and items lead further into it; as text it is its placeholder, so it can stand in an f-string.

    Example:
        >>> diff = Ref("steps.diff")
        >>> f"Review {diff.outputs.files[0]}"
        'Review ${{ steps.diff.outputs.files[0] }}'
    """

    __slots__ = ("_expression",)

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):
            raise AttributeError(name)
        return Ref(f"{self._expression}.{name}")

    def __getitem__(self, key: str | int) -> Ref:
        if isinstance(key, str) and key.isidentifier() and not key.startswith("_"):
            return Ref(f"{self._expression}.{key}")
        return Ref(f"{self._expression}[{key!r}]")

    def __str__(self) -> str:
        return f"${{{{ {self._expression} }}}}"

    def __repr__(self) -> str:
        return f"<Ref {self._expression}>"

    def __bool__(self) -> bool:
        raise TypeError(f"{self._expression} has no value yet: decide on it in `when`")

    def __iter__(self) -> Any:
        raise TypeError(f"{self._expression} has no value yet: it cannot be looped over while the workflow is built")


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
        retry: RetryPolicy | None = None,
        step_timeout: Duration | None = None,
    ) -> None:
        defaults = _without_none(retry=_retry(retry), timeout=_duration(step_timeout))
        self._written: dict[str, Any] | None = {
            "dsl": LANGUAGE_VERSION,
            "name": name,
            **_without_none(
                version=version,
                description=description,
                max_parallel=max_parallel,
                timeout=_duration(timeout),
                defaults=defaults or None,
            ),
            "inputs": {},
            "steps": {},
            "outputs": {},
        }
        self._definition: Definition | None = None
        self._source: Source | None = None
        self._called: dict[str, Function] = {}

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
        declared = _without_none(default=_plain(default), enum=_plain(enum), required=required, description=description)
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
        verb: dict[str, Any] = {"call": function, **_without_none(**{"with": _plain(with_)})}
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
        verb = {"run": _plain(command), **_without_none(env=_plain(env), cwd=_plain(cwd))}
        return self._step(step_id, verb, options)

    def output(self, name: str, value: Any) -> None:
        """Declare an output of the run."""
        self._add("outputs", name, _plain(value))

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
            self._definition, self._source = load_definition(self._finished())
        return self._definition

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical form: the same for the same workflow in TOML, YAML, JSON and Python."""
        return self.definition.content_hash

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions handed in, under the names the document gives them."""
        return {_called_name(step_id, function): function for step_id, function in self._called.items()}

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
        return to_toml(self.definition)

    def to_yaml(self) -> str:
        """The workflow as a YAML document."""
        return to_yaml(self.definition)

    def to_json(self) -> str:
        """The workflow as a JSON document."""
        return to_json(self.definition)

    def __repr__(self) -> str:
        if self._definition is not None:
            return f"<Workflow {self._definition.name} with {len(self._definition.steps)} steps>"
        return f"<Workflow {self._document['name']} with {len(self._document['steps'])} steps>"

    # --- inside

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
        unknown = sorted(set(options) - _OPTIONS)
        if unknown:
            raise UsageError(f"a step has no option {unknown[0]!r}", hint=f"options: {', '.join(sorted(_OPTIONS))}")
        if callable(verb.get("call")):
            self._called[step_id] = verb["call"]
        written = {name: _OPTION_FORMS.get(name, _plain)(value) for name, value in options.items() if value is not None}
        self._add("steps", step_id, {**written, **verb})
        return Ref("steps")[step_id]

    def _finished(self) -> dict[str, Any]:
        """The document with functions named and needs filled in."""
        steps = {step_id: self._finished_step(step_id, step) for step_id, step in self._document["steps"].items()}
        return {key: value for key, value in {**self._document, "steps": steps}.items() if value != {}}

    def _finished_step(self, step_id: str, step: Mapping[str, Any]) -> dict[str, Any]:
        finished = dict(step)
        if step_id in self._called:
            finished["call"] = _called_name(step_id, self._called[step_id])
        needs = dict.fromkeys([*finished.get("needs", ()), *_steps_read(finished)])
        if needs:
            finished["needs"] = list(needs)
        return finished


_OPTIONS: Final = frozenset({"needs", "when", "timeout", "retry", "optional", "outputs", "description"})


def load(source: str | os.PathLike[str]) -> Workflow:
    """Read and check a document.

    Args:
        source: a path, or the text of a TOML, YAML or JSON document (text has a line break in it).

    Raises:
        DefinitionError: with every problem of the document.

    Example:
        >>> load('''
        ... dsl = "1"
        ... name = "one"
        ... [steps]
        ... hello = { run = ["echo", "hello"] }
        ... ''')
        <Workflow one with 1 steps>
    """
    definition, origin = load_definition(source)
    return Workflow.of(definition, origin)


def as_workflow(given: Workflow | Definition | str | os.PathLike[str]) -> Workflow:
    """Whatever an engine was given, as a checked workflow."""
    if isinstance(given, Workflow):
        return given
    return Workflow.of(given) if isinstance(given, Definition) else load(given)


def _called_name(step_id: str, function: Function) -> str:
    """How a document names a function: by import where that finds it, else by the step that brought it."""
    own = getattr(function, "__name__", "")
    return name_of(function) or (own if own.isidentifier() and not own.startswith("_") else step_id)


def _steps_read(step: Mapping[str, Any]) -> Iterable[str]:
    """Ids of the steps that a step's placeholders and condition refer to; what cannot be parsed is reported later."""
    texts = [step[key] for key in ("with", "run", "env", "cwd") if key in step]
    references = set(Template.parse(texts)[0].references)
    if isinstance(step.get("when"), str):
        with contextlib.suppress(ExpressionError):
            references |= Expression.parse(step["when"]).references
    return sorted(path[1] for path in references if path[0] == "steps" and len(path) > 1)


def _plain(value: Any) -> Any:
    """References and paths as text, sequences as lists; all else is the compiler's to judge."""
    if isinstance(value, Ref | os.PathLike):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _duration(value: Duration | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    try:
        return format_duration(check_seconds(seconds))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _retry(policy: RetryPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    default = RetryPolicy()
    fields = {field.name: getattr(policy, field.name) for field in attrs.fields(RetryPolicy)}
    changed = {name: value for name, value in fields.items() if value != getattr(default, name)}
    return {
        name: _duration(value) if name in ("delay", "max_delay") else _plain(value) for name, value in changed.items()
    }


def _when(value: Any) -> Any:
    """A reference as a condition is its bare expression."""
    return str(value)[4:-3] if isinstance(value, Ref) else value


def _needs(value: Iterable[Any]) -> list[str]:
    """Steps by id or by reference."""
    return [step for need in value for step in (_steps_read({"with": str(need)}) if isinstance(need, Ref) else [need])]


def _without_none(**items: Any) -> dict[str, Any]:
    return {name: value for name, value in items.items() if value is not None}


_OPTION_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timeout": _duration,
    "retry": _retry,
    "when": _when,
    "needs": _needs,
}
