"""The nouns of a workflow: frozen values without behaviour, the same whatever text or code they came from.

A `Definition` is a checked workflow. Placeholders and expressions in it are still text; `plan` compiles them.
`Definition.tree` gives the one canonical form: plain data with defaults left out, from which the content hash
and the TOML, YAML and JSON writers are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Final, Literal

import attrs
import msgspec

from statemachine_flow.durations import format_duration

#: The language version this library reads and writes.
LANGUAGE_VERSION: Final = "1"

#: A workflow with more steps is refused.
MAX_STEPS: Final = 10_000


def _units(*names: str) -> str:
    return "".join(rf"([0-9]+(\.[0-9]+)?{name})?" for name in names)


DURATION_PATTERN: Final = (
    rf"^((?=[0-9]){_units('w', 'd', 'h', 'm', 's', 'ms')}"
    rf"|P(?=.){_units('W', 'D')}(T(?=[0-9]){_units('H', 'M', 'S')})?)$"
)

# The types below carry what a document may hold: the compiler checks values against them, the published JSON
# Schema is made from them. A description is the text of the error when a value does not fit.

#: Seconds in the model, text such as "30s" in a document.
Seconds = Annotated[
    float,
    msgspec.Meta(extra_json_schema={"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "1h30m"]}),
]

StepId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_-]{0,63}$",
        description="a step id has lower-case letters, digits, '-' and '_', a letter first, and at most 64",
    ),
]
#: Of inputs and outputs: what an expression can read with a dot, or in brackets when it has a hyphen.
Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
        description="a name has letters, digits, '-' and '_', no digit or '-' first, and at most 64",
    ),
]
WorkflowName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9_. -]{0,98}[A-Za-z0-9_.-])?$",
        description="a workflow's name has letters, digits, '_', '.', '-' and inner blanks, a letter or digit "
        "first, and at most 100",
    ),
]

#: What the items of a loop are called: something an expression can begin with.
LoopName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description="a loop's name has lower-case letters, digits and '_', a letter first, and at most 64",
    ),
]
VariableName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$",
        description="an environment variable has letters, digits and '_', no digit first",
    ),
]
Percentage = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)%$", description="a share is written like '10%', at most 100%"
    ),
]

InputType = Literal["string", "integer", "number", "boolean", "array", "object", "path"]

_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "path": (str,),
}


@attrs.frozen
class Finding:
    """Something wrong inside a noun; the compiler makes a `Problem` of it, with a position."""

    #: A key of `errors.KINDS`.
    kind: str
    #: One sentence.
    message: str
    #: From the noun to the place, in document keys and list indices.
    path: tuple[str | int, ...] = ()
    #: What to do.
    hint: str | None = None
    #: Whether it is about the last key of the path, not about the value under it.
    about_key: bool = False


class Verb:
    """What a step does; each kind is a frozen attrs class in its own module of `steps`.

    Its main field has the name of its document key, so that a step's keys tell which verb it has.
    """

    #: The document key that names the verb, such as `"call"`.
    key: ClassVar[str]
    #: Names of the fields whose text may hold placeholders.
    templates: ClassVar[tuple[str, ...]] = ()
    #: How many such steps of one run go at once when the workflow sets no `max_parallel`.
    max_parallel: ClassVar[int] = 64
    #: Whether it is carried out in attempts of a body; the others wait for something else.
    is_body: ClassVar[bool] = False
    #: Whether `retry` and `timeout` mean something.
    is_retried: ClassVar[bool] = True
    #: Names of the values a result may hold; None when that is known only once the step ran.
    result_names: ClassVar[tuple[str, ...] | None] = None

    def is_shell(self, field: str) -> bool:  # noqa: ARG002 - a verb may need it
        """Whether a templated field is shell text, where values are inserted as one quoted word each."""
        return False

    def templated(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """The fields that may hold placeholders and are set: path in document keys, and value."""
        for name in self.templates:
            if value := getattr(self, name):
                yield (document_key(name),), value

    def check(self) -> Iterator[Finding]:
        """What is wrong beyond the shape of the fields."""
        yield from ()


@attrs.frozen(kw_only=True)
class Input:
    """One declared input of a workflow."""

    #: What values it takes; a `path` is text, made absolute when the run starts.
    type: InputType = "string"
    #: Used when the run gives none.
    default: Any = None
    #: The only values allowed; by default all are.
    enum: Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)] | None = None
    #: Whether a run must give it; by default exactly when there is no default.
    required: bool | None = None
    #: Whether its value is never stored nor shown; a secret is text.
    secret: bool = False
    #: For people.
    description: str = ""

    @property
    def must_be_given(self) -> bool:
        """Whether a run without it is refused."""
        return self.default is None if self.required is None else self.required

    def has_type(self, value: object) -> bool:
        """Whether a value is of the declared type; `true` is no number, and `1.0` no integer."""
        return type(value) in _PYTHON_TYPES[self.type]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another, and after how long.

    Example:
        >>> RetryPolicy(max_attempts=3, delay=2.0).max_attempts
        3
    """

    #: Counts the first try; 1 means no retry.
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    #: Before the second attempt.
    delay: Seconds = 1.0
    #: How the delay grows from attempt to attempt: times `factor`, or not at all.
    backoff: Literal["exponential", "constant"] = "exponential"
    #: What an exponential delay is multiplied with.
    factor: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    #: No delay is longer.
    max_delay: Seconds = 300.0
    #: `full` draws evenly between 0 and the delay, so that many runs do not come back at once.
    jitter: Literal["full", "none"] = "full"
    #: Error names that are retried; empty means all.
    retry_on: tuple[str, ...] = ()
    #: Error names that are not, whatever `retry_on` says.
    abort_on: tuple[str, ...] = ()
    #: A bare expression over `error` and `attempt`; an attempt is retried only if it is true.
    retry_if: str | None = None


