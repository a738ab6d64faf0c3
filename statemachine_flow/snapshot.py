"""A definition as bytes: what is stored with a run, so that the run goes on whatever happens to its file."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from statemachine_flow.errors import StoreError
from statemachine_flow.model import Definition, Verb
from statemachine_flow.steps import VERBS

#: Version of this byte form; a reader refuses what is newer than itself.
FORMAT: Final = 1

_DIGEST_SIZE: Final = 16


def encode_definition(definition: Definition) -> bytes:
    """The definition as MessagePack, headed by the form's version and a digest of what follows."""
    body = _encoder.encode(definition)
    return bytes([FORMAT]) + _digest(body) + body


def decode_definition(data: bytes, *, run: str | None = None) -> Definition:
    """Read a snapshot; nothing is imported, executed or looked up.

    Args:
        data: from `encode_definition`.
        run: whose definition it is, for the error.

    Raises:
        StoreError: `store.newer` for a later form, `store.corrupt` for anything else that cannot be read.

    Example:
        >>> from statemachine_flow.model import Step
        >>> one = Definition(name="one", steps=(Step(id="a", verb=VERBS["call"](call="f")),))
        >>> decode_definition(encode_definition(one)) == one
        True
    """
    if data[:1] > bytes([FORMAT]):
        raise StoreError(
            "the run's definition was stored by a newer version", kind="store.newer", run=run, hint="upgrade"
        )
    digest, body = data[1 : 1 + _DIGEST_SIZE], data[1 + _DIGEST_SIZE :]
    if digest != _digest(body):
        raise StoreError("the run's definition fails its checksum", kind="store.corrupt", run=run)
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"the run's definition cannot be read: {error}", kind="store.corrupt", run=run) from error


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).digest()


def _decode_verb(kind: type, data: Any) -> Any:
    if kind is not Verb:
        raise TypeError(f"unexpected {kind}")
    for key, verb in VERBS.items():
        if key in data:
            return msgspec.convert(data, verb, dec_hook=_decode_verb)
    raise ValueError("a step without a known verb")


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Definition, dec_hook=_decode_verb)
