"""`Proof` and `Property`: what was shown, what was refuted and by what, and what stays open."""

from __future__ import annotations

from typing import Any, Final, Literal, final

import attrs

#: What happened, record by record, as a journal would list it.
Trace = tuple[str, ...]
#: `exhaustive`: every configuration was looked at. `structure`: some level was too large for that.
Method = Literal["exhaustive", "structure"]

#: Property -> what it says. A refuted one comes with a trace where something happened that refutes it.
PROPERTIES: Final = {
    "rests": "whatever happened, the run can still come to rest, with nobody's help but declared events",
    "honest": "no run completes although a required step failed",
    "clean": "nothing is under way or left open in a run that has ended",
    "joins": "a step begins exactly when its trigger_rule says so",
    "stops": "after a required failure only steps that wait for failures begin, and they are not swept away",
    "legal": "the lifecycle has an edge for every change that the rules ask for",
    "completes": "some run completes",
    "finally": "`finally` begins, however a run that was started ends",
}
#: What the report does not question.
TAKEN_FOR_GRANTED: Final = (
    "an attempt under way ends; declared signals, decisions and timers can come; "
    "a failed run that is retried begins anew"
)
_WORDS: Final = {True: "shown", False: "REFUTED", None: "not shown"}
_SHOWN_AT_MOST: Final = 20


@final
@attrs.frozen(kw_only=True)
class Property:
    """One thing that ought to hold for every run."""

    #: A key that does not change, such as "rests".
    name: str
    #: None: it could not be shown, nor refuted.
    holds: bool | None
    #: What it says, for people.
    text: str
    #: The shortest history that refutes it; empty unless refuted, and where the refutation is that nothing happens.
    trace: Trace = ()


@final
@attrs.frozen(kw_only=True)
class Proof:
    """What was found out about a workflow; see `prove`.

    Example:
        >>> dull = Property(name="rests", holds=False, text="it rests", trace=("run.start",))
        >>> proof = Proof(workflow="w", method="exhaustive", configurations=1, properties=(dull,))
        >>> proof.ok, proof["rests"].trace
        (False, ('run.start',))
    """

    #: The workflow's name.
    workflow: str
    method: Method
    #: How many configurations were looked at.
    configurations: int
    properties: tuple[Property, ...]
    #: Paths of steps that begin in no run.
    never_run: tuple[str, ...] = ()
    #: Paths of steps that begin in every run that nobody cuts off: no operator, no timeout of the run.
    always_run: tuple[str, ...] = ()
    #: Paths of steps that are skipped in no run.
    never_skipped: tuple[str, ...] = ()
    #: Paths of steps that wait for somebody outside and have no timeout.
    may_wait_for_ever: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was refuted."""
        return all(each.holds is not False for each in self.properties)

    def __getitem__(self, name: str) -> Property:
        """The property of that name; KeyError if it was not asked."""
        for each in self.properties:
            if each.name == name:
                return each
        raise KeyError(name)

    def text(self) -> str:
        """The report for people."""
        looked = f"{self.configurations} configuration{'' if self.configurations == 1 else 's'}"
        lines = [f"proof of {self.workflow}: {self.method}, {looked}"]
        for each in self.properties:
            lines.append(f"  {_WORDS[each.holds]:9} {each.name:9} {each.text}")
            lines += [f"              {number} {line}" for number, line in enumerate(each.trace, 1)]
        for label, paths in (
            ("never run", self.never_run),
            ("always run", self.always_run),
            ("never skipped", self.never_skipped),
            ("can wait for ever", self.may_wait_for_ever),
        ):
            if paths:
                more = f", and {len(paths) - _SHOWN_AT_MOST} more" if len(paths) > _SHOWN_AT_MOST else ""
                lines.append(f"  {label}: {', '.join(paths[:_SHOWN_AT_MOST])}{more}")
        lines += [f"  taken for granted: {TAKEN_FOR_GRANTED}"]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"ok": self.ok, **attrs.asdict(self)}
