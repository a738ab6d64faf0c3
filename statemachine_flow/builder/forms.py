"""What builders are given, in the form a document has it: durations as text, references as placeholders."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.builder.reads import steps_in
from statemachine_flow.builder.refs import Ref, Referable, bare
from statemachine_flow.durations import MAX_SECONDS, check_seconds, format_duration
from statemachine_flow.errors import UsageError
from statemachine_flow.model import RetryPolicy, Route, Step, document_key

#: Text such as `"30s"`, seconds, or a timedelta.
Duration = str | float | dt.timedelta

#: What a step may be given besides its verb.
OPTIONS: Final = frozenset(document_key(field.name) for field in attrs.fields(Step)) - {"id", "verb"}


def plain(value: Any) -> Any:
    """References and paths as text, sequences as lists, nouns as mappings; all else is the compiler's to judge."""
    if isinstance(value, Ref | os.PathLike):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return noun(value) if attrs.has(type(value)) else value


def duration(value: Duration | None) -> str | None:
    """A duration as text.

    Raises:
        UsageError: it is no duration, or lies outside the range of durations.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | dt.timedelta):
        raise UsageError(f"a duration is text such as '30s', seconds or a timedelta, not a {type(value).__name__}")
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    try:
        # A whole number may be too large to become a float.
        return format_duration(check_seconds(min(seconds, 2 * MAX_SECONDS)))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _given(value: Any) -> dict[str, Any]:
    """What a noun of the model, or a mapping as in a document, does not leave at the default."""
    if isinstance(value, Mapping):
        return {document_key(str(name)): item for name, item in value.items()}
    given = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        if item != default:
            given[document_key(field.name)] = item
    return given


def noun(value: Any) -> Any:
    """A noun of the model, or a mapping as in a document, as plain data; anything else as it is."""
    if not isinstance(value, Mapping) and not attrs.has(type(value)):
        return plain(value)
    return {name: _FORMS_INSIDE.get(name, plain)(item) for name, item in _given(value).items()}


def retry_policy(policy: RetryPolicy | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A retry policy as a mapping, without what it leaves at the default.

    Raises:
        UsageError: it is neither a policy nor a mapping.
    """
    if policy is None:
        return None
    if not isinstance(policy, Mapping | RetryPolicy):
        raise UsageError(f"retry takes a RetryPolicy, or a mapping as in a document, not a {type(policy).__name__}")
    return dict(noun(policy))


def for_each(value: Any) -> Any:
    """A loop: a `ForEach`, a mapping as in a document, or nothing but the items."""
    if isinstance(value, str | Ref | list | tuple):
        return {"items": plain(value)}
    return noun(value)


def step_name(value: Any) -> Any:
    """The id of a step, which may be given by its reference."""
    return next(iter(_steps_of(value))) if isinstance(value, Ref | Referable) else value


def routes(value: Any) -> Any:
    """What follows a step: a step, a mapping of values to steps, or a list of conditions."""
    if isinstance(value, Mapping):
        return {key: step_name(target) for key, target in value.items()}
    if isinstance(value, list | tuple):
        return [_route(route) for route in value]
    return step_name(value)


def _route(value: Any) -> Any:
    if not isinstance(value, Mapping | Route):
        return value
    return {name: (bare if name == "when" else step_name)(item) for name, item in _given(value).items()}


def step_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a step as a document has them, functions left as they are."""
    given = {document_key(name): value for name, value in fields.items() if value is not None}
    return {name: OPTION_FORMS.get(name, plain)(value) for name, value in given.items()}


def compensation(value: Any) -> Any:
    """What undoes a step: a function, or the step as a mapping."""
    if isinstance(value, Mapping):
        return step_fields(value)
    return {"call": value} if callable(value) else value


def moment(value: Any) -> Any:
    """A moment as ISO 8601 text."""
    return value.isoformat() if isinstance(value, dt.datetime) else plain(value)


def several(value: Any) -> Any:
    """A list, of which a text alone is the only item."""
    return [value] if isinstance(value, str | Ref) else plain(value)


def _needs(value: Any) -> list[str]:
    """Steps by id or by reference; one may stand alone."""
    if isinstance(value, str | Ref | Referable):
        value = [value]
    if not isinstance(value, Iterable):
        raise UsageError(f"needs takes steps, not a {type(value).__name__}")
    return [step for need in value for step in _steps_of(need)]


def _steps_of(need: Any) -> Iterable[str]:
    if isinstance(need, Referable):
        need = need.ref
    steps = steps_in([str(need)]) if isinstance(need, Ref) else [need]
    if not steps or not isinstance(need, str | Ref):
        raise UsageError(f"needs takes steps, by id or by reference, and {need!r} is none")
    return steps


def _bare_values(value: Any) -> Any:
    return {name: bare(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def without_none(**items: Any) -> dict[str, Any]:
    """The items that were given, under their document keys."""
    return {document_key(name): value for name, value in items.items() if value is not None}


#: Fields inside the nouns of a step.
_FORMS_INSIDE: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("delay", "max_delay", "after", "timeout"), duration),
    **dict.fromkeys(("until", "retry_if"), bare),
    "rewind_to": step_name,
}
OPTION_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timeout": duration,
    "retry": retry_policy,
    "when": bare,
    "needs": _needs,
    "for_each": for_each,
    "repeat": noun,
    "next": routes,
    "outputs": _bare_values,
    "compensate": compensation,
    "secrets": several,
    "start": step_name,
}