@attrs.frozen(kw_only=True)
class Defaults:
    """What steps get that do not say otherwise."""

    retry: RetryPolicy | None = None
    timeout: Seconds | None = None


@attrs.frozen(kw_only=True)
class ForEach:
    """A step carried out once for each item of a list, each with attempts of its own."""

    #: A list, or a placeholder that gives one when the step begins.
    items: str | tuple[Any, ...]
    #: What an item is called in the step's expressions.
    as_: LoopName = "item"
    #: A placeholder that names an item for as long as the run lives; by default its place in the list.
    key: str | None = None
    #: How many items are under way at once; by default the limits of the run count.
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    #: How many items may fail before the step does: a number, or a share such as "10%".
    max_failures: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | Percentage = 0


@attrs.frozen(kw_only=True)
class Repeat:
    """A step carried out again and again until something holds."""

    #: A bare expression over `result`, asked after each round.
    until: str
    #: Rounds in all; the step fails when the last one ends without `until` being true.
    max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    #: Between two rounds.
    delay: Seconds | None = None


@attrs.frozen(kw_only=True)
class Route:
    """One way out of a step: `{ when, goto }`, or `{ default }` as the last one."""

    #: A bare expression.
    when: str | None = None
    #: A step of the same level, or "end".
    goto: str | None = None
    #: A step of the same level, or "end"; taken when no `when` before it is true.
    default: str | None = None


#: What ends a level of states.
END: Final = "end"

TriggerRule = Literal["all_success", "none_failed", "all_done", "any_success", "any_failed"]
Delivery = Literal["at_least_once", "at_most_once"]


# Slots would make this noun, of which there may be ten thousand, twice as slow to make.
@attrs.frozen(kw_only=True, slots=False)
class Step:
    """One step of a workflow."""

    #: Unique in its level.
    id: StepId
    #: What it does.
    verb: Verb
    #: Ids of the steps it waits for.
    needs: tuple[str, ...] = ()
    #: Which ends of the steps in `needs` let it run.
    trigger_rule: TriggerRule = "all_success"
    #: A bare expression; the step is skipped when it is false.
    when: str | None = None
    for_each: ForEach | None = None
    #: Name -> values; the step is carried out for every combination.
    matrix: Mapping[Name, Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]] = attrs.field(factory=dict)
    repeat: Repeat | None = None
    #: In a level of states: the step that follows, by name, by value of the first output, or by conditions.
    next: str | Mapping[str, str] | tuple[Route, ...] | None = None
    #: In a level of states: how often the token may come here; 100 by default.
    max_visits: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    #: For one attempt.
    timeout: Seconds | None = None
    retry: RetryPolicy | None = None
    #: Whether the run may complete although the step failed.
    optional: bool = False
    #: `at_most_once`: an attempt that was cut off is never begun again by itself.
    delivery: Delivery = "at_least_once"
    #: The name of a function that tells whether an attempt that was cut off took effect.
    verify: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    #: What outside systems tell repeated attempts by; by default made from run and step.
    idempotency_key: str | None = None
    #: Names of environment variables that the step may read and that are never stored.
    secrets: tuple[VariableName, ...] = ()
    #: Name -> bare expression over the step's result.
    outputs: Mapping[Name, str] = attrs.field(factory=dict)
    #: JSON Schema of the step's result; a result that breaks it fails the attempt.
    output_schema: Mapping[str, Any] | None = None
    #: Undoes the step when the run fails or is cancelled.
    compensate: Step | None = None
    #: For people.
    description: str = ""


@attrs.frozen(kw_only=True)
class CheckpointPolicy:
    """How a run is kept."""

    #: When a snapshot of the run may be stored beside its journal.
    every: Literal["step", "level", "never"] = "step"
    #: `power` syncs every commit; `process` survives the death of the process, not that of the machine.
    durability: Literal["power", "process"] = "power"
    #: How many snapshots are kept.
    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50


