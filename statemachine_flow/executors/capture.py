"""Keep one output stream of a command: its beginning as text, and all of it in a spill when it is long.

This is bookkeeping over chunks of bytes. Reading them from the command is `child`'s job, and where a spill
lives is the store's.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final, Protocol, final

import attrs

#: How much of a long stream's end is kept beside its beginning, in bytes: a failing command's last words.
TAIL_BYTES: Final = 4096


class Spill(Protocol):
    """Where output goes that is too long to be kept with its step: a blob being written.

    The last call is `finish`, or `discard` when there is no result or another call failed. For a command's
    stream all calls come from the command's own thread, so they may block; an error that one of them raises ends
    the command, and `run_command` raises it.
    """

    def write(self, data: bytes) -> None:
        """Append `data`."""
        ...

    def finish(self) -> str:
        """Make what was written permanent and return its name."""
        ...

    def discard(self) -> None:
        """Forget what was written."""
        ...


class Screen(Protocol):
    """What a stream passes before it is counted and kept, such as to hide parts of it."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give back what is settled."""
        ...

    def finish(self) -> bytes:
        """Give back the rest."""
        ...


@attrs.frozen(kw_only=True)
class Captured:
    """One stream at its end."""

    #: The whole stream, or its first bytes up to the limit, as text.
    text: str
    #: The last `TAIL_BYTES` of a stream that `text` cuts short; "" when `text` is whole.
    tail: str
    #: Whether `text` is less than the stream.
    truncated: bool
    #: Whether bytes of `text` were no UTF-8 and became U+FFFD.
    lossy: bool
    #: How many bytes the stream had, behind its screen.
    size: int
    #: The spill's name; None when nothing was spilled.
    spill: str | None


@final
class Capture:
    """Collect one stream.

    Args:
        limit: bytes kept as text.
        spill_limit: bytes given to the spill, from the stream's beginning on; later ones are only counted.
        open_spill: makes the spill, called when the stream passes `limit`; None drops what is beyond it.
        screen: what the stream passes first; None lets it through as it is.

    Example:
        >>> capture = Capture(limit=5, spill_limit=0, open_spill=None)
        >>> capture.feed("naïveté".encode())
        >>> kept = capture.finish()
        >>> kept.text, kept.truncated, kept.size
        ('naïv', True, 9)
    """

    def __init__(
        self, *, limit: int, spill_limit: int, open_spill: Callable[[], Spill] | None, screen: Screen | None = None
    ) -> None:
        self._limit = limit
        self._spill_room = spill_limit
        self._open_spill = open_spill
        self._screen = screen
        self._spill: Spill | None = None
        self._head = bytearray()
        self._tail = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the stream's next bytes; errors of the spill pass through."""
        self._keep(data if self._screen is None else self._screen.feed(data))

    def _keep(self, data: bytes) -> None:
        was_whole = self._size <= self._limit
        self._size += len(data)
        if self._size <= self._limit:
            self._head += data
            return
        if was_whole:
            self._tail = bytes(self._head[-TAIL_BYTES:])
            if self._open_spill is not None:
                self._spill = self._open_spill()
                self._write(bytes(self._head))
            self._head += data[: self._limit - len(self._head)]
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._write(data)

    def _write(self, data: bytes) -> None:
        piece = data[: self._spill_room]
        if self._spill is not None and piece:
            self._spill.write(piece)
            self._spill_room -= len(piece)

    def finish(self) -> Captured:
        """End the stream: make its spill permanent and decode what is kept."""
        if self._screen is not None:
            self._keep(self._screen.finish())
        truncated = self._size > self._limit
        text, lossy = _decode(self._head, truncated)
        name = self._spill.finish() if self._spill is not None else None
        self._spill = None
        return Captured(
            text=text,
            tail=_decode_tail(self._tail),
            truncated=truncated,
            lossy=lossy,
            size=self._size,
            spill=name,
        )

    def discard(self) -> None:
        """End the stream and forget it, spill included; harmless after `finish`."""
        spill, self._spill = self._spill, None
        if spill is not None:
            spill.discard()


def _decode(data: bytearray, cut: bool) -> tuple[str, bool]:
    """Decode UTF-8 without a character that a cut left incomplete; also whether bytes were replaced."""
    try:
        return codecs.getincrementaldecoder("utf-8")("strict").decode(data, final=not cut), False
    except UnicodeDecodeError:
        return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not cut), True


def _decode_tail(data: bytes) -> str:
    """Decode the end of a stream, dropping a character whose beginning was cut off."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:  # noqa: PLR2004 - UTF-8's continuation bytes
        start += 1
    return data[start:].decode(errors="replace")
