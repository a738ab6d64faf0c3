"""Bytes made of other bytes: the inputs of the fuzz targets."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: What readers stumble over, for any target.
TOKENS: Sequence[bytes] = (
    b"",
    b"\0",
    b"\r",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"[[",
    b"{{{{",
    b"&a *a",
    b"<<: ",
    b"!!python/name:os.system ",
    b"---\n",
    b"${{ ",
    b" }}",
    b"((((",
    b"9" * 400,
    b"1e400",
    b"nan",
    b"__class__",
    b"\\ud800",
    b"'''",
    b'"""',
    b"\xc7\x05\x01hello",
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xc4\x00",
    b"\xcb\x7f\xf8\0\0\0\0\0\0",
    b"--json\n",
    b"steps",
    b"run = 'true'",
    b"for_each",
    b"\x1b]52;c;x\x07",
)


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed in a few places."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(0, 6)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + rng.randint(0, 16))
        match rng.randint(0, 6):
            case 0:
                data[at:at] = rng.choice(TOKENS)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * rng.randint(1, 40)
            case 3:
                data[at:end] = bytes(rng.randint(0, 255) for _ in range(end - at))
            case 4:
                other = rng.choice(seeds)
                begin = rng.randint(0, len(other))
                data[at:end] = other[begin : begin + rng.randint(0, 64)]
            case 5 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randint(0, 7)
            case _:
                del data[at:]
    return bytes(data)
