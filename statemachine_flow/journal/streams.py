"""Streams of commands that were too long for an output: it names the blobs that hold the whole of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from statemachine_flow.values import decode_value

_STREAMS: Final = ("stdout", "stderr")
_DIGEST: Final = re.compile(r"[0-9a-f]{32,}")


def stream_blobs(output: msgspec.Raw | bytes | None) -> Iterator[str]:
    """The digests of the blobs that the output of a command names.

    Args:
        output: of any step, encoded by `values`; what does not look like that of a command names none.

    Example:
        >>> from statemachine_flow.values import encode_value
        >>> said = {"exit_code": 0, "stdout": "x", "stdout_truncated": True, "stdout_blob": "0f" * 16}
        >>> list(stream_blobs(encode_value(said))), list(stream_blobs(encode_value({"stdout_blob": "x"})))
        (['0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f'], [])
    """
    if output is None or b"_blob" not in bytes(output):  # most name none, and are not decoded for that
        return
    value = decode_value(output)
    if isinstance(value, Mapping) and "exit_code" in value:
        for stream in _STREAMS:
            digest = value.get(f"{stream}_blob")
            if value.get(f"{stream}_truncated") is True and isinstance(digest, str) and _DIGEST.fullmatch(digest):
                yield digest
