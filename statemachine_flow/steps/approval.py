"""The verb `approval`: a person decides, and what they were shown is kept with their decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, final

import attrs
import msgspec

from statemachine_flow.model import Finding, Input, InputType, Name, Seconds, Verb

#: What is decided where the document names no choices.
DECISIONS: Final = ("approve", "reject")
_Choices = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]


@attrs.frozen(kw_only=True)
class Deadline:
    """What happens when nobody decides."""

    #: Counted from when the step began to wait.
    after: Seconds
    #: A choice, or "fail".
    then: Name = "reject"


@attrs.frozen(kw_only=True)
class Rewind:
    """Go back to an earlier step."""

    #: A step of the same level, before the approval.
    rewind_to: str
    #: Rounds in all; a rejection in the last one fails the step.
    max_rounds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3


@attrs.frozen(kw_only=True)
class Question:
    """What is asked, and of whom."""

    #: What the person reads.
    prompt: str
    #: Who may decide; by default everybody.
    approvers: tuple[str, ...] = ()
    #: Fields to be filled in: a type, or what an input has.
    form: Mapping[Name, InputType | Input] = attrs.field(factory=dict)
    #: What can be decided; each of them completes the step. By default `approve` does, and `reject` does not.
    choices: _Choices | None = None
    deadline: Deadline | None = None
    #: What a rejection does.
    on_reject: Literal["fail", "skip"] | Rewind = "fail"

    def fields(self) -> dict[str, Input]:
        """The form, each field as an input."""
        return {
            name: field if isinstance(field, Input) else Input(type=field, required=False)
            for name, field in self.form.items()
        }


@final
@attrs.frozen(kw_only=True)
class Approval(Verb):
    """Ask a person; the output is a mapping of `decision`, the fields of the form, `by`, `at`, `reason`, `digest`."""

    key: ClassVar[str] = "approval"
    is_retried: ClassVar[bool] = False

    approval: Question

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be decided."""
        return self.approval.choices or DECISIONS

    def templated(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """See `Verb.templated`."""
        yield ("approval", "prompt"), self.approval.prompt

    def check(self) -> Iterator[Finding]:
        """Whether the parts of the question fit together."""
        question = self.approval
        if len(set(self.choices)) < len(self.choices):
            yield Finding("definition.duplicate", "a choice stands twice", ("approval", "choices"))
        if question.deadline is not None and question.deadline.then not in (*self.choices, "fail"):
            message = f"'{question.deadline.then}' is none of the choices: {', '.join(self.choices)}, fail"
            yield Finding("definition.range", message, ("approval", "deadline", "then"))
        if question.choices is not None and question.on_reject != "fail":
            message = "`on_reject` has no meaning beside `choices`: each of them completes the step"
            yield Finding("definition.unknown_field", message, ("approval", "on_reject"), about_key=True)
        for name, field in question.form.items():
            if isinstance(field, Input) and field.secret:
                message = f"what is filled into '{name}' would stand in the journal"
                yield Finding("definition.secret", message, ("approval", "form", name, "secret"))
        for name in {"decision", "by", "at", "reason", "digest"} & question.form.keys():
            message = f"a field of the form cannot be called '{name}'"
            yield Finding("definition.name", message, ("approval", "form", name), about_key=True)
