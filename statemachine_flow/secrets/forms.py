"""The ways one secret may be written. What is not here is not found: ciphers, compression, parts of a secret."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

#: A shorter secret cannot be hidden: it stands by chance in too many texts.
MIN_LENGTH: Final = 4

#: What is left as it is: nothing; in a path; by JavaScript, in a part of a URL and in a whole one.
_SAFE: Final = ("", "/", "!'()*", "!'()*;,/?:@&=+$#")
_HEX: Final = re.compile(r"%[0-9A-F]{2}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}")


def secret_fault(secret: object) -> str | None:
    """Why a value cannot be a secret; None if it can. The sentence goes on after "the secret"; it never shows it.

    Example:
        >>> secret_fault("abc")
        'is shorter than 4 characters: it could not be hidden'
    """
    if not isinstance(secret, str):
        return f"is no text but of the type {type(secret).__name__}"
    if len(secret.strip()) < MIN_LENGTH:
        return f"is shorter than {MIN_LENGTH} characters: it could not be hidden"
    try:
        _bytes(secret)
    except UnicodeEncodeError:
        return "is text that is not valid Unicode"
    return None


def forms_of(secret: str) -> frozenset[str]:
    r"""All ways in which `secret` may be written, itself included.

    Example:
        >>> {'a"b/c', r'a\"b/c', "a%22b%2Fc", "YSJiL2M="} <= forms_of('a"b/c')
        True
    """
    forms: set[str] = set()
    for text in {secret, secret.strip()}:  # a shell drops the last line end, a form field the blanks
        forms.update(_written(text))
        forms.update(_base64(_bytes(text)))
    for form in list(forms):
        forms.add(_HEX.sub(lambda found: _other_case(found[0]), form))
    return frozenset(form for form in forms if len(form) >= MIN_LENGTH)


def _bytes(text: str) -> bytes:
    # A variable of the environment may hold bytes that are no UTF-8; Python has them as lone surrogates.
    return text.encode("utf-8", "surrogateescape")


def _written(text: str) -> Iterator[str]:
    raw = _bytes(text)
    yield text
    for in_ascii in (True, False):
        once = json.dumps(text, ensure_ascii=in_ascii)[1:-1]
        yield once
        yield once.replace("/", r"\/")
        yield json.dumps(once, ensure_ascii=in_ascii)[1:-1]  # JSON in JSON
        yield from _shown(once)  # JSON in a list or mapping as Python shows it
    for safe in _SAFE:
        yield quote(raw, safe=safe)
        yield quote_plus(raw, safe=safe)
    yield from _shown(text)
    yield from _shown(repr(text)[1:-1])
    yield from _quoted(repr(raw)[2:-1])
    yield shlex.quote(text).removeprefix("'").removesuffix("'")


def _shown(text: str) -> Iterator[str]:
    """As Python shows it, without quotes around it."""
    yield from _quoted(repr(text)[1:-1])
    yield from _quoted(ascii(text)[1:-1])


def _quoted(shown: str) -> Iterator[str]:
    """Which quotes are escaped depends on the text around."""
    plain = shown.replace(r"\'", "'")
    yield from (plain, plain.replace("'", r"\'"), plain.replace('"', r"\""))


def _base64(raw: bytes) -> Iterator[str]:
    """In base64, alone or at any place in something longer; what its neighbours have a part in is left out."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(raw).decode()
        yield whole
        yield whole.rstrip("=")
        for before in range(3):
            first = (before * 8 + 5) // 6
            end = (before + len(raw)) * 8 // 6
            yield encode(b"\0" * before + raw).decode()[first:end]


def _other_case(escape: str) -> str:
    return escape.lower() if escape[0] == "%" else escape[:2] + escape[2:].upper()
