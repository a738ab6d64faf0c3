"""The keywords of JSON Schema that search for patterns, with a bound on the time that takes.

Python's own search cannot be stopped, and holds up every thread meanwhile; the `regex` library's takes a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

#: Seconds that all searches for one result may take together.
MAX_SECONDS: Final = 1.0

_until = threading.local()


class InvalidPattern(Exception):  # noqa: N818 - it says what is wrong
    """A pattern that is none."""


def unsupported(text: bytes) -> str | None:
    """What of a schema cannot be checked within a time.

    Args:
        text: the schema as JSON.

    Example:
        >>> unsupported(b'{"pattern": "^a"}') is None
        True
    """
    if b'"unevaluatedProperties"' in text and b'"patternProperties"' in text:
        return "`unevaluatedProperties` does not go together with `patternProperties`; use `additionalProperties`"
    return None


def begin_search() -> None:
    """The searches for another result begin."""
    _until.time = time.monotonic() + MAX_SECONDS


def found(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text.

    Args:
        pattern: a regular expression.
        text: where it is looked for.

    Raises:
        InvalidPattern: it is none.
        TimeoutError: the searches since `begin_search` take longer than `MAX_SECONDS`.

    Example:
        >>> begin_search()
        >>> found("^a+$", "aaa"), found("b", "aaa")
        (True, False)
    """
    import regex  # noqa: PLC0415 - few schemas have patterns

    left = _until.time - time.monotonic()
    if left <= 0:
        raise TimeoutError
    try:
        return regex.search(pattern, text, timeout=left) is not None
    except regex.error as error:
        raise InvalidPattern(f"{pattern[:80]!r} is no pattern: {error}") from None


def _pattern(validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - loaded by now

    if validator.is_type(value, "string") and not found(wanted, value):
        yield ValidationError("it is not found")


def _pattern_properties(validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, schema in wanted.items():
            for name, item in value.items():
                if found(pattern, name):
                    yield from validator.descend(item, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - loaded by now

    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in value.items():
        if name in known or any(found(pattern, name) for pattern in patterns):
            continue
        if validator.is_type(wanted, "object"):
            yield from validator.descend(item, wanted, path=name)
        elif not wanted:
            yield ValidationError("something is there that must not be")


#: Keyword -> its check, in the form of the `jsonschema` library.
PATTERN_KEYWORDS: Final[Mapping[str, Callable[..., Any]]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
