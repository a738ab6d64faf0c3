"""Which fields go with which verb and stand where: the table, and advice about a field that is out of its place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set as AbstractSet
from typing import Any, Final, Literal

import attrs

from statemachine_flow.compiler.shapes import Shape
from statemachine_flow.model import Definition, Finding, ForEach, Repeat, RetryPolicy, Step, document_key
from statemachine_flow.steps import VERBS
from statemachine_flow.steps.approval import Question
from statemachine_flow.steps.wait import Waiting

#: Where a step stands: in a level; in a level of handlers, which nothing compensates; as a compensation.
Where = Literal["level", "handlers", "compensation"]

#: Fields that few steps have.
_RARE: Final = frozenset(
    (
        *("trigger_rule", "for_each", "matrix", "repeat", "next", "max_visits", "delivery", "verify"),
        *("idempotency_key", "secrets", "output_schema", "compensate"),
    )
)
#: Makes a step whose verb, and whatever else holds steps, is made already.
STEP: Final = Shape(Step, given=("id", "verb", "compensate"))
#: The same for a step without what few steps have, in less time.
USUAL_STEP: Final = Shape(Step, given=("id", "verb"), but=_RARE)
#: Makes a verb whose steps or workflow are made already.
VERB_SHAPES: Final[Mapping[str, Shape[Any]]] = {
    key: Shape(verb, given=tuple({"steps", "workflow"} & {key})) for key, verb in VERBS.items()
}

#: Fields of steps that are carried out in attempts of a body.
_OF_BODIES: Final = frozenset(("delivery", "verify", "idempotency_key", "secrets"))
#: Fields of steps that are tried again.
_OF_RETRIED: Final = frozenset(("timeout", "retry"))
_LEFT_OUT: Final[Mapping[Where, frozenset[str]]] = {
    "level": frozenset(),
    "handlers": frozenset(("compensate",)),
    "compensation": frozenset(
        ("needs", "trigger_rule", "when", "for_each", "matrix", "repeat", "next", "max_visits", "compensate")
    ),
}
_STEP_KEYS: Final = tuple(document_key(field.name) for field in attrs.fields(Step) if field.name not in ("id", "verb"))


def _keys(verb: str, where: Where) -> tuple[str, ...]:
    kind: Any = VERBS[verb]
    left_out = _LEFT_OUT[where]
    if not kind.is_body:
        left_out |= _OF_BODIES
    if not kind.is_retried:
        left_out |= _OF_RETRIED
    own = (document_key(field.name) for field in attrs.fields(kind))
    return (*(key for key in _STEP_KEYS if key not in left_out), *own)


#: Place -> verb -> the keys that such a step may have there, in the order advice names them.
KNOWN: Final[Mapping[Where, Mapping[str, AbstractSet[str]]]] = {
    where: {verb: dict.fromkeys(_keys(verb, where)).keys() for verb in VERBS} for where in _LEFT_OUT
}
#: Verb -> the keys that most of its steps in a level keep to.
USUAL: Final[Mapping[str, AbstractSet[str]]] = {verb: set(KNOWN["level"][verb]) - _RARE for verb in VERBS}
#: Place -> for a step without a verb: every key that some step may have there.
ALL_KNOWN: Final[Mapping[Where, AbstractSet[str]]] = {
    where: dict.fromkeys(key for keys in known.values() for key in keys).keys() for where, known in KNOWN.items()
}
#: Key -> the verbs it goes with.
_OWNERS: Final[Mapping[str, Collection[str]]] = {
    key: [verb for verb, keys in KNOWN["level"].items() if key in keys] for key in ALL_KNOWN["level"]
}
_HEAD_KEYS: Final = frozenset(document_key(field.name) for field in attrs.fields(Definition))


def _inside() -> dict[str, list[str]]:
    """Key of a mapping inside a step -> the keys of those mappings."""
    nouns: Mapping[str, Any] = {
        "retry": RetryPolicy,
        "for_each": ForEach,
        "repeat": Repeat,
        "approval": Question,
        "wait": Waiting,
    }
    inside: dict[str, list[str]] = {}
    for holder, noun in nouns.items():
        for field in attrs.fields(noun):
            inside.setdefault(document_key(field.name), []).append(holder)
    return inside


_INSIDE: Final = _inside()


def explain(finding: Finding, where: Where) -> Finding:
    """The finding of a field that a step has not, with advice where the word is one of the language."""
    key = str(finding.path[0])
    if key == "id":
        hint: str | None = "the key of the step is its id" if where != "compensation" else "a compensation has no id"
    elif key in _LEFT_OUT[where]:
        hint = f"'{key}' has no meaning in " + ("a compensation" if where == "compensation" else "handlers of an end")
    elif key in _OWNERS:
        hint = f"'{key}' belongs to steps with {_either(map(repr, _OWNERS[key]))}"
    elif key in _INSIDE:
        hint = f"'{key}' stands inside {_either(f'`{holder}`' for holder in _INSIDE[key])}"
    elif key in _HEAD_KEYS:
        hint = f"'{key}' stands at the top of a document"
    else:
        hint = finding.hint
    return attrs.evolve(finding, hint=hint)


def explain_head(finding: Finding) -> Finding:
    """The same for a field that a document has not."""
    key = str(finding.path[0])
    return attrs.evolve(finding, hint=f"'{key}' belongs to a step") if key in _OWNERS else finding


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