@attrs.frozen(kw_only=True)
class Budget:
    """What the agents of a run may use up together; no agent is asked once it is reached."""

    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    tokens: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


@attrs.frozen(kw_only=True)
class Definition:
    """A workflow as it is run: checked, frozen, named by the hash of its content."""

    #: For people and for finding runs.
    name: WorkflowName
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    #: The step that a workflow of states begins with; a graph has none.
    start: str | None = None
    #: The author's own; runs are told apart by the content hash.
    version: str = "1.0.0"
    #: For people.
    description: str = ""
    inputs: Mapping[Name, Input] = attrs.field(factory=dict)
    defaults: Defaults = Defaults()
    #: How many steps may run at once; by default the executors' own limits count.
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    #: For the whole run, from its start, pauses included.
    timeout: Seconds | None = None
    #: Whether steps that do not depend on a failed one go on.
    continue_on_error: bool = False
    #: Whether `compensate` of completed steps is carried out when the run fails or is cancelled.
    compensate: bool = False
    checkpoint: CheckpointPolicy | None = None
    budget: Budget | None = None
    #: Steps that are carried out when the run is going to fail.
    on_failure: tuple[Step, ...] = ()
    #: Steps that are carried out last, however the run ends.
    finally_: tuple[Step, ...] = ()
    #: Name -> value or placeholder; computed when the run completes.
    outputs: Mapping[Name, Any] = attrs.field(factory=dict)

    def tree(self) -> dict[str, Any]:
        """The canonical document: plain data, defaults left out, `needs` sorted, durations as text."""
        return {"dsl": LANGUAGE_VERSION, **_tree(self)}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical document, in hex: the same for TOML, YAML, JSON and Python.

        The order of steps counts, for it decides which of several ready steps begins first, and so does that of a
        matrix; the order inside every other mapping does not.
        """
        ordered = msgspec.json.encode(_with_order(self.tree()), order="sorted")
        return hashlib.sha256(ordered).hexdigest()

    def step(self, step_id: str) -> Step:
        """The step with that id; KeyError if there is none."""
        return self._by_id[step_id]

    @cached_property
    def _by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}


def document_key(field: str) -> str:
    """The document key of a model field: `with_` is written `with`, everything else as it is named."""
    return field.removesuffix("_")


#: Fields that hold steps by id.
_LEVELS: Final = frozenset({"steps", "on_failure", "finally"})


def _tree(noun: Any) -> dict[str, Any]:
    """Fields that differ from their defaults, as plain data under their document keys."""
    tree = {document_key(name): _plain(value, name) for name, value in _set_fields(noun)}
    if isinstance(noun, Step):
        tree.pop("id")
        tree |= tree.pop("verb")
        if noun.needs:
            tree["needs"] = sorted(noun.needs)
    return tree


def _set_fields(noun: Any) -> Iterator[tuple[str, Any]]:
    for name, default in _defaults(noun.__class__):
        value = getattr(noun, name)
        if value is not default and (value != default or type(value) is not type(default)):
            yield name, value


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a noun with their defaults, to be compared with alone."""
    return tuple(
        (field.name, field.default.factory() if isinstance(field.default, attrs.Factory) else field.default)  # type: ignore[arg-type]
        for field in attrs.fields(kind)
    )


_SECONDS_FIELDS: Final = frozenset({"timeout", "delay", "max_delay", "after"})


def _plain(value: Any, field: str) -> Any:
    if type(value) is float and field in _SECONDS_FIELDS:
        return format_duration(value)
    if attrs.has(type(value)):
        return value.tree() if isinstance(value, Definition) else _tree(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, "") if _is_noun(item) else item for key, item in value.items()}
    if not isinstance(value, tuple):
        return value
    if value and isinstance(value[0], Step):
        return {step.id: _tree(step) for step in value}
    return [_tree(item) if attrs.has(type(item)) else item for item in value]


def _is_noun(value: Any) -> bool:
    return attrs.has(type(value)) or isinstance(value, tuple)


def _with_order(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of a workflow or step in which mappings whose order means something are lists of pairs."""
    ordered = dict(tree)
    for key in _LEVELS & tree.keys():
        ordered[key] = [(step_id, _with_order(step)) for step_id, step in tree[key].items()]
    for key in ("compensate", "workflow"):
        if isinstance(tree.get(key), Mapping):
            ordered[key] = _with_order(tree[key])
    if "matrix" in tree:
        ordered["matrix"] = list(tree["matrix"].items())
    if "outputs" in tree and isinstance(tree.get("next"), Mapping):  # the first of them says where the token goes
        ordered["outputs"] = list(tree["outputs"].items())
    return ordered
