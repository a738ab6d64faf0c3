"""What builders are given, in the form a document has it: durations as text, references as placeholders."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.builder.refs import Ref
from statemachine_flow.durations import check_seconds, format_duration
from statemachine_flow.errors import ExpressionError, UsageError
from statemachine_flow.expressions import Expression, Template
from statemachine_flow.functions import Function, name_of
from statemachine_flow.model import RetryPolicy

#: Text such as `"30s"`, seconds, or a timedelta.
Duration = str | float | dt.timedelta

#: What a step may be given besides its verb.
OPTIONS: Final = frozenset({"needs", "when", "timeout", "retry", "optional", "outputs", "description"})


def called_name(step_id: str, function: Function) -> str:
    """How a document names a function: by import where that finds it, else by the step that brought it."""
    own = getattr(function, "__name__", "")
    return name_of(function) or (own if own.isidentifier() and not own.startswith("_") else step_id)


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
        UsageError: it lies outside the range of durations.
    """
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    try:
        return format_duration(check_seconds(seconds))
    except ValueError as error:
        raise UsageError(str(error)) from None


def retry_policy(policy: RetryPolicy | None) -> dict[str, Any] | None:
    """A retry policy as a mapping, without what it leaves at the default."""
    if policy is None:
        return None
    default = RetryPolicy()
    fields = {field.name: getattr(policy, field.name) for field in attrs.fields(RetryPolicy)}
    changed = {name: value for name, value in fields.items() if value != getattr(default, name)}
    return {
        name: duration(value) if name in ("delay", "max_delay") else plain(value) for name, value in changed.items()
    }


def _when(value: Any) -> Any:
    """A reference as a condition is its bare expression."""
    return str(value)[4:-3] if isinstance(value, Ref) else value


def _needs(value: Iterable[Any]) -> list[str]:
    """Steps by id or by reference."""
    return [step for need in value for step in (steps_read({"with": str(need)}) if isinstance(need, Ref) else [need])]


def without_none(**items: Any) -> dict[str, Any]:
    """The items that were given."""
    return {name: value for name, value in items.items() if value is not None}


OPTION_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "timeout": duration,
    "retry": retry_policy,
    "when": _when,
    "needs": _needs,
}
