"""What can happen to a step, as values: how an attempt of its body ends, what is said to it while it waits.

A value that makes no sense is refused where the outcome is made, in Python as in documents; `checks` knows how.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

import attrs

from statemachine_flow.testing.checks import (
    Found as Found,  # noqa: PLC0414 - those who speak of outcomes take it from here
    amount,
    error_name,
    error_names,
    finding,
    form,
    name_or_none,
    refuse,
    seconds,
    text,
    whole,
    whole_from_0,
)


@attrs.frozen
class Return:
    """The body returns a value.

    Example:
        >>> Return(3, takes="2h").takes
        7200.0
        >>> Return(3, takes=-1)
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.DefinitionError: ...a duration lies between...
    """

    #: The step's result: of a command its output, as text or as a mapping; of an agent its answer.
    value: Any = None
    #: How long it takes on a virtual clock: seconds, or text such as "2h".
    takes: float = attrs.field(default=0.0, kw_only=True, converter=seconds)
    #: What `verify`, or a person, finds out if it is cut off; None for the truth.
    found: Found | None = attrs.field(default=None, kw_only=True, converter=finding)
    #: What an agent used up.
    cost_usd: float = attrs.field(default=0.0, kw_only=True, converter=amount)
    tokens: int = attrs.field(default=0, kw_only=True, converter=whole_from_0)


@attrs.frozen
class Fail:
    """The body raises an error."""

    #: Its class: one of Python's own, or any other name.
    name: str = attrs.field(default="Exception", converter=error_name)
    message: str = attrs.field(default="", converter=text)
    #: Names of classes that it is one of, from the nearest to the farthest.
    is_: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=error_names)
    takes: float = attrs.field(default=0.0, kw_only=True, converter=seconds)
    found: Found | None = attrs.field(default=None, kw_only=True, converter=finding)

    def __attrs_post_init__(self) -> None:
        try:
            self.error()
        except (TypeError, ValueError):
            refuse("definition.range", f"{self.name} cannot be made of a message alone", "fail with another error")

    def error(self) -> Exception:
        """What is raised.

        Example:
            >>> type(Fail("Throttled", is_=("OSError",)).error()).__mro__[:2]
            (<class '....Throttled'>, <class 'OSError'>)
        """
        cls: type[Exception] = Exception
        for name in [*reversed(self.is_), self.name]:
            own = getattr(builtins, name, None)
            is_own = isinstance(own, type) and issubclass(own, Exception)
            cls = own if is_own else type(name, (cls,), {})  # type: ignore[assignment]  # is_own says so
        return cls(self.message)


@attrs.frozen
class Exit:
    """A command ends."""

    status: int = attrs.field(default=0, converter=whole)
    stdout: str = attrs.field(default="", converter=text)
    stderr: str = attrs.field(default="", converter=text)
    takes: float = attrs.field(default=0.0, kw_only=True, converter=seconds)
    found: Found | None = attrs.field(default=None, kw_only=True, converter=finding)


@attrs.frozen
class Signal:
    """Somebody sends the signal that a step waits for."""

    payload: Any = None
    takes: float = attrs.field(default=0.0, kw_only=True, converter=seconds)


@attrs.frozen
class Decide:
    """Somebody decides an approval."""

    choice: str = attrs.field(default="approve", converter=text)
    form: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, converter=form)
    by: str | None = attrs.field(default=None, kw_only=True, converter=name_or_none)
    reason: str = attrs.field(default="", kw_only=True, converter=text)
    takes: float = attrs.field(default=0.0, kw_only=True, converter=seconds)


BodyOutcome = Return | Fail | Exit
Outcome = BodyOutcome | Signal | Decide
