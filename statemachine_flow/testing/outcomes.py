"""What can happen to a step, as values: how an attempt of its body ends, what is said to it while it waits."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, Literal

import attrs

#: What somebody finds out about an attempt that was cut off.
Found = Literal["completed", "failed", "retry"]


@attrs.frozen
class Return:
    """The body returns a value."""

    #: The step's result: of a command its output, as text or as a mapping; of an agent its answer.
    value: Any = None
    #: How long it takes, seconds of a virtual clock.
    takes: float = attrs.field(default=0.0, kw_only=True)
    #: What `verify`, or a person, finds out if it is cut off; None for the truth.
    found: Found | None = attrs.field(default=None, kw_only=True)
    #: What an agent used up.
    cost_usd: float = attrs.field(default=0.0, kw_only=True)
    tokens: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class Fail:
    """The body raises an error."""

    #: Its class: one of Python's own, or any other name.
    name: str = "Exception"
    message: str = ""
    #: Names of classes that it is one of, from the nearest to the farthest.
    is_: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    takes: float = attrs.field(default=0.0, kw_only=True)
    found: Found | None = attrs.field(default=None, kw_only=True)

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

    status: int = 0
    stdout: str = ""
    stderr: str = ""
    takes: float = attrs.field(default=0.0, kw_only=True)
    found: Found | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Signal:
    """Somebody sends the signal that a step waits for."""

    payload: Any = None
    takes: float = attrs.field(default=0.0, kw_only=True)


@attrs.frozen
class Decide:
    """Somebody decides an approval."""

    choice: str = "approve"
    form: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    by: str | None = attrs.field(default=None, kw_only=True)
    reason: str = attrs.field(default="", kw_only=True)
    takes: float = attrs.field(default=0.0, kw_only=True)


BodyOutcome = Return | Fail | Exit
Outcome = BodyOutcome | Signal | Decide
