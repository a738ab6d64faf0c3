"""Replaces known secrets by `***`, in plain values, in text and in streams of bytes.

Every form of every secret is looked for by itself: Python's own search takes less time for a hundred words one after
the other than a pattern that looks for all of them at once. Places that overlap become one `***`, so no end of a
secret is left beside another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, final

from statemachine_flow.errors import StepError, UsageError
from statemachine_flow.executors.capture import Spill
from statemachine_flow.secrets.forms import forms_of, secret_fault
from statemachine_flow.values import MAX_DEPTH

#: What stands for a secret.
MASK: Final = "***"

_MASK_BYTES: Final = MASK.encode()
_UNTOUCHED: Final = frozenset({bool, type(None)})
#: Secrets as short as this stand by chance in what is no secret, such as "test" in "pytest".
_TELLING_LENGTH: Final = 8
#: How much of a stream is collected before it is looked at.
_BLOCK: Final = 1 << 16


@final
class Redactor:
    """Knows the secrets of a run, and hides them.

    Args:
        values: the secrets, each of at least `MIN_LENGTH` characters.

    Raises:
        UsageError: one of them cannot be hidden.

    Example:
        >>> redactor = Redactor(["hunter22"])
        >>> redactor.value({"log": "password=hunter22", "basic": ["aHVudGVyMjI="]})
        {'log': 'password=***', 'basic': ['***']}
        >>> redactor
        <Redactor of 1 secret>
    """

    def __init__(self, values: Iterable[str]) -> None:
        secrets = frozenset(values)
        for secret in secrets:
            if fault := secret_fault(secret):
                raise UsageError(f"a secret {fault}")
        self._secrets = secrets
        self._texts = frozenset().union(*map(forms_of, secrets)) if secrets else frozenset()
        self._bytes = frozenset(form.encode("utf-8", "surrogateescape") for form in self._texts)
        #: The shortest form, in characters: most parts of a value have fewer.
        self._shortest = min(map(len, self._texts), default=0)
        #: The longest form, in bytes.
        self._longest = max(map(len, self._bytes), default=0)

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)} secret{'s' * (len(self._secrets) != 1)}>"

    def text(self, text: str) -> str:
        """`text` without the secrets."""
        if len(text) < self._shortest:
            return text
        pieces: list[str] = []
        end = 0
        for start, stop in _merged(_places(text, self._texts)):
            pieces += (text[end:start], MASK)
            end = stop
        return "".join((*pieces, text[end:])) if pieces else text

    def data(self, data: bytes) -> bytes:
        """`data` without the secrets."""
        if len(data) < self._shortest:
            return data
        pieces: list[bytes] = []
        end = 0
        for start, stop in _merged(_places(data, self._bytes)):
            pieces += (data[end:start], _MASK_BYTES)
            end = stop
        return b"".join((*pieces, data[end:])) if pieces else data

    def value(self, value: Any) -> Any:
        """A plain value without the secrets, keys of mappings and numbers included; itself when there are none.

        Whatever is no plain value stays as it is: it cannot be kept anyway.

        Raises:
            StepError: `step.unserializable`, it is nested too deeply, or holds itself.
        """
        return self._value(value, MAX_DEPTH) if self._secrets else value

    def shows(self, text: str) -> bool:
        """Whether a secret stands in `text` as it is, and not by mere chance."""
        return any(len(secret) >= _TELLING_LENGTH and secret in text for secret in self._secrets)

    def stream(self, block: int = _BLOCK) -> RedactingStream:
        """Hides the secrets of a stream of bytes, wherever its chunks are cut.

        Args:
            block: how many bytes are collected before they are looked at.
        """
        return RedactingStream(self, block)

    def spill(self, spill: Spill) -> Spill:
        """A spill that gets what is written without the secrets; itself when there are none."""
        return _RedactingSpill(spill, self.stream()) if self._secrets else spill

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind in _UNTOUCHED:
            return value
        if kind is bytes:
            return self.data(value)
        if kind not in _CONTAINERS:
            return self._scalar(value)
        if depth == 0:
            message = f"the value is nested deeper than {MAX_DEPTH}, or holds itself"
            raise StepError(message, kind="step.unserializable", name="Unserializable")
        if kind is dict:
            return self._mapping(value, depth)
        return kind(self._value(item, depth - 1) for item in value)

    def _scalar(self, value: Any) -> Any:
        """A number or a date: `***` if a secret stands in its text."""
        if type(value).__module__ not in _SCALAR_MODULES:
            return value
        try:
            text = str(value)
        except ValueError:  # a number of more digits than Python writes
            return value
        return value if self.text(text) == text else MASK

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        redacted: dict[Any, Any] = {}
        for key, item in value.items():
            name = hidden = self._value(key, 0) if type(key) not in _CONTAINERS else key
            number = 1
            while name in redacted:  # two secrets may be keys of one mapping
                number += 1
                name = hidden + f"#{number}" if isinstance(hidden, str) else hidden + f"#{number}".encode()
            redacted[name] = self._value(item, depth - 1)
        return redacted

    def _cover(self, data: bytes, cut: int, covered: int) -> tuple[bytes, int]:
        """`data[:cut]` without the secrets that begin in it, and how much of the rest the last of them takes.

        `covered` is how much of `data` one takes that began before.
        """
        pieces: list[bytes] = []
        end = covered
        for start, stop in sorted(_places(data, self._bytes)):
            if start >= cut:
                break
            if start >= end:
                pieces += (data[end:start], _MASK_BYTES)
            end = max(end, stop)
        return b"".join((*pieces, data[end:cut])), max(0, end - cut)


#: There is nothing to hide.
NO_SECRETS: Final = Redactor(())
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
_SCALAR_MODULES: Final = frozenset({"builtins", "decimal", "datetime", "uuid"})


@final
class RedactingStream:
    """Hides secrets in a stream that comes in chunks; made by `Redactor.stream`.

    Example:
        >>> stream = Redactor(["hunter22"]).stream()
        >>> stream.feed(b"it is hun") + stream.feed(b"ter22!") + stream.finish()
        b'it is ***!'
    """

    def __init__(self, redactor: Redactor, block: int) -> None:
        self._redactor = redactor
        self._block = block
        self._held = bytearray()
        #: How much of `_held` belongs to a secret whose `***` is out already.
        self._covered = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give back those that are settled."""
        if not self._redactor:
            return data
        self._held += data
        # Whatever begins before the last bytes is there as a whole.
        cut = len(self._held) - self._redactor._longest + 1  # noqa: SLF001 - the two are one
        return self._give(cut) if cut >= self._block else b""

    def finish(self) -> bytes:
        """Give back the rest."""
        return self._give(len(self._held))

    def _give(self, cut: int) -> bytes:
        given, self._covered = self._redactor._cover(bytes(self._held), cut, self._covered)  # noqa: SLF001 - as above
        del self._held[:cut]
        return given


@final
class _RedactingSpill:
    """See `Redactor.spill`."""

    def __init__(self, spill: Spill, stream: RedactingStream) -> None:
        self._spill = spill
        self._stream = stream

    def write(self, data: bytes) -> None:
        if settled := self._stream.feed(data):
            self._spill.write(settled)

    def finish(self) -> str:
        if rest := self._stream.finish():
            self._spill.write(rest)
        return self._spill.finish()

    def discard(self) -> None:
        self._spill.discard()


def _places(text: Any, forms: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Where forms begin and end in text or bytes, also where one overlaps the next."""
    for form in forms:
        start = text.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = text.find(form, start + 1)


def _merged(places: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Places in order, those that overlap as one."""
    first = end = 0
    for start, stop in sorted(places):
        if start >= end:
            if end:
                yield first, end
            first = start
        end = max(end, stop)
    if end:
        yield first, end
