"""The verb `wait`: until some time has passed, until a moment, or for a signal from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, final

import attrs
import msgspec

from statemachine_flow.model import Finding, Seconds, Verb


@attrs.frozen(kw_only=True)
class Waiting:
    """What is waited for: exactly one of `for`, `until` and `event`."""

    #: A duration, or a placeholder that gives one as text or in seconds.
    for_: str | None = None
    #: A moment as ISO 8601 text with its offset, or a placeholder that gives one as text or as a datetime.
    until: str | None = None
    #: The name of a signal.
    event: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    #: Which signal of that name: the one sent with the same key; by default the one without a key.
    key: str | None = None
    #: How long a signal is waited for.
    timeout: Seconds | None = None
    #: What follows when no signal came in time.
    then: Literal["fail", "complete"] = "fail"


@final
@attrs.frozen(kw_only=True)
class Wait(Verb):
    """Wait; the output is what the signal carried, or null."""

    key: ClassVar[str] = "wait"
    is_retried: ClassVar[bool] = False

    wait: Waiting

    def templated(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """See `Verb.templated`."""
        wait = self.wait
        for name, value in (("for", wait.for_), ("until", wait.until), ("event", wait.event), ("key", wait.key)):
            if value is not None:
                yield ("wait", name), value

    def check(self) -> Iterator[Finding]:
        """Exactly one thing is waited for, and what belongs to signals stands with one."""
        wait = self.wait
        given = [name for name, value in (("for", wait.for_), ("until", wait.until), ("event", wait.event)) if value]
        if len(given) != 1:
            found = " and ".join(f"'{name}'" for name in given) or "none"
            hint = "write exactly one of: for, until, event"
            yield Finding("definition.verb", f"`wait` has {found} of 'for', 'until' and 'event'", ("wait",), hint)
        if wait.event is None:
            for name, value in (("key", wait.key), ("timeout", wait.timeout)):
                if value is not None:
                    message = f"'{name}' belongs to `wait` with an 'event'"
                    yield Finding("definition.unknown_field", message, ("wait", name), about_key=True)
