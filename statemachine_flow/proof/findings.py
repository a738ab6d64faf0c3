"""`Findings`: what is known of one level of steps, however it was found out."""

from __future__ import annotations

from typing import Final, final

import attrs

from statemachine_flow.proof.report import Method, Trace

#: Properties that are a matter of levels; the others are about the run.
OF_LEVELS: Final = ("rests", "joins", "stops", "legal")


@final
@attrs.define(kw_only=True)
class Findings:
    """What can happen in a level. Traces begin with the level; `within` puts what comes before in front."""

    method: Method = "exhaustive"
    configurations: int = 0
    #: "completed", "failed", "cut" -> how the level comes to this end.
    ends: dict[str, Trace] = attrs.field(factory=dict)
    #: How a required step comes to fail while the level is open; None if none can.
    hurt: Trace | None = None
    #: Step by place -> how it comes to begin, this included. Steps that are not here never begin.
    begins: dict[int, Trace] = attrs.field(factory=dict)
    #: Steps by place that begin in every run of the level.
    always: set[int] = attrs.field(factory=set)
    #: Steps by place that are skipped in some run of the level.
    skips: set[int] = attrs.field(factory=set)
    #: Property -> what refutes it.
    broken: dict[str, Trace] = attrs.field(factory=dict)
    #: Properties that could not be shown.
    open: set[str] = attrs.field(factory=set)
    #: The same as paths, with what is inside the steps.
    never_run: list[str] = attrs.field(factory=list)
    always_run: list[str] = attrs.field(factory=list)
    never_skipped: list[str] = attrs.field(factory=list)
    may_wait_for_ever: list[str] = attrs.field(factory=list)

    def take_in(self, inner: Findings, before: Trace | None) -> None:
        """Add what was found inside a step that begins like `before`; None: it never begins, and nothing counts."""
        self.configurations += inner.configurations
        if before is None:
            return
        if inner.method == "structure":
            self.method = "structure"
        self.open |= inner.open
        for name, trace in inner.broken.items():
            self.broken.setdefault(name, before + trace)
