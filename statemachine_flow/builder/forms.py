"""What builders are given, in the form a document has it: durations as text, references as placeholders."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.builder.refs import Ref
from statemachine_flow.durations import MAX_SECONDS, check_seconds, format_duration
from statemachine_flow.errors import ExpressionError, UsageError
from statemachine_flow.expressions import Expression, Template
from statemachine_flow.model import RetryPolicy

#: Text such as `"30s"`, seconds, or a timedelta.
Duration = str | float | dt.timedelta

#: What a step may be given besides its verb.
OPTIONS: Final = frozenset({"needs", "when", "timeout", "retry", "optional", "outputs", "description"})


def steps_read(step: Mapping[str, Any]) -> Iterable[str]:
    """Ids of the steps that a step's placeholders and condition refer to; what cannot be parsed is reported later."""
    texts = [step[key] for key in ("with", "run", "env", "cwd") if key in step]
    references = set(Template.parse(texts)[0].references)
    if isinstance(step.get("when"), str):
        with contextlib.suppress(ExpressionError):
            references |= Expression.parse(step["when"]).references
    return sorted(path[1] for path in references if path[0] == "steps" and len(path) > 1)


def plain(value: Any) -> Any:
    """References and paths as text, sequences as lists; all else is the compiler's to judge."""
    if isinstance(value, Ref | os.PathLike):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


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


def retry_policy(policy: RetryPolicy | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A retry policy as a mapping, without what it leaves at the default.

    Raises:
        UsageError: it is neither a policy nor a mapping.
    """
    if policy is None:
        return None
    if isinstance(policy, Mapping):
        given = dict(policy)
    elif isinstance(policy, RetryPolicy):
        default = RetryPolicy()
        fields = {field.name: getattr(policy, field.name) for field in attrs.fields(RetryPolicy)}
        given = {name: value for name, value in fields.items() if value != getattr(default, name)}
    else:
        raise UsageError(f"retry takes a RetryPolicy, or a mapping as in a document, not a {type(policy).__name__}")
    return {name: duration(value) if name in ("delay", "max_delay") else plain(value) for name, value in given.items()}


def _when(value: Any) -> Any:
    """A reference as a condition is its bare expression."""
    return str(value)[4:-3] if isinstance(value, Ref) else value


def _needs(value: Any) -> list[str]:
    """Steps by id or by reference; one may stand alone."""
    if isinstance(value, str | Ref):
        value = [value]
    if not isinstance(value, Iterable):
        raise UsageError(f"needs takes steps, not a {type(value).__name__}")
    return [step for need in value for step in _steps_of(need)]


def _steps_of(need: Any) -> Iterable[str]:
    steps = steps_read({"with": str(need)}) if isinstance(need, Ref) else [need]
    if not steps or not isinstance(need, str | Ref):
        raise UsageError(f"needs takes steps, by id or by reference, and {need!r} is none")
    return steps


def without_none(**items: Any) -> dict[str, Any]:
    """The items that were given."""
    return {name: value for name, value in items.items() if value is not None}


OPTION_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timeout": duration,
    "retry": retry_policy,
    "when": _when,
    "needs": _needs,
}
