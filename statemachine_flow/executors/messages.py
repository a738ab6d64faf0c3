"""What an engine and the process of an isolated function say to each other: a request, then messages in frames.

Everything is data: MessagePack of these types, with users' values in the encoding of `values`. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import msgspec

from statemachine_flow.executors.faults import Fault

#: The status of a process that cannot say anything any more, for its function has closed the way back (`EX_IOERR`).
EXIT_CUT_OFF: Final = 74
_LENGTH: Final = 4  # bytes in front of a message that say how long it is


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be called."""

    #: `module:function`.
    function: str
    #: The keyword arguments, encoded by `values`.
    arguments: bytes
    #: The fields of the attempt's context.
    context: Mapping[str, Any]
    #: The parameter that takes the context.
    context_parameter: str | None
    #: The least level of what is logged.
    log_level: int


class Logged(msgspec.Struct, frozen=True, tag="logged"):
    """The function logged something with its context."""

    level: int
    #: UTF-8 with `surrogatepass`: it need not be Unicode, which is all that MessagePack takes for text.
    text: bytes


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """The function returned."""

    #: Encoded by `values`.
    value: bytes


class Raised(msgspec.Struct, frozen=True, tag="raised"):
    """The function raised an error, or could not be called."""

    #: A `Fault` as JSON, whose escapes take text that is no Unicode.
    fault: bytes

    @classmethod
    def of(cls, fault: Fault) -> Raised:
        """What tells of a fault."""
        return cls(json.dumps(msgspec.to_builtins(fault)).encode())

    def told(self) -> Fault:
        """The fault.

        Raises:
            ValueError: it is none.
        """
        return msgspec.convert(json.loads(self.fault), Fault)


Message = Logged | Returned | Raised

encode_request: Final = msgspec.msgpack.Encoder().encode
decode_request: Final = msgspec.msgpack.Decoder(Request).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Message).decode


def framed(message: Message) -> bytes:
    """A message as it goes through the pipe."""
    body = _encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


@final
class Messages:
    r"""Reads messages from a stream, whatever its chunks; stands where a command has the screen of its output.

    Args:
        hear: told what was logged, as it comes.

    Example:
        >>> messages = Messages(lambda logged: print(logged.text.decode()))
        >>> for byte in framed(Logged(20, b"half way")) + framed(Returned(b"\x01")):
        ...     _ = messages.feed(bytes([byte]))
        half way
        >>> messages.answer
        Returned(value=b'\x01')
    """

    def __init__(self, hear: Callable[[Logged], None]) -> None:
        self._hear = hear
        self._pending = bytearray()
        #: How the call ended, once that was said.
        self.answer: Returned | Raised | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; nothing of them is output.

        Raises:
            msgspec.MsgspecError: they are no message.
        """
        pending = self._pending
        pending += data
        while len(pending) >= _LENGTH and len(pending) >= (end := _LENGTH + int.from_bytes(pending[:_LENGTH], "big")):
            message = _decode(bytes(pending[_LENGTH:end]))
            del pending[:end]
            if isinstance(message, Logged):
                self._hear(message)
            else:
                self.answer = message
        return b""

    def finish(self) -> bytes:
        """The stream has ended; what is left of a message is nothing."""
        return b""
