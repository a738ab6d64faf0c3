"""What a step does, and what can be wrong with a noun."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import attrs

from statemachine_flow.model.kinds import document_key


@attrs.frozen
class Finding:
    """Something wrong inside a noun; the compiler makes a `Problem` of it, with a position."""

    #: A key of `errors.KINDS`.
    kind: str
    #: One sentence.
    message: str
    #: From the noun to the place, in document keys and list indices.
    path: tuple[str | int, ...] = ()
    #: What to do.
    hint: str | None = None
    #: Whether it is about the last key of the path, not about the value under it.
    about_key: bool = False


class Verb:
    """What a step does; each kind is a frozen attrs class in its own module of `steps`.

    Its main field has the name of its document key, so that a step's keys tell which verb it has.
    """

    #: The document key that names the verb, such as `"call"`.
    key: ClassVar[str]
    #: Names of the fields whose text may hold placeholders.
    templates: ClassVar[tuple[str, ...]] = ()
    #: How many such steps of one run go at once when the workflow sets no `max_parallel`.
    max_parallel: ClassVar[int] = 64
    #: Whether it is carried out in attempts of a body; the others wait for something else.
    is_body: ClassVar[bool] = False
    #: Whether `retry` and `timeout` mean something.
    is_retried: ClassVar[bool] = True
    #: Names of the values a result may hold; None when that is known only once the step ran.
    result_names: ClassVar[tuple[str, ...] | None] = None

    def is_shell(self, field: str) -> bool:  # noqa: ARG002 - a verb may need it
        """Whether a templated field is shell text, where values are inserted as one quoted word each."""
        return False

    def templated(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """The fields that may hold placeholders and are set: path in document keys, and value."""
        for name in self.templates:
            if value := getattr(self, name):
                yield (document_key(name),), value

    def check(self) -> Iterator[Finding]:
        """What is wrong beyond the shape of the fields."""
        yield from ()
